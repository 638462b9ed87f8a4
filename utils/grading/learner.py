"""Read what a learner wrote, in a notebook or .py file: definitions only, nothing is written.

Executed are, in their order: imports, functions, classes, constants; a lambda, an alias, a
`partial`, an instance of a class of the file; a prediction written as arithmetic; the same under
`if` and `try`. Experiments, plots, loops and magics are not. A cell that is broken is reported and
the rest goes on. A blank that stands below a written answer does not replace it.
"""

import __future__

import ast
import builtins
import contextlib
import functools
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

RUNS_ITS_CELL = ("%%time", "%%capture")
# what a definition may call: these make a function or module out of others and do no work
MAKERS = (functools.partial, functools.lru_cache, functools.cache, functools.wraps)
ARITHMETIC = {"abs", "round", "min", "max", "sum", "float", "int", "str", "math", "len"}
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
    skipped: dict[str, str] = field(default_factory=dict)  # name -> the cell whose line was not run
    flags: int = 0  # of the compiler: `from __future__ import annotations` holds for later cells


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
    except RecursionError:
        problems.append("it is nested too deeply to be a notebook: restore it from a checkpoint")
        raw = {"nbformat": 4, "cells": []}
    except (ValueError, TypeError) as error:
        problems.append(_damage(text, error))
        found = _salvaged_cells(text)
        if found:
            problems.append(f"{len(found)} whole cells could be read all the same")
        raw = {"nbformat": 4, "cells": found}
    version = raw.get("nbformat", 4)
    if not isinstance(version, int):
        problems.append(
            f'its "nbformat" is {version!r}, not a number: open and save it in JupyterLab'
        )
        version = int(version) if str(version).isdigit() else 4
    if version < 4:
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
    """IPython's magics and shell lines as plain calls, which are then not executed.

    A cell magic that runs its cell in the notebook's own names (`%%time`) is only left out.
    """
    first, _, rest = code.lstrip().partition("\n")
    if first.split() and first.split()[0] in RUNS_ITS_CELL:
        code = "\n" * (len(code) - len(code.lstrip()) + 1) + rest  # line numbers stay
    try:
        return TransformerManager().transform_cell(code)
    except SyntaxError:
        return code


def _is_definition(node: ast.stmt, answers: "Answers") -> bool:
    """Whether a statement only defines: see the top of this file."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.ClassDef():
            return True
        case ast.AsyncFunctionDef() | ast.Pass():
            return True
        case ast.Try(body=body, orelse=other, finalbody=last):
            inner = [*body, *other, *last, *(n for h in node.handlers for n in h.body)]
            return all(_is_definition(n, answers) for n in inner)
        case ast.If(body=body, orelse=other):
            calls = any(isinstance(n, ast.Call) for n in ast.walk(node.test))
            return not calls and all(_is_definition(n, answers) for n in [*body, *other])
        case ast.Assign() | ast.AnnAssign() if node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n for t in targets for n in (t.elts if isinstance(t, ast.Tuple) else [t])]
            if all(isinstance(n, ast.Name) for n in names):
                return _defines(
                    [n.id for n in names if isinstance(n, ast.Name)], node.value, answers
                )
    return False


def _defines(names: list[str], value: ast.expr, answers: "Answers") -> bool:
    """Whether `names = value` is a definition and no experiment."""
    # W and R are tensors of an experiment, BATCH is a constant
    if _is_literal(value) or all(n.isupper() and len(n) > 2 for n in names):
        return True
    if isinstance(value, ast.Lambda):
        return True
    asked = [answers.section.exercise(n) for n in names]
    if all(e is not None and e.kind == "prediction" for e in asked):
        used = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
        return used <= ARITHMETIC
    called = _known(value.func, answers) if isinstance(value, ast.Call) else None
    if isinstance(value, ast.Call) and called is not None:
        parts = [*value.args, *(k.value for k in value.keywords)]
        of_file = isinstance(called, type) and called.__name__ in answers.defined
        return (called in MAKERS or of_file) and all(_is_simple(p, answers) for p in parts)
    if isinstance(value, ast.Name | ast.Attribute):
        return callable(_known(value, answers))
    return False


def _known(node: ast.expr, answers: "Answers") -> Any:
    """What a name or dotted name stands for, or None."""
    if isinstance(node, ast.Name):
        return answers.names.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute):
        return getattr(_known(node.value, answers), node.attr, None)
    return None


def _is_simple(node: ast.expr, answers: "Answers") -> bool:
    """A literal, a lambda, or something that is already defined."""
    return _is_literal(node) or isinstance(node, ast.Lambda) or _known(node, answers) is not None


def _is_blank(node: ast.stmt) -> bool:
    """A function whose body only raises NotImplementedError, or `name = ...`."""
    if isinstance(node, ast.Assign):
        return isinstance(node.value, ast.Constant) and node.value.value is Ellipsis
    if isinstance(node, ast.ClassDef):
        functions = [n for n in node.body if isinstance(n, ast.FunctionDef)]
        return bool(functions) and any(_is_blank(n) for n in functions)
    if not isinstance(node, ast.FunctionDef):
        return False
    last = node.body[-1]
    return isinstance(last, ast.Raise) and "NotImplementedError" in ast.unparse(last)


def _is_literal(value: ast.expr) -> bool:
    """Numbers, strings and containers of them: no name is looked up, nothing is called."""
    parts = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp)
    marks = (ast.operator, ast.unaryop, ast.expr_context)
    return all(isinstance(n, (*parts, *marks)) for n in ast.walk(value))


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        for name in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(name, ast.Name):
                yield name.id
    for inner in [*getattr(node, "body", []), *getattr(node, "orelse", [])]:
        if isinstance(node, ast.If | ast.Try):
            yield from _names(inner)


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
    for node in tree.body:
        names = list(_names(node))
        if not _is_definition(node, answers):
            answers.skipped.update(dict.fromkeys(names, where))
            continue
        written = [n for n in names if n in answers.defined and answers.section.exercise(n)]
        if written and _is_blank(node):
            answers.problems.append(
                f"{where}: the blank of {written[0]} stands below your answer and is left out"
            )
            continue
        _run_statement(answers, node, file, where, names)


def _run_statement(
    answers: Answers, node: ast.stmt, file: str, where: str, names: list[str]
) -> None:
    """Execute one definition; what it raises is noted, for exercises of this section only."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        for alias in node.names:
            answers.flags |= getattr(__future__, alias.name).compiler_flag
    try:
        code = compile(ast.Module([node], []), file, "exec", answers.flags, dont_inherit=True)
        exec(code, answers.names)
        answers.defined.update(names)
        for name in names:
            answers.broken.pop(name, None)
    except (Exception, SystemExit) as error:
        text = f"{where}, line {node.lineno}: {type(error).__name__}: {error}"
        mine = [n for n in names if answers.section.exercise(n)]
        if mine or not _of_another_section(names, answers.section):
            answers.problems.append(text)
        answers.broken.update(dict.fromkeys(mine, text))


