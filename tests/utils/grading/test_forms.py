"""What people write in files: what a notebook accepts is accepted, and accidents end well."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from utils.course import ROOT, CourseError, find_section
from utils.grading import terminal
from utils.grading.batch import check_section, find_target
from utils.grading.command import summary
from utils.grading.learner import isolated, load_answers, read_script, sections_for
from utils.grading.run import run_exercise

SECTION = find_section("3.1.1")
FORWARD = """
def toy_forward(x, W, b):
    h = torch.einsum("bif,ihf->bih", x, W)
    return torch.relu(torch.einsum("bih,ihf->bif", h, W) + b)
"""
BLANK = '\ndef toy_forward(x, W, b):\n    """Stub."""\n    raise NotImplementedError("yours")\n'


def notebook(path, *cells):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(nb, path)
    return path


def verdict(path, name="toy_forward"):
    """What the checker says, in this process; and the file's problems."""
    answers, exercise = load_answers(path, SECTION), SECTION.exercise(name)
    with isolated(answers.names, SECTION, name, answers.broken):
        return run_exercise(exercise, answers.names).verdict, answers.problems


GOOD = {
    "a magic above it": ("import torch", "%%time" + FORWARD),
    "a decorator": (
        "import torch, functools", "@functools.cache\ndef two():\n    return 2" + FORWARD,
    ),
    "a helper as lambda": ("import torch", "half = lambda v: v / 2", FORWARD),
    "the answer as lambda": (
        "import torch",
        "toy_forward = lambda x, W, b: torch.relu(torch.einsum('bif,ihf,ihg->big', x, W, W) + b)",
    ),
    "the answer as alias": (
        "import torch", FORWARD.replace("toy_forward", "mine"), "toy_forward = mine",
    ),
    "the answer as partial": (
        "import torch\nfrom functools import partial",
        FORWARD.replace("(x, W, b)", "(x, W, b, on)").replace("toy_forward", "mine"),
        "toy_forward = partial(mine, on=True)",
    ),
    "two constants": ("import torch", "A, B = 1, 2", FORWARD.replace("+ b", "+ b * (B - A)")),
    "a lower-case constant": ("import torch", "one = 1", FORWARD.replace("+ b", "+ b * one")),
    "an import in try": ("try:\n    import torch\nexcept ImportError:\n    torch = None", FORWARD),
    "a def under if": ("import torch", "if True:" + FORWARD.replace("\n", "\n    ")),
    "an instance": (
        "import torch",
        "class Act:\n    def __call__(self, v):\n        return v.relu()",
        "act = Act()",
        FORWARD.replace("torch.relu(", "act("),
    ),
    "annotations from the future": (
        "from __future__ import annotations\nimport torch",
        FORWARD.replace("(x, W, b)", "(x: Unknown, W, b) -> NotThere"),
    ),
    "an experiment that would fail": (
        "import torch", FORWARD, "W = train(1 / 0)", "for i in range(3):\n    1 / 0",
    ),
    "a blank pasted below": ("import torch", FORWARD, BLANK),
}  # fmt: skip


@pytest.mark.parametrize("form", GOOD)
def test_a_form_that_a_notebook_accepts_passes_in_a_file(form, tmp_path):
    path = notebook(tmp_path / "ann.ipynb", *GOOD[form])
    before = path.read_bytes(), path.stat().st_mtime_ns
    found, problems = verdict(path)
    assert found == "PASS", problems
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert bool(problems) == (form == "a blank pasted below"), problems


@pytest.mark.parametrize("text", ["3 / 4", "float(1)", "math.sqrt(0.5)", "1 - 0.25"])
def test_a_prediction_written_as_arithmetic_is_read(text, tmp_path):
    section = find_section("3.1.5")
    name = next(e.name for e in section.exercises if e.kind == "prediction" and not e.choices)
    path = notebook(tmp_path / "s5.ipynb", "import math", f"{name} = {text}")
    value = load_answers(path, section).names[name]
    assert isinstance(value, float)


