"""The dashboards' page in a headless Chromium, opened from a file, with the network refused."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from utils.dashboards import Dashboards, Example, Group, Latent, Partner, Settings, write_page
from utils.dashboards.statistics import Enriched
from utils.dashboards.weights import LogitWeights

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WORDS = ["<script>alert(1)</script>", ' "q"', "</script>", "<!--", " שלום", "\n", " cat", " &amp;"]
WORDS += ["\u202eabc", " dog", *(f" w{i}" for i in range(90))]
N = 1000


def latent(i: int) -> Latent:
    """Latent i; the last is dead, and numbers differ so that orders do."""
    dead = i == N - 1
    tokens = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 + i % 90]
    acts = [0.0] * 6 + [0.5, 0.0, 0.0, 0.0, 4.0 + i / 100]
    effect = [None if j == 10 else (0.25 if j == 9 else -0.125) for j in range(11)]
    examples = [Example(3, 20, 10, tokens, acts, effect, effect)]
    examples += [Example(j, 20, 10, tokens, acts) for j in range(4, 30)]
    groups = [Group("strongest", 4, 4.0 + i / 100, 12, list(range(12)))]
    groups += [Group("interval", k, k + 1.0, 30, [12 + k]) for k in range(4, -1, -1)]
    groups += [Group("quantile", k, k + 1.0, 30, [20 + k]) for k in range(2, -1, -1)]
    counts = [5, 3, 1, 0, 2]
    side = [(6, 1.5), (0, 1.0)]
    logits = LogitWeights(side, [(2, -1.0)], -1.0, 1.5, counts, 1.0, 0.1, float(i * 7 % N))
    more: dict = {"enriched": [], "examples": [], "groups": [], "histogram": []} if dead else {}
    more = {
        "enriched": [Enriched(10 + i % 90, 5, 9, -40.0)],
        **{"examples": examples, "groups": groups, "histogram": counts},
    } | more
    return Latent(
        *(i, 0 if dead else 11, 0 if dead else 9, 0.0 if dead else 0.0001 * (1 + i)),
        *(0.0, 0.01 + i / 1e4, 0.0 if dead else 4.0 + i / 100, 0.0 if dead else 2.0, 1.0),
        bin_width=1.0,
        correlated=[Partner((i + 5) % N, 0.5), Partner(4000, 0.25)],
        cosine=[Partner((i + 9) % N, 0.3)],
        inputs_correlated=[],
        outputs_aligned=[],
        outputs_l1=1.0,
        logits=logits,
        heads=[0.25, 0.75] if i == 2 else None,
        **more,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a thousand latents."""
    sizes = (4608, 1677, 200480, 128)
    hook = "blocks.10.hook_resid_post"
    vocab = dict(enumerate(WORDS))
    found = Dashboards(
        *("a-model", "residual", hook, hook, *sizes, 900, "all", Settings()),
        vocab=vocab,
        latents=[latent(i) for i in range(N)],
    )
    return write_page(found, tmp_path_factory.mktemp("page") / "page.html")


def name(page: Page) -> str:
    return page.locator(".head .name").inner_text()


def nodes(page: Page) -> int:
    return page.evaluate("document.getElementsByTagName('*').length")


def test_page__shows_tokens_as_they_are(page):
    """markup, quotes, right-to-left text and line ends are text; none is run"""
    text = page.locator(".example .text").first
    spans = text.locator(".t").all_inner_texts()
    assert spans[0] == WORDS[0] and spans[2] == "</script>" and spans[3] == "<!--"
    assert spans[1].strip() == '"q"' and spans[4].strip() == "שלום" and spans[5] == "↵"
    assert spans[7].strip() == "&amp;"
    assert spans[8] == "⟨202e⟩abc", "a character that turns the text round is shown, not obeyed"
    assert page.locator("main script, main img").count() == 0
    box = [text.locator(".t").nth(i).bounding_box()["x"] for i in (3, 4)]
    assert box[0] < box[1], "Hebrew stands where it comes in the text"


def test_page__is_readable_without_colour(page):
    """a strong token has a thicker underline, and its number when asked for"""
    strong, weak, none = (page.locator(".example .t").nth(i) for i in (10, 6, 0))
    width = "el => parseFloat(getComputedStyle(el).borderBottomWidth)"
    assert strong.evaluate(width) > weak.evaluate(width) > none.evaluate(width) == 0
    assert strong.evaluate("el => Number(getComputedStyle(el).fontWeight)") > 500
    page.keyboard.press("n")
    assert page.locator(".example .t sub").first.inner_text() == "0.50"
    assert "4.00" in page.locator(".legend").inner_text()


def test_page__tells_activation_and_effect_of_a_token(page):
    tip = page.locator("#tip")
    assert tip.is_hidden()
    page.locator(".example .t").nth(10).hover()
    expect(tip).to_contain_text("4.00")
    expect(tip).to_contain_text("row 3, position 20")
    page.locator(".example .t").nth(9).focus()
    expect(tip).to_contain_text("+0.250 nats")
    expect(tip).to_contain_text("direct path")
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("#colour").select_option("full")
    assert page.locator(".example .t.minus").count() > 0, (
        "a loss that falls is told by its line, too"
    )


