"""Notebooks as learners and their editors leave them: verdicts for the rest, nothing modified."""

import json
import os
import subprocess
import sys

import jupytext
import nbformat
import pytest

from utils.course import ROOT, find_section, sections
from utils.grading import learner
from utils.grading.batch import check_section
from utils.grading.expected import expected_tests
from utils.grading.learner import load, load_answers, read_script, sections_for

SECTION = find_section("3.1.1")
SOLVED = SECTION.notebook("solutions")


def solved() -> dict:
    return json.loads(SOLVED.read_text())


def cell_of(nb: dict, name: str) -> dict:
    return next(
        c
        for c in nb["cells"]
        if c["cell_type"] == "code" and f"def {name}(" in "".join(c["source"])
    )


def truncated(nb):
    return json.dumps(nb, indent=1)[: int(len(json.dumps(nb, indent=1)) * 0.6)]


def empty(nb):
    return ""


def conflicted(nb):
    text = json.dumps(nb, indent=1)
    at = text.index("def toy_loss(")
    line = text.rindex("\n", 0, at) + 1
    end = text.index("\n", at) + 1
    both = f"<<<<<<< HEAD\n{text[line:end]}=======\n{text[line:end]}>>>>>>> theirs\n"
    return text[:line] + both + text[end:]


def with_bom(nb):
    return "\ufeff" + json.dumps(nb)


def without_ids_and_metadata(nb):
    for cell in nb["cells"]:
        cell.pop("id", None)
        cell["metadata"] = {}
    nb["metadata"] = {}
    return json.dumps(nb)


def duplicate_ids(nb):
    for cell in nb["cells"]:
        cell["id"] = "same"
    return json.dumps(nb)


def old_format(nb):
    nb = nbformat.reads(json.dumps(nb), as_version=4)
    return nbformat.writes(nbformat.convert(nb, 3), version=3)


def future_format(nb):
    return json.dumps({**nb, "nbformat": 5, "nbformat_minor": 0})


def deleted_cell(nb):
    nb["cells"].remove(cell_of(nb, "toy_loss"))
    return json.dumps(nb)


def duplicated_and_reordered(nb):
    nb["cells"] = [*nb["cells"][::-1], cell_of(nb, "toy_loss")]
    return json.dumps(nb)


def syntax_error(nb):
    cell_of(nb, "toy_loss")["source"] = "def toy_loss(x, x_hat, importance):\n    return (x"
    return json.dumps(nb)


def magics_and_experiments(nb):
    extra = (
        "%matplotlib inline\n!ls\nraise SystemExit('an experiment ran')\nprint('an experiment ran')"
    )
    nb["cells"].insert(3, {"cell_type": "code", "source": extra, "metadata": {}, "outputs": []})
    return json.dumps(nb)


def huge_outputs(nb):
    stream = {"output_type": "stream", "name": "stdout", "text": ["x" * 1000] * 5000}
    cell_of(nb, "toy_loss")["outputs"] = [stream]
    return json.dumps(nb)


@pytest.mark.parametrize(
    ("damage", "problem", "lost"),
    [
        (truncated, "not complete JSON", None),
        (empty, "the file is empty", "all"),
        (conflicted, "merge-conflict markers", "toy_loss"),
        (with_bom, None, ""),
        (without_ids_and_metadata, None, ""),
        (duplicate_ids, None, ""),
        (old_format, None, ""),
        (future_format, None, ""),
        (deleted_cell, None, "toy_loss"),
        (duplicated_and_reordered, None, ""),
        (syntax_error, "line", "toy_loss"),
        (magics_and_experiments, None, ""),
        (huge_outputs, None, ""),
    ],
)
def test_what_is_broken_is_named_and_the_rest_is_read(damage, problem, lost, tmp_path):
    path = tmp_path / SOLVED.name
    path.write_text(damage(solved()), encoding="utf-8")
    before = path.read_bytes()
    answers = load_answers(path, SECTION)
    assert path.read_bytes() == before, "the file was changed"
    said = "\n".join(answers.problems)
    assert (problem in said) if problem else not answers.problems, said
    functions = {e.name for e in SECTION.exercises if e.kind == "function"}
    found = functions & answers.defined
    if lost == "all":
        assert not found
    elif lost is None:
        assert "toy_forward" in found and functions - found, (
            "the whole cells before the damage count"
        )
    else:
        assert functions - found == ({lost} if lost else set())
    if lost == "toy_loss":
        assert "toy_loss" in answers.broken


