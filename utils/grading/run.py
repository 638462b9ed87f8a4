"""The core: run one exercise's tests on somebody's code and say what came out.

The notebook's `check`, the command line and the repository's own tests all come through
`run_exercise`.
"""

import contextlib
import functools
import inspect
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from utils.course import Exercise, Section, find_section
from utils.grading.evidence import gather
from utils.grading.implementation import Call, Implementation
from utils.grading.limits import no_process_exit, time_limit
from utils.grading.mistakes import Named, mistakes_of, name_mistake
from utils.grading.predictions import bad_prediction, named_prediction, plain_value
from utils.grading.results import Result, TestOutcome
from utils.grading.session import Session, run_session
from utils.testing import shifted

LIMIT_S = 10.0  # per test; a right answer takes milliseconds, a slow laptop gets a wide margin
NAMING_S = 10.0  # to find out which mistake it is
SEEDS = range(100_000, 1_000_000)  # where other random numbers begin; the course's own begin at 0


def run_tests(
    section: Section,
    exercise: Exercise,
    names: Mapping[str, Any],
    device: str = "cpu",
    seconds: float = LIMIT_S,
    seed: int = 0,
    only: set[str] | None = None,
) -> Session:
    """Run an exercise's tests (or `only` some) on `names`; return the raw session.

    `seed` moves every random number of the tests; 0 are those that the repository is tested on.
    """
    session = Session(f"test_{exercise.name}__", device, seconds)
    session.impl, session.only = Implementation(names, exercise.name), only
    if exercise.kind == "function":
        session.reference = getattr(section.reference(), exercise.name)
    target = names.get(exercise.name)
    while isinstance(target, functools.partial):
        target = target.func
    session.home = getattr(inspect.unwrap(target), "__globals__", {}) if callable(target) else {}
    with shifted(seed) as session.draws:
        run_session(str(section.test_file()), session)
    return session


def _verdict(session: Session) -> str:
    statuses = [t.status for t in session.outcomes]
    if session.problems or not statuses or len(statuses) != session.expected:
        return "ERROR"
    if all(s == "UNATTEMPTED" for s in statuses):
        return "UNATTEMPTED"
    for worst in ("TIMEOUT", "FAIL", "ERROR", "UNATTEMPTED"):
        if worst in statuses:
            return "FAIL" if worst == "UNATTEMPTED" else worst
    return "PASS"


def not_written(*_args: object, **_kwargs: object) -> None:
    """Stands where a learner has no definition."""
    raise NotImplementedError


def _result(exercise: Exercise, session: Session, seed: int | None) -> Result:
    """What a session found, before anybody asks why."""
    outcomes = tuple(session.outcomes)
    first = next((t for t in outcomes if t.status != "PASS"), None)
    message = first.message if first else ""
    if session.problems:
        message = f"the course's own tests could not be read:\n{session.problems[0]}"
    elif len(outcomes) != session.expected:
        message = f"only {len(outcomes)} of {session.expected} tests came to an end (interrupted?)"
    elif not outcomes:
        message = "this exercise has no tests: that is a defect of the course"
    if first and seed:
        again = f"check({exercise.name}, seed={seed})"
        message += f"\nIt fails with seed {seed}: rerun with {again}"
    printed = "".join(session.printed)
    return Result(
        exercise, _verdict(session), session.expected, len(outcomes), message,
        tests=outcomes, printed=printed, seed=seed or None,
    )  # fmt: skip


def _merged(own: Result, other: Result) -> Result:
    """All tests once: those of the second run in the place of the first's."""
    found = {t.name: t for t in other.tests}
    tests = tuple(found.get(t.name, t) for t in own.tests)
    return replace(
        other, expected=own.expected, run=own.run, tests=tests, printed=own.printed + other.printed
    )


