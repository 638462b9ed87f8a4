"""A section stays within one sitting, and every axis has one name."""

import ast
import re

import pytest

from utils.course import ROOT, Section, sections

MOST_LINES, MOST_MINUTES = 1100, 210
SHAPED = {"Float", "Int", "Bool", "Shaped", "Num"}
CODE = [p for room in ("part3*", "utils", "tools") for p in sorted(ROOT.glob(f"{room}/**/*.py"))]


def axes_allowed() -> set[str]:
    """The list of CONTRIBUTING.md: the code blocks behind "Axes have one name each"."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    block = re.search(r"Axes have one name each:\s+`([^`]*)`(?:[^`]*`([^`]*)`)?", text)
    assert block
    return set(" ".join(part or "" for part in block.groups()).split())


def axes_used() -> dict[str, str]:
    """Axis -> a file that uses it, from the annotations."""
    found = {}
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
                continue
            name, shape = getattr(node.value, "id", ""), node.slice.elts[-1]
            if name in SHAPED and isinstance(shape, ast.Constant):
                for axis in str(shape.value).split():
                    plain = re.sub(r"^[*#]+|[+-].*$|=.*$", "", axis)
                    if plain.isidentifier() and plain != "_":
                        found[plain] = path.relative_to(ROOT).as_posix()
    return found


def test_every_axis_of_an_annotation_is_on_the_list():
    used, allowed = axes_used(), axes_allowed()
    unknown = {axis: file for axis, file in used.items() if axis not in allowed}
    assert not unknown, f"give these axes a name of CONTRIBUTING.md's list, or add it: {unknown}"
    assert not allowed - set(used), f"nobody uses {sorted(allowed - set(used))}: leave it out"


@pytest.mark.parametrize("section", sections(), ids=lambda s: s.number)
def test_a_section_fits_one_sitting(section: Section):
    lines = len(section.source.read_text().splitlines())
    minutes = sum(e.minutes for e in section.exercises)
    assert lines <= MOST_LINES, f"{section.path} has {lines} lines: split it"
    assert minutes <= MOST_MINUTES, f"{section.path} takes {minutes} minutes: split it"
