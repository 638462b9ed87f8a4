"""Do right answers pass whatever the random numbers? `make stats`, `python -m tools.seeds`.

Every check tries an answer on numbers that nobody has seen. So each exercise's tests run here on
the worked solution, from many seeds, and on the same computed in double precision: a right answer
with other rounding. A test that fails on one rests on its seed and needs mending.
"""

import functools
import secrets
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from utils.course import CourseError, Exercise, Section, sections
from utils.grading.batch import find_target
from utils.grading.run import SEEDS, run_tests


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on float64 copies of float32 arguments, its result rounded to float32."""

    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(x.dtype == torch.float64 for x in tensors):
            return function(*args, **kwargs)
        args, kwargs = tree_map(_cast(torch.float32, torch.float64), (args, kwargs))
        return tree_map(_cast(torch.float64, torch.float32), function(*args, **kwargs))

    return computed


def _cast(old: torch.dtype, new: torch.dtype) -> Callable[[Any], Any]:
    return lambda x: x.to(new) if isinstance(x, Tensor) and x.dtype == old else x


def failures(section: Section, exercise: Exercise, seeds: list[int]) -> list[str]:
    """`seed: test: message` for every test of an exercise that rejects a right answer."""
    worked, found = vars(section.reference()), []
    answers = {"": worked[exercise.name], " in double precision": in_double(worked[exercise.name])}
    for how, answer in answers.items():
        for seed in seeds:
            session = run_tests(section, exercise, {**worked, exercise.name: answer}, seed=seed)
            problems = [t for t in session.outcomes if t.status != "PASS"]
            if how:  # an error or a dtype comes of float32 that we cannot see: iterators, closures
                problems = [t for t in problems if t.status == "FAIL" and "torch." not in t.message]
            found += [f"seed {seed}{how}: {t.name}: {_first_line(t.message)}" for t in problems]
            found += [f"seed {seed}{how}: {exercise.name}: {p}" for p in session.problems]
            if not session.drawing:
                break  # no numbers: every seed would say the same
    return found


def _first_line(message: str) -> str:
    return message.splitlines()[0]


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
