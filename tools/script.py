"""An exercise notebook as a plain Python file with `# %%` cells, for VS Code or any editor.

python -m tools.script 3.1.1      writes answers/s1_nonprivileged_basis.py; an existing file is kept
"""

import sys
from typing import Annotated

import jupytext
import nbformat
import typer

from tools.build import exercise_text
from utils.course import ROOT, CourseError, find_section
from utils.files import write


def main(section: Annotated[str, typer.Argument(help="3.1.1, or the section's path")]) -> None:
    """Write the file and say how to check it."""
    try:
        chosen = find_section(section)
    except CourseError as error:
        sys.exit(str(error))
    path = ROOT / "answers" / f"{chosen.stem}.py"
    if path.exists():
        sys.exit(f"{path.relative_to(ROOT)} exists and is kept; rename it to get a fresh one")
    nb = nbformat.reads(exercise_text(chosen), as_version=4)
    write(path, jupytext.writes(nb, fmt="py:percent"))
    name = path.relative_to(ROOT)
    print(f"wrote {name}; check it with\n  make check AGAINST={name}")


if __name__ == "__main__":
    typer.run(main)
