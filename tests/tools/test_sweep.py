"""`make sweep` on a tiny model: a table, a page, SAEs that load, errors that name the cure."""

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tools import sweep
from utils.models.sae import load_sae

pytestmark = pytest.mark.usefixtures("tiny_here")
app = typer.Typer()
app.command()(sweep.main)
SMALL = ("--rows", 40, "--steps", 30, "--batch", 64, "--latent", "32", "--out", "grid")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.filterwarnings("ignore:after")
def test_sweep__trains_a_grid_and_goes_on():
    asked = ("story/residual", "--architecture", "topk,relu", "--k", "2,4", *SMALL)
    done = run(*asked)
    assert done.exit_code == 0, done.output
    results = json.loads(Path("grid/results.json").read_text())
    assert [r["name"] for r in results] == ["topk-32-k2-s0", "topk-32-k4-s0", "relu-32-l1-s0"]
    assert all(r["name"] in done.output for r in results) and " *" in done.output
    assert "<script" in Path("grid/sweep.html").read_text()
    assert load_sae(Path("grid/topk-32-k4-s0")).n_latents == 32
    [stack] = Path("grid").glob("topk-32-k2-s0*.json")
    before = stack.stat().st_mtime_ns
    assert run(*asked).exit_code == 0
    assert stack.stat().st_mtime_ns == before
    other = run("story/residual", "--k", "3", *SMALL)
    assert other.exit_code == 1 and "give another folder, or remove it" in other.output
    for changed in (("story/transcoder", *asked[1:]), (*asked, "--rows", 41)):
        done = run(*changed)
        assert done.exit_code == 1 and "other settings or data" in done.output, changed


@pytest.mark.filterwarnings("ignore:after")
def test_sweep__at_z_gives_saes_that_read_heads():
    """as `sae_lens` hands them out at this hook"""
    assert run("story/attention", "--k", "2", *SMALL).exit_code == 0
    cfg = json.loads(Path("grid/topk-32-k2-s0/cfg.json").read_text())
    assert cfg["reshape_activations"] == "hook_z"


def test_sweep__says_what_is_wrong(monkeypatch):
    assert "is not a list of numbers" in run("story/residual", "--k", "4;8", *SMALL).output
    assert "is one of relu, gated" in run("story/residual", "--architecture", "tpk", *SMALL).output
    assert "more than there are latents" in run("story/residual", "--k", "33", *SMALL).output
    monkeypatch.setitem(sys.modules, "ray", None)
    without = run("story/residual", "--k", "2", "--ray", *SMALL)
    assert without.exit_code == 1 and "pip install 'ray[tune]'" in without.output
