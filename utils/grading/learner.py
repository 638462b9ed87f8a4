"""Read what a learner wrote, in a notebook or .py file: definitions only, nothing is written.

Executed are imports, functions, classes and constants, in their order; experiments, plots and
magics are not. A cell that is broken is reported and the rest goes on.
"""

import ast
import contextlib
import json
import linecache
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from utils.course import ROOT, CourseError, Section, find_section, sections
from utils.grading.limits import OutOfTime, time_limit

IMPORT_LIMIT_S = 60.0  # for everything that runs when the definitions are read


class BrokenCell(Exception):
    """The cell of an exercise cannot be used; the text says why."""


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


def _decoded(path: Path) -> tuple[str, list[str]]:
    data = path.read_bytes()
    for encoding in (
        ("utf-8-sig", "utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",)
    ):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        note = "it was saved as UTF-16: save it as UTF-8" if encoding == "utf-16" else ""
        return text, [note] if note else []
    return data.decode("utf-8", errors="replace"), ["it is not UTF-8 text: save it as UTF-8"]


def _salvaged_cells(text: str) -> list[dict[str, Any]]:
    """Every complete cell in the text of a damaged notebook."""
    decoder, cells, at = json.JSONDecoder(strict=False), [], 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            at += 1
            continue
        if isinstance(value, dict) and "cell_type" in value:
            cells.append(value)
            at = end
        else:
            at += 1  # an object that is not a cell may be the notebook itself: look inside
    return cells


def _damage(text: str, error: Exception) -> str:
    if not text.strip():
        return "the file is empty: restore it from your editor's history, or `make reset`"
    if "<<<<<<<" in text and ">>>>>>>" in text:
        return (
            "it holds merge-conflict markers (<<<<<<< ======= >>>>>>>): open it as text,"
            " keep one side of each, delete the markers"
        )
    return (
        f"it is not complete JSON ({error}): the end may be missing; restore it from a checkpoint"
    )


def _text(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source or "")


def _notebook_cells(text: str) -> tuple[list[str], list[str]]:
    """(code of every code cell, problems) of a notebook's text, whatever its version or damage."""
    problems: list[str] = []
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError("it is not a notebook")
    except (ValueError, TypeError) as error:
        problems.append(_damage(text, error))
        found = _salvaged_cells(text)
        if found:
            problems.append(f"{len(found)} whole cells could be read all the same")
        raw = {"nbformat": 4, "cells": found}
    if raw.get("nbformat", 4) < 4:
        try:
            raw = nbformat.convert(nbformat.from_dict(raw), 4)
        except Exception as error:
            problems.append(
                f"it has the old format {raw.get('nbformat')} and can't be converted: {error}"
            )
    cells = raw.get("cells")
    if not isinstance(cells, list):
        problems.append("it has no list of cells")
        cells = []
    good = [c for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"]
    return [_text(c.get("source", c.get("input"))) for c in good], problems


def _without_magics(code: str) -> str:
    """IPython's magics and shell lines as plain calls, which are then not executed."""
    try:
        return TransformerManager().transform_cell(code)
    except SyntaxError:
        return code


def _is_definition(node: ast.stmt) -> bool:
    """Imports, functions, classes, constants (literals, or any value of a LONG upper-case name)."""
    if isinstance(
        node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
    ):
        return True
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    plain = all(isinstance(t, ast.Name) for t in targets)
    # W and R are tensors of an experiment, BATCH is a constant
    upper = plain and all(
        t.id.isupper() and len(t.id) > 2 for t in targets if isinstance(t, ast.Name)
    )
    return plain and (upper or _is_literal(node.value))


def _is_literal(value: ast.expr) -> bool:
    """Numbers, strings and containers of them: no name is looked up, nothing is called."""
    parts = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp)
    marks = (ast.operator, ast.unaryop, ast.expr_context)
    return all(isinstance(n, (*parts, *marks)) for n in ast.walk(value))


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Name):
            yield target.id


