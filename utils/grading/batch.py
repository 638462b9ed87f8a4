"""Check whole files: the learner's definitions run in a child process with time and memory limits.

The child writes one line of JSON per exercise. If it dies or hangs, the exercise that was
running gets the verdict and a new child goes on with the next.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.course import ROOT, CourseError, Exercise, Section, find_section, no_exercise
from utils.grading.learner import blanks

START_S = 120.0  # for a child to import torch and the section, on a slow disk
EXERCISE_S = 90.0  # for all tests of one exercise
MEMORY_GB = 8  # above what the imports need


@dataclass
class SectionReport:
    """All verdicts of one section, and what was wrong with the file."""

    section: Section
    path: str
    results: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def answer_file(section: Section, against: str) -> Path | None:
    """The file that `against` names for a section; None stands for the reference itself."""
    if against == "reference":
        return None
    if against in ("exercises", "solutions"):
        return section.answers() if against == "exercises" else section.notebook(against)
    path = Path(against).resolve()
    if not path.exists():
        raise CourseError(
            f"there is no file {against!r}; --against takes exercises, solutions, reference,"
            " an .ipynb or a .py file"
        )
    return path


def _died(exercise: Exercise, verdict: str, message: str) -> dict[str, Any]:
    return {
        "id": exercise.id, "function": exercise.name, "section": exercise.section,
        "verdict": verdict, "expected": 0, "run": 0, "message": message, "first_failure": None,
        "mistake": None, "advice": "", "tests": [],
    }  # fmt: skip


def _why(code: int | None, killed: bool) -> tuple[str, str]:
    """(verdict, text) for a child that did not come to its end."""
    if killed:
        return (
            "TIMEOUT",
            "the check did not end in time, not even when interrupted: is there an endless loop?",
        )
    if code is not None and code < 0:
        names = {
            9: "it was killed from outside, most likely because memory ran out",
            11: "a segmentation fault",
            15: "it was asked to end (SIGTERM)",
        }
        return "ERROR", f"your code ended the process: {names.get(-code, f'signal {-code}')}"
    return "ERROR", f"your code ended the process (exit status {code})"


def _child(request: dict[str, Any], out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "utils.grading.worker", json.dumps(request), str(out)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    quiet = subprocess.DEVNULL  # what a learner's code prints is captured and reported by the child
    return subprocess.Popen(
        command, env=env, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def _lines(child: subprocess.Popen[bytes], out: Path) -> Iterator[dict[str, Any]]:
    """The child's reports as they come; ends when it ends, or with `killed` when it is overdue."""
    deadline, read = time.monotonic() + START_S, 0
    while True:
        ended = child.poll() is not None
        lines = out.read_bytes().splitlines(keepends=True) if out.exists() else []
        for line in lines[read:]:
            if line.endswith(b"\n"):
                read += 1
                deadline = time.monotonic() + EXERCISE_S
                yield _parsed(line)
        if ended:
            return
        if time.monotonic() > deadline:
            _kill(child)
            yield {"killed": True}
            return
        time.sleep(0.02)


def _parsed(line: bytes) -> dict[str, Any]:
    """One line of a child; empty where it is no report of ours: learners' code may write, too."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, 9)
        else:
            child.kill()
    except ProcessLookupError:
        pass
    child.wait()


def check_section(
    section: Section, against: str = "exercises", only: str | None = None, device: str = "cpu"
) -> SectionReport:
    """Verdicts for a section's exercises (or only one) on the code that `against` names.

    A blank needs no child process: it is unattempted.
    """
    path = answer_file(section, against)
    todo = [e for e in section.exercises if only in (None, e.id, e.name)]
    report, order = SectionReport(section, str(path or section.source)), [e.id for e in todo]
    empty = blanks(path, section) if path else set()
    for exercise in [e for e in todo if e.name in empty]:
        report.results.append(_died(exercise, "UNATTEMPTED", "not written yet"))
        report.results[-1]["expected"] = _count_tests(exercise, section)
    todo = [e for e in todo if e.name not in empty]
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(len(todo) + 1):
            if not todo:
                break
            todo = _one_child(report, path, todo, device, Path(folder) / f"{attempt}.jsonl")
    report.results.sort(key=lambda r: order.index(r["id"]))
    return report


def _count_tests(exercise: Exercise, section: Section) -> int:
    """Test functions of an exercise, read from the file; cases of one test count once."""
    tree = ast.parse(section.test_file().read_text())
    names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    return sum(n.startswith(f"test_{exercise.name}__") for n in names)


def _one_child(
    report: SectionReport, path: Path | None, todo: list[Exercise], device: str, out: Path
) -> list[Exercise]:
    """Let one child check as many of `todo` as it can; return those still to do."""
    request = {
        "section": report.section.path, "file": str(path) if path else None, "device": device,
        "exercises": [e.id for e in todo], "memory_gb": MEMORY_GB,
    }  # fmt: skip
    child, running = _child(request, out), 0
    loading, killed = "", False
    try:
        for line in _lines(child, out):
            loading = line.get("loading", loading)
            killed = killed or "killed" in line
            if "problems" in line:
                report.problems, loading = line["problems"], ""
            elif running < len(todo) and line.get("id") == todo[running].id:
                report.results.append(line)
                running += 1
    finally:
        _kill(child)
    if running == len(todo):
        return []
    verdict, message = _why(child.returncode, killed)
    if loading and not running:  # before the first exercise: no other child would come further
        message = f"{loading}, while the definitions were read: {message}"
        report.problems.append(message)
        report.results += [_died(e, verdict, message) for e in todo]
        return []
    report.results.append(_died(todo[running], verdict, message))
    return todo[running + 1 :]


def check_all(
    sections: list[Section], against: str, device: str, only: str | None = None
) -> Iterator[SectionReport]:
    """Section after section."""
    for section in sections:
        yield check_section(section, against, only, device)


def find_target(
    target: str | None, all_sections: list[Section]
) -> tuple[list[Section], str | None]:
    """(sections, exercise or None) named on the command line."""
    if target is None:
        return all_sections, None
    for section in all_sections:
        if found := section.exercise(target):
            return [section], found.id
    if any(target.startswith(s.number + ".") for s in all_sections):
        raise CourseError(no_exercise(target))
    return [find_section(target)], None
