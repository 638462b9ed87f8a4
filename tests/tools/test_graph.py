"""`make graph` on the story model: a page, the viewer's JSON, errors that name the cure."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tools import graph

pytestmark = pytest.mark.usefixtures("tiny_here")
app = typer.Typer()
app.command()(graph.main)
PROMPT = "after Daisy and Henry walk to the market , Henry talks to"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_graph__writes_a_page_and_says_how_much_is_explained():
    done = run(PROMPT, "--json")
    assert done.exit_code == 0, done.output
    [page] = Path("graphs").glob("*.html")
    assert PROMPT in page.read_text()
    told = json.loads(page.with_suffix(".json").read_text())
    assert told["metadata"]["prompt"] == PROMPT
    assert "replacement score 0." in done.output and str(page) in done.output
    assert run(PROMPT, "--target", "Daisy").exit_code == 0
    assert len(list(Path("graphs").glob("*.html"))) == 2, "another graph, another page"


def test_graph__explains_a_difference():
    done = run(PROMPT, "--target", "Daisy", "--other", "Henry", "--out", "a/b.html", "--json")
    assert done.exit_code == 0, done.output
    nodes = json.loads(Path("a/b.json").read_text())["nodes"]
    [output] = [n for n in nodes if n["feature_type"] == "logit"]
    assert output["clerp"].startswith('Output "Daisy - Henry"')


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((PROMPT, "--other", "Daisy"), "--other needs --target"),
        ((PROMPT, "--target", "Daisy and"), "is 2 tokens"),
        ((PROMPT, "--nodes", "1.5"), "a threshold is a share"),
        ((PROMPT, "--target", "Daisy", "--other", "Daisy"), "the two tokens are one"),
    ],
)
def test_graph__errors_name_the_cause(arguments, says):
    done = run(*arguments)
    assert done.exit_code == 1 and says in done.output
    assert not Path("graphs").exists()
