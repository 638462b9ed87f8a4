"""The known mistakes of an exercise, and which of them a learner's code behaves like."""

import contextlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from utils.course import CourseError, Exercise, Section, find_section
from utils.grading.implementation import Call, same
from utils.grading.limits import OutOfTime, no_process_exit, time_limit
from utils.grading.results import TestOutcome

REPLAY_S = 10.0  # for all calls of one exercise through one mistake


def load_file(section: Section, kind: str) -> ModuleType | None:
    """The section's `mistakes` or `test_claims` file as a module, or None where there is none."""
    path, name = section.test_file(kind), f"course_{kind}_{section.stem}"
    if not path.exists():
        return None
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise CourseError(f"{path.name} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def mistakes_of(exercise: Exercise) -> dict[str, Callable[..., Any]]:
    """Name -> function, for every known mistake of an exercise, in the order of the file."""
    module = load_file(find_section(exercise.section), "mistakes")
    prefix = f"{exercise.name}__"
    return {n: f for n, f in vars(module).items() if n.startswith(prefix)} if module else {}


def sentence(fn: Callable[..., Any]) -> str:
    """A mistake's docstring as one paragraph."""
    return " ".join((inspect.getdoc(fn) or "").split())


def _matches(mistake: Callable[..., Any], reference: Callable[..., Any], calls: list[Call]) -> bool:
    """Whether the learner did what `mistake` does on all `calls`, and not always what is right."""
    differs = False
    for call in calls:
        if not same(call.did, call.replay(mistake)):
            return False
        differs = differs or not same(call.did, call.replay(reference))
    return differs


def name_mistake(
    exercise: Exercise,
    outcomes: Sequence[TestOutcome],
    rerun: Callable[[Callable[..., Any]], Sequence[TestOutcome]],
) -> str | None:
    """The known mistake that behaves as the code under test did, or None.

    First one that agrees on every recorded call, then one that agrees on all calls of the first
    failing test. Random functions may draw in their own order, so for them also the only one that
    fails exactly the same tests (`rerun` gives the outcomes of another function).
    """
    mistakes = mistakes_of(exercise)
    right = getattr(find_section(exercise.section).reference(), exercise.name)
    calls = [c for t in outcomes for c in t.calls]
    failed = [t for t in outcomes if t.status != "PASS"]
    failing = next((list(t.calls) for t in failed if t.status != "TIMEOUT"), [])
    for group in (calls, failing):
        for name, mistake in mistakes.items():
            with contextlib.suppress(OutOfTime), no_process_exit(), time_limit(REPLAY_S):
                if group and _matches(mistake, right, group):
                    return name
    if "gen" not in inspect.signature(right).parameters:
        return None
    mine = {t.name for t in failed}
    alike = [
        name
        for name, mistake in mistakes.items()
        if {t.name for t in rerun(mistake) if t.status != "PASS"} == mine
    ]
    return alike[0] if len(alike) == 1 else None


def named_prediction(exercise: Exercise, value: object) -> str | None:
    """The mistake whose value (within 5 % for numbers) the learner predicted."""
    for name, wrong in mistakes_of(exercise).items():
        guess = wrong()
        near = isinstance(guess, int | float) and isinstance(value, int | float)
        if guess == value or (near and abs(guess - value) <= 0.05 * abs(guess)):
            return name
    return None