def test_a_plain_file_and_a_percent_script_are_read_like_a_notebook(tmp_path):
    nb = jupytext.read(SOLVED)
    for form in ("py:percent", "py:light"):
        path = tmp_path / f"answers_{form[3:]}.py"
        jupytext.write(nb, path, fmt=form)
        assert {e.name for e in SECTION.exercises} <= load_answers(path, SECTION).defined


def test_utf16_is_read_and_named(tmp_path):
    path = tmp_path / SOLVED.name
    path.write_text(json.dumps(solved()), encoding="utf-16")
    answers = load_answers(path, SECTION)
    assert "UTF-16" in answers.problems[0] and "toy_forward" in answers.defined


DEADLY = """
import os

def toy_forward(x, W, b):
    os.kill(os.getpid(), 11)

def toy_loss(x, x_hat, importance):
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum()
"""


def test_a_crash_costs_one_exercise_and_no_other(tmp_path):
    path = tmp_path / "answers.py"
    path.write_text(DEADLY)
    report = check_section(SECTION, str(path))
    verdicts = {r["function"]: r for r in report.results}
    assert len(verdicts) == len(SECTION.exercises)
    assert verdicts["toy_forward"]["verdict"] == "ERROR"
    assert "segmentation fault" in verdicts["toy_forward"]["message"]
    assert verdicts["toy_loss"]["verdict"] == "PASS"


def cli(*args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "150"}
    return subprocess.run(
        [sys.executable, "-m", "utils.check", *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=300,
    )


def test_the_command_line_reports_all_verdicts_as_json(tmp_path):
    path, report = tmp_path / "answers.py", tmp_path / "report.json"
    path.write_text(
        "def toy_loss(x, x_hat, importance):\n"
        "    return ((x - x_hat) ** 2).mean(dim=(0, 2)).sum()\n"
    )
    done = cli("--against", str(path), "--json", str(report))
    assert done.returncode == 1
    data = json.loads(report.read_text())
    assert data["version"] == 3 and data["total"] == len(SECTION.exercises) and data["passed"] == 0
    loss = next(e for e in data["exercises"] if e["function"] == "toy_loss")
    assert loss["verdict"] == "FAIL" and loss["mistake"].startswith("toy_loss__")
    assert loss["expected"] == loss["run"] > 0
    keys = {
        "id",
        "function",
        "verdict",
        "expected",
        "run",
        "message",
        "mistake",
        "tests",
        "first_failure",
    }
    assert keys <= set(loss)
    others = {e["verdict"] for e in data["exercises"]} - {"FAIL"}
    assert others <= {"UNATTEMPTED", "ERROR"}


@pytest.mark.parametrize("room", ["reference", "solutions"])
def test_reference_and_solutions_pass_on_the_command_line(room):
    done = cli("3.1.1", "--against", room)
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_that_do_not_exist_are_explained():
    for args in (["9.9.9"], ["--against", "nowhere.py"], ["3.1.1.a", "--hint", "9"]):
        done = cli(*args)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr and done.stdout.strip()
    assert "toy_forward" in cli("--list").stdout
    assert "hint 1 of" in cli("3.1.1.a", "--hint", "1").stdout


# ------------------------------------------------------------------ what a file may hold, and how


def number_as_text(nb):
    return json.dumps({**nb, "nbformat": "4"})


def far_too_deep(nb):
    return '{"cells": ' + "[" * 100_000


@pytest.mark.parametrize(
    ("damage", "says"),
    [(number_as_text, "\"nbformat\" is '4'"), (far_too_deep, "nested far too deeply")],
)
def test_the_cause_of_odd_json_is_named(damage, says, tmp_path):
    path = tmp_path / SOLVED.name
    path.write_text(damage(solved()))
    answers = load_answers(path, SECTION)
    assert says in "\n".join(answers.problems)
    assert ("toy_loss" in answers.defined) == (damage is number_as_text)


LOSS = """
def toy_loss(x, x_hat, importance):
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum()
"""
EMPTY = """
def toy_loss(x, x_hat, importance):
    raise NotImplementedError("toy_loss: yours to write")
"""


def read(folder, code):
    path = folder / "answers.py"
    path.write_text(code)
    return read_script(path, SECTION)


def test_an_empty_version_below_an_answer_does_not_count_and_is_named(tmp_path):
    exercise = SECTION.exercise("toy_loss")
    script = read(tmp_path, LOSS + EMPTY)
    assert script.state(exercise) == "written"
    assert "line 5 has toy_loss empty again, below your answer" in script.problems[0]
    above = read(tmp_path, EMPTY + LOSS)
    assert above.state(exercise) == "written" and not above.problems
    assert read(tmp_path, EMPTY + EMPTY).state(exercise) == "stub"
    assert read(tmp_path, "x = 1").state(exercise) == "missing"


def test_a_fault_in_another_sections_part_of_a_file_is_not_told_here(tmp_path):
    other = next(s for s in sections() if s.number != SECTION.number)
    name = next(e.name for e in other.exercises if e.kind == "function")
    path = tmp_path / "ann.py"
    path.write_text(f"@no_such_name\ndef {name}(x):\n    return x\n" + LOSS)
    mine, theirs = load_answers(path, SECTION), load_answers(path, other)
    assert not mine.problems and not mine.broken and not mine.notes
    assert "NameError" in theirs.broken[name]
    assert sections_for(path) == [SECTION, other]


def test_a_piece_of_a_file_that_cannot_be_read_spares_the_others(tmp_path):
    answers = load(read(tmp_path, "def toy_forward(x, W, b):\n    return (x\n\n" + LOSS))
    assert "toy_loss" in answers.defined
    assert "can't be read" in answers.broken["toy_forward"]


def test_a_local_name_in_a_broken_cell_is_no_answer(tmp_path):
    """a cell that cannot be read costs what it defines, not what it names inside"""
    broken = "def toy_forward(x, W, b):\n    toy_loss = (x\n    return call(\n        toy_loss=1)\n"
    cells = [{"cell_type": "code", "source": c} for c in (LOSS, broken)]
    path = tmp_path / "ann.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    answers = load_answers(path, SECTION)
    assert "toy_loss" in answers.defined and "toy_loss" not in answers.broken
    assert "can't be read" in answers.broken["toy_forward"]


def test_a_line_keeps_its_number_beside_a_magic(tmp_path):
    cell = "\n\n%load_ext autoreload\n" + LOSS.replace("return", "return 1 / 0 *")
    path = tmp_path / "ann.ipynb"
    cells = [{"cell_type": "code", "source": cell}]
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    [mine] = read_script(path, SECTION).of("toy_loss")
    assert mine.where.endswith(f"line {cell[: cell.index('def ')].count(chr(10)) + 1}")
    assert mine.source.startswith("def toy_loss")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("scale = open('scale.txt').read()", "it calls open"),
        ("scale = !cat scale.txt", "it is a magic or a shell command"),
        ("scale = len([k for k in iter(int, 1)])", "an answer should rest on no experiment"),
        ("%%timeit\nscale = 1", "begins with %%timeit"),
    ],
)
def test_what_an_answer_needs_and_does_not_get_is_named(tmp_path, monkeypatch, made, why):
    monkeypatch.setattr(learner, "VALUE_LIMIT_S", 0.3)
    needs = LOSS.replace("return", "return scale *")
    cells = [{"cell_type": "code", "source": c} for c in (made, "print(1 / 0)", needs)]
    path = tmp_path / "ann.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    answers = load_answers(path, SECTION)
    assert "toy_loss needs scale from code cell 1" in answers.notes["toy_loss"]
    assert why in answers.notes["toy_loss"]
    assert len(answers.problems) == 1, "the cell that nobody needs is not spoken of"


