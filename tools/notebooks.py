"""From a section source to its two notebooks, in memory.

The exercise notebook keeps signatures and docstrings and drops the bodies (by the syntax tree); the
solution notebook keeps all. Titles, hints, checks and the first cell are added here.
"""

import ast
import hashlib
import tomllib
from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from utils.course import ROOT, CourseError, Exercise, Section, read_source, tags
from utils.grading.shows import drawing

BOOTSTRAP = """\
# Run this cell first. On your computer it only looks for files that would be in the way;
# elsewhere (Colab) it fetches the course.
import importlib.util
import os
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

here = Path.cwd()
for file in here.iterdir() if not (here / "pyproject.toml").exists() else []:
    if file.stem in {shadowed} | sys.stdlib_module_names - {{"test"}}:
        found = importlib.util.find_spec(file.stem)
        place = found and (found.origin or next(iter(found.submodule_search_locations)))
        if place and str(place).startswith(str(file)):
            raise ImportError(
                f"{{file.name}}, beside this notebook, hides the {{file.stem!r}} that the course"
                f" needs. Rename it (my_{{file.name}}, say), restart the kernel, run this again."
            )

if importlib.util.find_spec("part31_superposition") is None:
    source = os.environ.get("COURSE_SOURCE", "{source}")
    revision = os.environ.get("COURSE_REVISION", "{revision}")
    if not os.path.isdir("course"):
        clone = ["git", "clone", "--quiet", "--depth=1", f"--branch={{revision}}"]
        subprocess.run([*clone, source, "course"], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-e", "./course{extra}"], check=True)
    site.addsitedir(sysconfig.get_path("purelib"))  # makes this running kernel see the new package
    importlib.invalidate_caches()\
"""
# what a learner's own file beside a notebook must not be called; with the standard library's names
SHADOWED = (
    *("utils", "part31_superposition", "part32_interp_with_saes", "torch", "numpy", "scipy"),
    *("sklearn", "einops", "jaxtyping", "plotly", "pytest", "IPython", "nbformat", "jupytext"),
)
PYTHON = "3.11"  # in the metadata; a notebook says no more about the machine it was made on
EXTRAS = {"part32_interp_with_saes": "[language]"}  # what a part's notebooks need beside torch


def _blank_function(fn: ast.FunctionDef, lines: list[str], say: str) -> list[str]:
    """The lines of a function with its body replaced, signature and docstring kept."""
    first = fn.body[0]
    has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if not has_doc:
        raise CourseError(f"the exercise {fn.name} needs a docstring")
    start = min([fn.lineno, *(d.lineno for d in fn.decorator_list)])
    indent = " " * (fn.col_offset + 4)
    return [*lines[start - 1 : first.end_lineno], f'{indent}raise NotImplementedError("{say}")']


def blank(exercise: Exercise) -> str:
    """What the learner gets in place of the worked cell."""
    if exercise.kind == "prediction":
        options = " or ".join(f'"{c}"' for c in exercise.choices) or "a number"
        return f"{exercise.name} = ...  # your prediction: {options}"
    [node] = ast.parse(exercise.source).body
    lines, say = (
        exercise.source.splitlines(),
        f"{exercise.name}: yours to write (exercise {exercise.id})",
    )
    if isinstance(node, ast.FunctionDef):
        return "\n".join(_blank_function(node, lines, say))
    assert isinstance(node, ast.ClassDef)  # course.py lets nothing else through
    out, at = [], node.lineno - 1
    for method in node.body:
        if isinstance(method, ast.FunctionDef):
            start = min([method.lineno, *(d.lineno for d in method.decorator_list)])
            out += [*lines[at : start - 1], *_blank_function(method, lines, say)]
            at = method.end_lineno or at
    return "\n".join(out + lines[at:])


