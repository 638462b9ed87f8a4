"""Accidents with files end well: garbage, links, two sections in one, a report's new folder."""

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
from utils.grading.learner import load_answers, read_script, sections_for

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
    assert terminal.plain("\x9b31mred\x7f\t") == "\\x9b31mred\\x7f\t"
    terminal.say("[/x] and \udc80")
    assert "[/x] and" in capsys.readouterr().out
    assert json.dumps(summary([]))


def test_an_exercise_that_is_not_there_lists_those_of_its_section():
    with pytest.raises(CourseError, match=r"(?s)3\.1\.1 has no exercise.*3\.1\.1\.a +toy_forward"):
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
