"""What a notebook's cells call: `check(f)`, hints, solutions, predictions, progress."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import Markdown, display

from utils.course import Exercise, Section, find_section
from utils.grading.learner import isolated
from utils.grading.render import COLOURS, VERMILION, Lines, lines_of
from utils.grading.results import Result
from utils.grading.run import (
    LIMIT_S,
    bad_prediction,
    run_exercise,
    run_experiment,
)


class Shown:
    """Something to display: HTML in a notebook, text in a terminal."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.lines.html(), "text/plain": self.lines.text()}

    def __repr__(self) -> str:
        return self.lines.text()


def _show(lines: Lines) -> None:
    if get_ipython() is None:
        print(lines.text())
    else:
        display(Shown(lines))


class Check:
    """Bound to one section and to the notebook's names. Call it with a function that you wrote."""

    def __init__(self, section: Section, names: dict[str, Any], device: str = "cpu") -> None:
        self.section, self.names, self.device = section, names, device
        self._results: dict[str, Result] = {}
        self._hints: dict[str, int] = {}
        self._commits: dict[str, Any] = {}

    def __call__(self, what: Callable[..., Any] | str, seconds: float = LIMIT_S) -> None:
        """Run the tests of one exercise (the function or its name) and show the verdict."""
        exercise = self._find(what)
        if exercise is None:
            return
        result = self._run(exercise, seconds)
        self._results[exercise.name] = result
        after = self._after(exercise, result)
        if result.verdict == "UNATTEMPTED" and exercise.kind == "function":
            self.names[exercise.name] = getattr(self.section.reference(), exercise.name)
        _show(lines_of(result, after, self._progress_line()))

    def _run(self, exercise: Exercise, seconds: float) -> Result:
        with isolated(self.names, self.section, exercise.name, {}):
            return run_exercise(exercise, self.names, self.device, seconds)

    def _find(self, what: object) -> Exercise | None:
        name = what if isinstance(what, str) else getattr(what, "__name__", "")
        exercise = self.section.exercise(str(name))
        if exercise is None:
            known = ", ".join(e.name for e in self.section.exercises)
            _show(
                Lines(
                    VERMILION, f"{name or what!r} is not an exercise of this section", after=known
                )
            )
        elif callable(what) and self.names.get(exercise.name) is not what:
            self.names[exercise.name] = what
        return exercise

    def _after(self, exercise: Exercise, result: Result) -> str:
        if exercise.kind == "prediction":
            return self._after_prediction(exercise, result)
        left = len(exercise.hints) - self._hints.get(exercise.name, 0)
        call = f"`check.hint({exercise.name})`"
        if result.verdict == "UNATTEMPTED":
            own = "Until you write yours, the cells below use the course's own version."
            return f"{own} Stuck? {call} gives a hint."
        if result.verdict == "PASS":
            return ""
        return (
            f"{call} gives a hint ({left} left)."
            if left
            else f"`check.solution({exercise.name})` shows one way."
        )

    def _after_prediction(self, exercise: Exercise, result: Result) -> str:
        if result.verdict == "UNATTEMPTED":
            return f"Set `{exercise.name}` in the cell above before you look at the result."
        first, now = self._commits.get(exercise.name), self.names[exercise.name]
        changed = f" (Before the run you said {first!r}.)" if first not in (None, now) else ""
        answer = getattr(self.section.reference(), exercise.name)
        if result.verdict == "PASS":
            return f"You predicted {now!r}, and that is what happens.{changed}"
        return f"You predicted {now!r}; the answer is {answer!r}.{changed}"

    def commit(self, name: str) -> None:
        """Note the answer to a predict-then-run question; right or wrong is told after the run."""
        exercise = self._find(name)
        if exercise is None:
            return
        value = self.names.get(name, ...)
        if value is ...:
            say = f"○ {exercise.id}: no prediction yet. A guess costs nothing and makes it stick."
            return _show(Lines(COLOURS["UNATTEMPTED"], say))
        if problem := bad_prediction(exercise, value):
            return _show(Lines(VERMILION, f"✗ {exercise.id}: {problem}"))
        self._commits.setdefault(name, value)
        return _show(Lines(COLOURS["PASS"], f"Noted: {value!r}. Now run the experiment."))

    def hint(self, what: Callable[..., Any] | str) -> None:
        """Show the next hint of an exercise; the last one stays."""
        exercise = self._find(what)
        if exercise is None:
            return
        if not exercise.hints:
            return _show(Lines(COLOURS["UNATTEMPTED"], f"{exercise.id} has no hints"))
        number = min(self._hints.get(exercise.name, 0), len(exercise.hints) - 1)
        self._hints[exercise.name] = number + 1
        display(
            Markdown(f"**Hint {number + 1} of {len(exercise.hints)}.** {exercise.hints[number]}")
        )

    def solution(self, what: Callable[..., Any] | str) -> None:
        """Show the reference solution of an exercise."""
        if exercise := self._find(what):
            display(Markdown(f"```python\n{exercise.source}\n```"))

    def experiment(self, name: str, **result: Any) -> None:
        """Hold a trained result against the claim: do the properties hold in *your* run?"""
        session = run_experiment(self.section, name, SimpleNamespace(**result), self.device)
        if not session.outcomes:
            return _show(Lines(VERMILION, f"✗ {name}: {session.problems or 'no such experiment'}"))
        bad = next((t for t in session.outcomes if t.status != "PASS"), None)
        if bad:
            return _show(
                Lines(VERMILION, f"✗ {name}: your run does not show it", bad.title, bad.message)
            )
        held = "; ".join(t.title for t in session.outcomes)
        return _show(Lines(COLOURS["PASS"], f"✓ {name}: your run shows it", after=held))

    def progress(self) -> None:
        """Check every exercise of this section once, on what is defined in this notebook now."""
        for exercise in self.section.exercises:
            self._results[exercise.name] = self._run(exercise, LIMIT_S)
        missing = [e.id for e in self.section.exercises if self._results[e.name].verdict != "PASS"]
        to_do = f"To do: {', '.join(missing)}" if missing else "All done."
        _show(Lines(COLOURS["PASS"], self._progress_line(), after=to_do))

    def _progress_line(self) -> str:
        total = len(self.section.exercises)
        done = sum(r.verdict == "PASS" for r in self._results.values())
        bar = "■" * done + "□" * (total - done)
        return f"Section {self.section.number}: {bar} {done} of {total} checked and passed"


def open_section(path: str, names: dict[str, Any], device: str = "cpu") -> Check:
    """Make a section's `check`, and put the course's own functions into the notebook's `names`.

    So you can begin at any exercise: a name keeps the course's version until the cell with
    yours is run.
    """
    from utils.plots import use_notebook_renderer

    section = find_section(path)
    use_notebook_renderer()
    for name, value in vars(section.reference()).items():
        if not name.startswith("_"):
            names.setdefault(name, value)
    for exercise in section.exercises:
        if exercise.kind == "prediction" and names.get(exercise.name) is getattr(
            section.reference(), exercise.name
        ):
            names[exercise.name] = ...
    count = len(section.exercises)
    print(
        f"Section {section.number}, {section.title}: {count} exercises. Begin at any of them:"
        " what you have not written yet is taken from the course."
    )
    return Check(section, names, device)
