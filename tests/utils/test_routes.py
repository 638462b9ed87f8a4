"""Routes: made of other sections' cells, and what is solved there counts in both places."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import build, notebooks, work
from utils import course
from utils.course import CourseError, Section, find_section, read_source, routes, sharing
from utils.grading.batch import check_section
from utils.routes import units

ROUTE = find_section("3.2.0")
HOMES = [find_section(number) for number in ("3.1.1", "3.1.5")]
RIGHT = next(e for e in HOMES[0].exercises if e.name == "toy_loss").source
WRONG = RIGHT.replace("importance *", "importance**2 *").replace("return ", "return 2 * ")


def test_the_route_is_known_by_its_number_and_no_section_has_it_twice():
    """find_section knows it; its exercises are the sections' own, in their order"""
    assert [r.number for r in routes()] == ["3.2.0"]
    assert ROUTE not in course.sections() and ROUTE in course.notebooks()
    assert [s.path for s in HOMES] == list(ROUTE.homes)
    theirs = [e for s in HOMES for e in s.exercises]
    mine = [theirs.index(e) for e in ROUTE.exercises]  # equal in every field, hints included
    assert mine == sorted(mine)
    assert sharing(HOMES[0]) == [ROUTE] and sharing(ROUTE) == HOMES
    assert sharing(find_section("3.1.2")) == []
    assert 100 <= sum(e.minutes for e in ROUTE.exercises) <= 150


def test_every_cell_of_the_notebook_is_in_its_section_s_notebook():
    """nothing is written twice: what is not the route's own prose is a section's, word for word"""
    own = {c.source for c in read_source(ROUTE.source).cells if "home" not in c.metadata}
    theirs = {c.source for s in HOMES for c in notebooks.notebook(s, solved=False).cells}
    for cell in notebooks.notebook(ROUTE, solved=False).cells[2:]:
        tags = cell.metadata.get("tags", [])
        if cell.source in own or "setup" in tags or "given" in tags:
            continue
        text = cell.source.partition("\n")[2] if cell.source.startswith("## From") else cell.source
        assert any(text in known for known in theirs), cell.source[:80]


def test_a_section_falls_into_units_and_no_cell_is_lost():
    """units together are the section, from its set-up cell on"""
    for section in HOMES:
        cells = read_source(section.source).cells
        start = next(i for i, c in enumerate(cells) if "setup" in c.metadata.get("tags", []))
        flat = [c.source for u in units(cells) for c in u.cells]
        rest = [c.source for c in cells[start:]]
        assert flat == rest[: len(flat)]
        assert all(c.cell_type == "markdown" for c in cells[start + len(flat) :])


def test_an_unknown_unit_is_an_error_that_names_it(tmp_path):
    """a misspelt unit does not vanish"""
    path = tmp_path / "s0_x.py"
    path.write_text('# %% [markdown]\n# # 3.2.0 X\n\n# %% tags=["include"] units=["3.1.1.zz"]\n')
    with pytest.raises(CourseError, match=r"3\.1\.1\.zz"):
        read_source(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's folder with fresh copies of the route and of its sections."""
    real = Section.notebook
    monkeypatch.setattr(
        Section, "notebook", lambda self, room: tmp_path / real(self, room).relative_to(course.ROOT)
    )
    monkeypatch.setattr("utils.grading.batch.ROOT", tmp_path)
    for section in (ROUTE, *HOMES):
        for room in ("exercises", "work"):
            section.notebook(room).parent.mkdir(parents=True, exist_ok=True)
            section.notebook(room).write_text(build.exercise_text(section))
    return tmp_path


def answer(section: Section, code: str) -> None:
    """Type an answer into the learner's copy."""
    nb = nbformat.read(section.notebook("work"), as_version=4)
    next(c for c in nb.cells if c.id == "toy_loss").source = code
    section.notebook("work").write_text(notebooks.to_text(nb))


@pytest.mark.parametrize(("here", "there"), [(ROUTE, HOMES[0]), (HOMES[0], ROUTE)])
def test_what_is_solved_in_one_place_counts_in_both(folder, here, there):
    """the other notebook's answer is checked where one's own is blank, and counted as begun"""
    answer(here, RIGHT)
    for place in (here, there):
        [result] = check_section(place, only="toy_loss").results
        assert (result["verdict"], result["id"]) == ("PASS", "3.1.1.c"), result["message"]
        assert work.written(place) == 1
    [other] = check_section(there, only="toy_forward").results
    assert other["verdict"] == "UNATTEMPTED"


def test_one_s_own_answer_goes_first_and_a_wrong_one_names_its_notebook(folder):
    """a right answer elsewhere does not hide a wrong one here"""
    answer(HOMES[0], WRONG)
    [result] = check_section(ROUTE, only="toy_loss").results
    assert result["verdict"] == "FAIL"
    assert "work/part31_superposition/s1" in result["message"]
    answer(ROUTE, RIGHT)
    verdicts = [check_section(s, only="toy_loss").results[0]["verdict"] for s in (ROUTE, HOMES[0])]
    assert verdicts == ["PASS", "FAIL"]


def test_the_reference_passes_in_a_route_as_it_does_at_home():
    names = {"toy_forward", "toy_loss"}
    found = check_section(ROUTE, "reference", names).results
    assert [r["verdict"] for r in found] == ["PASS"] * 2


def test_the_route_s_check_knows_both_sections():
    """in the notebook: a right answer, a wrong one, an experiment of a section, where to go next"""
    code = f"""
from utils.notebook import open_section
names = {{}}
check = open_section({ROUTE.path!r}, names)
exec({RIGHT!r}, names)
check("toy_loss")
exec("def unit_rows(W): return W", names)
check("unit_rows")
check.hint("dead_latents")
check("reconstruction_bias")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "✓ 3.1.1.c toy_loss" in done.stdout
    assert "✗ 3.1.5.b unit_rows" in done.stdout
    assert "Section 3.2.0" in done.stdout and "1 of" in done.stdout
    assert "Hint 1" in done.stdout or "hint" in done.stdout.lower()