def _syntax_problem(code: str, error: SyntaxError) -> str:
    if "<<<<<<<" in code or ">>>>>>>" in code:
        return "it holds merge-conflict markers: keep one side and delete the marker lines"
    line = (error.text or "").strip()
    return f"{error.msg} in line {error.lineno}: {line}"


def _exercises_in(code: str, section: Section) -> list[str]:
    """Exercises whose definition begins in this (possibly unparsable) code."""
    starts = {line.strip() for line in code.splitlines()}
    return [
        e.name
        for e in section.exercises
        if any(
            s.startswith((f"def {e.name}(", f"class {e.name}(", f"class {e.name}:", f"{e.name} ="))
            for s in starts
        )
    ]


def _run_cell(answers: Answers, number: int, code: str) -> None:
    where = f"code cell {number}"
    try:
        tree = ast.parse(_without_magics(code))
    except (SyntaxError, ValueError) as error:
        why = _syntax_problem(code, error) if isinstance(error, SyntaxError) else str(error)
        answers.problems.append(f"{where} can't be read: {why}")
        for name in _exercises_in(code, answers.section):
            answers.broken[name] = f"{where} can't be read: {why}"
        return
    file = f"<{answers.path.name}, cell {number}>"
    linecache.cache[file] = (len(code), None, _without_magics(code).splitlines(keepends=True), file)
    for node in filter(_is_definition, tree.body):
        try:
            exec(compile(ast.Module([node], []), file, "exec"), answers.names)
            answers.defined.update(_names(node))
        except (Exception, SystemExit) as error:
            text = f"{where}, line {node.lineno}: {type(error).__name__}: {error}"
            answers.problems.append(text)
            answers.broken.update({n: text for n in _names(node) if answers.section.exercise(n)})


def code_cells(path: Path) -> tuple[list[str], list[str]]:
    """(code of every code cell, problems) of a notebook or a .py file."""
    if not path.exists():
        raise CourseError(f"there is no file {path}")
    text, problems = _decoded(path)
    if path.suffix == ".ipynb":
        cells, more = _notebook_cells(text)
    elif path.suffix == ".py":
        script = jupytext.reads(text, fmt="py:percent")
        cells, more = [c.source for c in script.cells if c.cell_type == "code"], []
    else:
        raise CourseError(f"{path.name}: an .ipynb or .py file is expected")
    return cells, problems + more


def section_for(path: Path) -> Section:
    """The section a learner's file belongs to: by its name, else by the functions it defines."""
    try:
        return find_section(path.stem)
    except CourseError:
        code = "\n".join(code_cells(path)[0])
        score, best = max(
            ((len(_exercises_in(code, s)), s) for s in sections()), key=lambda pair: pair[0]
        )
        if not score:
            raise CourseError(f"{path.name} defines none of the course's exercises") from None
        return best


def load_answers(path: Path, section: Section) -> Answers:
    """Execute the definitions in `path`; names that it does not define are the reference's."""
    names = {k: v for k, v in vars(section.reference()).items() if not k.startswith("__")}
    names["__name__"] = "learner"
    answers = Answers(path, section, names)
    cells, answers.problems = code_cells(path)
    try:
        with time_limit(IMPORT_LIMIT_S):
            for number, code in enumerate(cells, 1):
                _run_cell(answers, number, code)
    except OutOfTime:
        answers.problems.append(
            f"reading the definitions took over {IMPORT_LIMIT_S:.0f} s: what runs there?"
        )
    for exercise in section.exercises:
        if exercise.name not in answers.defined and exercise.kind == "prediction":
            names[exercise.name] = ...
        missing = exercise.name not in answers.defined and exercise.name not in answers.broken
        if missing and cells and path.suffix == ".ipynb":  # a .py file may hold one answer only
            answers.broken[exercise.name] = (
                f"{path.name} does not define {exercise.name}: was its cell deleted?"
                f" `make reset SECTION={section.number}` gives a fresh notebook and backs up yours"
            )
    return answers


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


def shown(path: Path) -> str:
    """A path as shown to the learner."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
