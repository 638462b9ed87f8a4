"""The registry: which sections and exercises exist, read from the section sources.

A section is one jupytext percent script under `part31_superposition/` or
`part32_interp_with_saes/`; an exercise is a cell tagged `exercise` or `predict`, with its
metadata in the cell header. Nothing about an exercise is written anywhere else.
"""

import ast
import functools
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
from nbformat import NotebookNode

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


@dataclass(frozen=True)
class Section:
    """One lesson; `path` names it under every root."""

    path: str
    number: str  # "3.1.1"
    title: str
    exercises: tuple[Exercise, ...] = field(repr=False)

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

    def test_file(self, kind: str = "test") -> Path:
        """Its `test`, `test_claims` or `mistakes` file."""
        part, _, stem = self.path.rpartition("/")
        return ROOT / "tests" / part / f"{kind}_{stem}.py"

    def reference(self) -> ModuleType:
        """The worked functions, imported."""
        return importlib.import_module(self.path.replace("/", "."))

    def exercise(self, name: str) -> Exercise | None:
        """The exercise with this id or function name, or None."""
        return next((e for e in self.exercises if name in (e.id, e.name)), None)


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def read_source(path: Path) -> NotebookNode:
    """A section source as a notebook."""
    return jupytext.read(path, fmt="py:percent")


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
        hints=tuple(hints), choices=tuple(cell.metadata.get("choices", ())), **facts,
    )  # fmt: skip


@functools.lru_cache
def _load(path: Path, _modified: float) -> Section:
    cells = read_source(path).cells
    section = f"{path.parent.name}/{path.stem}"
    heading = next((c.source.splitlines()[0] for c in cells if c.source.startswith("# ")), "")
    number, _, title = heading.removeprefix("# ").partition(" ")
    if not title:
        raise CourseError(f"{path.name}: the first cell must begin with `# NUMBER Title`")
    exercises = []
    for i, cell in enumerate(cells):
        if {"exercise", "predict"} & set(tags(cell)):
            after = cells[i + 1 :]
            stop = next((j for j, c in enumerate(after) if "hint" not in tags(c)), len(after))
            exercises.append(_exercise(section, path, cell, [c.source for c in after[:stop]]))
    return Section(section, number, title, tuple(exercises))


def sections() -> list[Section]:
    """All sections, in the order of their numbers."""
    files = [path for part in PARTS for path in sorted((ROOT / part).glob("s[0-9]*_*.py"))]
    found = [_load(path, path.stat().st_mtime) for path in files]
    return sorted(found, key=lambda s: [int(n) for n in s.number.split(".")])


def find_section(name: str) -> Section:
    """The section with this number, path or file name; CourseError lists what there is."""
    wanted = name.strip("/").removesuffix(".py").removesuffix(".ipynb")
    for section in sections():
        if wanted in (section.number, section.path, section.stem) or wanted.endswith(
            f"/{section.path}"
        ):
            return section
    known = "\n".join(f"  {s.number}  {s.path}" for s in sections())
    raise CourseError(f"there is no section {name!r}; there are\n{known}")


def find_exercise(name: str) -> Exercise:
    """The exercise with this id ("3.1.1.c") or function name."""
    for section in sections():
        if found := section.exercise(name):
            return found
    raise CourseError(f"there is no exercise {name!r}; `python -m utils.check --list` lists them")