def test_page__moves_with_the_keys(page):
    assert name(page) == "Latent 0"
    for key, wanted in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        assert name(page) == f"Latent {wanted}" and page.url.endswith(f"#{wanted}")
    page.keyboard.press("ArrowRight")
    assert page.get_by_text("Heads it is written by").count() == 1
    for key, word in (("2", "drawn at random"), ("1", "no two from one")):
        page.keyboard.press(key)
        assert word in page.locator("#examples").inner_text()
    page.locator(".link", has_text="7").first.click()
    assert name(page) == "Latent 7"
    assert page.locator(".link", has_text="4000").count() == 0, "4000 is not on this page"
    page.keyboard.press("/")
    page.keyboard.type("12")
    page.keyboard.press("ArrowRight")
    assert name(page) == "Latent 7", "keys that are typed into the search do not move"
    page.keyboard.press("Enter")
    assert name(page) == "Latent 12"


def test_page__keeps_the_keyboard_where_it_was(page):
    """what is drawn anew at every action does not lose the focus"""
    where = "document.activeElement.id"
    page.locator("#next").focus()
    for wanted in (1, 2):
        page.keyboard.press("Enter")
        assert name(page) == f"Latent {wanted}" and page.evaluate(where) == "next"
    for control in ("#tab-interval", "#numbers"):
        page.locator(control).focus()
        page.keyboard.press("Space")
        assert page.evaluate(where) == control[1:]
    page.locator("#previous").focus()
    page.keyboard.press("Enter")
    page.locator("#colour").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(where) == "colour"


def test_page__searches_and_sorts(page):
    count, first = page.locator("#count"), page.locator(".item b").first
    page.locator("#search").fill("998")
    assert count.inner_text() == "1 of 1,000 latents" and first.inner_text() == "998"
    page.locator("#search").fill("9999")  # no latent's number, so it is text
    assert count.inner_text() == "0 of 1,000 latents"
    page.locator("#search").fill("w37")
    page.locator("#scope").select_option("fires")
    assert count.inner_text().startswith("11 of")
    page.locator("#search").fill("<SCRIPT")
    page.locator("#scope").select_option("fires")
    assert count.inner_text().startswith("0 of")
    page.locator("#scope").select_option("writes")
    assert count.inner_text() == "1,000 latents"
    page.locator("#search").fill("")
    wanted = {"density": 998, "largest": 998, "kurtosis": 857}  # 857 · 7 = 999 modulo 1,000
    for order, best in wanted.items():
        page.locator("#sort").select_option(order)
        assert first.inner_text() == str(best), order
    page.locator("#reverse").click()
    assert first.inner_text() == "0"


def test_page__draws_only_what_is_seen(page):
    """a thousand latents: the list and the page stay small, however far one goes"""
    before = nodes(page)
    assert page.locator(".item").count() < 60 and before < 4000
    most = before
    for _ in range(120):
        page.keyboard.press("ArrowRight")
        most = max(most, nodes(page))
    assert name(page) == "Latent 120" and most < before + 300
    expect(page.locator(".item.now")).to_be_in_viewport()
    page.evaluate("document.getElementById('list').scrollTop = 1e6")
    expect(page.locator(".item b").last).to_have_text("999")
    assert page.locator(".item").count() < 60
    page.locator(".item", has_text="999").click()
    assert "Never active on this text" in page.locator("main").inner_text()


@pytest.mark.parametrize("page", [{"width": 400}, {"width": 400, "scheme": "dark"}], indirect=True)
def test_page__fits_a_narrow_screen(page):
    """nothing is cut off or has to be moved sideways; the list opens and closes"""
    wide = "[document.documentElement.scrollWidth, window.innerWidth]"
    for key in ("1", "2", "n"):
        page.keyboard.press(key)
        got, window = page.evaluate(wide)
        assert got <= window == 400
    right = "Math.max(...[...document.querySelectorAll('main *')].map(RIGHT))"
    assert page.evaluate(right.replace("RIGHT", "e => e.getBoundingClientRect().right")) <= 401
    assert page.locator("#side").is_hidden()
    page.locator("#list-toggle").click()
    expect(page.locator(".item").nth(3)).to_be_visible()
    page.locator(".item").nth(3).click()
    assert name(page) == "Latent 3" and page.locator("#side").is_hidden()


@pytest.mark.parametrize("page", [{"scheme": "dark"}], indirect=True)
def test_page__is_dark_where_that_is_wanted(page):
    """text and paper keep their contrast, with colour behind the text as well"""
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    for theme in ("dark", "light"):
        contrast = page.evaluate(CONTRAST)
        assert contrast["paper"] > 10 and contrast["soft"] > 4.5 and contrast["token"] > 4.5, theme
        page.keyboard.press("t")


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d");
    const over = (...colours) => {
        for (const c of colours) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255);
    };
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const share = [0.2126, 0.7152, 0.0722];
    const light = (rgb) => rgb.map(linear).reduce((a, v, i) => a + v * share[i], 0.05);
    const ratio = (a, b) => Math.max(light(a) / light(b), light(b) / light(a));
    const style = (selector) => getComputedStyle(document.querySelector(selector));
    const [body, card, strong] = [style("body"), style(".card"), style(".example .t.u4")];
    return {
        paper: ratio(over(body.color), over(body.backgroundColor)),
        soft: ratio(over(style(".tile .more").color), over(card.backgroundColor)),
        token: ratio(over(strong.color), over(card.backgroundColor, strong.backgroundColor)),
    };
}"""


def test_page__holds_a_thousand_latents_in_one_small_file(file):
    text = file.read_text()
    assert text.count("<script") == 2 and len(text) < 12e6
    start = text.index('id="data">') + len('id="data">')
    assert len(json.loads(text[start : text.index("</script>", start)])["latents"]) == N
