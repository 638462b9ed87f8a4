"""Do right answers pass whatever the random numbers? `make stats`, `python -m tools.seeds`.

Every check tries an answer on numbers that nobody has seen. So each exercise's tests run here on
the worked solution, from many seeds; a test that fails on one rests on its seed and needs mending.
"""

import secrets
from typing import Annotated

import typer

from utils.course import CourseError, Exercise, Section, sections
from utils.grading.batch import find_target
from utils.grading.run import SEEDS, run_tests


def failures(section: Section, exercise: Exercise, seeds: list[int]) -> list[str]:
    """`seed: test: message` for every test of an exercise that rejects the worked solution."""
    found = []
    for seed in seeds:
        session = run_tests(section, exercise, vars(section.reference()), seed=seed)
        problems = [t for t in session.outcomes if t.status != "PASS"]
        found += [f"seed {seed}: {t.name}: {t.message.splitlines()[0]}" for t in problems]
        found += [f"seed {seed}: {exercise.name}: {p}" for p in session.problems]
        if not session.drawing:
            break  # no numbers: every seed would say the same
    return found


def main(
    target: Annotated[str | None, typer.Argument(help="a section or an exercise")] = None,
    n: Annotated[int, typer.Option("--seeds", help="how many")] = 30,
    first: Annotated[int | None, typer.Option(help="the first seed; else they are drawn")] = None,
) -> None:
    """Run the tests on the worked solutions from many seeds."""
    try:
        chosen, only = find_target(target, sections())
    except CourseError as error:
        raise SystemExit(str(error)) from None
    seeds = [secrets.choice(SEEDS) if first is None else first + i for i in range(n)]
    bad = 0
    for section in chosen:
        todo = [e for e in section.exercises if e.kind == "function" and only in (None, e.id)]
        for exercise in todo:
            for line in failures(section, exercise, seeds):
                bad += 1
                print(f"{exercise.id} {line}", flush=True)
        print(f"{section.number}: {len(todo)} exercises from {n} seeds", flush=True)
    if bad:
        raise SystemExit(f"{bad} failures: mend these tests, they rest on their seed")


if __name__ == "__main__":
    typer.run(main)
