"""Build every section's two notebooks from its source.

python -m tools.build             write exercises/, solutions/, the README's table; run what changed
python -m tools.build --execute   execute all solution notebooks again
python -m tools.build --check     write nothing; fail if anything is out of step

A notebook that holds a learner's work is never overwritten.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbformat import NotebookNode

from tools import glossary, pages
from tools.notebooks import (
    code_cells,
    fingerprint,
    jupyterlab_metadata,
    notebook,
    output_fingerprint,
    to_text,
)
from utils.course import ROOT, CourseError, Section, find_section, notebooks
from utils.files import write
from utils.grading.render import NOT_PASSED

WIDGET = "application/vnd.jupyter.widget-view+json"
MAX_BYTES = 3_000_000  # a notebook larger than this loads slowly, and GitHub does not show it
START = ROOT / "exercises" / pages.START
GLOSSARY = ROOT / "docs" / "glossary.md"
TABLE = re.compile(r"(<!-- sections -->\n).*?(<!-- /sections -->)", re.S)
ROUTES = re.compile(r"(<!-- routes -->\n).*?(<!-- /routes -->)", re.S)


def exercise_text(section: Section) -> str:
    """The pristine exercise notebook."""
    return to_text(notebook(section, solved=False))


def has_work(path: Path) -> bool:
    """Whether somebody has typed into this notebook since it was built (or it can't be read)."""
    if not path.exists():
        return False
    try:
        nb = nbformat.read(path, as_version=4)
        return fingerprint(nb) != nb.metadata["course"]["built"]
    except Exception:
        return True


def with_old_outputs(section: Section, nb: NotebookNode) -> bool:
    """Copy the outputs of the stored solution; False where its code or its tests differ."""
    path, wanted = section.notebook("solutions"), output_fingerprint(section, nb)
    if not path.exists():
        return False
    old = nbformat.read(path, as_version=4)
    if old.metadata.get("course", {}).get("executed") != wanted:
        return False
    if [c.source for c in code_cells(old)] != [c.source for c in code_cells(nb)]:
        return False  # somebody typed into it: its outputs are of other code
    for new, had in zip(code_cells(nb), code_cells(old), strict=True):
        new.outputs, new.execution_count = had.outputs, had.execution_count
    nb.metadata["course"]["executed"] = wanted
    return True


def execute(section: Section, nb: NotebookNode) -> None:
    """Run a solution notebook in an empty folder; figures get a static picture beside the data."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    settings = {
        "COURSE_STATIC": "1",
        "COURSE_PROGRESS": "0",
        "HF_HUB_OFFLINE": "1",
        "PYTHONHASHSEED": "0",
    }
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(
                nb, timeout=900, record_timing=False, resources={"metadata": {"path": folder}}
            )
            client.execute()
    except CellExecutionError as error:
        said = "\n".join(str(error.traceback).splitlines()[-12:])
        raise CourseError(
            f"{section.path}: a cell failed: {error.ename}: {error.evalue}\n{said}"
        ) from None
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
    for cell in code_cells(nb):
        cell.metadata.pop("execution", None)
        # a library's progress bar is dead without its kernel
        cell.outputs = joined([o for o in cell.outputs if WIDGET not in o.get("data", {})])
    nb.metadata.pop("widgets", None)
    nb.metadata.update(jupyterlab_metadata())
    nb.metadata["course"]["executed"] = output_fingerprint(section, nb)


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Neighbouring pieces of one stream as one: a kernel cuts where it was slow, even in a line."""
    found: list[nbformat.NotebookNode] = []
    for out in outputs:
        last = found[-1] if found else None
        if last and out.output_type == last.output_type == "stream" and out.name == last.name:
            last.text += out.text
        else:
            found.append(out)
    return found


def problems_in(text: str, name: str) -> list[str]:
    """Why a built notebook must not be stored: size, this machine's folders, a check that fails."""
    found = (
        [f"{name} is {len(text) / 1e6:.1f} MB; the limit is 3 MB"] if len(text) > MAX_BYTES else []
    )
    here = [str(ROOT), str(Path.home()), tempfile.gettempdir() + "/"]
    found += [
        f"{name} contains the path {p}" for p in here if p != "/" and json.dumps(p)[1:-1] in text
    ]
    for cell in code_cells(nbformat.reads(text, as_version=4)):
        said = "".join(str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs)
        if said.startswith(NOT_PASSED):
            found.append(f"{name}: {cell.source} says {said[:200]!r}")
    return found


def readme_text() -> str:
    """The README with its table and its routes brought up to date."""
    old = (ROOT / "README.md").read_text()
    new = TABLE.sub(lambda m: m[1] + pages.readme_table() + m[2], old)
    ways = pages.routes().partition("\n\n")[2]
    return ROUTES.sub(lambda m: m[1] + ways + "\n" + m[2], new)


def strays() -> Iterator[str]:
    """Notebooks that no source stands behind."""
    wanted = {s.notebook(room) for s in notebooks() for room in ("exercises", "solutions")}
    wanted.add(START)
    for room in ("exercises", "solutions"):
        for path in sorted((ROOT / room).rglob("*.ipynb")):
            if path not in wanted and ".ipynb_checkpoints" not in path.parts:
                yield f"no source for {path.relative_to(ROOT)}: delete it, or add the section"


def check() -> list[str]:
    """Everything that is out of step, each with the command that mends it."""
    found = list(strays())
    for section in notebooks():
        path = section.notebook("exercises")
        work = (
            has_work(path) and os.environ.get("CI") != "true"
        )  # a learner's own copy may hold answers
        if not work and (not path.exists() or path.read_text() != exercise_text(section)):
            found.append(f"stale: {path.relative_to(ROOT)} (run make build)")
        path, nb = section.notebook("solutions"), notebook(section, solved=True)
        if not with_old_outputs(section, nb) or path.read_text() != to_text(nb):
            found.append(f"stale: {path.relative_to(ROOT)} (run make build)")
        elif bad := problems_in(path.read_text(), path.name):
            found += bad
    if not START.exists() or START.read_text() != to_text(pages.start_page()):
        found.append(f"stale: {START.relative_to(ROOT)} (run make build)")
    if (ROOT / "README.md").read_text() != readme_text():
        found.append("stale: the table in README.md (run make build)")
    if not GLOSSARY.exists() or GLOSSARY.read_text() != glossary.page():
        found.append("stale: docs/glossary.md (run make build)")
    return found


def build(again: bool, only: str | None = None) -> list[str]:
    """Write what changed (of one section, if named); return what could not be written and why."""
    kept = list(strays())
    for section in [find_section(only)] if only else notebooks():
        path = section.notebook("exercises")
        if has_work(path):
            kept.append(
                f"kept: {path.relative_to(ROOT)} holds work (make reset SECTION={section.number}"
                " replaces it and keeps a backup)"
            )
        else:
            write(path, exercise_text(section))
        path, nb = section.notebook("solutions"), notebook(section, solved=True)
        if again or not with_old_outputs(section, nb):
            print(f"executing {path.relative_to(ROOT)} …", flush=True)
            execute(section, nb)
        text = to_text(nb)
        if bad := problems_in(text, path.name):
            kept += bad
        else:
            write(path, text)
    write(START, to_text(pages.start_page()))
    write(ROOT / "README.md", readme_text())
    write(GLOSSARY, glossary.page())
    return kept


def main(
    check_only: Annotated[
        bool, typer.Option("--check", help="write nothing; fail on any difference")
    ] = False,
    execute_all: Annotated[bool, typer.Option("--execute", help="execute them all")] = False,
    only: Annotated[str | None, typer.Option(help="only this section")] = None,
) -> None:
    """Build or check all notebooks."""
    try:
        found = check() if check_only else build(execute_all, only)
    except CourseError as error:
        sys.exit(str(error))
    print("\n".join(found) or f"{2 * len(notebooks())} notebooks are in step with their sources")
    raise typer.Exit(1 if found else 0)


if __name__ == "__main__":
    typer.run(main)