def undemo(section: str, code: str) -> str:
    """A demo's code without the `if __name__ == "__main__":` that guards it on import."""
    body = ast.parse(code).body
    guard = body[0]
    if (
        not isinstance(guard, ast.If)
        or ast.unparse(guard.test) != "__name__ == '__main__'"
        or len(body) != 1
    ):
        raise CourseError(f'{section}: a demo cell is one `if __name__ == "__main__":` block')
    lines, inside = code.splitlines(), _string_lines(code)
    kept = range(guard.lineno, len(lines))
    return "\n".join(lines[i] if i + 1 in inside else lines[i].removeprefix("    ") for i in kept)


def _string_lines(code: str) -> set[int]:
    """Numbers of the lines that begin inside a string: dedenting them would change it."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno:
            if isinstance(node, ast.JoinedStr) or isinstance(node.value, str):
                inside.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    return inside


def heading(exercise: Exercise) -> str:
    """The title and facts above an exercise's statement."""

    def dots(n: int) -> str:
        return "●" * n + "○" * (5 - n)

    kind = "Predict" if exercise.kind == "prediction" else "Exercise"
    facts = f"difficulty {dots(exercise.difficulty)} · importance {dots(exercise.importance)}"
    return (
        f"### {kind} {exercise.id} · {exercise.title}\n\n"
        f"<small>{facts} · about {exercise.minutes} min · {exercise.skill}</small>"
    )


def course_settings() -> dict[str, str]:
    """Where notebooks find the course, and each other: `[tool.course]` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["course"])


def _bootstrap(section: Section) -> str:
    settings = course_settings()
    parts = {lesson.path.partition("/")[0] for lesson in section.lessons()}
    extra = next((EXTRAS[part] for part in sorted(parts) if part in EXTRAS), "")
    names = "{" + ", ".join(f'"{name}"' for name in SHADOWED) + "}"
    return BOOTSTRAP.format(**settings, shadowed=names, extra=extra)


def colab_link(section: Section) -> str:
    """The address that opens the exercise notebook in Colab; empty where it is not on GitHub."""
    settings = course_settings()
    repository = settings["source"].removesuffix(".git").partition("https://github.com/")[2]
    if not repository:
        return ""
    place = f"{repository}/blob/{settings['revision']}/exercises/{section.path}.ipynb"
    return f"https://colab.research.google.com/github/{place}"


def _hint(number: int, text: str) -> str:
    return f"<details><summary>Hint {number}</summary>\n\n{text}\n\n</details>"


@dataclass
class _Builder:
    """Turns a section's source cells into one notebook's cells."""

    section: Section
    solved: bool
    cells: list[NotebookNode] = field(default_factory=list)
    hints: int = 0

    def add(self, kind: str, text: str, tag: str) -> None:
        """A cell, with an id made from what it holds."""
        make = new_markdown_cell if kind == "markdown" else new_code_cell
        base = hashlib.sha1(f"{tag}\0{text}".encode()).hexdigest()[:10]
        taken = {c["id"] for c in self.cells}
        name = next(
            n for i in range(len(taken) + 1) if (n := f"{base}-{i}" if i else base) not in taken
        )
        self.cells.append(make(text, metadata={"tags": [tag]} if tag else {}, id=name))

    def exercise(self, exercise: Exercise) -> None:
        """The exercise's cell and the one that checks it."""
        self.hints = 0
        predict = exercise.kind == "prediction"
        text = exercise.source if self.solved else blank(exercise)
        self.add("code", text, "predict" if predict else "exercise")
        self.cells[-1]["id"] = exercise.name
        self.cells[-1].metadata["exercise"] = exercise.id
        if exercise.shows:
            drawing(self.section, exercise)  # raises where there is no such function
            self.cells[-1].metadata["shows"] = exercise.shows
        self.add(
            "code",
            f'check.commit("{exercise.name}")' if predict else f"check({exercise.name})",
            "check",
        )

    def code(self, cell: NotebookNode, kind: str) -> None:
        """A cell of code, with the cells that reveal predictions and grade its experiment."""
        text = undemo(self.section.path, cell.source) if kind == "demo" else cell.source
        if kind == "setup":
            text += "\n\nfrom utils.notebook import open_section\n\n"
            text += f'check = open_section("{self.section.path}", globals())'
        self.add("code", text, kind)
        for name in cell.metadata.get("reveals", []):
            self.add("code", f'check("{name}")', "check")
        if name := cell.metadata.get("experiment"):
            given = ", ".join(f"{r}={r}" for r in cell.metadata.get("results", []))
            self.add("code", f'check.experiment("{name}", {given})', "check")


