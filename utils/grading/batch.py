"""Check whole files: the learner's definitions run in a child process with time and memory limits.

What is a stub, or missing, is told from the syntax, and what did not change from the last verdict:
only the rest needs a child. If the child dies or hangs, the exercise that was running gets the
verdict and a new child goes on with the next. A statement that ends the process while the file is
read is named and left out.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.course import ROOT, CourseError, Exercise, Section, find_section, no_exercise, sharing
from utils.grading import child as children
from utils.grading.child import Child, Garbage
from utils.grading.expected import expected_tests
from utils.grading.learner import Script, read_script
from utils.grading.verdicts import Verdicts

MEMORY_GB = 8  # above what the imports need
MOST_DEADLY = 3  # statements of one file that may end the process before the file is given up
VERDICTS = ("PASS", "FAIL", "ERROR", "TIMEOUT", "UNATTEMPTED")


@dataclass
class SectionReport:
    """All verdicts of one section, and what was wrong with the file."""

    section: Section
    path: str
    asked: list[Exercise] = field(default_factory=list)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the exercise's id
    problems: list[str] = field(default_factory=list)

    @property
    def results(self) -> list[dict[str, Any]]:
        """The verdicts so far, in the order of the exercises."""
        return [self.known[e.id] for e in self.asked if e.id in self.known]

    def settle(self, exercise: Exercise, verdict: str, message: str) -> None:
        """A verdict that no test has given."""
        self.known[exercise.id] = {
            "id": exercise.id, "function": exercise.name, "section": exercise.section,
            "verdict": verdict, "expected": expected_tests(self.section, exercise) or 0, "run": 0,
            "message": message, "first_failure": None, "mistake": None, "advice": "", "tests": [],
        }  # fmt: skip

    def note(self, problems: Iterable[str]) -> None:
        """Add problems, each once."""
        self.problems += [p for p in dict.fromkeys(problems) if p not in self.problems]


def answer_file(section: Section, against: str) -> Path | None:
    """The file that `against` names for a section; None stands for the reference itself."""
    if against == "reference":
        return None
    if against in ("exercises", "solutions"):
        return section.answers() if against == "exercises" else section.notebook(against)
    path = Path(against)
    if not path.exists() and not path.is_symlink():
        raise CourseError(
            f"there is no file {against!r}; --against takes exercises, solutions, reference,"
            " an .ipynb or a .py file"
        )
    return path.absolute()


def check_section(
    section: Section,
    against: str = "exercises",
    only: str | Collection[str] | None = None,
    device: str = "cpu",
    seed: int | None = None,
    verdicts: Verdicts | None = None,
    tell: Callable[[SectionReport], None] = lambda report: None,
) -> SectionReport:
    """Verdicts for a section's exercises (or only some) on the code that `against` names.

    `verdicts` holds what is known from earlier checks; `tell` sees the report as it grows. What a
    learner has answered in a route counts in its section, and the other way round.
    """
    path = answer_file(section, against)
    some = {only} if isinstance(only, str) else only
    asked = [e for e in section.exercises if some is None or {e.id, e.name} & set(some)]
    report = SectionReport(section, str(path or section.source), asked)
    keys: dict[str, str | None] = {}
    script = None
    if path is not None:
        try:
            script = read_script(path, section)
        except CourseError as error:
            for exercise in asked:
                report.settle(exercise, "ERROR", str(error))
            report.note([str(error)])
            return report
        report.note(script.problems)
        for exercise in asked:
            _without_a_child(report, script, exercise)
        if against == "exercises":
            _answered_elsewhere(report, script, device, seed, verdicts)
        for exercise in asked:
            if verdicts and exercise.id not in report.known:
                keys[exercise.id] = verdicts.key(script, exercise)
                if found := verdicts.get(keys[exercise.id]):
                    report.known[exercise.id] = found
    tell(report)
    new = [e for e in asked if e.id not in report.known]

    def grown(report: SectionReport) -> None:
        while verdicts and new and new[0].id in report.known:
            exercise = new.pop(0)
            verdicts.put(keys.get(exercise.id), report.known[exercise.id])
        tell(report)

    _Work(report, script, device, seed, grown).run()
    return report


def _without_a_child(report: SectionReport, script: Script, exercise: Exercise) -> None:
    """Settle what the syntax decides: nothing to test, and the number of tests is known."""
    state = script.state(exercise)
    if state != "written" and expected_tests(report.section, exercise) is not None:
        if state == "missing" and (gone := script.deleted(exercise)):
            report.settle(exercise, "ERROR", gone)
        else:
            report.settle(exercise, "UNATTEMPTED", "not written yet")


def _answered_elsewhere(
    report: SectionReport,
    script: Script,
    device: str,
    seed: int | None,
    verdicts: Verdicts | None,
) -> None:
    """Take the verdict of an exercise that is not written here from a notebook that shares it."""
    for other in sharing(report.section):
        blank = [e for e in report.asked if script.state(e) != "written"]
        try:
            theirs = read_script(other.answers(), other)
        except CourseError:
            continue
        written = {e.id for e in blank if theirs.state(e) == "written"}
        if not written:
            continue
        # as a file of its own: it does not look back at this one
        kept = Verdicts(other, device, seed, verdicts.folder) if verdicts else None
        found = check_section(other, str(other.answers()), written, device, seed, kept)
        where = other.answers().relative_to(ROOT)
        for name, result in found.known.items():
            said = f"(in {where}) {result['message']}" if result["message"] else ""
            report.known[name] = {**result, "message": said}


class _Work:
    """Lets one child after another check what is left of a report."""

    def __init__(
        self,
        report: SectionReport,
        script: Script | None,
        device: str,
        seed: int | None,
        tell: Callable[[SectionReport], None],
    ) -> None:
        self.report, self.script, self.device, self.seed = report, script, device, seed
        self.tell = tell
        self.deadly: dict[int, str] = {}  # statements that ended a child: index -> how

    def left(self) -> list[Exercise]:
        """The exercises without a verdict."""
        return [e for e in self.report.asked if e.id not in self.report.known]

    def run(self) -> None:
        """Until every exercise has its verdict."""
        while left := self.left():
            before = len(left), len(self.deadly)
            self._one_child()
            if (len(self.left()), len(self.deadly)) == before:  # cannot happen; must not hang
                self._all("ERROR", "the check ended without a verdict")
            self.tell(self.report)

    def _all(self, verdict: str, message: str) -> None:
        """One cause for all that is left."""
        for exercise in self.left():
            self.report.settle(exercise, verdict, message)
        self.report.note([message])

    def _one_child(self) -> None:
        """Let one child check as much as it can, then say why it went no further."""
        file = str(self.script.path) if self.script else None
        cells = self.script.cells if self.script else []
        request = {
            "section": self.report.section.path, "file": file, "device": self.device,
            "cells": [[c.number, c.where, c.code] for c in cells],
            "exercises": [e.id for e in self.left()], "memory_gb": MEMORY_GB, "seed": self.seed,
            "deadly": self.deadly,
        }  # fmt: skip
        stage: str | int = "start"  # "start", the index of a statement, "tests" or "done"
        with Child(request) as child:
            try:
                for message in child.messages():
                    stage = self._hear(child, message)
                    if stage == "done":
                        break
            except Garbage as error:
                self._stopped(child, stage, f"what the check reported cannot be read ({error})")
                return
        if stage != "done" or self.left():
            self._stopped(child, stage, "")

    def _hear(self, child: Child, message: dict[str, Any]) -> str | int:
        """Take one message; return where the child is now."""
        child.limit = children.EXERCISE_S
        match message:
            case {"ready": True}:
                child.limit = children.START_S  # the section's import is still to come
                return "ready"
            case {"reading": int(index)}:
                child.limit = children.READ_S
                return index
            case {"problems": list(problems)}:
                self.report.note(map(str, problems))
                return "tests"
            case {"id": str(name), "result": dict(result)}:
                exercise = self.left()[0] if self.left() else None
                if exercise is None or exercise.id != name or not _is_result(result):
                    raise Garbage("it is not the verdict that was due")
                names = {"function": exercise.name, "section": exercise.section}
                self.report.known[name] = {**result, "id": name, **names}
                if not result["expected"]:
                    expected = expected_tests(self.report.section, exercise) or 0
                    self.report.known[name]["expected"] = expected
                self.tell(self.report)
                return "tests"
            case {"done": True}:
                return "done"
        raise Garbage("it is no known message")

    def _stopped(self, child: Child, stage: str | int, garbage: str) -> None:
        """The child ended, or was ended, too early: whose fault, and what remains to do."""
        child.end()
        verdict, why = ("ERROR", garbage) if garbage else child.why()
        if isinstance(stage, int):
            self._while_reading(stage, verdict, why)
        elif stage == "start" or (stage == "ready" and self.script):
            late = f"nothing came of it in {children.START_S:.0f} s" if child.overdue else why
            self._all("ERROR", f"the check could not start: {child.complaint() or late}")
        elif left := self.left():
            self.report.settle(left[0], verdict, why)

    def _while_reading(self, index: int, verdict: str, why: str) -> None:
        """A statement of the file ended the process: name it and leave it out the next time."""
        statements = self.script.statements if self.script else []
        if not 0 <= index < len(statements) or index in self.deadly:
            self._all("ERROR", "what the check reported cannot be read")
            return
        if len(self.deadly) >= MOST_DEADLY:
            where = statements[index].where
            self._all(verdict, f"the file cannot be read to its end. {where}: {why}")
            return
        self.deadly[index] = why if verdict == "ERROR" else "it did not end in time"


def _is_result(result: dict[str, Any]) -> bool:
    """Whether a verdict from a child has the shape that the report needs."""
    kinds = {
        "verdict": str, "expected": int, "run": int, "message": str, "advice": str, "tests": list,
    }  # fmt: skip
    if not all(isinstance(result.get(name), kind) for name, kind in kinds.items()):
        return False
    optional = (result.get("mistake"), result.get("first_failure"))
    tests = result["tests"]
    fields = ("name", "title", "status", "message")
    return (
        result["verdict"] in VERDICTS
        and all(v is None or isinstance(v, str) for v in optional)
        and all(
            isinstance(t, dict) and all(isinstance(t.get(f), str) for f in fields) for t in tests
        )
    )


def find_target(
    target: str | None, all_sections: list[Section]
) -> tuple[list[Section], str | None]:
    """(sections, exercise or None) named on the command line."""
    if target is None:
        return all_sections, None
    target = target.strip()
    for section in all_sections:
        if found := section.exercise(target):
            return [section], found.id
    number, _, letter = target.rpartition(".")
    for section in all_sections:
        if letter and number == section.number:
            raise CourseError(no_exercise(target))
    return [find_section(target)], None
