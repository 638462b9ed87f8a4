"""The graph's page in a headless Chromium, opened from a file, with the network refused."""

import json
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from utils.graphs import Graph, Node, write_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WORDS = ["<s>", "</script><script>alert(1)</script>", ' "q"', " שלום", "\n", " cat"]


def small() -> Graph:
    """Six tokens, three layers: two latents in each, errors, two outputs."""
    n = len(WORDS)
    features = [Node("feature", i, 4 + j, 10 * i + j, 1.5) for i in range(3) for j in (0, 1)]
    errors = [Node("error", i, 5, -1) for i in range(3)]
    words = [Node("embedding", -1, p, 50 + p, label=w) for p, w in enumerate(WORDS)]
    outputs = [Node("logit", 3, n - 1, 7, 0.7, " mat"), Node("logit", 3, n - 1, 8, 0.2, "<b>")]
    nodes = [*features, *errors, *words, *outputs]
    A = torch.zeros(len(nodes), len(nodes))
    for i, target in enumerate(nodes):
        for j, source in enumerate(nodes):
            if target.kind in ("feature", "logit") and source.layer < target.layer:
                A[i, j] = ((7 * i + 3 * j) % 11 - 4) / 3
    zeros = torch.zeros(len(nodes))
    tokens = torch.arange(50, 50 + n)
    return Graph(tokens, WORDS, nodes, A, zeros, A.sum(1), zeros, 6, 3, "a prompt", "a-model",
                 {"both": [0, 1]})  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page."""
    return write_page(small(), tmp_path_factory.mktemp("graph") / "page.html")


def title(page: Page) -> str:
    return page.locator("#side .name").inner_text()


def test_page__shows_tokens_as_they_are(page):
    words = page.locator("#graph text[transform]").all_text_contents()
    assert len(words) == len(WORDS)
    assert words[1].startswith("</script><s") and "↵" in words[4] and "שלום" in words[3]
    assert page.locator("main script, main b, aside b").count() == 0
    assert page.locator(".node").count() == 6 + 3 + 6 + 2


def test_page__lists_and_draws_the_edges_of_a_node(page):
    page.locator('[data-id="1_10_4"]').click()
    assert title(page) == "latent 1/10"
    graph = small()
    i = next(k for k, n in enumerate(graph.nodes) if n.number == 10)
    n_in, n_out = (int((v != 0).sum()) for v in (graph.adjacency[i], graph.adjacency[:, i]))
    assert page.locator("#edges .edge").count() == n_in + n_out
    weights = page.locator("#side .row .n").all_inner_texts()
    strongest = float(graph.adjacency[i].abs().max())
    assert abs(float(weights[0].replace("−", "-"))) == pytest.approx(strongest, rel=1e-2)
    page.locator("#all").check()
    assert page.locator("#edges .edge").count() > n_in + n_out


def test_page__moves_with_the_keys(page):
    page.keyboard.press("ArrowUp")
    assert title(page).startswith("Output")
    page.keyboard.press("ArrowDown")
    assert title(page).startswith(("latent 2", "error, layer 2"))
    page.keyboard.press("ArrowDown")
    first = title(page)
    page.keyboard.press("ArrowRight")
    assert title(page) != first
    page.keyboard.press("i")
    page.keyboard.press("o")
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_contain_text("Choose a node")
    page.keyboard.press("f")
    page.keyboard.type("2/20")
    page.keyboard.press("Enter")
    assert title(page) == "latent 2/20"


def test_page__keeps_the_words_in_sight_where_the_graph_is_taller_than_its_frame(page):
    page.set_viewport_size({"width": 1280, "height": 200})
    frame = page.locator("#scroll").bounding_box()
    assert page.evaluate("document.getElementById('graph').clientHeight") > frame["height"]
    for top in (0, 15, 10_000):
        page.evaluate(f"document.getElementById('scroll').scrollTop = {top}")
        page.wait_for_timeout(50)
        words = page.locator("#words text").first.bounding_box()
        assert words["y"] >= frame["y"]
        assert words["y"] + words["height"] <= frame["y"] + frame["height"] + 1


def test_page__pins_groups_and_names(page):
    assert page.locator(".box.group").count() == 1
    for node in ("1_10_4", "2_21_5"):
        page.locator(f'[data-id="{node}"]').click()
        page.keyboard.press("p")
    assert page.locator(".box").count() == 3
    page.keyboard.press("g")
    assert page.locator(".box.group").count() == 2
    page.locator("#group-list input").nth(1).fill("subject")
    page.locator("#group-list input").nth(1).press("Enter")
    assert "subject (2)" in page.locator(".box text").all_text_contents()
    page.locator("#group-list button").first.click()
    assert page.locator(".box.group").count() == 1 and page.locator(".box").count() == 3
    page.locator('[data-id="1_10_4"]').click()
    page.locator("#side input").fill("<i>mine</i>")
    page.locator("#side input").press("Enter")
    assert title(page) == "<i>mine</i> (1/10)"


def test_page__groups_what_is_dragged_together(page):
    for node in ("1_10_4", "2_21_5"):
        page.locator(f'[data-id="{node}"]').click()
        page.keyboard.press("p")
    boxes = page.locator(".box:not(.group)")
    one, two = (boxes.nth(i).bounding_box() for i in (0, 1))
    page.mouse.move(one["x"] + 20, one["y"] + 8)
    page.mouse.down()
    page.mouse.move(two["x"] + 20, two["y"] + 8, steps=8)
    page.mouse.up()
    assert page.locator(".box.group").count() == 2


def test_page__weights_of_groups_are_sums(page):
    page.locator('[data-id="2_20_4"]').click()
    page.keyboard.press("p")
    graph = small()
    total = float(graph.adjacency[4, [0, 1]].sum())
    texts = page.locator("#groups text.soft").all_text_contents()
    found = [float(t.replace("−", "-")) for t in texts]
    assert any(abs(x - total) < 0.01 for x in found), (found, total)


SPOILT = {
    "words.json": lambda g: g["metadata"].pop("prompt_tokens"),
    "params.json": lambda g: g.update(qParams=None),
    "place.json": lambda g: g["nodes"][0].update(ctx_idx=99),
}


def test_page__saves_and_loads(page, tmp_path):
    page.locator('[data-id="1_10_4"]').click()
    page.keyboard.press("p")
    with page.expect_download() as download:
        page.locator("#save").click()
    saved = tmp_path / "graph.json"
    download.value.save_as(saved)
    told = json.loads(saved.read_text())
    assert "1_10_4" in told["qParams"]["pinnedIds"]
    assert told["qParams"]["supernodes"] == [["both", "0_0_4", "0_1_5"]]
    from utils.graphs.viewer import read_viewer

    assert (read_viewer(saved).adjacency == small().adjacency).all()
    page.keyboard.press("p")
    assert page.locator(".box").count() == 1
    page.locator("#load").set_input_files(saved)
    expect(page.locator("#message")).to_contain_text("loaded")
    assert page.locator(".box").count() == 2
    (tmp_path / "bad.json").write_text('{"nodes": []}')
    page.locator("#load").set_input_files(tmp_path / "bad.json")
    expect(page.locator("#message")).to_contain_text("was not loaded: this is no graph")
    assert page.locator(".box").count() == 2, "what was there stays"
    nodes = page.locator(".node").count()
    for name, spoil in SPOILT.items():
        bad = json.loads(saved.read_text())
        spoil(bad)
        (tmp_path / name).write_text(json.dumps(bad))
        page.locator("#load").set_input_files(tmp_path / name)
        expect(page.locator("#message")).to_contain_text(f"{name} was not loaded")
        assert page.locator(".box").count() == 2 and page.locator(".node").count() == nodes, name
    other = json.loads(saved.read_text())
    other["metadata"]["prompt"] = "another prompt"
    (tmp_path / "other.json").write_text(json.dumps(other))
    page.locator("#load").set_input_files(tmp_path / "other.json")
    expect(page.locator("h1")).to_have_text("another prompt")


def test_page__hides_what_has_little_influence(page):
    before = page.locator(".node").count()
    page.locator("#errors").uncheck()
    assert page.locator(".node.error").count() == 0
    page.locator("#share").fill("20")
    assert page.locator(".node").count() < before
    assert page.locator(".node.embedding").count() == 6 and page.locator(".node.logit").count() == 2


@pytest.mark.parametrize("page", [{"width": 400}], indirect=True)
def test_page__is_usable_at_400_pixels(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.locator('[data-id="2_20_4"]').click()
    assert title(page) == "latent 2/20"


@pytest.mark.parametrize("page", [{"scheme": "dark"}], indirect=True)
def test_page__is_dark_where_the_system_is(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(20, 22, 26)"
    page.keyboard.press("t")
    assert page.evaluate(paper) == "rgb(251, 251, 250)"
