"""`make dashboard`: what is asked for, on the tiny models; errors that name the cure."""

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from tools import dashboard

pytestmark = pytest.mark.usefixtures("tiny_here")
app = typer.Typer()
app.command()(dashboard.main)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [("all", list(range(20))), ("0-3", [0, 1, 2, 3]), ("3,7,2", [3, 7, 2]), ("1-2,2-3", [1, 2, 3])],
)
def test_numbers__reads_what_is_asked_for(asked, wanted):
    assert dashboard.numbers(asked, 20) == wanted


def test_numbers__draws_the_same_latents_each_time():
    found = dashboard.numbers("random:7", 20)
    assert len(set(found)) == 7 and found == sorted(found) == dashboard.numbers("random:7", 20)
    assert dashboard.numbers("random:99", 20) == list(range(20))
    for wrong in ("some", "random:x", "1-", "3,,4"):
        with pytest.raises(typer.BadParameter, match="random:100"):
            dashboard.numbers(wrong, 20)


def test_dashboard__writes_a_page_and_says_where(tmp_path):
    done = run(
        "story/residual", "0-4", "--rows", 12, "--out", "a/page.html", "--data", "--neuronpedia"
    )
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("a/page.html (") and "kB" in lines[0] and "no network" in lines[-1]
    told = json.loads((tmp_path / "a" / "page.json").read_text())
    assert [latent["index"] for latent in told["latents"]] == [0, 1, 2, 3, 4]
    assert told["about"]["model"] == "tiny_story_1l" and told["about"]["n_rows"] == 12
    numbers = tmp_path / "a" / "page"
    assert (numbers / "batch-0.json").exists()
    for name in ("batch-7.json", "batch-mine.json"):
        (numbers / name).write_text("{}")
    run("story/residual", "0-4", "--rows", 12, "--out", "a/page.html", "--neuronpedia")
    assert sorted(p.name for p in numbers.iterdir()) == ["batch-0.json", "batch-mine.json"]
    assert not list(tmp_path.glob("**/*.safetensors")), "what a stopped run needs is gone"


def test_dashboard__goes_on_after_a_stop(tmp_path, monkeypatch):
    from utils.dashboards.effects import Meter

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("story/residual", "0-4", "--rows", 12, "--out", "page.html").exit_code != 0
    assert (tmp_path / "page.part.safetensors").exists()
    wrong = run("story/residual", "0-4", "--rows", 11, "--out", "page.html")
    assert wrong.exit_code == 1 and "different are: the text" in wrong.output
    assert run("story/residual", "0-4", "--rows", 12, "--out", "page.html").exit_code == 0
    assert (tmp_path / "page.html").exists()
    assert not (tmp_path / "page.part.safetensors").exists()


def test_dashboard__takes_a_folder_and_games_without_words(tmp_path):
    from utils.course import ARTIFACTS

    folder = ARTIFACTS / "tiny_othello" / "residual_2_256"
    done = run(folder, "random:3", "--rows", 5, "--data")
    assert done.exit_code == 0, done.output
    told = json.loads(next((tmp_path / "dashboards").glob("*.json")).read_text())
    assert told["about"]["model"] == "tiny_othello" and len(told["latents"]) == 3
    assert all(text.strip().isdigit() for text in told["vocab"])


def test_dashboard__two_saes_of_a_model_have_two_pages(tmp_path):
    for width in (256, 512):
        assert run("story/residual", "0", "--width", width, "--rows", 3).exit_code == 0
    from utils.course import ARTIFACTS

    assert run(ARTIFACTS / "tiny_othello" / "residual_2_256", "0", "--rows", 3).exit_code == 0
    assert run(ARTIFACTS / "tiny_othello" / "residual_2_512", "0", "--rows", 3).exit_code == 0
    assert len(list((tmp_path / "dashboards").glob("*.html"))) == 4


def test_dashboard__says_where_it_cannot_write(tmp_path):
    (tmp_path / "taken").write_text("a file")
    done = run("story/residual", "0", "--rows", 3, "--out", "taken/page.html")
    assert done.exit_code == 1 and "no dashboard:" in done.output and "taken" in done.output
    assert "ends in .html" in run("story/residual", "0", "--rows", 3, "--out", "page").output


def test_dashboard__says_what_is_wrong(monkeypatch):
    assert "RELEASE:ID" in run("nonsense").output
    done = run("story/residual", "3,99999", "--rows", 3)
    assert done.exit_code == 1 and "no latent 99999" in done.output
    done = run("story/residual", "3", "--layer", 9, "--rows", 3)
    assert done.exit_code == 1 and "no residual SAE for layer 9" in done.output
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = run("gpt2-small-res-jb:blocks.8.hook_resid_pre", "3")
    assert done.exit_code == 1 and "could not be downloaded" in done.output
    assert "COURSE_PROFILE=local" in done.output


def test_text_of__repeats_itself():
    from utils.models import story_model

    one, two = (dashboard.text_of(story_model(), 6) for _ in range(2))
    assert torch.equal(one.ids, two.ids) and len(one) == 6
