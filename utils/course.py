"""The registry: which sections and exercises exist, read from the section sources.

A section is one jupytext percent script under `part31_superposition/` or
`part32_interp_with_saes/`; an exercise is a cell tagged `exercise` or `predict`, with its
metadata in the cell header. Nothing about an exercise is written anywhere else.
"""

import ast
import copy
import functools
import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
from nbformat import NotebookNode

from utils.routes import expanded

ROOT = Path(__file__).resolve().parent.parent
ARTIFACTS = ROOT / "artifacts"  # the trained weights and the text that ship
PARTS = ("part31_superposition", "part32_interp_with_saes")
FACTS = (
    "exercise",
    "title",
    "difficulty",
    "importance",
    "minutes",
    "skill",
)  # every exercise has all


class CourseError(Exception):
    """A section source, or a name given by a user, that cannot be used; the text names the cure."""


@dataclass(frozen=True)
class Exercise:
    """One thing a learner writes: a function, or the answer to a predict-then-run question."""

    id: str  # "3.1.1.a"
    name: str  # the function, or the variable that holds the prediction
    title: str
    difficulty: int  # 1 to 5
    importance: int  # 1 to 5
    minutes: int
    skill: str
    section: str  # "part31_superposition/s1_nonprivileged_basis"
    kind: str  # "function" or "prediction"
    source: str = field(repr=False)  # the worked cell
    hints: tuple[str, ...] = field(default=(), repr=False)
    choices: tuple[str, ...] = ()  # of a prediction; empty where a number is asked for
    shows: str = ""  # a function that draws the learner's result beside the course's


@dataclass(frozen=True)
class Section:
    """One lesson; `path` names it under every root."""

    path: str
    number: str  # "3.1.1"
    title: str
    exercises: tuple[Exercise, ...] = field(repr=False)

    homes: tuple[str, ...] = ()  # of a route: the paths of the sections that its cells come from

    @property
    def stem(self) -> str:
        """`s1_nonprivileged_basis`."""
        return self.path.rpartition("/")[2]

    @property
    def source(self) -> Path:
        """The hand-written lesson."""
        return ROOT / f"{self.path}.py"

    def notebook(self, room: str) -> Path:
        """The built notebook in `room`, "exercises" or "solutions"."""
        return ROOT / room / f"{self.path}.ipynb"

    def answers(self) -> Path:
        """The learner's notebook: the copy in work/, or in exercises/ where there is no copy."""
        copy = self.notebook("work")
        return copy if copy.exists() else self.notebook("exercises")

    def test_file(self, kind: str = "test") -> Path:
        """Its `test`, `test_claims` or `mistakes` file."""
        part, _, stem = self.path.rpartition("/")
        return ROOT / "tests" / part / f"{kind}_{stem}.py"

    def home(self, exercise: Exercise) -> "Section":
        """The section that an exercise was written for: this one, unless this is a route."""
        return find_section(exercise.section) if self.homes else self

    def lessons(self) -> "list[Section]":
        """The sections that the cells come from."""
        return [find_section(path) for path in self.homes] or [self]

    def reference(self) -> ModuleType:
        """The worked functions, imported."""
        if not self.homes:
            return importlib.import_module(self.path.replace("/", "."))
        return _joined(self.path, self.homes)

    def exercise(self, name: str) -> Exercise | None:
        """The exercise with this id or function name, or None."""
        return next((e for e in self.exercises if name in (e.id, e.name)), None)


@functools.lru_cache
def _joined(path: str, homes: tuple[str, ...]) -> ModuleType:
    """The names of several sections in one module; each function keeps looking in its own."""
    module = ModuleType(path.replace("/", "."))
    for home in homes:
        names = vars(importlib.import_module(home.replace("/", ".")))
        vars(module).update({k: v for k, v in names.items() if not k.startswith("__")})
    return module


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


@functools.lru_cache
def _parsed(path: Path, _modified: float) -> NotebookNode:
    return jupytext.read(path, fmt="py:percent")


def read_source(path: Path) -> NotebookNode:
    """A section source as a notebook; a route's with the cells that it includes."""
    nb = copy.deepcopy(_parsed(path, path.stat().st_mtime))  # the caller's own, to change
    if any("include" in tags(c) for c in nb.cells):
        lessons = {s.number: (s.path, read_source(s.source).cells) for s in sections()}
        try:
            nb.cells = list(expanded(nb.cells, lessons))
        except LookupError as error:
            raise CourseError(f"{path.name}: {error}") from None
    return nb


