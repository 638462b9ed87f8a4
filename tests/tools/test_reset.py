"""`make reset` never loses a learner's work."""

from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools import build, reset
from utils import course
from utils.course import CourseError, Section, find_section

WORK = "a learner's work, which is not even a notebook any more"


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Section:
    """The first section, its exercise notebook in a temporary folder and full of work."""
    monkeypatch.setattr(reset, "ROOT", tmp_path)
    monkeypatch.setattr(reset, "BACKUPS", tmp_path / "backups")
    real = Section.notebook
    monkeypatch.setattr(
        Section, "notebook", lambda self, room: tmp_path / real(self, room).relative_to(course.ROOT)
    )
    found = find_section("3.1.1")
    found.notebook("exercises").parent.mkdir(parents=True)
    found.notebook("exercises").write_text(WORK)
    return found


def run(*arguments: str) -> tuple[int, str]:
    """The command as typed: its exit status and all it said."""
    done = CliRunner().invoke(reset.app, list(arguments))
    return done.exit_code, done.output


@pytest.mark.parametrize("name", ["3.1.1", "path", "stem"])
def test_reset__keeps_a_dated_copy_and_writes_the_pristine_notebook(section, tmp_path, name):
    """the old notebook lies in backups/ byte for byte, the new one is as built"""
    status, said = run({"path": section.path, "stem": section.stem}.get(name, name), "--yes")
    [copy] = (tmp_path / "backups").iterdir()
    assert status == 0
    assert copy.read_text() == WORK
    assert copy.name.startswith(f"{section.stem}-{datetime.now():%Y}")
    assert copy.name in said
    assert section.notebook("exercises").read_text() == build.exercise_text(section)


def test_reset__never_overwrites_a_backup(section, tmp_path):
    """two in one second get two names"""
    now = datetime(2030, 1, 2, 3, 4, 5)
    notebook = section.notebook("exercises")
    first = reset.back_up(notebook, now)
    notebook.write_text("later work")
    second = reset.back_up(notebook, now)
    assert first.name == f"{section.stem}-20300102-030405.ipynb"
    assert (first.read_text(), second.read_text()) == (WORK, "later work")


def test_reset__needs_no_old_notebook(section, tmp_path):
    """a deleted notebook comes back"""
    section.notebook("exercises").unlink()
    status, _ = run("3.1.1", "--yes")
    assert status == 0
    assert not (tmp_path / "backups").exists()
    assert section.notebook("exercises").read_text() == build.exercise_text(section)


@pytest.mark.parametrize("arguments", [["3.9.9"], []])
def test_reset__lists_the_sections_when_the_name_is_wrong(section, arguments):
    """a wrong or a missing name touches nothing and shows what there is"""
    status, said = run(*arguments)
    assert status == 2
    assert "nothing was reset" in said
    assert section.number in said
    assert section.notebook("exercises").read_text() == WORK


def test_reset__touches_nothing_when_the_section_cannot_be_built(section, tmp_path, monkeypatch):
    """an error comes before the first change"""

    def fails(_: Section) -> str:
        raise CourseError("a cell is wrong")

    monkeypatch.setattr(reset, "exercise_text", fails)
    status, said = run("3.1.1", "--yes")
    assert status == 2
    assert "a cell is wrong" in said
    assert section.notebook("exercises").read_text() == WORK
    assert not (tmp_path / "backups").exists()