KINDS = {"setup", "given", "exercise", "predict", "demo"}


def notebook(section: Section, *, solved: bool) -> NotebookNode:
    """A section's exercise notebook, or with `solved` its solution notebook (not executed)."""
    builder, source = _Builder(section, solved), read_source(section.source).cells
    by_source = {e.source: e for e in section.exercises}
    builder.add("code", _bootstrap(section), "bootstrap")
    for cell, after in zip(source, [*source[1:], None], strict=True):
        kind = next(iter(tags(cell)), "")
        if cell.cell_type == "markdown" and kind == "hint":
            builder.hints += 1
            builder.add("markdown", _hint(builder.hints, cell.source), "hint")
        elif cell.cell_type == "markdown" and kind == "task":
            exercise = by_source.get(after.source) if after else None
            if exercise is None:
                raise CourseError(
                    f"{section.path}: the task {cell.source[:40]!r} has no exercise below it"
                )
            builder.add("markdown", f"{heading(exercise)}\n\n{cell.source}", "task")
        elif cell.cell_type == "markdown":
            builder.add("markdown", cell.source, "")
        elif kind in ("exercise", "predict"):
            builder.exercise(by_source[cell.source])
        elif kind in KINDS:
            builder.code(cell, kind)
        else:
            raise CourseError(
                f"{section.path}: the cell {cell.source[:40]!r} needs one tag of {sorted(KINDS)}"
            )
    return _finished(section, builder.cells, solved)


def jupyterlab_metadata() -> dict[str, Any]:
    """The kernel's facts as JupyterLab writes them when it saves; `tools.lab` keeps them so."""
    return {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {
            "codemirror_mode": {"name": "ipython", "version": 3},
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
            "version": PYTHON,
        },
    }


def _finished(section: Section, cells: list[NotebookNode], solved: bool) -> NotebookNode:
    title = cells.index(next(c for c in cells if c.cell_type == "markdown"))
    cells.insert(0, cells.pop(title))  # the title stays on top, the bootstrap cell follows it
    if (link := colab_link(section)) and not solved:
        cells[0].source = cells[0].source.replace("\n", f"\n\n[Open in Colab]({link})\n", 1)
    nb = new_notebook(cells=cells)
    nb.metadata.update(jupyterlab_metadata())
    nb.metadata["course"] = {"section": section.path, "built": fingerprint(nb)}
    return nb


def fingerprint(nb: NotebookNode) -> str:
    """Hash of what a learner can type: all cells' text; outputs and counters do not count."""
    return hashlib.sha256("\0".join(c.source for c in nb.cells).encode()).hexdigest()[:16]


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook."""
    return [c for c in nb.cells if c.cell_type == "code"]


def output_fingerprint(section: Section, nb: NotebookNode) -> str:
    """Hash of what a notebook's outputs depend on: its code, and which tests its checks run."""
    files = [lesson.test_file() for lesson in section.lessons()]
    names = [
        " ".join([*map(ast.unparse, node.decorator_list), node.name])
        for file in files
        if file.exists()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    code = [c.source for c in code_cells(nb)]
    return hashlib.sha256("\0".join(code + names).encode()).hexdigest()[:16]


def to_text(nb: NotebookNode) -> str:
    """A notebook as the bytes that are stored: those that JupyterLab would write."""
    nbformat.validate(nb)
    for cell in code_cells(nb):
        cell.outputs = [_as_javascript_writes(output) for output in cell.outputs]
    return nbformat.writes(nb, version=4) + "\n"


def _as_javascript_writes(value: Any) -> Any:
    """A JSON value after a way through JavaScript, where 1.0 is 1."""
    if isinstance(value, dict):
        return type(value)({k: _as_javascript_writes(v) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return [_as_javascript_writes(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value
