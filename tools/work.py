"""The learner's copies: work/ holds every exercise notebook and the start page; git ignores it.

python -m tools.work      makes the copies that are missing, renews those that nobody has changed

So `git pull` never meets a file that a learner has edited: exercises/ stays as the course ships it.
"""

import sys

import nbformat

from tools import pages
from tools.build import exercise_text, has_work
from tools.notebooks import blank, to_text
from utils.course import ROOT, CourseError, Section, notebooks, sharing
from utils.files import write

WORK = ROOT / "work"


def renew(section: Section) -> str:
    """Bring one copy up to date; returns what the learner should know, or nothing.

    What was typed into exercises/ before there were copies moves to work/ with all its contents.
    """
    template, copy = section.notebook("exercises"), section.notebook("work")
    typed, shown = has_work(template), copy.relative_to(ROOT)
    if not copy.exists():
        write(copy, template.read_bytes() if template.exists() else exercise_text(section).encode())
        if typed:
            write(template, exercise_text(section))
            return f"your work in {template.relative_to(ROOT)} is now {shown}"
        return ""
    if typed:
        return (
            f"{template.relative_to(ROOT)} and {shown} both hold work: copy what you need from the"
            f" first into the second, then `git checkout {template.relative_to(ROOT)}`"
        )
    if not has_work(copy):
        if _built(copy) != _built(template):  # else the outputs of a run would be lost
            write(copy, template.read_bytes())
        return ""
    if _built(copy) != _built(template):
        return (
            f"{section.number} has a new version; yours, with your work, stays as it is"
            f" (`make reset SECTION={section.number}` takes the new one and keeps a backup)"
        )
    return ""


def _built(path: object) -> str:
    """Which version of the course's notebook a file was."""
    try:
        return str(nbformat.read(path, as_version=4).metadata["course"]["built"])
    except Exception:  # not a notebook any more: whatever it is, it is the learner's
        return "unknown"


def written(section: Section) -> int:
    """How many answers of a section are begun, here or in a route that shares them."""
    begun: set[str] = set()
    for place in (section, *sharing(section)):
        try:
            cells = nbformat.read(place.notebook("work"), as_version=4).cells
        except Exception:
            continue
        found = {cell.get("id"): cell.source.strip() for cell in cells if cell.cell_type == "code"}
        for e in section.exercises:
            if found.get(e.name, blank(e).strip()) != blank(e).strip():
                begun.add(e.name)
    return len(begun)


def main() -> int:
    """Renew all copies and the start page; say what is not as usual."""
    try:
        said = [line for section in notebooks() if (line := renew(section))]
        write(WORK / pages.START, to_text(pages.start_page(written)))
    except (CourseError, OSError) as error:
        print(f"work/ could not be brought up to date: {error}", file=sys.stderr)
        return 1
    print("\n".join(said), end="\n" if said else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
