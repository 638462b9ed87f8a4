"""Verdicts for a terminal, at any width; whatever a learner's code said is shown, not obeyed."""

import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from utils.course import Exercise, Section
from utils.grading.batch import SectionReport
from utils.grading.render import MARKS

STYLE = {"PASS": "green", "UNATTEMPTED": "dim", "FAIL": "red", "ERROR": "red", "TIMEOUT": "yellow"}
BAR = 20

console = Console(highlight=False)


def plain(text: object) -> str:
    """A text that any terminal can show: no lone surrogates, no control characters."""
    clean = str(text).encode("utf-8", "backslashreplace").decode()
    shown = (c in "\n\t" or unicodedata.category(c) != "Cc" for c in clean)
    return "".join(c if ok else f"\\x{ord(c):02x}" for c, ok in zip(clean, shown, strict=True))


def ready() -> None:
    """Show marks that the terminal's encoding lacks as escapes instead of stopping."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, style: str = "") -> None:
    """A sentence, as it is: no markup."""
    console.print(Text(plain(text), style=style), soft_wrap=True)


def _line(text: Text) -> None:
    """One line, cut where the terminal ends."""
    console.print(text, no_wrap=True, overflow="ellipsis")


def heading(section: Section) -> None:
    """A section's title."""
    console.print(Text(f"\n{section.number} {section.title}", style="bold"))


def verdict(result: dict[str, Any], width: int) -> None:
    """One line; below it what to look at, indented and wrapped."""
    kind = result["verdict"]
    line = Text()
    line.append(f"{MARKS[kind]} {kind:<11} {result['id']:<10} ", STYLE[kind])
    line.append(plain(result["function"]).ljust(width), "dim" if kind == "UNATTEMPTED" else "")
    if result["expected"] and kind not in ("UNATTEMPTED", "PASS"):
        passed = sum(t["status"] == "PASS" for t in result["tests"])
        line.append(f"  {passed} of {result['expected']} checks")
    _line(line)
    if kind in ("PASS", "UNATTEMPTED"):
        return
    first = next((t for t in result["tests"] if t["status"] != "PASS"), None)
    parts = [f"should hold: {first['title']}"] if first else []
    parts += [result["message"]] if result["message"] else []
    parts += [f"likely mistake: {result['advice']}"] if result["advice"] else []
    if result.get("seed") is not None:
        parts.append(f"random numbers from seed {result['seed']}: --seed {result['seed']} repeats")
    for part in parts:
        console.print(Padding(Text(plain(part)), (0, 0, 0, 4)))


def report(found: SectionReport) -> None:
    """A section's verdicts and the problems of its file."""
    heading(found.section)
    width = max((len(r["function"]) for r in found.results), default=0)
    for result in found.results:
        verdict(result, width)
    for problem in found.problems:
        console.print(Padding(Text(f"problem: {plain(problem)}", style="yellow"), (0, 0, 0, 2)))


def progress(found: SectionReport) -> None:
    """One line a section: a bar, how many passed, how many are not right yet."""
    results, total = found.results, len(found.asked)
    done = sum(r["verdict"] == "PASS" for r in results)
    tried = sum(r["verdict"] not in ("PASS", "UNATTEMPTED") for r in results)
    full = done * BAR // total if total else 0
    line = Text()
    line.append(f"{found.section.number:<7} {'■' * full}{'□' * (BAR - full)}")
    line.append(f" {done:>3} of {total}", "green" if done and done == total else "")
    if tried:
        line.append(f", {tried} not right yet", "red")
    line.append(f"  {found.section.title}", "dim")
    _line(line)
    for problem in found.problems:
        console.print(Padding(Text(f"problem: {plain(problem)}", style="yellow"), (0, 0, 0, 2)))


def listing(sections: list[Section]) -> None:
    """All exercises, one a line."""
    for section in sections:
        heading(section)
        say(f"{section.path}, {sum(e.minutes for e in section.exercises) / 60:.1f} h", "dim")
        width = max(len(e.name) for e in section.exercises)
        for e in section.exercises:
            dots = "●" * e.difficulty + "○" * (5 - e.difficulty)
            text = f"{e.id:<10} {dots} {e.minutes:>3} min  {e.name:<{width}}  {e.title}"
            _line(Text(text))


def hint(exercise: Exercise, number: int) -> None:
    """One hint."""
    say(f"{exercise.id} {exercise.name}: hint {number} of {len(exercise.hints)}", "bold")
    console.print(Markdown(exercise.hints[number - 1]))
    if number < len(exercise.hints):
        say(f"the next one: make hint EX={exercise.id} N={number + 1}", "dim")
    else:
        say(f"one way to write it: make solution EX={exercise.id}", "dim")


def solution(exercise: Exercise) -> None:
    """The worked solution, ready to be copied."""
    say(f"# {exercise.id} {exercise.name}: one way to write it", "bold")
    say(exercise.source)
