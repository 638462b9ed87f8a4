"""What a notebook's cells call: `check(f)`, hints, solutions, predictions, progress."""

import contextlib
import difflib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import Markdown, display

from utils.course import Exercise, Section, find_section, notebooks, sections
from utils.grading.kernel import Stale, Watch
from utils.grading.learner import isolated
from utils.grading.neutral import usual_settings
from utils.grading.render import COLOURS, MARKS, NEUTRAL, SURPRISE, VERMILION, Lines, lines_of
from utils.grading.results import Result
from utils.grading.run import (
    LIMIT_S,
    bad_prediction,
    run_exercise,
    run_experiment,
)
from utils.grading.shows import side_by_side


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
        self.watch = Watch(section, names)
        self._results: dict[str, Result] = {}
        self._hints: dict[str, int] = {}
        self._commits: dict[str, Any] = {}
        self._answered: set[str] = set()  # predictions whose experiment was seen

    def __call__(
        self, what: Any = None, seconds: float = LIMIT_S, *, seed: int | None = None
    ) -> None:
        """Run the tests of one exercise (the function or its name) and show the verdict.

        `seed` repeats a check on the random numbers that a verdict named.
        """
        exercise = self._find(what)
        if exercise is None:
            return
        if stale := self.watch.stale.get(exercise.name):
            return _show(_stale_lines(exercise, stale))
        if exercise.kind == "prediction":
            return self._check_prediction(exercise, seconds)
        self._picture(exercise, seconds)
        result, notes = self._run(exercise, seconds, seed)
        self._results[exercise.name] = result
        if result.verdict == "UNATTEMPTED":
            self.names[exercise.name] = getattr(self.section.reference(), exercise.name)
        after = self._after(exercise, result)
        _show(lines_of(result, after, self._progress_line(), tuple(notes)))

    def _run(
        self, exercise: Exercise, seconds: float, seed: int | None = None
    ) -> tuple[Result, list[str]]:
        """The verdict, and what in the notebook's settings was set aside for it."""
        with isolated(self.names, self.section, exercise.name, {}), usual_settings() as notes:
            result = run_exercise(exercise, self.names, self.device, seconds, seed=seed)
        return result, notes

    def _picture(self, exercise: Exercise, seconds: float) -> None:
        """Show the learner's result beside the course's, where the exercise has a drawing for it.

        What goes wrong in the learner's function is told by the verdict, not here.
        """
        reference = self.section.reference()
        theirs, right = self.names.get(exercise.name), getattr(reference, exercise.name)
        if not exercise.shows or theirs is right or get_ipython() is None:
            return
        quiet = contextlib.redirect_stdout(io.StringIO())
        with isolated(self.names, self.section, exercise.name, {}), usual_settings(), quiet:
            picture = side_by_side(self.section, exercise, theirs, seconds)
        if picture is not None:
            display(picture)

    def _find(self, what: object) -> Exercise | None:
        """The exercise that is meant; else says what to write, and returns None."""
        name = what if isinstance(what, str) else getattr(what, "__name__", "")
        exercise = self.section.exercise(str(name))
        if exercise is None and callable(what):  # a lambda or a partial under an exercise's name
            known = (e for e in self.section.exercises if self.names.get(e.name) is what)
            exercise = next(known, None)
        if exercise is None:
            say, after = self._not_found(what, str(name))
            _show(Lines(VERMILION, say, after=after))
        elif callable(what) and self.names.get(exercise.name) is not what:
            self.names[exercise.name] = what
        return exercise

    def _not_found(self, what: object, name: str) -> tuple[str, str]:
        """What to say of something that is no exercise here: a line, and what to do."""
        functions = [e.name for e in self.section.exercises if e.kind == "function"]
        known = [e.name for e in self.section.exercises]
        example = functions[0] if functions else known[0]
        if what is None:
            return "check what?", f"Name a function that you wrote: `check({example})`."
        if name == "<lambda>":
            after = f"Give it the exercise's name, `{example} = lambda …`, then `check({example})`."
            return "this lambda has no name, so no exercise is its own", after
        if not callable(what) and not isinstance(what, str):
            kind = repr(what) if isinstance(what, int | float) else f"a {type(what).__name__}"
            say = f"check takes a function, and {kind} is none"
            return say, f"Leave out the arguments: `check({example})`, not `check({example}(…))`."
        say = f"{name or what!r} is not an exercise of this section"
        if elsewhere := next((s for s in sections() if s.exercise(name)), None):
            return say, f"It is one of {elsewhere.number}, {elsewhere.title}: check it there."
        close = difflib.get_close_matches(name, known, 1, 0.7)
        guess = f"Do you mean `{close[0]}`? " if close else ""
        return say, f"{guess}Here are {', '.join(known)}."

    def _after(self, exercise: Exercise, result: Result) -> str:
        left = len(exercise.hints) - self._hints.get(exercise.name, 0)
        call = f"`check.hint({exercise.name})`"
        if result.verdict == "UNATTEMPTED":
            own = "Until you write yours, the cells below use the course's own version."
            return f"{own} Stuck? {call} gives a hint."
        if result.verdict == "PASS":
            return self._next(exercise)
        return (
            f"{call} gives a hint ({left} left)."
            if left > 0
            else f"`check.solution({exercise.name})` shows one way."
        )

    def _is_done(self, exercise: Exercise) -> bool:
        """Whether nothing is left to do: passed, or predicted and looked at."""
        result = self._results.get(exercise.name)
        return exercise.name in self._answered or bool(result and result.verdict == "PASS")

    def _next(self, exercise: Exercise) -> str:
        """Where to go on: the first exercise below that is not done, else above, else onwards."""
        at = self.section.exercises.index(exercise)
        order = self.section.exercises[at + 1 :] + self.section.exercises[:at]
        following = next((e for e in order if not self._is_done(e)), None)
        if following:
            kind = "a prediction, " if following.kind == "prediction" else ""
            return f"Next: {kind}{following.id}, {following.title}."
        every = notebooks()
        later = next((s for s in every[every.index(self.section) + 1 :]), None)
        done = "That was the last one of this section."
        return f"{done} Next: {later.number}, {later.title}." if later else done

    def _check_prediction(self, exercise: Exercise, seconds: float) -> None:
        """Before the experiment note the guess; after it say what happens, without blame."""
        value = self.names.get(exercise.name, ...)
        if value is not ... and not self.watch.has_seen(exercise):
            self.commit(exercise.name)
            return
        result, _ = self._run(exercise, seconds)
        if result.verdict == "ERROR" or value is ...:
            after = f"Set `{exercise.name}` in its cell before you look at the result."
            return _show(lines_of(result, after, self._progress_line()))
        self._results[exercise.name] = result
        self._answered.add(exercise.name)
        first = self._commits.get(exercise.name)
        changed = f" (Before the run you said {first!r}.)" if first not in (None, value) else ""
        if result.verdict == "PASS":
            after = f"You predicted {value!r}, and that is what happens.{changed}"
            return _show(lines_of(result, after, self._progress_line()))
        answer = getattr(self.section.reference(), exercise.name)
        head = f"{SURPRISE} {exercise.id} {exercise.name}: it turns out otherwise"
        told = f"You predicted {value!r}; what happens is {answer!r}.{changed}"
        notes = (told, result.advice)
        _show(Lines(NEUTRAL, head, notes=notes, progress=self._progress_line()))

    def commit(self, name: str) -> None:
        """Note the answer to a predict-then-run question; right or wrong is told after the run."""
        exercise = self._find(name)
        if exercise is None:
            return
        if stale := self.watch.stale.get(exercise.name):
            return _show(_stale_lines(exercise, stale))
        value = self.names.get(exercise.name, ...)
        if value is ...:
            say = f"○ {exercise.id}: no prediction yet. A guess costs nothing and makes it stick."
            return _show(Lines(COLOURS["UNATTEMPTED"], say))
        if problem := bad_prediction(exercise, value):
            return _show(Lines(VERMILION, f"✗ {exercise.id}: {problem}"))
        self._commits.setdefault(exercise.name, value)
        return _show(Lines(COLOURS["PASS"], f"Noted: {value!r}. Now run the experiment."))

    def hint(self, what: Any) -> None:
        """Show the next hint of an exercise; the last one stays."""
        exercise = self._find(what)
        if exercise is None:
            return
        if not exercise.hints:
            return _show(Lines(COLOURS["UNATTEMPTED"], f"{exercise.id} has no hints"))
        number = min(self._hints.get(exercise.name, 0), len(exercise.hints) - 1)
        self._hints[exercise.name] = number + 1
        last = number + 1 == len(exercise.hints)
        more = f"\n\nThis was the last one; `check.solution({exercise.name})` shows one way."
        text = f"**Hint {number + 1} of {len(exercise.hints)}.** {exercise.hints[number]}"
        display(Markdown(text + (more if last else "")))

    def solution(self, what: Any) -> None:
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
            if exercise.kind == "function" and exercise.name not in self.watch.stale:
                self._results[exercise.name], _ = self._run(exercise, LIMIT_S)
        missing = [e.id for e in self.section.exercises if not self._is_done(e)]
        to_do = f"To do: {', '.join(missing)}" if missing else "All done."
        _show(Lines(COLOURS["PASS"], self._progress_line(), after=to_do))

    def _progress_line(self) -> str:
        total = len(self.section.exercises)
        done = sum(map(self._is_done, self.section.exercises))
        bar = "■" * done + "□" * (total - done)
        return f"Section {self.section.number}: {bar} {done} of {total} done"


