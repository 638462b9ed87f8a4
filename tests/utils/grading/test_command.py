"""The command line: its report, its exit status, its sentences."""

import ast
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from utils import check as door
from utils import files
from utils.course import ROOT, CourseError, find_section
from utils.grading import batch, command, terminal
from utils.grading.batch import SectionReport

SECTION = find_section("3.1.1")
NASTY = "it says [/x] [bold] \ud800 \x1b[2J and stops"


def invoke(*args):
    return CliRunner().invoke(command.app, [str(a) for a in args])


@pytest.fixture
def hand_in(tmp_path):
    path = tmp_path / "ann.py"
    path.write_text("def toy_loss(x, x_hat, importance):\n    raise NotImplementedError\n")
    return path


@pytest.fixture
def nasty(monkeypatch):
    """Every exercise fails with a text that no terminal likes."""

    def check_section(section, against, only, device, seed, verdicts, tell):
        report = SectionReport(section, "x", list(section.exercises))
        for exercise in section.exercises:
            report.settle(exercise, "ERROR", NASTY)
            tell(report)
        report.note([NASTY])
        return report

    monkeypatch.setattr(command, "check_section", check_section)


def test_a_report_goes_into_a_folder_that_is_not_there(hand_in, tmp_path):
    path = tmp_path / "reports" / "new" / "ann.json"
    done = invoke("--against", hand_in, "--json", path)
    assert done.exit_code == 1, done.output
    data = json.loads(path.read_text())
    assert data["complete"] and data["total"] == len(data["exercises"]) == len(SECTION.exercises)


def test_a_full_disk_is_a_sentence_and_the_verdicts_are_shown(hand_in, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    path = tmp_path / "reports" / "ann.json"
    done = invoke("--fresh", "--against", hand_in, "--json", path)
    assert done.exit_code == 2
    assert "is full: ann.json was not written" in done.output.replace("\n", " ")
    assert "toy_loss" in done.output and "Traceback" not in done.output
    assert os.listdir(path.parent) == []


def test_the_report_is_written_before_anything_is_shown(nasty, tmp_path, monkeypatch):
    path, seen = tmp_path / "ann.json", []
    monkeypatch.setattr(terminal, "report", lambda r: pytest.fail("replaced below"))
    command.run("3.1.1", "exercises", json_file=command.ReportFile(path),
                show=lambda r: seen.append(json.loads(path.read_text())))  # fmt: skip
    assert seen[0]["complete"] and len(seen[0]["exercises"]) == len(SECTION.exercises)


def test_texts_that_no_terminal_likes_are_shown(nasty, tmp_path):
    path = tmp_path / "ann.json"
    done = invoke("3.1.1", "--json", path)
    assert done.exit_code == 1 and done.exception.__class__ is SystemExit
    assert "[/x]" in done.output and "\\ud800" in done.output and "\x1b[2J" not in done.output
    assert json.loads(path.read_text())["exercises"][0]["message"] == NASTY


def test_a_report_can_be_read_on_eighty_columns(nasty, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "console", Console(width=80, highlight=False))
    command.run("3.1.1", "exercises", fresh=True)
    command.run(None, "exercises", fresh=True, show=terminal.progress)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    longest = max(SECTION.exercises, key=lambda e: len(e.name))
    assert any(longest.id in line and longest.name in line for line in lines)


def test_progress_counts_what_passed_and_what_is_not_right(nasty, capsys):
    command.run("3.1.1", "exercises", show=terminal.progress)
    said = capsys.readouterr().out
    total = len(SECTION.exercises)
    assert f"0 of {total}, {total} not right yet" in said


def test_an_unknown_exercise_lists_the_exercises_of_its_section():
    done = invoke("3.1.1.zz")
    assert done.exit_code == 2
    assert "3.1.1.a" in done.output and "toy_forward" in done.output
    assert "part31_superposition" not in done.output


def test_spaces_around_a_name_do_no_harm():
    assert invoke("  3.1.1.a ", "--solution").exit_code == 0


def test_the_worked_solution_is_shown():
    done = invoke("3.1.1.a", "--solution")
    assert SECTION.exercise("toy_forward").source.splitlines()[-1] in done.output


@pytest.mark.parametrize("kind", ["dangling", "loop", "folder", "pipe"])
def test_a_file_that_is_none_is_named(tmp_path, kind):
    path = tmp_path / "ann.ipynb"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else tmp_path / "gone.ipynb")
    done = invoke("--against", path)
    said = {"dangling": "is a link to", "loop": "leads back to itself", "folder": "is a folder"}
    assert done.exit_code == 2
    assert said.get(kind, "is no ordinary file") in done.output.replace("\n", " ")


