"""Predictions: a number or one of the choices, in whatever form the learner wrote it."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from utils.course import Exercise
from utils.grading.mistakes import Named, sentence


def plain_value(value: Any) -> Any:
    """A prediction as a plain number or text: NumPy's numbers and one-element tensors, too."""
    if isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "size", None) == 1 or getattr(value, "numel", lambda: 0)() == 1:
        return value.item()
    return float(value) if isinstance(value, Real) else value


def bad_prediction(exercise: Exercise, value: object) -> str:
    """Why a prediction cannot be graded, or an empty text."""
    given = plain_value(value)
    said = f"{exercise.name} = {given!r}"
    if exercise.choices:
        if isinstance(given, str) and given in exercise.choices:
            return ""
        loose = " ".join(given.split()).casefold() if isinstance(given, str) else None
        meant = [c for c in exercise.choices if " ".join(c.split()).casefold() == loose]
        if meant:
            return f"{said}: write it exactly as {meant[0]!r} (spaces and capitals count)"
        return f"{said}: choose one of {', '.join(map(repr, exercise.choices))}"
    if isinstance(given, str) and given.strip():
        return f"{said}: that is a text; give the number without quotes"
    if isinstance(given, bool) or not isinstance(given, int | float):
        return f"{said}: give a number"
    return "" if math.isfinite(given) else f"{said}: give a finite number"


def named_prediction(mistakes: Mapping[str, Callable[..., Any]], value: object) -> Named | None:
    """The mistake whose value (within 5 % for numbers) the learner predicted."""
    for name, wrong in mistakes.items():
        guess = wrong()
        near = isinstance(guess, int | float) and isinstance(value, int | float)
        if guess == value or (near and abs(guess - value) <= 0.05 * abs(guess)):
            return Named(name, sentence(wrong))
    return None