def test_what_an_answer_needs_is_run_and_what_it_does_not_need_is_not(tmp_path):
    needs = FORWARD.replace("+ b", "+ b * scale")
    cells = ("import torch", "scale = torch.ones(3).sum() / 3", "other = torch.ones(1 / 0)", needs)
    found, problems = verdict(notebook(tmp_path / "a.ipynb", *cells))
    assert found == "PASS" and not problems


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("os._exit(3)", "(exit status 3)"),
        ("os.kill(os.getpid(), 9)", "most likely because memory ran out"),
    ],
)
def test_a_process_that_dies_while_definitions_are_read_names_the_cell_once(ending, says, tmp_path):
    cells = ("import os, torch", FORWARD, f"class Boom:\n    {ending}")
    report = check_section(SECTION, str(notebook(tmp_path / "a.ipynb", *cells)))
    ran = [r for r in report.results if r["verdict"] == "ERROR"]
    assert len(report.results) == len(SECTION.exercises)
    print([r["message"] for r in ran][:2], report.problems)
    assert any("cell 3" in p and says in p for p in report.problems)


def test_garbage_from_the_process_is_an_error_for_that_exercise_only(tmp_path):
    write = "import sys, os\nPLACE = sys.argv[2]"
    # sys.argv of the child names its report
    line = "    open(PLACE, 'ab').write(b'\\xff{]\\n[1]\\n')\n    os._exit(0)"
    path = notebook(tmp_path / "a.ipynb", write, "def toy_forward(x, W, b):\n" + line)
    report = check_section(SECTION, str(path), "toy_forward")
    assert [r["verdict"] for r in report.results] == ["ERROR"]


def test_blanks_need_no_process(tmp_path, monkeypatch):
    path = notebook(tmp_path / "a.ipynb", BLANK, "predict_x = ...")
    exercise = SECTION.exercise("toy_forward")
    assert read_script(path, SECTION).state(exercise) != "written"
    both = notebook(tmp_path / "b.ipynb", BLANK, FORWARD)
    assert read_script(both, SECTION).state(exercise) == "written"

    def refuse(*_args, **_options):
        raise AssertionError("a process was started for a blank")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    report = check_section(SECTION, str(path), "toy_forward")
    assert [r["verdict"] for r in report.results] == ["UNATTEMPTED"]
    assert report.results[0]["expected"] > 1


@pytest.mark.parametrize(
    ("text", "says"),
    [('{"nbformat": "4", "cells": []}', "not a number"), ("[" * 100_000, "nested too deeply")],
)
def test_broken_notebooks_say_what_is_wrong(text, says, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    assert any(says in p for p in load_answers(path, SECTION).problems)


def test_links_that_lead_nowhere_say_so(tmp_path):
    for name, target in (("gone.ipynb", "not_there"), ("loop.ipynb", "loop.ipynb")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(CourseError, match="is a link"):
            load_answers(tmp_path / name, SECTION)


def test_one_file_with_two_sections_blames_each_for_its_own(tmp_path):
    path = tmp_path / "all.py"
    other = "@undefined\ndef anticorrelated_pairs(a):\n    return a\n"
    path.write_text("import torch\n" + FORWARD + other)
    assert [s.number for s in sections_for(path)] == ["3.1.1", "3.1.2"]
    assert load_answers(path, SECTION).problems == []
    assert load_answers(path, find_section("3.1.2")).problems


def test_what_is_printed_is_escaped(capsys):
    terminal.say("[/x] and \udc80")
    assert "[/x] and" in capsys.readouterr().out
    assert json.dumps(summary([]))


def test_an_exercise_that_is_not_there_lists_those_of_its_section():
    with pytest.raises(
        CourseError, match=r"(?s)3\.1\.1 has no exercise.*3\.1\.1\.a +toy_forward"
    ):
        find_target("3.1.1.zz", [SECTION])


def test_a_report_in_a_new_folder_and_a_solution(tmp_path):
    path = notebook(tmp_path / "ann.ipynb", "import torch", FORWARD)

    def ask(*words):
        command = [sys.executable, "-m", "utils.check", *words]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=240,
            env={**os.environ, "COLUMNS": "80"},
        )  # fmt: skip

    report = tmp_path / "reports" / "ann.json"
    assert ask("toy_forward", "--against", str(path), "--json", str(report)).returncode == 0
    assert json.loads(report.read_text())["passed"] == 1
    assert [p.name for p in report.parent.iterdir()] == ["ann.json"]
    told = ask("3.1.1.a", "--solution")
    assert told.returncode == 0 and "def toy_forward" in told.stdout
