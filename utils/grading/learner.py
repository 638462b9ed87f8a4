"""A learner's answers out of a notebook or a .py file; the file itself is never written.

`read_script` looks only (which exercises are written, which are stubs), `load` runs what the
answers need by the rule of `utils.grading.statements`. A cell that is broken is reported and the
rest goes on.
"""

import contextlib
import linecache
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.course import CourseError, Exercise, Section, find_section, sections
from utils.grading.cells import Cell, read_cells
from utils.grading.limits import OutOfTime, no_process_exit, time_limit
from utils.grading.statements import Statement, needed, statements

IMPORT_LIMIT_S = 60.0  # for everything that runs when the definitions are read
VALUE_LIMIT_S = 5.0  # for one value that an answer needs: an experiment takes longer


class BrokenCell(Exception):
    """The cell of an exercise cannot be used; the text says why."""


@dataclass
class Script:
    """A learner's file as read, before anything of it is run."""

    path: Path
    section: Section
    cells: list[Cell]
    statements: list[Statement]
    problems: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[Statement]:
        """The statements that define a name."""
        return [s for s in self.statements if name in s.makes]

    def state(self, exercise: Exercise) -> str:
        """`written`, `stub`, or `missing`."""
        mine = self.of(exercise.name)
        if not mine:
            return "missing"
        return "stub" if all(s.is_stub for s in mine) else "written"

    def deleted(self, exercise: Exercise) -> str:
        """What to say of an exercise that a notebook lacks; a .py file may hold one answer only."""
        if not self.cells or self.path.suffix != ".ipynb":
            return ""
        return (
            f"{self.path.name} does not define {exercise.name}: was its cell deleted?"
            f" `make reset SECTION={self.section.number}` gives a fresh notebook and backs up yours"
        )


@dataclass
class Answers:
    """What was found: names, and the problems met on the way, each naming the cell and the cure."""

    path: Path
    section: Section
    names: dict[str, Any]
    defined: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(
        default_factory=dict
    )  # exercise -> why its cell could not be used
    notes: dict[str, str] = field(default_factory=dict)  # exercise -> what it needs and lacks


def read_script(path: Path, section: Section) -> Script:
    """The statements of a file, and what is wrong with it."""
    cells, problems = read_cells(path)
    return script_of(path, section, cells, problems)


def script_of(path: Path, section: Section, cells: list[Cell], problems: list[str]) -> Script:
    """The same for cells at hand. An empty version beside a written one does not count."""
    found = statements(cells, is_script=path.suffix == ".py")
    script = Script(path, section, cells, found, list(problems))
    for exercise in section.exercises:
        mine = script.of(exercise.name)
        written = [s for s in mine if not s.is_stub]
        stubs = [s for s in mine if s.is_stub]
        if written and stubs:
            script.statements = [s for s in script.statements if s not in stubs]
            if found.index(stubs[-1]) > found.index(written[-1]):
                script.problems.append(
                    f"{stubs[-1].where} has {exercise.name} empty again, below your answer in"
                    f" {written[-1].where}: yours counts; delete the empty one"
                )
    return script


def section_for(path: Path) -> Section:
    """The section a learner's file belongs to: by its name, else by the functions it defines."""
    return sections_for(path)[0]


def sections_for(path: Path) -> list[Section]:
    """The sections that a learner's file answers: by its name, else by what it defines."""
    try:
        return [find_section(path.stem)]
    except CourseError:
        cells, problems = read_cells(path)
        found = statements(cells, is_script=path.suffix == ".py")
        names = {n for s in found for n in s.makes}
        mine = [s for s in sections() if names & {e.name for e in s.exercises}]
        if not mine:
            said = [f"{path.name} defines none of the course's exercises", *problems]
            raise CourseError("; ".join(said)) from None
        return mine


def load_answers(path: Path, section: Section) -> Answers:
    """Run what the answers in `path` need; names that it does not define are the reference's."""
    return load(read_script(path, section))


