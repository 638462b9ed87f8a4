"""A verdict as text for a terminal and as HTML for a notebook."""

from dataclasses import dataclass
from html import escape

from utils.grading.results import Result

MARKS = {"PASS": "✓", "FAIL": "✗", "ERROR": "✗", "TIMEOUT": "◷", "UNATTEMPTED": "○"}
COLOURS = {"PASS": "#009E73", "UNATTEMPTED": "#808080"}  # Okabe-Ito; everything else in vermilion
VERMILION = "#D55E00"
NEUTRAL = "#0072B2"  # blue: neither right nor wrong
SURPRISE = "◇"  # a prediction that the experiment did not bear out: an honest guess is no fault
NOT_PASSED = (*(mark for verdict, mark in MARKS.items() if verdict != "PASS"), SURPRISE)
WORDS = {
    "PASS": "passed",
    "FAIL": "not yet",
    "ERROR": "it stops with an error",
    "TIMEOUT": "it does not end",
    "UNATTEMPTED": "not attempted yet",
}


@dataclass(frozen=True)
class Lines:
    """The parts of a verdict, in the order in which they are shown."""

    colour: str
    head: str
    failed: str = ""  # the property that does not hold
    detail: str = ""  # on which input, the first difference
    mistake: str = ""
    printed: str = ""
    notes: tuple[str, ...] = ()  # what else there is to know
    after: str = ""  # what to do next
    progress: str = ""

    def text(self) -> str:
        """For a terminal."""
        parts = [self.head]
        parts += [f"  should hold: {self.failed}"] if self.failed else []
        parts += [f"    {line}" for line in self.detail.splitlines()]
        parts += [f"  likely mistake: {self.mistake}"] if self.mistake else []
        parts += [f"  your code printed: {self.printed}"] if self.printed else []
        parts += [f"  {line}" for line in (*self.notes, self.after, self.progress) if line]
        return "\n".join(parts)

    def html(self) -> str:
        """For a notebook; colours come with words, and both themes stay readable."""
        parts = [f'<b style="color:{self.colour}">{escape(self.head)}</b>']
        if self.failed:
            parts.append(f"<div><b>Should hold:</b> {escape(self.failed)}</div>")
        if self.detail:
            pre = 'style="margin:4px 0 4px 12px;white-space:pre-wrap;font-size:0.92em"'
            parts.append(f"<pre {pre}>{escape(self.detail)}</pre>")
        if self.mistake:
            parts.append(f"<div><b>Likely mistake:</b> {_inline(self.mistake)}</div>")
        if self.printed:
            parts.append(f"<div>Your code printed: <code>{escape(self.printed)}</code></div>")
        last = (*self.notes, self.after, self.progress)
        parts += [f"<div>{_inline(line)}</div>" for line in last if line]
        box = f"border-left:4px solid {self.colour};padding:4px 12px;margin:4px 0;line-height:1.5"
        return f'<div class="course-check" style="{box}">{"".join(parts)}</div>'


def _inline(text: str) -> str:
    """Escaped, with `code` set as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def lines_of(
    result: Result, after: str = "", progress: str = "", notes: tuple[str, ...] = ()
) -> Lines:
    """What to say about a result."""
    exercise, verdict = result.exercise, result.verdict
    passed = sum(t.status == "PASS" for t in result.tests)
    head = f"{MARKS[verdict]} {exercise.id} {exercise.name}: {WORDS[verdict]}"
    if verdict != "UNATTEMPTED" and result.expected:
        head += f" ({passed} of {result.expected} checks)"
    if verdict == "PASS":
        return Lines(COLOURS["PASS"], head, notes=notes, after=after, progress=progress)
    if verdict == "UNATTEMPTED":
        return Lines(COLOURS["UNATTEMPTED"], head, notes=notes, after=after, progress=progress)
    first = result.first_failure
    on = first.name.partition("[")[2].rstrip("]") if first and "[" in first.name else ""
    failed = (first.title + (f"  (input: {on})" if on else "")) if first else ""
    printed = " / ".join(result.printed.strip().splitlines()[:3])[:200]
    return Lines(
        VERMILION, head, failed, result.message, result.advice, printed, notes, after, progress
    )