def run_exercise(
    exercise: Exercise,
    names: Mapping[str, Any],
    device: str = "cpu",
    seconds: float = LIMIT_S,
    *,
    seed: int | None = None,
    section: Section | None = None,
) -> Result:
    """Test `names[exercise.name]`; on failure look for the mistake.

    `names` holds what the learner defined; what they did not write should be the reference's.
    What passes on the course's own random numbers is tried once more on others, which nobody has
    seen. With a `seed` there is one run, on its numbers: 0 for the course's own, or the one that
    a verdict named.
    """
    section = (section or find_section(exercise.section)).home(exercise)
    reference = section.reference()
    right = getattr(reference, exercise.name)
    mine = names.get(exercise.name, right)
    untouched = exercise.kind == "function" and mine is right and names is not vars(reference)
    if mine is Ellipsis or untouched:
        blank = {**names, exercise.name: not_written}
        session = run_tests(section, exercise, blank, device, seconds, seed or 0)
        return Result(exercise, "UNATTEMPTED", session.expected, 0, "not written yet")
    if exercise.kind == "prediction":
        if problem := bad_prediction(exercise, mine):
            return Result(exercise, "ERROR", 0, 0, problem)
        mine, seed = plain_value(mine), 0  # its tests ask what the course's own run shows
        names = {**names, exercise.name: mine}
    session = run_tests(section, exercise, names, device, seconds, seed or 0)
    result = _result(exercise, session, seed)
    if result.verdict == "PASS" and seed is None and exercise.kind == "function":
        other = secrets.choice(SEEDS)
        if session.drawing:
            session = run_tests(section, exercise, names, device, seconds, other, session.drawing)
            again = _result(exercise, session, other)
            result = result if again.verdict == "PASS" else _merged(result, again)
    if result.verdict not in ("FAIL", "ERROR") or result.run != result.expected:
        return result
    named = _mistake(section, exercise, mine, session, result.seed or 0)
    return replace(result, mistake=named.name, advice=named.advice) if named else result


def _mistake(
    section: Section, exercise: Exercise, mine: Any, session: Session, seed: int
) -> Named | None:
    """Which mistake explains what the session saw; None also where the search itself fails.

    The learner's function runs again here, outside of pytest: whatever it throws (`sys.exit`, a
    skip, an object that no comparison survives), the verdict stands without a name.
    """
    with contextlib.suppress(BaseException), no_process_exit(), time_limit(NAMING_S):
        return explained(section, exercise, mine, session, seed)
    return None


def explained(
    section: Section, exercise: Exercise, mine: Any, session: Session, seed: int
) -> Named | None:
    """Which mistake explains what the session saw, or None."""
    mistakes = mistakes_of(section, exercise)
    if exercise.kind == "prediction":
        return named_prediction(mistakes, mine)
    if not callable(mine):
        return None
    right = getattr(section.reference(), exercise.name)
    theirs = _worked_calls(section, exercise, session.device, seed)
    cases = gather(mine, right, _calls(session.outcomes), theirs)
    return name_mistake(mine, right, mistakes, cases)


_KEPT: dict[tuple, list[Call]] = {}  # of the last exercise: its next wrong answer is named sooner


def _worked_calls(section: Section, exercise: Exercise, device: str, seed: int) -> list[Call]:
    """The calls that the tests make on the worked function; replaying them leaves them alone."""
    key = (section, exercise, device, seed)
    if key not in _KEPT:
        theirs = run_tests(section, exercise, vars(section.reference()), device, seed=seed)
        if _verdict(theirs) != "PASS":  # cut short by a time limit, perhaps: less evidence
            return _calls(theirs.outcomes)
        _KEPT.clear()
        _KEPT[key] = _calls(theirs.outcomes)
    return _KEPT[key]


def _calls(outcomes: Sequence[TestOutcome]) -> list[Call]:
    return [call for outcome in outcomes for call in outcome.calls]


def run_experiment(
    section: Section, name: str, result: SimpleNamespace, device: str = "cpu"
) -> Session:
    """Run an experiment's claim tests on a learner's own trained result."""
    session = Session(f"test_{name}__", device, LIMIT_S)
    session.result = result
    files = [lesson.test_file("test_claims") for lesson in section.lessons()]
    has = [file for file in files if file.exists() and f"def test_{name}__" in file.read_text()]
    run_session(str((has or files)[0]), session)
    return session