def _defined_name(path: Path, cell: NotebookNode) -> str:
    """The one name that an exercise or predict cell defines."""
    body = ast.parse(cell.source).body
    wanted = "one assignment" if "predict" in tags(cell) else "one function or class"
    if len(body) == 1 and "predict" in tags(cell):
        match body[0]:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()):
                return name
    elif len(body) == 1 and isinstance(body[0], ast.FunctionDef | ast.ClassDef):
        return body[0].name
    raise CourseError(f"{path.name}: the cell {cell.source[:50]!r} must be {wanted}")


def _exercise(section: str, path: Path, cell: NotebookNode, hints: list[str]) -> Exercise:
    missing = [key for key in FACTS if key not in cell.metadata]
    name = _defined_name(path, cell)
    if missing:
        raise CourseError(
            f"{path.name}: the cell of {name} lacks {', '.join(missing)} in its header"
        )
    facts: dict[str, Any] = {key: cell.metadata[key] for key in FACTS}
    kind = "prediction" if "predict" in tags(cell) else "function"
    return Exercise(
        id=facts.pop("exercise"), name=name, section=section, kind=kind, source=cell.source,
        hints=tuple(hints), choices=tuple(cell.metadata.get("choices", ())),
        shows=str(cell.metadata.get("shows", "")), **facts,
    )  # fmt: skip


@functools.lru_cache
def _load(path: Path, _modified: float) -> Section:
    cells = read_source(path).cells
    section = f"{path.parent.name}/{path.stem}"
    homes = dict.fromkeys(c.metadata["home"] for c in cells if "home" in c.metadata)
    heading = next((c.source.splitlines()[0] for c in cells if c.source.startswith("# ")), "")
    number, _, title = heading.removeprefix("# ").partition(" ")
    if not title:
        raise CourseError(f"{path.name}: the first cell must begin with `# NUMBER Title`")
    exercises = []
    for i, cell in enumerate(cells):
        if {"exercise", "predict"} & set(tags(cell)):
            after = cells[i + 1 :]
            stop = next((j for j, c in enumerate(after) if "hint" not in tags(c)), len(after))
            home = cell.metadata.get("home", section)
            exercises.append(_exercise(home, path, cell, [c.source for c in after[:stop]]))
    return Section(section, number, title, tuple(exercises), tuple(homes))


def _files(pattern: str) -> list[Section]:
    files = [path for part in PARTS for path in sorted((ROOT / part).glob(pattern))]
    found = [_load(path, path.stat().st_mtime) for path in files]
    return sorted(found, key=lambda s: [int(n) for n in s.number.split(".")])


def sections() -> list[Section]:
    """All sections, in the order of their numbers."""
    return _files("s[1-9]*_*.py")


def routes() -> list[Section]:
    """Notebooks made of sections' cells: `s0_….py`. Their exercises are the sections' own."""
    return _files("s0_*.py")


def notebooks() -> list[Section]:
    """All that has a pair of notebooks: sections and routes."""
    return sorted([*sections(), *routes()], key=lambda s: [int(n) for n in s.number.split(".")])


def sharing(section: Section) -> list[Section]:
    """Where else an exercise of this section can be answered: its routes, or a route's sections."""
    if section.homes:
        return section.lessons()
    return [route for route in routes() if section.path in route.homes]


def find_section(name: str) -> Section:
    """The section with this number, path or file name; CourseError lists what there is."""
    wanted = name.strip("/").removesuffix(".py").removesuffix(".ipynb")
    source = ROOT / f"{wanted}.py"
    if re.fullmatch(rf"({'|'.join(PARTS)})/s\d+_\w+", wanted) and source.is_file():
        return _load(source, source.stat().st_mtime)  # without reading all the others
    for files in (sections, routes):
        for section in files():
            if wanted in (section.number, section.path, section.stem) or wanted.endswith(
                f"/{section.path}"
            ):
                return section
    known = "\n".join(f"  {s.number}  {s.path}" for s in notebooks())
    raise CourseError(f"there is no section {name!r}; there are\n{known}")


def find_exercise(name: str) -> Exercise:
    """The exercise with this id ("3.1.1.c") or function name."""
    for section in sections():
        if found := section.exercise(name):
            return found
    raise CourseError(no_exercise(name))


def no_exercise(name: str) -> str:
    """What to say about an exercise that is not there: what its section has, if that is known."""
    near = [s for s in sections() if name.startswith(s.number + ".")]
    if near:
        has = "\n".join(f"  {e.id:10} {e.name}" for e in near[-1].exercises)
        return f"section {near[-1].number} has no exercise {name!r}; it has\n{has}"
    return f"there is no exercise {name!r}; `python -m utils.check --list` lists them"
