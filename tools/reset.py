"""Start a section again: back up the learner's notebook, then write the pristine one.

python -m tools.reset 3.1.1          asks first where there is work
python -m tools.reset 3.1.1 --yes    does not ask
"""

import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tools.build import exercise_text, has_work
from utils.course import ROOT, CourseError, Section, find_section, notebooks
from utils.files import write

BACKUPS = ROOT / "backups"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def back_up(notebook: Path, now: datetime) -> Path:
    """Copy a notebook to backups/<section>-<date>.ipynb, beside any that is there already."""
    BACKUPS.mkdir(exist_ok=True)
    stem = f"{notebook.stem}-{now:%Y%m%d-%H%M%S}"
    for name in (stem, *(f"{stem}-{i}" for i in range(2, 1000))):
        copy = BACKUPS / f"{name}.ipynb"
        try:
            copy.touch(exist_ok=False)  # claims the name: another reset may run in this second
        except FileExistsError:
            continue
        shutil.copy2(notebook, copy)
        return copy
    raise CourseError(f"backups/ has a thousand copies of {stem}: move some away")


def reset(section: Section) -> Path | None:
    """Put the pristine notebook in place; return where the old one went, if there was one."""
    notebook = section.answers()
    pristine = exercise_text(section)  # before anything is touched: this can fail
    copy = back_up(notebook, datetime.now()) if notebook.exists() else None
    write(notebook, pristine)
    return copy


@app.command()
def main(
    name: Annotated[str, typer.Argument(metavar="SECTION", help="3.1.1, or its path or name")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="don't ask")] = False,
) -> None:
    """Back up a section's exercise notebook and start it again."""
    try:
        if not name:
            known = "\n".join(f"  {s.number}  {s.title}" for s in notebooks())
            raise CourseError(f"say which section, as in `make reset SECTION=3.1.1`:\n{known}")
        section = find_section(name)
        notebook = section.answers()
        if has_work(notebook) and not yes and sys.stdin.isatty():
            question = f"{notebook.relative_to(ROOT)} holds your work. Back it up and start again?"
            typer.confirm(question, abort=True)
        copy = reset(section)
    except (CourseError, OSError) as error:
        print(f"nothing was reset: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    if copy:
        print(f"your notebook is kept as {copy.relative_to(ROOT)}")
    print(f"{notebook.relative_to(ROOT)} is as new")
    print("if it is open in JupyterLab: File, Reload Notebook from Disk")


if __name__ == "__main__":
    app()