def load(
    script: Script,
    only: Collection[str] | None = None,
    deadly: Mapping[int, str] | None = None,
    tell: Callable[[int], None] = lambda index: None,
) -> Answers:
    """Run what the exercises named in `only` (or all) need.

    `tell` hears the index of a statement before it runs; those in `deadly` are known to end the
    process and are left out, with the reason given there.
    """
    section = script.section
    module = ModuleType("learner")  # a dataclass looks its module up by name
    sys.modules["learner"] = module
    names = vars(module)
    names.update({k: v for k, v in vars(section.reference()).items() if not k.startswith("__")})
    answers = Answers(script.path, section, names, problems=list(script.problems))
    wanted = [e for e in section.exercises if only is None or e.name in only]
    failed: dict[Statement, str] = {}
    began = time.process_time()
    places = {s: i for i, s in enumerate(script.statements)}
    with no_process_exit():
        for s in needed(script.statements, [e.name for e in wanted]):
            tell(places[s])
            left = IMPORT_LIMIT_S - (time.process_time() - began)
            why = (deadly or {}).get(places[s], "") or _run(s, names, left)
            if why:
                failed[s] = why
                answers.problems.append(why if s.problem else f"{s.where}: {why}")
            else:
                answers.defined |= s.makes
    for exercise in wanted:
        _judge(answers, script, exercise, failed)
    return answers


def _run(s: Statement, names: dict[str, Any], seconds: float) -> str:
    """Run a statement; return why it could not be."""
    if s.problem or s.refused:
        return s.problem or f"not run, because {s.refused}"
    if seconds <= 0:
        return f"not run, because what stands above took over {IMPORT_LIMIT_S:.0f} s"
    limit = min(seconds, VALUE_LIMIT_S) if s.is_value else seconds
    lines = s.cell.code.splitlines(keepends=True)
    linecache.cache[s.file] = (len(s.cell.code), None, lines, s.file)
    try:
        with time_limit(limit):
            exec(s.code, names)
    except OutOfTime:
        return f"it took over {limit:.0f} s: an answer should rest on no experiment"
    except BaseException as error:
        return said(error)
    return ""


def said(error: BaseException) -> str:
    """An error in one line, also where its own text cannot be made."""
    try:
        text = str(error)
    except BaseException:
        text = "(it has no readable text)"
    return f"{type(error).__name__}: {text}"[:300]


def _judge(
    answers: Answers, script: Script, exercise: Exercise, failed: dict[Statement, str]
) -> None:
    """Note why an exercise cannot be used, or what it will lack."""
    name, mine = exercise.name, script.of(exercise.name)
    if mine and mine[-1] in failed:
        why = failed[mine[-1]]
        answers.broken[name] = why if mine[-1].problem else f"{mine[-1].where}: {why}"
    elif not mine and (gone := script.deleted(exercise)):
        answers.broken[name] = gone
    elif name not in answers.defined and exercise.kind == "prediction":
        answers.names[name] = ...
    lacking = [s for s in needed(script.statements, [name]) if s in failed and s not in mine]
    notes = [
        f"{name} needs {', '.join(sorted(s.makes | s.alters)[:3])} from {s.where}: {failed[s]}"
        for s in lacking
    ]
    if notes:
        answers.notes[name] = "\n".join(notes)


def _explains(text: str) -> Callable[..., None]:
    def explain(*_args: object, **_kwargs: object) -> None:
        raise BrokenCell(text)

    return explain


@contextlib.contextmanager
def isolated(
    names: dict[str, Any], section: Section, name: str, broken: Mapping[str, str]
) -> Iterator[None]:
    """In the block every exercise but `name` is the reference's: earlier faults don't count.

    The change is made in `names` itself, because the learner's functions look their globals up
    there; `broken` exercises become functions that say what is wrong with their cell.
    """
    kept = {e.name: names[e.name] for e in section.exercises if e.name in names}
    reference = vars(section.reference())
    try:
        for other in kept.keys() - {name}:
            names[other] = reference[other]
        if name in broken:
            names[name] = _explains(broken[name])
        yield
    finally:
        names.update(kept)
