"""One run of pytest in this process, silently, on one exercise's tests."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from utils.course import ROOT
from utils.grading.explain import explain_error, shortened
from utils.grading.implementation import Implementation
from utils.grading.limits import no_process_exit, time_limit
from utils.grading.results import TestOutcome

IMPL = pytest.StashKey[Implementation]()
RESULT = pytest.StashKey[SimpleNamespace]()
DEVICE = pytest.StashKey[str]()
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


class Session:
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
        """Hand the fixtures what they need."""
        config.stash[DEVICE] = self.device
        if self.impl is not None:
            config.stash[IMPL] = self.impl
        if self.result is not None:
            config.stash[RESULT] = self.result

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the exercise's own tests."""
        items[:] = [
            i
            for i in items
            if getattr(i, "originalname", i.name).startswith(self.prefix)
            and (self.only is None or i.name in self.only)
        ]
        self.expected = len(items)
        for item in items:  # nobody reads pytest's own account of a failure, and it takes its time
            item.repr_failure = lambda *_args, **_kwargs: ""  # type: ignore[method-assign]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a test file that cannot be read."""
        if report.failed:
            self.problems.append(shortened(report.longreprtext, 12))

    def pytest_internalerror(self, excrepr: object) -> None:
        """Note a fault of pytest's own."""
        self.problems.append(str(excrepr)[-600:])

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self) -> Iterator[None]:
        """Give each test its time, and little after one that used it up."""
        late = any(t.status == "TIMEOUT" for t in self.outcomes)
        with time_limit(min(self.seconds, AFTER_TIMEOUT_S) if late else self.seconds):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Record each test once."""
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


def run_session(file: str, session: Session) -> None:
    """Run pytest in this process, silently; what it found is in `session`."""
    args = [file, *QUIET, *(word for name in NO_PLUGINS for word in ("-p", f"no:{name}"))]
    args += ["-o", f"python_functions={session.prefix}*"]  # the rest of the file is not collected
    with pytest.MonkeyPatch.context() as environment:
        # plugins cost half of a check, and the user's own options are for their own tests
        environment.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            environment.delenv(name, raising=False)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            with no_process_exit():
                pytest.main(args, plugins=[session])
