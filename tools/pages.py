"""The pages that lead to the notebooks, made from the registry: README's table, the start page."""

import hashlib
from collections.abc import Callable, Sequence

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.notebooks import colab_link, jupyterlab_metadata
from utils.course import Exercise, Section, find_section, notebooks, sections

START = "start.ipynb"  # in exercises/ and, with the learner's progress, in work/
CORE = 4  # exercises of this importance or more make up the short way
HOW = """\
# Start here

1. Open a section below and run its first two cells.
2. Begin at any exercise: what you have not written yet is taken from the course.
3. Run the cell under an exercise: it says at once whether your answer is right, and if not, where
   to look. `check.hint(…)` and `check.solution(…)` help when you are stuck.
4. Answer the *predict* questions before you run their experiment."""
MARKS = """\
A notebook that you have changed is never overwritten. `make reset SECTION=3.1.1` starts a section
again and keeps yours in `backups/`; `make progress` checks all that you have written."""


def hours(minutes: int) -> str:
    """A length of work, as in the README."""
    return f"{minutes / 60:.1f} h"


def _minutes(section: Section, least: int = 0) -> int:
    return sum(e.minutes for e in section.exercises if e.importance >= least)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def readme_table() -> str:
    """The map of sections for the README."""
    rows = []
    for s in notebooks():
        exercise = f"[exercise](exercises/{s.path}.ipynb)"
        if link := colab_link(s):
            exercise += f" ([in Colab]({link}))"
        solution = f"[solution](solutions/{s.path}.ipynb)"
        length = hours(_minutes(s))
        rows.append([s.number, s.title, len(s.exercises), length, exercise, solution])
    return _table(["section", "title", "exercises", "about", "notebook", "solution"], rows)


def _way(name: str, what: str, exercises: Sequence[Exercise]) -> str:
    """A line on a way: its exercises, each counted once, and their hours."""
    once = {e.name: e for e in exercises}.values()
    length = hours(sum(e.minutes for e in once))
    return f"- **{name}** ({len(once)} exercises, {length}): {what}"


def routes() -> str:
    """Ways through the course, with their lengths."""
    every = [e for s in sections() for e in s.exercises]
    core = [e for e in every if e.importance >= CORE]
    sitting = list(find_section("3.2.0").exercises)
    first = [e for e in core if e.id.startswith(("3.2.1.", "3.2.2."))]
    lines = [
        _way("Two hours", "3.2.0, superposition and SAEs in one sitting.", sitting),
        _way(
            "A day",
            f"3.2.0, then the exercises of 3.2.1 and 3.2.2 with {CORE} or 5 dots of importance:"
            " SAEs on a language model.",
            sitting + first,
        ),
        _way(
            "A week",
            f"all exercises with {CORE} or 5 dots of importance. The others' code is there when"
            " you need it.",
            core,
        ),
        _way("Everything", "all sections in order; each rests on the ones before it.", every),
    ]
    return "## Ways through the course\n\n" + "\n".join(lines)


def section_table(written: Callable[[Section], int] | None = None) -> str:
    """Sections with links that hold in any folder laid out like exercises/."""
    rows = []
    for s in notebooks():
        row = [s.number, f"[{s.title}]({s.path}.ipynb)", len(s.exercises)]
        row += [hours(_minutes(s)), hours(_minutes(s, CORE))]
        rows.append(row + ([f"{written(s)} of {len(s.exercises)}"] if written else []))
    head = ["section", "title", "exercises", "about", "the short way"]
    return "## Sections\n\n" + _table(head + (["written"] if written else []), rows)


def start_page(written: Callable[[Section], int] | None = None) -> NotebookNode:
    """The page that `make lab` opens; `written` counts a section's answers that are begun."""
    cells = []
    for text in (HOW, section_table(written), routes(), MARKS):
        name = hashlib.sha1(text.splitlines()[0].encode()).hexdigest()[:10]
        cells.append(new_markdown_cell(text.strip(), id=name))
    return new_notebook(cells=cells, metadata=jupyterlab_metadata())