def _stale_lines(exercise: Exercise, stale: Stale) -> Lines:
    """Why there is no verdict: the kernel holds another definition than the exercise's cell."""
    mark = MARKS["ERROR"]
    after = (
        "Python still has what was defined before, which was not checked."
        " Mend the cell, run it, then check again."
    )
    head = f"{mark} {exercise.id} {exercise.name}: {stale.what}"
    return Lines(VERMILION, head, detail=stale.why, after=after)


def open_section(path: str, names: dict[str, Any], device: str = "cpu") -> Check:
    """Make a section's `check`, and put the course's own functions into the notebook's `names`.

    So you can begin at any exercise: a name keeps the course's version until the cell with
    yours is run.
    """
    from utils.plots import use_notebook_renderer

    section = find_section(path)
    use_notebook_renderer()
    predictions = {e.name for e in section.exercises if e.kind == "prediction"}
    for name, value in vars(section.reference()).items():
        if not name.startswith("_"):
            names.setdefault(name, ... if name in predictions else value)
    check = Check(section, names, device)
    if (shell := get_ipython()) is not None:
        if isinstance(old := names.get("check"), Check):
            old.watch.stop()
        check.watch.start(shell)
    if Path.cwd() == section.notebook("exercises").parent:
        print("This is the course's own copy, which a new version replaces: yours is in work/.")
    count = len(section.exercises)
    print(
        f"Section {section.number}, {section.title}: {count} exercises. Begin at any of them:"
        " what you have not written yet is taken from the course."
    )
    return check
