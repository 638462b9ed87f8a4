"""From an exception to a few lines that a learner can use: their own line, no traceback."""

import dis
import linecache
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from utils.grading.axes import shapes_of
from utils.grading.implementation import Call, Undefined
from utils.grading.learner import BrokenCell
from utils.grading.limits import OutOfTime
from utils.testing import CheckFailed, describe

# what torch and einops raise where shapes do not fit together
SHAPE_ERRORS = (RuntimeError, ValueError, IndexError)


@dataclass(frozen=True)
class _Line:
    """A line of the learner's own code."""

    number: int  # within its function
    function: str
    text: str


def _their_line(error: BaseException, home: Mapping[str, Any]) -> _Line | None:
    """The deepest line of the learner's own code in the traceback."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals is home:
            code = frame.f_code
            text = linecache.getline(code.co_filename, line, frame.f_globals).strip()
            found = _Line(line - code.co_firstlineno + 1, code.co_name, text)
    return found


def shortened(text: str, lines: int = 4, width: int = 300) -> str:
    """The first lines of a text, cut to `width`."""
    kept = [line[:width] for line in text.strip().splitlines() if line.strip()]
    return "\n".join(kept[:lines] + (["…"] if len(kept) > lines else []))


def _shapes(error: BaseException, where: _Line, call: Call, fn: Callable[..., Any]) -> str:
    """The shapes that met in a line of the learner's that torch could not execute."""
    deliberate = where.text.startswith(("raise ", "assert "))
    if deliberate or not isinstance(error, SHAPE_ERRORS):
        return ""
    shapes = shapes_of(fn, call.args, call.kwargs)
    product = "@" in where.text or "matmul" in where.text
    batched = any(getattr(a, "ndim", 0) > 2 for a in call.args)
    advice = (
        "\n`@` multiplies the last two axes and pairs all others from the right, whatever they"
        " mean: name them in an `einsum`."
    )
    return (f"\nHere {shapes}." if shapes else "") + (advice if product and batched else "")


def _is_stub(error: BaseException, home: Mapping[str, Any]) -> bool:
    """Whether a `raise` in the learner's own code raised it; torch has errors of this type, too."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None or tb.tb_frame.f_globals is not home:
        return False
    return tb.tb_frame.f_code.co_code[tb.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def explain_error(
    error: BaseException,
    home: Mapping[str, Any],
    calls: list[Call],
    reference: Callable[..., Any] | None = None,
) -> tuple[str, str]:
    """(status, text) of an exception, with the learner's own line and no traceback.

    `reference` lends its annotations: the names of the axes.
    """
    if isinstance(error, OutOfTime):
        return (
            "TIMEOUT",
            "it did not end in time: is there a loop that never stops, or far too much work?",
        )
    if isinstance(error, CheckFailed):
        return "FAIL", str(error)
    if isinstance(error, BrokenCell):
        return "ERROR", str(error)
    where, what = _their_line(error, home), shortened(f"{type(error).__name__}: {error}")
    if isinstance(error, NotImplementedError) and _is_stub(error, home):
        return "UNATTEMPTED", "not written yet"
    if isinstance(error, pytest.skip.Exception | pytest.exit.Exception | pytest.xfail.Exception):
        return "ERROR", "your code ended the test by itself (skip, exit or xfail): remove that"
    if isinstance(error, SystemExit):
        return "ERROR", "your code called exit(): return a value instead"
    if where:
        at = f"your code raised an error in line {where.number} of {where.function}"
        shapes = _shapes(error, where, calls[-1], reference) if calls and reference else ""
        return "ERROR", f"{at}:\n    {where.text}\n{what}{shapes}"
    if isinstance(error, AssertionError):
        return "FAIL", shortened(str(error)) or "the property does not hold"
    if isinstance(error, Undefined):
        return "ERROR", str(error)
    did = calls[-1].did if calls else None
    if did and not did.entered:
        return "ERROR", (
            "your function does not take the arguments that the exercise gives it: keep its "
            f"parameters, their names and their order\n{what}"
        )
    returned = f" Your function returned {describe(did.out)}." if did and not did.error else ""
    return "ERROR", f"the test could not use what came back.{returned}\n{what}"
