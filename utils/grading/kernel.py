"""What ran in a notebook's kernel: which exercise's cell failed, which experiments were seen.

A cell that fails leaves the definition of before in the kernel. `Watch` notices that, so that
`check` does not judge what the learner no longer sees.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from utils.course import Exercise, Section, read_source, tags

NAMES_A_CELL = 0.5  # of an experiment's lines, from here on a cell counts as the experiment


@dataclass(frozen=True)
class Stale:
    """Why the kernel's definition of an exercise is not the one in its cell."""

    what: str  # for the verdict's first line
    why: str


@dataclass(frozen=True)
class Experiment:
    """The cell that shows what a prediction asks."""

    source: str
    leaves: frozenset[str]  # names that only this cell defines


def _stored(code: str) -> set[str]:
    """Names that code assigns outside of functions, and the functions and classes it defines."""
    found, todo = set(), list(ast.parse(code).body)
    while todo:
        node: ast.AST = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.GeneratorExp | ast.DictComp):
            todo += list(ast.iter_child_nodes(node))  # type: ignore[arg-type]
    return found


def experiments(section: Section) -> dict[str, Experiment]:
    """The experiment behind each prediction of a section, by the prediction's name."""
    found: dict[str, Experiment] = {}
    before: set[str] = set()
    for cell in read_source(section.source).cells:
        if cell.cell_type != "code":
            continue
        names = _stored(cell.source)
        for prediction in cell.metadata.get("reveals", []) if "demo" in tags(cell) else []:
            results = names & set(cell.metadata.get("results", []))
            fresh = frozenset((results or names) - before)
            found[prediction] = Experiment(cell.source, fresh)
        before |= names
    return found


def _lines(code: str) -> set[str]:
    """What a cell says, whatever its indentation."""
    lines = {line.strip() for line in code.splitlines()}
    return {line for line in lines if line and not line.startswith(("#", "if __name__"))}


def _defines(code: str, name: str) -> bool:
    """Whether code (that may not parse) defines a name at its left margin."""
    here = rf"^(?:(?:async )?def|class)\s+{name}\b|^{name}\s*(?::[^=\n]*)?=(?!=)"
    return re.search(here, code, re.M) is not None


def _other_names(code: str) -> list[str]:
    """Functions and classes that code defines at its left margin."""
    return re.findall(r"^(?:(?:async )?def|class)\s+(\w+)", code, re.M)


class Watch:
    """Hears of every cell that runs. `start` it in a kernel; elsewhere it knows of none."""

    def __init__(self, section: Section, names: dict[str, Any]) -> None:
        self.section, self.names = section, names
        self.stale: dict[str, Stale] = {}
        self._cells: dict[str, Any] = {}  # by exercise: the cell that defined it last
        self.ran: list[set[str]] = []  # the lines of each cell that ended well
        self._before: dict[str, Any] | None = None
        self._shell: Any = None
        self._experiments: dict[str, Experiment] | None = None

    def start(self, shell: Any) -> None:
        """Listen to a kernel's cells."""
        self._shell = shell
        shell.events.register("pre_run_cell", self._begins)
        shell.events.register("post_run_cell", self._ended)

    def stop(self) -> None:
        """Listen no more: the set-up cell was run again, and a new watch begins."""
        if self._shell is not None:
            self._shell.events.unregister("pre_run_cell", self._begins)
            self._shell.events.unregister("post_run_cell", self._ended)
            self._shell = None

    def _begins(self, *_: Any) -> None:
        self._before = {e.name: self.names.get(e.name) for e in self.section.exercises}

    def _ended(self, result: Any) -> None:
        before, self._before = self._before, None
        if before is None:  # the set-up cell, in which this watch began
            return
        code = str(getattr(result.info, "raw_cell", None) or "")
        error = result.error_before_exec or result.error_in_exec
        if error is None:
            self.ran.append(_lines(code))
        for exercise in self._meant(code, getattr(result.info, "cell_id", None)):
            name = exercise.name
            is_new = self.names.get(name) is not before.get(name)
            if is_new or (error is None and _defines(code, name)):
                self.stale.pop(name, None)
                self._cells[name] = getattr(result.info, "cell_id", None)
            elif error is not None:
                self.stale[name] = Stale("its cell did not run", _told(error))
            elif exercise.kind == "function":
                others = " and ".join(_other_names(code)) or f"no {name}"
                why = f"The cell of this exercise defines {others}; the check looks for {name}."
                self.stale[name] = Stale("its cell defines something else", why)

    def _meant(self, code: str, cell_id: Any) -> Iterator[Exercise]:
        """The exercises whose cell this is: by what it defines, its id, or the docstring in it."""
        for exercise in self.section.exercises:
            by_text = _defines(code, exercise.name)
            # a copy beside the cell that defined it is no new version of it
            apart = self._cells.get(exercise.name, cell_id) != cell_id
            told = not apart and _has_docstring(exercise, code)
            if by_text or cell_id == exercise.name or told:
                yield exercise

    def has_seen(self, exercise: Exercise) -> bool:
        """Whether the experiment behind a prediction has been run."""
        if self._experiments is None:
            self._experiments = experiments(self.section)
        experiment = self._experiments.get(exercise.name)
        if experiment is None:
            return True
        if experiment.leaves and all(name in self.names for name in experiment.leaves):
            return True
        if self._shell is None and not experiment.leaves:
            return True  # nobody listened, and the experiment leaves no trace
        wanted = _lines(experiment.source)
        return any(len(wanted & ran) >= NAMES_A_CELL * len(wanted) for ran in self.ran)


def _has_docstring(exercise: Exercise, code: str) -> bool:
    """Whether a cell holds an exercise's docstring: it stays when a function is renamed."""
    if exercise.kind != "function":
        return False
    [node] = ast.parse(exercise.source).body
    text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
    first = (text or "").splitlines()[:1]
    return bool(first) and len(first[0]) > 20 and first[0] in code


def _told(error: BaseException) -> str:
    """An error in a line, with the line of the cell that it stopped at."""
    if isinstance(error, SyntaxError):
        line = (error.text or "").strip()
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}: {line}"
    return f"{type(error).__name__}: {error}"[:300]
