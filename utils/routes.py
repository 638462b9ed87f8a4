"""Routes: notebooks made of other sections' cells, none of which is written twice.

A route's source names units of sections, in `include` cells:

    # %% tags=["include"] units=["3.1.1.a", "3.1.1 given train_best", "3.1.1 demo five_in_two"]

A unit is an exercise or prediction by its id, with its statement and hints; `setup`; `given` by a
name that it defines; `demo` by its experiment or its `unit`. The prose before a unit comes with it,
and so does what is said below a demo, up to the next heading.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbformat import NotebookNode

EXERCISES = {"exercise", "predict"}
PART = re.compile(r"^## (\d+) · ", re.M)  # a section's numbered headings


@dataclass
class Unit:
    """Cells that belong together."""

    names: set[str] = field(default_factory=set)  # "3.1.1.a", "given train_best", "setup"
    cells: list[NotebookNode] = field(default_factory=list)


def kind(cell: NotebookNode) -> str:
    """A cell's first tag."""
    return next(iter(cell.metadata.get("tags", [])), "")


def units(cells: list[NotebookNode]) -> list[Unit]:
    """A section's cells as units, in order, without its introduction and its last prose."""
    found: list[Unit] = []
    lead: list[NotebookNode] = []
    last = ""
    for cell in cells:
        what = kind(cell)
        trails = last == "demo" and not what and not cell.source.startswith("#")
        if cell.cell_type == "markdown" and found and (what == "hint" or trails):
            found[-1].cells.append(cell)
        elif cell.cell_type == "markdown":
            lead, last = [*lead, cell], ""
        else:
            unit = Unit(set(_names(cell, what)), [*lead, cell])
            if what == "setup":  # the title and the introduction are the section's own
                unit.cells = [cell]
            found.append(unit)
            lead, last = [], what
    return found


def _names(cell: NotebookNode, what: str) -> Iterator[str]:
    """What a cell can be asked for by."""
    if what in EXERCISES:
        yield str(cell.metadata["exercise"])
    elif what == "given":
        for name in re.findall(r"^(?:def|class) (\w+)|^(\w+) *=", cell.source, re.M):
            yield f"given {name[0] or name[1]}"
    elif what == "demo":
        yield f"demo {cell.metadata.get('experiment') or cell.metadata.get('unit')}"
    elif what:
        yield what


def wanted(name: str, numbers: list[str]) -> tuple[str, str]:
    """(section number, name within it) of a unit's full name."""
    for number in sorted(numbers, key=len, reverse=True):
        if name.startswith(f"{number}."):
            return number, name
        if name.startswith(f"{number} "):
            return number, name[len(number) + 1 :]
    return "", name


def expanded(
    cells: list[NotebookNode], lessons: dict[str, tuple[str, list[NotebookNode]]]
) -> Iterator[NotebookNode]:
    """A route's cells with its includes replaced; `lessons` has a path and cells by number.

    Each cell that comes from a section says so in its metadata (`home`). The first set-up cell
    opens the route; later ones only import.
    """
    open_yet = False
    for cell in cells:
        if kind(cell) != "include":
            yield cell
            continue
        for name in cell.metadata["units"]:
            number, inner = wanted(name, list(lessons))
            path, theirs = lessons.get(number, ("", []))
            unit = next((u for u in units(theirs) if inner in u.names), None)
            if unit is None:
                raise LookupError(f"no section has the unit {name!r}")
            for one in unit.cells:
                copy = one.copy()
                copy.metadata = NotebookNode({**one.metadata, "home": path})
                # the text speaks of "part 2": of that section
                copy.source = PART.sub(rf"## From {number}, part \1 · ", one.source)
                if kind(one) == "setup" and open_yet:
                    copy.metadata["tags"] = ["given"]
                open_yet |= kind(one) == "setup"
                yield copy
