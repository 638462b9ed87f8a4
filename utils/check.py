"""The checker's command line: `python -m utils.check [TARGET]`.

TARGET is nothing (everything), a section (3.1.1 or its path) or an exercise (3.1.1.c or its
function). Exit status 0 only where everything asked for passed.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.syntax import Syntax
from rich.table import Table

from utils.course import ROOT, CourseError, Exercise, find_exercise, sections
from utils.files import DiskFull, write
from utils.grading.batch import SectionReport, answer_file, check_section, find_target
from utils.grading.learner import sections_for

VERSION = (
    3  # the shape of the report: exercism's results v3, with an exercise level above the tests
)
STYLE = {"PASS": "green", "UNATTEMPTED": "dim", "FAIL": "red", "ERROR": "red", "TIMEOUT": "yellow"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False)


def summary(reports: list[SectionReport]) -> dict:
    """The report as plain data."""
    exercises = [r for report in reports for r in report.results]
    passed = bool(exercises) and all(r["verdict"] == "PASS" for r in exercises)
    problems = [f"{report.section.path}: {p}" for report in reports for p in report.problems]
    return {
        "version": VERSION,
        "status": "pass" if passed else "fail",
        "passed": sum(r["verdict"] == "PASS" for r in exercises),
        "total": len(exercises),
        "problems": problems,
        "exercises": exercises,
    }


def shown(text: str) -> str:
    """A learner's text as it can be printed: no markup, no half characters."""
    return escape(text.encode("utf-8", errors="backslashreplace").decode())


def _print_report(report: SectionReport) -> None:
    table = Table(title=f"{report.section.number} {report.section.title}", title_justify="left")
    for column in ("exercise", "function", "verdict", "what to look at"):
        table.add_column(column, overflow="fold")
    for r in report.results:
        note = r["advice"] or (r["message"] if r["verdict"] not in ("PASS", "UNATTEMPTED") else "")
        first = next((t["title"] for t in r["tests"] if t["status"] != "PASS"), "")
        if first and r["verdict"] not in ("PASS", "UNATTEMPTED"):
            note = f"{first}\n{note}"
        verdict = f"[{STYLE[r['verdict']]}]{r['verdict']}[/]"
        table.add_row(r["id"], r["function"], verdict, shown(note))
    console.print(table)
    for problem in report.problems:
        console.print(f"[yellow]problem:[/] {shown(problem)}", soft_wrap=True)


def _print_list() -> None:
    for section in sections():
        table = Table(
            title=f"{section.number} {section.title}  ({section.path})", title_justify="left"
        )
        for column in ("id", "function", "title", "difficulty", "minutes"):
            table.add_column(column)
        for e in section.exercises:
            table.add_row(
                e.id, e.name, e.title, "●" * e.difficulty + "○" * (5 - e.difficulty), str(e.minutes)
            )
        console.print(table)


def _find(target: str | None, what: str) -> Exercise:
    if target is None:
        raise CourseError(f"{what} belongs to an exercise: name one, such as 3.1.1.a")
    return find_exercise(target)


def _print_hint(target: str | None, number: int) -> None:
    exercise = _find(target, "a hint")
    if not 1 <= number <= len(exercise.hints):
        raise CourseError(f"{exercise.id} has hints 1 to {len(exercise.hints)}")
    console.print(
        f"{exercise.id} {exercise.name}: hint {number} of {len(exercise.hints)}", style="bold"
    )
    console.print(Markdown(exercise.hints[number - 1]))
    if number == len(exercise.hints):
        console.print(f"that was the last one; make solution EX={exercise.id} shows one way")


def _print_solution(target: str | None) -> None:
    exercise = _find(target, "a solution")
    console.print(Syntax(exercise.source, "python", background_color="default"))


def run(
    target: str | None,
    against: str,
    device: str,
    quiet: bool = False,
    json_file: Path | None = None,
) -> list[SectionReport]:
    """Check and print, section by section; the JSON is written before anything is printed."""
    chosen, only = find_target(target, sections())
    if target is None and against not in ("exercises", "solutions", "reference"):
        path = answer_file(chosen[0], against)
        chosen = sections_for(path) if path else chosen
    reports, full = [], None
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        job = bar.add_task("checking")
        for section in chosen:
            bar.update(job, description=f"checking {section.number} {section.title}")
            reports.append(check_section(section, against, only, device))
            if json_file:
                try:
                    write(json_file, json.dumps(summary(reports), indent=1) + "\n")
                except DiskFull as error:  # what was found is printed all the same
                    full = error
            if not quiet:
                _print_report(reports[-1])
    if full:
        raise full
    return reports


def _print_progress(reports: list[SectionReport]) -> None:
    for report in reports:
        done = sum(r["verdict"] == "PASS" for r in report.results)
        total = len(report.section.exercises)
        console.print(
            f"{report.section.number:8}{'■' * done}{'□' * (total - done)} {done}/{total}"
            f"  {report.section.title}"
        )


def _watch(target: str | None, against: str, device: str) -> None:
    from watchfiles import watch

    if against == "reference":
        raise CourseError("the reference does not change: watch exercises, or a file of yours")
    rooms = {"exercises": ["exercises", "work"], "solutions": ["solutions"]}
    own = against not in rooms
    file = Path(against).resolve()
    # a file's folder: editors replace a file when they save it, and then it is another one
    places = [file.parent] if own else [ROOT / r for r in rooms[against] if (ROOT / r).is_dir()]
    if own and not file.parent.is_dir():
        raise CourseError(f"there is no folder {file.parent}")
    if not own or file.exists():
        run(target, against, device)
    else:
        console.print(f"{against} is not there yet: waiting for it")
    watched = file.name if own else ", ".join(p.name for p in places)
    console.print(f"watching {watched}: save a file to check it, Ctrl-C ends")
    for changes in watch(*places, raise_interrupt=False):
        for name in sorted({Path(p) for _, p in changes if Path(p).suffix in (".ipynb", ".py")}):
            if ".ipynb_checkpoints" in name.parts or not name.exists():
                continue
            changed = [s for s in sections() if not own and answer_file(s, against) == name]
            if changed or (own and name.resolve() == file):
                run(target or (changed[0].path if changed else None), against, device)


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
    solution: Annotated[bool, typer.Option(help="show the worked solution and stop")] = False,
    hint: Annotated[int, typer.Option(help="show this hint of the exercise and stop")] = 0,
    list_: Annotated[bool, typer.Option("--list", help="list all exercises and stop")] = False,
    progress: Annotated[bool, typer.Option(help="one line a section")] = False,
    watch: Annotated[bool, typer.Option(help="check again whenever a file is saved")] = False,
) -> None:
    """Check what you wrote against the course's tests."""
    try:
        if list_:
            return _print_list()
        if hint:
            return _print_hint(target, hint)
        if solution:
            return _print_solution(target)
        if watch:
            return _watch(target, against, device)
        reports = run(target, against, device, progress, json_file)
    except (CourseError, DiskFull) as error:
        console.print(f"[red]{shown(str(error))}[/]", soft_wrap=True)
        raise typer.Exit(2) from None
    if progress:
        _print_progress(reports)
    report = summary(reports)
    console.print(f"{report['passed']} of {report['total']} passed")
    raise typer.Exit(0 if report["status"] == "pass" else 1)


if __name__ == "__main__":
    app()
