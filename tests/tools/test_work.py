"""The learner's copies in work/: `git pull` never stops at them and never loses anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import build, pages, work
from tools.notebooks import fingerprint, to_text
from utils import course
from utils.course import ROOT, Section, find_section, notebooks

TYPED = "def toy_forward(x, W, b):\n    return x  # a learner's own"


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Section:
    """The first section, with its pristine notebook under exercises/ of an empty folder."""
    monkeypatch.setattr(work, "ROOT", tmp_path)
    monkeypatch.setattr(work, "WORK", tmp_path / "work")
    real = Section.notebook
    monkeypatch.setattr(
        Section, "notebook", lambda self, room: tmp_path / real(self, room).relative_to(course.ROOT)
    )
    found = find_section("3.1.1")
    found.notebook("exercises").parent.mkdir(parents=True)
    found.notebook("exercises").write_text(build.exercise_text(found))
    return found


def type_into(path: Path, name: str = "toy_forward", code: str = TYPED) -> str:
    """Answer an exercise in a notebook; returns the file's text."""
    nb = nbformat.read(path, as_version=4)
    next(c for c in nb.cells if c.id == name).source = code
    path.write_text(to_text(nb))
    return path.read_text()


def new_version(path: Path) -> str:
    """Change the course's notebook as a new version of it would."""
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source += "\n\nA sentence that is new."
    nb.metadata["course"]["built"] = fingerprint(nb)
    path.write_text(to_text(nb))
    return path.read_text()


def test_a_copy_is_made_and_is_where_answers_are_looked_for(section):
    """work/ mirrors exercises/, and the checker's default is the copy"""
    assert section.answers() == section.notebook("exercises")
    assert work.renew(section) == ""
    assert section.answers() == section.notebook("work")
    assert section.notebook("work").read_text() == section.notebook("exercises").read_text()


def test_a_copy_that_nobody_changed_follows_the_course(section):
    """a new version arrives where there is nothing to lose"""
    work.renew(section)
    new = new_version(section.notebook("exercises"))
    assert work.renew(section) == ""
    assert section.notebook("work").read_text() == new


def test_outputs_of_a_copy_that_was_only_run_stay(section):
    """until there is a new version"""
    work.renew(section)
    copy = section.notebook("work")
    nb = nbformat.read(copy, as_version=4)
    demo = next(c for c in nb.cells if c.cell_type == "code")
    demo.outputs = [nbformat.v4.new_output("stream", text="mine")]
    copy.write_text(to_text(nb))
    mine = copy.read_text()
    assert work.renew(section) == "" and copy.read_text() == mine
    new = new_version(section.notebook("exercises"))
    assert work.renew(section) == "" and copy.read_text() == new


def test_a_copy_with_work_is_left_alone_and_the_news_is_told(section):
    """an answer outlives every new version, and the way to the new one is named"""
    work.renew(section)
    mine = type_into(section.notebook("work"))
    assert work.renew(section) == ""  # nothing new: nothing to say
    new_version(section.notebook("exercises"))
    assert "make reset SECTION=3.1.1" in work.renew(section)
    assert section.notebook("work").read_text() == mine


def test_what_was_typed_into_exercises_moves_to_work(section):
    """an earlier learner's answers are found in the copy; the course's file is clean again"""
    mine = type_into(section.notebook("exercises"))
    assert "is now" in work.renew(section)
    assert section.notebook("work").read_text() == mine
    assert section.notebook("exercises").read_text() == build.exercise_text(section)


def test_work_in_both_places_is_touched_in_neither(section):
    """nothing is merged by guess"""
    work.renew(section)
    one, two = type_into(section.notebook("work")), type_into(section.notebook("exercises"))
    assert "both hold work" in work.renew(section)
    assert section.notebook("work").read_text() == one
    assert section.notebook("exercises").read_text() == two


def test_a_file_that_is_no_notebook_any_more_is_kept(section):
    """half a file is still somebody's"""
    work.renew(section)
    section.notebook("work").write_text("{ half a notebook")
    work.renew(section)
    assert section.notebook("work").read_text() == "{ half a notebook"


def test_the_start_page_lists_every_section_with_a_link_that_holds(section, tmp_path):
    """titles, lengths, and how much is written"""
    work.renew(section)
    type_into(section.notebook("work"))
    assert work.written(section) == 1
    text = to_text(pages.start_page(lambda s: 1 if s.path == section.path else 0))
    for each in notebooks():
        assert f"[{each.title}]({each.path}.ipynb)" in text
    assert f"1 of {len(section.exercises)}" in text
    assert "[Open in Colab](https://colab.research.google.com/github/" in build.exercise_text(
        section
    )


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git as nobody in particular."""
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    command = ["git", *who, "-c", "core.hooksPath=/dev/null", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_git_pull_brings_a_new_version_over_edited_exercises(tmp_path):
    """a real clone, an answer, a change upstream to the same notebook: the pull ends well"""
    origin, clone, edited = tmp_path / "origin", tmp_path / "clone", find_section("3.1.1")
    for name in ("utils", "tools", "part31_superposition", "part32_interp_with_saes"):
        shutil.copytree(ROOT / name, origin / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, origin)
    for each in notebooks():
        target = origin / "exercises" / f"{each.path}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(build.exercise_text(each))
    git(origin, "init", "--quiet")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message=the course")
    assert git(tmp_path, "clone", "--quiet", str(origin), "clone").returncode == 0
    inside = {**os.environ, "PYTHONPATH": str(clone)}

    def renew() -> str:
        command = [sys.executable, "-m", "tools.work"]
        done = subprocess.run(command, cwd=clone, env=inside, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    early = next(s for s in notebooks() if s != edited)
    before = type_into(clone / "exercises" / f"{early.path}.ipynb", early.exercises[0].name)
    assert "is now" in renew()
    mine = type_into(clone / "work" / f"{edited.path}.ipynb")
    for each in notebooks():
        new_version(origin / "exercises" / f"{each.path}.ipynb")
    git(origin, "commit", "--quiet", "--all", "--message=a new version")

    pulled = git(clone, "pull", "--quiet")
    assert pulled.returncode == 0, pulled.stderr
    assert git(clone, "status", "--porcelain").stdout == ""
    said = renew()
    assert "3.1.1 has a new version" in said
    assert (clone / "work" / f"{edited.path}.ipynb").read_text() == mine
    assert (clone / "work" / f"{early.path}.ipynb").read_text() == before
    for each in notebooks():
        new = (clone / "exercises" / f"{each.path}.ipynb").read_text()
        assert "A sentence that is new." in new
        if each not in (edited, early):
            assert (clone / "work" / f"{each.path}.ipynb").read_text() == new