def test_one_notebook_that_cannot_be_read_spares_the_other_sections(tmp_path, monkeypatch):
    broken = tmp_path / "gone.ipynb"
    real = batch.answer_file
    monkeypatch.setattr(
        batch, "answer_file", lambda s, a: broken if s.number == "3.1.1" else real(s, a)
    )
    reports = command.run(None, "exercises", show=lambda r: None)
    assert {r["verdict"] for r in reports[0].results} == {"ERROR"}
    assert "there is no file" in reports[0].problems[0]
    assert all(len(r.results) == len(r.section.exercises) for r in reports)


def test_a_python_without_the_packages_is_told_which_one_to_use(monkeypatch, capsys):
    monkeypatch.setattr(door, "find_spec", lambda name: None)
    assert door.main() == 2
    said = capsys.readouterr().err
    assert "is not the course's: it lacks typer" in said and "make check" in said
    source = Path(door.__file__).read_text()
    assert "\nimport typer" not in source and "\nfrom utils" not in source


def test_a_defect_is_status_two_and_not_an_unfinished_answer(monkeypatch, capsys):
    def defect(**_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(command, "app", defect)
    assert door.main() == 2
    assert "a defect" in capsys.readouterr().err


# ------------------------------------------------------------------ watching


def watch(against, rounds, then, target=None, monkeypatch=None):
    """Watch in this thread while `then` saves files in another; what was checked."""
    seen = []
    threading.Thread(target=then, daemon=True).start()
    command.watch(target, str(against), seen.append, rounds)
    return seen


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["answers/ann.py", "answers/ann.ipynb"])
def test_a_relative_path_is_watched(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "TICK_S", 0.05)
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text("1")

    def save():
        time.sleep(0.5)
        path.write_text("12")  # in place
        time.sleep(0.5)
        other = path.with_name("tmp")
        other.write_text("123")
        other.replace(path)  # as many editors do

    assert watch(name, 2, save) == [None, None, None]


@pytest.mark.timeout(60)
def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "TICK_S", 0.05)

    def save():
        time.sleep(0.5)
        files.write(tmp_path / "answers" / "ann.py", "1")

    assert watch("answers/ann.py", 1, save) == [None]
    assert "is not there yet: waiting for it" in capsys.readouterr().out


@pytest.mark.timeout(60)
def test_a_file_that_cannot_be_read_now_is_looked_at_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "TICK_S", 0.05)
    path = tmp_path / "ann.py"
    path.write_text("1")

    def check(_):
        if path.read_text() != "123":
            raise CourseError("not yet")

    def save():
        time.sleep(0.5)
        path.write_text("12")
        time.sleep(0.5)
        path.write_text("123")

    threading.Thread(target=save, daemon=True).start()
    command.watch(None, str(path), check, 2)
    assert capsys.readouterr().out.count("not yet") == 2


def test_the_door_is_readable_for_an_old_python():
    """it is there to say which Python is the right one"""
    ast.parse(Path(door.__file__).read_text(), feature_version=(3, 6))


def test_the_reference_is_not_watched():
    with pytest.raises(CourseError, match="does not change"):
        command.watch(None, "reference", print, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--nonsense",), "No such option"),
        (("--seed", "x"), "Invalid value"),
        (("3.1.1.P1", "--hint", "1"), "3.1.1.P1 has no hints"),
    ],
)
def test_misuse_is_a_sentence_and_status_2(arguments, says):
    done = subprocess.run(
        [sys.executable, "-m", "utils.check", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert says in done.stderr + done.stdout


@pytest.mark.parametrize("text", ["", '{"cells": ['])
def test_a_damaged_hand_in_is_told_what_is_wrong_with_it(tmp_path, text):
    path = tmp_path / "ann.ipynb"
    path.write_text(text)
    with pytest.raises(CourseError, match=r"the file is empty|not complete JSON"):
        command.chosen_sections(None, str(path))
