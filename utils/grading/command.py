"""The command line behind `python -m utils.check`: options, the report's file, watching."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from utils import files
from utils.course import CourseError, Exercise, Section, find_exercise, sections
from utils.grading import terminal
from utils.grading.batch import SectionReport, answer_file, check_section, find_target
from utils.grading.learner import sections_for
from utils.grading.verdicts import Verdicts

VERSION = (
    3  # the shape of the report: exercism's results v3, with an exercise level above the tests
)
ROOMS = ("exercises", "solutions", "reference")
TICK_S = 0.4  # between two looks at a watched file

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def summary(reports: list[SectionReport], total: int | None = None) -> dict[str, Any]:
    """The report as plain data; `total` exercises were asked for, some perhaps still to come."""
    exercises = [r for report in reports for r in report.results]
    total = sum(len(r.asked) for r in reports) if total is None else total
    passed = sum(r["verdict"] == "PASS" for r in exercises)
    return {
        "version": VERSION,
        "status": "pass" if total and passed == total else "fail",
        "complete": len(exercises) == total,
        "passed": passed,
        "total": total,
        "problems": [f"{r.section.path}: {p}" for r in reports for p in r.problems],
        "exercises": exercises,
    }


class ReportFile:
    """The JSON report, written whole again and again, so that a killed check loses nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.problem = path, ""

    def write(self, data: dict[str, Any]) -> None:
        """Write; what went wrong is kept as a sentence, and the check goes on."""
        if self.path is None:
            return
        try:
            files.write(self.path, json.dumps(data, indent=1) + "\n")
            self.problem = ""
        except files.DiskFull as error:
            self.problem = str(error.strerror)
        except OSError as error:
            self.problem = f"the report {self.path} cannot be written: {error.strerror or error}"


def chosen_sections(target: str | None, against: str) -> tuple[list[Section], str | None]:
    """What to check: what `target` names, else the sections that a single file answers."""
    chosen, only = find_target(target, sections())
    if against not in ROOMS:
        path = answer_file(chosen[0], against)
        if target is None and path is not None:
            chosen = sections_for(path)
    return chosen, only


def run(
    target: str | None,
    against: str,
    device: str = "cpu",
    seed: int | None = None,
    fresh: bool = False,
    json_file: ReportFile | None = None,
    show: Callable[[SectionReport], None] = terminal.report,
) -> list[SectionReport]:
    """Check and print, section by section; the report's file is written before each is printed."""
    chosen, only = chosen_sections(target, against)
    total = 1 if only else sum(len(s.exercises) for s in chosen)
    reports: list[SectionReport] = []
    out = json_file or ReportFile(None)
    out.write(summary([], total))
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        job = bar.add_task("checking")
        for section in chosen:
            bar.update(job, description=f"checking {section.number} {section.title}")
            verdicts = None if fresh else Verdicts(section, device, seed)

            def tell(report: SectionReport) -> None:
                out.write(summary([*reports, report], total))

            reports.append(check_section(section, against, only, device, seed, verdicts, tell))
            out.write(summary(reports, total))
            bar.stop()  # two consoles on one terminal must take turns
            show(reports[-1])
            bar.start()
    return reports


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def watch(
    target: str | None, against: str, check: Callable[[str | None], object], rounds: int = 0
) -> None:
    """Check at once and whenever a watched file is saved; `rounds` ends a test.

    Files are looked at, not subscribed to: that works for editors that replace a file, and on
    network drives. A file that is not there yet is waited for.
    """
    if against == "reference":
        raise CourseError("the reference does not change: leave out --watch")
    watched: dict[Path, str | None]
    if against in ("exercises", "solutions"):
        chosen, _ = find_target(target, sections())
        files = {s.number: answer_file(s, against) for s in chosen}
        watched = {path: target or number for number, path in files.items() if path}
        _try(check, target)
    else:
        watched = {Path(against).absolute(): target}
        if not Path(against).exists():
            terminal.say(f"{against} is not there yet: waiting for it. `make script SECTION=3.1.1`"
                         " writes a section's file")  # fmt: skip
        else:
            _try(check, target)
    names = ", ".join(p.name for p in watched) if len(watched) < 4 else f"{len(watched)} notebooks"
    terminal.say(f"watching {names}: save a file to check it, Ctrl-C ends", "dim")
    seen = {path: _stamp(path) for path in watched}
    settled = dict(seen)
    while True:
        time.sleep(TICK_S)
        for path, what in watched.items():
            now = _stamp(path)
            # two looks alike: an editor that writes in steps has come to its end
            if now is not None and now == seen[path] and now != settled[path]:
                settled[path] = now
                _try(check, what)
                rounds -= 1
                if rounds == 0:
                    return
            seen[path] = now


def _try(check: Callable[[str | None], object], target: str | None) -> None:
    """A file that cannot be read now may be mended at the next save."""
    try:
        check(target)
    except CourseError as error:
        terminal.say(str(error), "red")


def _exercise(target: str | None, what: str) -> Exercise:
    if target is None:
        raise CourseError(f"a {what} belongs to an exercise: name one, such as 3.1.1.a")
    _, only = find_target(target, sections())
    return find_exercise(only or target)


def _hint(target: str | None, number: int) -> None:
    exercise = _exercise(target, "hint")
    if not exercise.hints:
        raise CourseError(f"{exercise.id} has no hints")
    if not 1 <= number <= len(exercise.hints):
        raise CourseError(f"{exercise.id} has hints 1 to {len(exercise.hints)}")
    terminal.hint(exercise, number)


@app.command()
def main(
    target: Annotated[
        str | None, typer.Argument(help="a section (3.1.1) or an exercise (3.1.1.c)")
    ] = None,
    against: Annotated[
        str, typer.Option(help="exercises, solutions, reference, or an .ipynb or .py file")
    ] = "exercises",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the report to this file")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps")] = "cpu",
    seed: Annotated[int | None, typer.Option(help="where the tests' random numbers begin")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="test everything again, also what did not change")
    ] = False,
    hint: Annotated[int | None, typer.Option(help="show this hint of the exercise, stop")] = None,
    solution: Annotated[
        bool, typer.Option("--solution", help="show the worked solution of the exercise, stop")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="list all exercises and stop")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="one line a section")] = False,
    watch_: Annotated[
        bool, typer.Option("--watch", help="check again whenever a file is saved")
    ] = False,
) -> None:
    """Check what you wrote against the course's tests."""
    terminal.ready()
    target = (target or "").strip() or None
    show = terminal.progress if progress else terminal.report
    out = ReportFile(json_file)

    def check(what: str | None) -> list[SectionReport]:
        reports = run(what, against, device, seed, fresh, out, show)
        found = summary(reports)
        terminal.say(f"\n{found['passed']} of {found['total']} passed")
        if out.problem:
            terminal.say(out.problem, "red")
        return reports

    try:
        if list_:
            return terminal.listing(find_target(target, sections())[0])
        if hint is not None:
            return _hint(target, hint)
        if solution:
            return terminal.solution(_exercise(target, "solution"))
        if watch_:
            return watch(target, against, check)
        reports = check(target)
    except CourseError as error:
        terminal.say(str(error), "red")
        raise typer.Exit(2) from None
    if out.problem:
        raise typer.Exit(2)
    raise typer.Exit(0 if summary(reports)["status"] == "pass" else 1)