def _of_another_section(names: list[str], section: Section) -> bool:
    """Whether one of these names is an exercise of another section (a file may hold several)."""
    return any(s.exercise(n) for s in sections() if s.path != section.path for n in names)


def code_cells(path: Path) -> tuple[list[str], list[str]]:
    """(code of every code cell, problems) of a notebook or a .py file."""
    try:
        there = path.exists()
    except OSError:  # a symbolic link to itself
        there = False
    if not there and path.is_symlink():
        raise CourseError(f"{path.name} is a link that leads nowhere: put the file itself here")
    if not there:
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


def sections_for(path: Path) -> list[Section]:
    """The sections of a learner's file: by its name, else all whose functions it defines."""
    try:
        return [find_section(path.stem)]
    except CourseError:
        code = "\n".join(code_cells(path)[0])
        found = [s for s in sections() if _exercises_in(code, s)]
        if not found:
            raise CourseError(f"{path.name} defines none of the course's exercises") from None
        return found


def blanks(path: Path, section: Section) -> set[str]:
    """Exercises of which the file has the blank and nothing else: nothing of it need be run."""
    blank, written = set(), set()
    for code in code_cells(path)[0]:
        try:
            body = ast.parse(_without_magics(code)).body
        except (SyntaxError, ValueError):
            written |= set(_exercises_in(code, section))
            continue
        for node in body:
            names = {n for n in _names(node) if section.exercise(n)}
            blank |= names if _is_blank(node) else set()
            written |= set() if _is_blank(node) else names
    return blank - written


def load_answers(
    path: Path, section: Section, note: Callable[[str], object] = lambda where: None
) -> Answers:
    """Execute the definitions in `path`; names that it does not define are the reference's.

    `note` is told which cell comes next, so that a process that dies in it can say where.
    """
    names = {k: v for k, v in vars(section.reference()).items() if not k.startswith("__")}
    names["__name__"] = "learner"
    answers = Answers(path, section, names)
    cells, answers.problems = code_cells(path)
    try:
        with time_limit(IMPORT_LIMIT_S):
            for number, code in enumerate(cells, 1):
                note(f"code cell {number}")
                _run_cell(answers, number, code)
    except OutOfTime:
        answers.problems.append(
            f"reading the definitions took over {IMPORT_LIMIT_S:.0f} s: what runs there?"
        )
    _say_what_was_skipped(answers, cells)
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


def _say_what_was_skipped(answers: Answers, cells: list[str]) -> None:
    """Name lines that were not run, where an answer is one of them or needs one of them."""
    skipped = {n: where for n, where in answers.skipped.items() if n not in answers.defined}
    for name in filter(answers.section.exercise, skipped):
        answers.broken[name] = (
            f"{skipped[name]}: the line that makes {name} was not run, since it does more than"
            " define something: write a `def`"
        )
    used = {n for n in skipped for code in cells if n in code and f"def {n}" not in code}
    for name in sorted(used & _loaded_by_functions(cells)):
        answers.problems.append(
            f"{skipped[name]}: `{name} = …` was not run (only definitions are), but a function uses"
            f" it: hand it over as an argument, or define it in the function"
        )


def _loaded_by_functions(cells: list[str]) -> set[str]:
    """Global names that functions of the file read."""
    found: set[str] = set()
    for code in cells:
        with contextlib.suppress(SyntaxError, ValueError):
            for node in ast.parse(_without_magics(code)).body:
                if isinstance(node, ast.FunctionDef):
                    own = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
                    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
                    own |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
                    found |= {n.id for n in names} - own
    return found


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
