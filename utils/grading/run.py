"""The core: run one exercise's tests on somebody's code and say what came out.

The notebook's `check`, the command line and the repository's own tests all come through
`run_exercise`.
"""

import contextlib
import inspect
import io
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from types import SimpleNamespace
from typing import Any

import pytest

from utils.course import ROOT, Exercise, Section, find_section
from utils.grading.evidence import gather
from utils.grading.explain import explain_error, shortened
from utils.grading.implementation import Call, Implementation
from utils.grading.limits import no_process_exit, time_limit
from utils.grading.mistakes import Named, mistakes_of, name_mistake, named_prediction
from utils.grading.results import Result, TestOutcome
from utils.testing import shifted

IMPL = pytest.StashKey[Implementation]()
RESULT = pytest.StashKey[SimpleNamespace]()
DEVICE = pytest.StashKey[str]()
LIMIT_S = 10.0  # per test; a right answer takes milliseconds, a slow laptop gets a wide margin
AFTER_TIMEOUT_S = 1.0  # for the exercise's other tests, once one has run out of time
NAMING_S = 10.0  # to find out which mistake it is
SEEDS = range(100_000, 1_000_000)  # where other random numbers begin; the course's own begin at 0

QUIET = [
    "-q",
    "--tb=no",
    "--capture=sys",
    "--rootdir",
    str(ROOT),
    "-c",
    str(ROOT / "tests" / "learner.ini"),
]
NO_PLUGINS = [
    "cacheprovider",
    "warnings",
    "doctest",
    "junitxml",
    "unittest",
    "faulthandler",
    "unraisableexception",
    "threadexception",
    "logging",
    "pastebin",
    "stepwise",
    "debugging",
    "setuponly",
    "setupplan",
]  # seconds saved


class _Session:
    """A pytest plugin: gives tests `impl`, keeps one exercise's tests, collects what happened."""

    def __init__(self, prefix: str, device: str, seconds: float) -> None:
        self.prefix, self.device, self.seconds = prefix, device, seconds
        self.only: set[str] | None = None
        self.impl: Implementation | None = None
        self.reference: Callable[..., Any] | None = None
        self.draws: list[int] = []  # the seeds that the tests have asked for
        self.drawn = 0  # how many of them before this test
        self.drawing: set[str] = set()  # tests that draw numbers
        self.result: SimpleNamespace | None = None
        self.home: Mapping[str, Any] = {}
        self.expected = 0
        self.outcomes: list[TestOutcome] = []
        self.printed: list[str] = []
        self.problems: list[str] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[DEVICE] = self.device
        if self.impl is not None:
            config.stash[IMPL] = self.impl
        if self.result is not None:
            config.stash[RESULT] = self.result

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [
            i
            for i in items
            if getattr(i, "originalname", i.name).startswith(self.prefix)
            and (self.only is None or i.name in self.only)
        ]
        self.expected = len(items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(shortened(report.longreprtext, 12))

    def pytest_internalerror(self, excrepr: object) -> None:
        self.problems.append(str(excrepr)[-600:])

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self) -> Iterator[None]:
        late = any(t.status == "TIMEOUT" for t in self.outcomes)
        with time_limit(min(self.seconds, AFTER_TIMEOUT_S) if late else self.seconds):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        report = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo):
            self._record(item, call)
        if call.when == "teardown":
            self.printed += [text for _, kind, text in item._report_sections if "std" in kind]
        return report

    def _record(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        calls = list(self.impl.calls) if self.impl else []
        if self.impl:
            self.impl.calls.clear()
        title = (
            (getattr(item, "obj", item).__doc__ or item.name).strip().splitlines()[0].rstrip(".")
        )
        status, message = "PASS", ""
        if call.excinfo:
            status, message = explain_error(call.excinfo.value, self.home, calls, self.reference)
        if len(self.draws) > self.drawn or "seed" in getattr(item, "fixturenames", ()):
            self.drawing.add(item.name)
        self.drawn = len(self.draws)
        self.outcomes.append(TestOutcome(item.name, title, status, message, tuple(calls)))


def _run_session(file: str, session: _Session) -> None:
    """Run pytest in this process, silently; what it found is in `session`."""
    args = [file, *QUIET, *(word for name in NO_PLUGINS for word in ("-p", f"no:{name}"))]
    before = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
        "1"  # plugins of the environment cost half of a check
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            with no_process_exit():
                pytest.main(args, plugins=[session])
    finally:
        if before is None:
            del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        else:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = before


def run_tests(
    section: Section,
    exercise: Exercise,
    names: Mapping[str, Any],
    device: str = "cpu",
    seconds: float = LIMIT_S,
    seed: int = 0,
    only: set[str] | None = None,
) -> _Session:
    """Run an exercise's tests (or `only` some) on `names`; return the raw session.

    `seed` moves every random number of the tests; 0 are those that the repository is tested on.
    """
    session = _Session(f"test_{exercise.name}__", device, seconds)
    session.impl, session.only = Implementation(names, exercise.name), only
    if exercise.kind == "function":
        session.reference = getattr(section.reference(), exercise.name)
    target = names.get(exercise.name)
    session.home = getattr(inspect.unwrap(target), "__globals__", {}) if callable(target) else {}
    with shifted(seed) as session.draws:
        _run_session(str(section.test_file()), session)
    return session


def _verdict(session: _Session) -> str:
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


def _result(exercise: Exercise, session: _Session, seed: int | None) -> Result:
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
    section = section or find_section(exercise.section)
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
    section: Section, exercise: Exercise, mine: Any, session: _Session, seed: int
) -> Named | None:
    """Which mistake explains what the session saw; None also where the search itself fails.

    The learner's function runs again here, outside of pytest: whatever it throws (`sys.exit`, a
    skip, an object that no comparison survives), the verdict stands without a name.
    """
    with contextlib.suppress(BaseException), no_process_exit(), time_limit(NAMING_S):
        return explained(section, exercise, mine, session, seed)
    return None


def explained(
    section: Section, exercise: Exercise, mine: Any, session: _Session, seed: int
) -> Named | None:
    """Which mistake explains what the session saw, or None."""
    mistakes = mistakes_of(section, exercise)
    if exercise.kind == "prediction":
        return named_prediction(mistakes, mine)
    if not callable(mine):
        return None
    reference = section.reference()
    right = getattr(reference, exercise.name)
    theirs = run_tests(section, exercise, vars(reference), session.device, seed=seed)
    cases = gather(mine, right, _calls(session.outcomes), _calls(theirs.outcomes))
    return name_mistake(mine, right, mistakes, cases)


def _calls(outcomes: Sequence[TestOutcome]) -> list[Call]:
    return [call for outcome in outcomes for call in outcome.calls]


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
        if given in exercise.choices:
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


def run_experiment(
    section: Section, name: str, result: SimpleNamespace, device: str = "cpu"
) -> _Session:
    """Run an experiment's claim tests on a learner's own trained result."""
    session = _Session(f"test_{name}__", device, LIMIT_S)
    session.result = result
    _run_session(str(section.test_file("test_claims")), session)
    return session
