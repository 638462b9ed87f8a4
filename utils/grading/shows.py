"""An exercise whose result is a picture or a table: the learner's beside the course's."""

import importlib
from collections.abc import Callable
from typing import Any

from utils.course import CourseError, Exercise, Section
from utils.grading.limits import no_process_exit, time_limit


def drawing(section: Section, exercise: Exercise) -> Callable[..., Any]:
    """The function that an exercise's `shows` names: given in its section, or in utils.plots.shown.

    It takes the learner's function and the course's and returns one figure or table of both.
    """
    own = getattr(section.home(exercise).reference(), exercise.shows, None)
    found = own or getattr(importlib.import_module("utils.plots.shown"), exercise.shows, None)
    if not callable(found):
        raise CourseError(
            f"{section.path}: {exercise.name} shows {exercise.shows!r}, which is neither given in"
            " the section nor in utils/plots/shown.py"
        )
    return found


def side_by_side(
    section: Section, exercise: Exercise, theirs: object, seconds: float = 10.0
) -> Any:
    """The drawing that `shows` names, of both functions; None where one of them fails."""
    draw, right = drawing(section, exercise), getattr(section.reference(), exercise.name)
    try:
        with time_limit(seconds), no_process_exit():
            return draw(theirs, right)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a skip or an exit, too: the verdict is to come
        return None
