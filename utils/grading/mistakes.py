"""The known mistakes of an exercise, and which of them a learner's code behaves like."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from utils.course import CourseError, Exercise, Section
from utils.grading.evidence import Case, agrees
from utils.grading.implementation import same
from utils.grading.law import same_law, without_generator
from utils.grading.probes import probed
from utils.grading.substitutes import as_if


class Named(NamedTuple):
    """A mistake, `toy_forward__no_relu` or `general:detached`, and its sentence."""

    name: str
    advice: str


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


def mistakes_of(section: Section, exercise: Exercise) -> dict[str, Callable[..., Any]]:
    """Name -> function, for every known mistake of an exercise, in the order of the file."""
    module = load_file(section, "mistakes")
    prefix = f"{exercise.name}__"
    return {n: f for n, f in vars(module).items() if n.startswith(prefix)} if module else {}


def sentence(fn: Callable[..., Any]) -> str:
    """A mistake's docstring as one paragraph."""
    return " ".join((inspect.getdoc(fn) or "").split())


def _everywhere(mistake: Callable[..., Any], cases: Sequence[Case]) -> bool:
    """Whether the learner did what `mistake` does on all calls, types and gradients included."""
    return all(same(case.did, case.call.replay(mistake)) for case in cases)


def _in_values(mistake: Callable[..., Any], cases: Sequence[Case]) -> bool:
    """Whether the learner's values are the mistake's on every call that should return something.

    A second fault (no error for a bad argument, another type, a cut gradient) may lie on top.
    """
    regular = [c for c in cases if not c.right.error]
    returned = [c for c in regular if c.value is not None]
    if len(returned) < max(2, len(regular) / 2):
        return False
    replays = [(case, case.call.replay(mistake)) for case in returned]
    return all(agrees(case, did) for case, did in replays)


def name_mistake(
    fn: Callable[..., Any],
    right: Callable[..., Any],
    mistakes: dict[str, Callable[..., Any]],
    cases: Sequence[Case],
) -> Named | None:
    """What `fn` does wrong, where that is certain, or None.

    First the exercise's own mistake that does the same on every call; then a general fault that
    explains every call; then the only own mistake with the same values on every call; then an
    argument that is as if it were another; and for random functions the only one with the same law.
    """
    wrong = [case for case in cases if case.differs]
    if not wrong:
        return None
    for name, mistake in mistakes.items():
        if _everywhere(mistake, cases):
            return Named(name, sentence(mistake))
    if found := probed(cases, right):
        return Named(*found)
    alike = [name for name, mistake in mistakes.items() if _in_values(mistake, cases)]
    shown = [c for c in wrong if not c.right.error and c.value is not None]
    if len(alike) == 1 and any(not agrees(c, c.right) for c in shown):
        return Named(alike[0], sentence(mistakes[alike[0]]))
    if said := as_if(wrong, cases):
        return Named("general:argument", said)
    if "gen" in inspect.signature(right).parameters:
        if law := same_law(fn, right, mistakes, cases):
            return Named(law, sentence(mistakes[law]))
        if said := without_generator(fn, right, cases):
            return Named("general:generator", said)
    return None


def named_prediction(mistakes: dict[str, Callable[..., Any]], value: object) -> Named | None:
    """The mistake whose value (within 5 % for numbers) the learner predicted."""
    for name, wrong in mistakes.items():
        guess = wrong()
        near = isinstance(guess, int | float) and isinstance(value, int | float)
        if guess == value or (near and abs(guess - value) <= 0.05 * abs(guess)):
            return Named(name, sentence(wrong))
    return None
