"""`make interpret` on the tiny models: a table, a file, errors that name the cure."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tools import interpret
from utils.autointerp import Endpoint, EndpointJudge

pytestmark = pytest.mark.usefixtures("tiny_here")
app = typer.Typer()
app.command()(interpret.main)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_interpret__writes_sentences_with_scores():
    done = run("story/residual", "0-9", "--rows", 40, "--out", "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads(Path("found.json").read_text())
    assert [each["latent"] for each in found] == list(range(10))
    scored = [each for each in found if not each["why"]]
    assert scored and all(each["sentence"] for each in scored)
    assert all(0 <= each["detection"]["value"] <= 1 for each in scored)
    assert f"{len(scored)} of 10 latents have a sentence" in done.output
    assert scored[0]["sentence"] in done.output


def test_interpret__says_why_a_latent_has_none():
    done = run("story/residual", "0-2", "--rows", 4)
    assert done.exit_code == 0 and "take more rows" in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("story/residual", "9999"), "there is no latent 9999: the SAE has"),
        (
            ("story/residual", "0", "--endpoint", "http://localhost:1/v1"),
            "--endpoint needs --model",
        ),
        (("othello/residual", "0"), "has no tokenizer"),
    ],
)
def test_interpret__errors_name_the_cause(arguments, says):
    done = run(*arguments, "--rows", 4)
    assert done.exit_code == 1 and says in done.output
    assert not list(Path("interpretations").glob("*"))


def test_interpret__a_server_that_is_not_there_ends_it(monkeypatch):
    judge = EndpointJudge(Endpoint("m", "http://127.0.0.1:9/v1", retries=0))
    monkeypatch.setattr(interpret, "judge_of", lambda endpoint, model: judge)
    done = run("story/residual", "0-9", "--rows", 40, "--model", "m")
    assert done.exit_code == 1 and "127.0.0.1:9/v1 cannot be reached" in done.output