def test_what_no_answer_needs_is_not_run(tmp_path):
    experiment = "history = []\nfor step in range(3):\n    history.append(1 / 0)\nW = 1 / 0\n"
    answers = load(read(tmp_path, experiment + LOSS))
    assert not answers.problems and "W" not in answers.defined
    assert {"toy_loss"} == answers.defined & {"toy_loss", "history", "step"}


def test_tests_are_counted_as_pytest_counts_them():
    code = "import collections, json, pytest, sys\nfound = collections.Counter()\n"
    code += "class Count:\n    def pytest_collection_modifyitems(self, items):\n"
    code += "        found.update(i.originalname for i in items)\n"
    code += "pytest.main(['-qq', '--collect-only', *sys.argv[1:]], plugins=[Count()])\n"
    code += "print(json.dumps(found))"
    files = [str(s.test_file()) for s in sections()]
    command = [sys.executable, "-c", code, "-c", str(ROOT / "tests" / "learner.ini"), *files]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300).stdout
    found = json.loads(said.splitlines()[-1])
    for section in sections():
        for exercise in section.exercises:
            prefix = f"test_{exercise.name}__"
            count = sum(n for name, n in found.items() if name.startswith(prefix))
            assert expected_tests(section, exercise) == count, exercise.id


def test_a_notebook_of_the_course_that_is_gone_names_the_cure():
    from utils.course import ROOT, CourseError
    from utils.grading.cells import read_bytes

    with pytest.raises(CourseError, match=r"exercises/gone\.ipynb: `make build` writes it again"):
        read_bytes(ROOT / "exercises" / "gone.ipynb")
