"""What a check found, as plain data."""

from dataclasses import dataclass, field
from typing import Any

from utils.course import Exercise
from utils.grading.implementation import Call


@dataclass(frozen=True)
class TestOutcome:
    """One test: its name, the property in words, and what happened."""

    name: str
    title: str
    status: str  # PASS, FAIL, ERROR, TIMEOUT, UNATTEMPTED
    message: str = ""
    calls: tuple[Call, ...] = field(default=(), repr=False)

    __test__ = False  # pytest must not collect this class


@dataclass(frozen=True)
class Result:
    """The verdict on one exercise, with everything that a front shows."""

    exercise: Exercise
    verdict: str  # PASS, FAIL, ERROR, TIMEOUT, UNATTEMPTED
    expected: int  # tests that exist
    run: int  # tests that came to an end
    message: str = ""
    mistake: str | None = None  # `toy_forward__no_relu`, or a general one: `general:detached`
    advice: str = ""  # its sentence
    tests: tuple[TestOutcome, ...] = field(default=(), repr=False)
    printed: str = ""
    seed: int | None = None  # of the random numbers that it failed on; None: the course's own

    @property
    def first_failure(self) -> TestOutcome | None:
        """The first test that did not pass."""
        return next((t for t in self.tests if t.status != "PASS"), None)

    def as_json(self) -> dict[str, Any]:
        """One entry of the report."""
        first = self.first_failure
        return {
            "id": self.exercise.id,
            "function": self.exercise.name,
            "section": self.exercise.section,
            "verdict": self.verdict,
            "expected": self.expected,
            "run": self.run,
            "message": self.message,
            "first_failure": first.name if first else None,
            "mistake": self.mistake,
            "advice": self.advice,
            "seed": self.seed,
            "tests": [
                {"name": t.name, "title": t.title, "status": t.status, "message": t.message}
                for t in self.tests
            ],
        }
