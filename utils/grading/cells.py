"""The code cells of a learner's file, whatever its version, encoding or damage. Nothing is run."""

import errno
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.course import ROOT, CourseError

TOO_DEEP = 200  # objects that no parser can follow; the rest of such a file is not searched
MARKER = re.compile(r"# ?%%(?:\s|\[|$)")  # of a cell in a .py file; `# %%time` is a magic


@dataclass(frozen=True)
class Cell:
    """One piece of code; its lines count as the learner's editor counts them."""

    number: int
    where: str  # "code cell 3", or the name of a .py file
    code: str

    def line(self, number: int) -> str:
        """A line as it is named to the learner."""
        return f"{self.where}, line {number}"


def shown(path: Path) -> str:
    """A path as shown to the learner."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def read_bytes(path: Path) -> bytes:
    """The bytes of a learner's file; a CourseError says why it cannot be read."""
    name = shown(path)
    try:
        kind = os.stat(path).st_mode  # follows links
        if stat.S_ISDIR(kind):
            raise CourseError(f"{name} is a folder: name a file in it")
        if not stat.S_ISREG(kind):
            raise CourseError(f"{name} is no ordinary file")
        return path.read_bytes()
    except OSError as error:
        if error.errno == errno.ELOOP:
            why = f"{name} is a link that leads back to itself: put the file there in its place"
        elif error.errno == errno.ENOENT and path.is_symlink():
            why = f"{name} is a link to {os.readlink(path)}, and that is not there"
        elif error.errno == errno.ENOENT:
            why = f"there is no file {name}"
            if name.startswith(("exercises/", "solutions/")):
                why += ": `make build` writes it again"
        else:
            why = f"{name} cannot be read: {error.strerror or error}"
        raise CourseError(why) from None


def _decoded(data: bytes) -> tuple[str, list[str]]:
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    problems = ["it was saved as UTF-16: save it as UTF-8"] if wide else []
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace")
        problems = ["it is not UTF-8 text: save it as UTF-8"]
    return text.replace("\r\n", "\n").replace("\r", "\n"), problems


def _salvaged_cells(text: str) -> list[dict[str, Any]]:
    """Every complete cell in the text of a damaged notebook."""
    decoder, cells, at, too_deep = json.JSONDecoder(strict=False), [], 0, 0
    while (at := text.find("{", at)) >= 0 and too_deep < TOO_DEEP:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        except RecursionError:
            at, too_deep = at + 1, too_deep + 1
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
    if isinstance(error, RecursionError):
        return "its JSON is nested far too deeply for a notebook: restore it from a checkpoint"
    return (
        f"it is not complete JSON ({error}): the end may be missing; restore it from a checkpoint"
    )


def _text(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source or "")


def _format(raw: dict[str, Any], problems: list[str]) -> int:
    """The number in "nbformat"; a wrong type is a problem, and read as what it must mean."""
    number = raw.get("nbformat", 4)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    problems.append(
        f'"nbformat" is {number!r} and should be a number such as 4: Jupyter may refuse the file'
    )
    return int(number) if isinstance(number, str) and number.strip() in ("2", "3") else 4


def _notebook_sources(text: str) -> tuple[list[str], list[str]]:
    """(code of every code cell, problems) of a notebook's text."""
    problems: list[str] = []
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError("it is not a notebook")
    except (ValueError, TypeError, RecursionError) as error:
        problems.append(_damage(text, error))
        found = _salvaged_cells(text)
        if found:
            problems.append(f"{len(found)} whole cells could be read all the same")
        raw = {"nbformat": 4, "cells": found}
    if (version := _format(raw, problems)) < 4:
        import nbformat

        try:
            raw = nbformat.convert(nbformat.from_dict({**raw, "nbformat": version}), 4)
        except Exception as error:
            problems.append(f"it has the old format {version} and can't be converted: {error}")
    cells = raw.get("cells")
    if not isinstance(cells, list):
        problems.append("it has no list of cells")
        cells = []
    good = [c for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"]
    return [_text(c.get("source", c.get("input"))) for c in good], problems


def _script_cells(name: str, text: str) -> list[Cell]:
    """The `# %%` cells of a Python file (the whole of a plain one), lines counted in the file."""
    cells: list[Cell] = []
    lines, start, code = text.split("\n"), 0, True
    for at, line in enumerate([*lines, "# %%"]):
        if MARKER.match(line):
            if code and any(map(str.strip, lines[start:at])):
                cells.append(
                    Cell(len(cells) + 1, name, "\n" * start + "\n".join(lines[start:at]) + "\n")
                )
            start, code = at, not ("[markdown]" in line or "[raw]" in line or "[md]" in line)
    return cells


def read_cells(path: Path) -> tuple[list[Cell], list[str]]:
    """(code cells, problems) of a notebook or a .py file."""
    text, problems = _decoded(read_bytes(path))
    if path.suffix == ".ipynb":
        sources, more = _notebook_sources(text)
        cells = [Cell(i, f"code cell {i}", source) for i, source in enumerate(sources, 1)]
        return cells, problems + more
    if path.suffix == ".py":
        return _script_cells(path.name, text), problems
    raise CourseError(f"{path.name}: an .ipynb or .py file is expected")
