"""From an exception to a few lines that a learner can use: their own line, no traceback."""

import linecache
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from utils.grading.implementation import Call
from utils.grading.learner import BrokenCell
from utils.grading.limits import OutOfTime
from utils.testing import CheckFailed, describe

# what Python says where arguments and parameters do not fit
WRONG_CALL = re.compile(r"\(\) (takes|missing|got an unexpected|got multiple)")


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


def explain_error(
    error: BaseException, home: Mapping[str, Any], calls: list[Call]
) -> tuple[str, str]:
    """(status, text) of an exception, with the learner's own line and no traceback."""
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
    if isinstance(error, NotImplementedError) and where:
        return "UNATTEMPTED", "not written yet"
    if isinstance(error, pytest.skip.Exception | pytest.exit.Exception | pytest.xfail.Exception):
        return "ERROR", "your code ended the test by itself (skip, exit or xfail): remove that"
    if isinstance(error, SystemExit):
        return "ERROR", "your code called exit(): return a value instead"
    if where:
        at = f"your code raised an error in line {where.number} of {where.function}"
        return "ERROR", f"{at}:\n    {where.text}\n{what}"
    if isinstance(error, AssertionError):
        return "FAIL", shortened(str(error)) or "the property does not hold"
    if isinstance(error, NameError) and "is not defined: was its cell" in str(error):
        return "ERROR", str(error)
    did = calls[-1].did if calls else None
    if did and did.error is TypeError and WRONG_CALL.search(str(error)):
        return "ERROR", (
            "your function does not take the arguments that the exercise gives it: keep its "
            f"parameters, their names and their order\n{what}"
        )
    returned = f" Your function returned {describe(did.result)}." if did and not did.error else ""
    return "ERROR", f"the test could not use what came back.{returned}\n{what}"
