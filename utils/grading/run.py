"""The core: run one exercise's tests on somebody's code and say what came out.

The notebook's `check`, the command line and the repository's own tests all come through
`run_exercise`.
"""

import contextlib
import inspect
import io
import os
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from utils.course import ROOT, Exercise, Section, find_section
from utils.grading.explain import explain_error, shortened
from utils.grading.implementation import Implementation
from utils.grading.limits import no_process_exit, time_limit
from utils.grading.mistakes import mistakes_of, name_mistake, named_prediction, sentence
from utils.grading.results import Result, TestOutcome

IMPL = pytest.StashKey[Implementation]()
RESULT = pytest.StashKey[SimpleNamespace]()
DEVICE = pytest.StashKey[str]()
LIMIT_S = 10.0  # per test; a right answer takes milliseconds, a slow laptop gets a wide margin
AFTER_TIMEOUT_S = 1.0  # for the exercise's other tests, once one has run out of time

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
        self.impl: Implementation | None = None
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
        items[:] = [i for i in items if getattr(i, "originalname", i.name).startswith(self.prefix)]
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
            status, message = explain_error(call.excinfo.value, self.home, calls)
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
    exercise: Exercise, names: Mapping[str, Any], device: str = "cpu", seconds: float = LIMIT_S
) -> _Session:
    """Run an exercise's tests on `names` and return the raw session."""
    session = _Session(f"test_{exercise.name}__", device, seconds)
    session.impl = Implementation(names, exercise.name)
    target = names.get(exercise.name)
    session.home = getattr(inspect.unwrap(target), "__globals__", {}) if callable(target) else {}
    _run_session(str(find_section(exercise.section).test_file()), session)
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


def _is_reference(exercise: Exercise, value: object) -> bool:
    reference = find_section(exercise.section).reference()
    return exercise.kind == "function" and value is getattr(reference, exercise.name)


def run_exercise(
    exercise: Exercise, names: Mapping[str, Any], device: str = "cpu", seconds: float = LIMIT_S
) -> Result:
    """Test `names[exercise.name]`; on failure look for the known mistake.

    `names` holds what the learner defined; what they did not write should be the reference's.
    """
    reference = find_section(exercise.section).reference()
    mine = names.get(exercise.name, getattr(reference, exercise.name))
    if mine is Ellipsis or (_is_reference(exercise, mine) and names is not vars(reference)):
        session = run_tests(exercise, {**names, exercise.name: not_written}, device, seconds)
        return Result(exercise, "UNATTEMPTED", session.expected, 0, "not written yet")
    if exercise.kind == "prediction" and (problem := bad_prediction(exercise, mine)):
        return Result(exercise, "ERROR", 0, 0, problem)
    session = run_tests(exercise, names, device, seconds)
    verdict = _verdict(session)
    outcomes, printed = tuple(session.outcomes), "".join(session.printed)
    first = next((t for t in outcomes if t.status != "PASS"), None)
    message = first.message if first else ""
    if session.problems:
        message = f"the course's own tests could not be read:\n{session.problems[0]}"
    elif len(outcomes) != session.expected:
        message = f"only {len(outcomes)} of {session.expected} tests came to an end (interrupted?)"
    elif not outcomes:
        message = "this exercise has no tests: that is a defect of the course"
    mistake = None
    if verdict in ("FAIL", "ERROR") and outcomes:
        mistake = _known_mistake(exercise, mine, session, names)
    advice = sentence(mistakes_of(exercise)[mistake]) if mistake else ""
    return Result(
        exercise,
        verdict,
        session.expected,
        len(outcomes),
        message,
        mistake,
        advice,
        outcomes,
        printed,
    )


def _known_mistake(
    exercise: Exercise, mine: object, session: _Session, names: Mapping[str, Any]
) -> str | None:
    if exercise.kind == "prediction":
        return named_prediction(exercise, mine)

    def rerun(wrong: Callable[..., Any]) -> list[TestOutcome]:
        return run_tests(exercise, {**names, exercise.name: wrong}, session.device).outcomes

    return name_mistake(exercise, session.outcomes, rerun)


def bad_prediction(exercise: Exercise, value: object) -> str:
    """Why a prediction cannot be graded, or an empty text."""
    if exercise.choices and value not in exercise.choices:
        return (
            f"{exercise.name} = {value!r}: choose one of {', '.join(map(repr, exercise.choices))}"
        )
    if not exercise.choices and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"{exercise.name} = {value!r}: give a number"
    return ""


def run_experiment(
    section: Section, name: str, result: SimpleNamespace, device: str = "cpu"
) -> _Session:
    """Run an experiment's claim tests on a learner's own trained result."""
    session = _Session(f"test_{name}__", device, LIMIT_S)
    session.result = result
    _run_session(str(section.test_file("test_claims")), session)
    return session
