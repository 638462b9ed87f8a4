"""The first cell of every notebook, and what a built notebook looks like in a file."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools import build, lab, notebooks
from utils.course import find_section

SECTION = find_section("3.1.1")


def first_cell(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the first cell as a notebook in `folder` would."""
    code = next(
        c.source for c in notebooks.notebook(SECTION, solved=False).cells if c.cell_type == "code"
    )
    inside = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [notebooks.ROOT]))}
    script = f"import sys\nsys.path.insert(0, '')\n{code}\nprint('ready')"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=inside, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["utils.py", "torch.py", "random.py", "numpy.py", "utils/"])
def test_a_file_that_hides_a_module_is_named_with_the_cure(tmp_path, name):
    """a learner's own utils.py beside the notebook, or a package of that name"""
    if name.endswith("/"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    else:
        (tmp_path / name).write_text("x = 1\n")
    done = first_cell(tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(f"ImportError: {name.strip('/')}, beside this notebook, hides the")
    assert "Rename it" in last and "restart the kernel" in last


def test_other_files_are_in_nobodys_way(tmp_path):
    """a learner's own modules and data may lie beside the notebook"""
    for name in ("helpers.py", "notes.txt", "my_utils.py", "data.csv", "test.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "results").mkdir()
    done = first_cell(tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "ready"), done.stderr


def test_numbers_are_stored_as_javascript_writes_them():
    """1.0 comes back from JupyterLab as 1: it must be stored so, or opening makes a difference"""
    data = {"application/x+json": {"x": [1.0, 0.5, -0.0, 1e25, 2], "y": {"z": 3.0}}}
    output = new_output("display_data", data=data)
    nb = new_notebook(cells=[new_code_cell("1", outputs=[output], id="one")])
    stored = json.loads(notebooks.to_text(nb))["cells"][0]["outputs"][0]["data"]
    assert json.dumps(stored["application/x+json"]) == '{"x": [1, 0.5, 0, 1e+25, 2], "y": {"z": 3}}'


def figure_notebook(picture: str | None, count: int = 1) -> dict:
    """A notebook of the course with one figure, as JSON."""
    data = {lab.PLOTLY: {"data": [], "layout": {}}, "text/plain": "a figure"}
    data |= {lab.PICTURE: picture} if picture else {}
    cell = new_code_cell("fig.show()", id="one", execution_count=count)
    cell.outputs = [new_output("display_data", data=data)]
    return json.loads(json.dumps(new_notebook(cells=[cell], metadata={"course": {}})))


def test_a_saved_notebook_says_nothing_about_the_machine():
    """kernel and Python stay as shipped; other notebooks are left alone"""
    theirs = {"language_info": {"name": "python", "version": "3.13.1"}}
    ours = {"metadata": {"course": {}, **theirs}, "cells": []}
    lab.as_shipped(ours, None)
    assert ours["metadata"] == {"course": {}, **notebooks.jupyterlab_metadata()}
    other = {"metadata": dict(theirs), "cells": []}
    lab.as_shipped(other, None)
    assert other["metadata"] == theirs


def test_a_figure_that_was_only_looked_at_stays_as_it_was_stored():
    """it is shown without its picture and saved with it; a figure of another run is kept"""
    stored = figure_notebook("AAAA")
    seen = figure_notebook("AAAA")
    lab.without_pictures(seen)
    assert lab.PICTURE not in seen["cells"][0]["outputs"][0]["data"]
    lab.as_shipped(seen, stored)
    assert seen["cells"] == stored["cells"]
    again = figure_notebook("BBBB", count=2)
    lab.as_shipped(again, stored)
    assert again["cells"][0]["outputs"][0]["data"][lab.PICTURE] == "BBBB"


def test_a_figure_of_changed_code_is_the_learners_own():
    """an earlier cell was changed and all were run: the counts of the runs are the shipped ones"""
    stored, mine = figure_notebook("AAAA"), figure_notebook("BBBB")
    for notebook, code in ((stored, "n = 100"), (mine, "n = 5")):
        cell = new_code_cell(code, id="before", execution_count=1)
        cell.outputs = [new_output("stream", text=f"{code}\ndone")]
        notebook["cells"].insert(0, json.loads(json.dumps(cell)))
    lab.as_shipped(mine, stored)
    assert mine["cells"][1]["outputs"][0]["data"][lab.PICTURE] == "BBBB"
    seen = json.loads(json.dumps(stored))
    seen["cells"][0]["outputs"][0]["text"] = ["n = 100\n", "done"]  # as on disk
    seen["cells"][1]["outputs"][0]["data"].pop(lab.PICTURE)
    lab.as_shipped(seen, stored)
    assert seen["cells"][1]["outputs"][0]["data"][lab.PICTURE] == "AAAA"


@pytest.mark.parametrize("ours", [True, False])
def test_only_the_courses_figures_lose_their_picture(tmp_path, ours):
    notebook = figure_notebook("AAAA")
    if not ours:
        del notebook["metadata"]["course"]
    (tmp_path / "some.ipynb").write_text(json.dumps(notebook))
    model = asyncio.run(lab.Contents(root_dir=str(tmp_path)).get("some.ipynb"))
    [output] = model["content"]["cells"][0]["outputs"]
    assert (lab.PICTURE in output["data"]) is not ours


def test_outputs_of_code_that_somebody_played_with_are_not_taken_over(tmp_path, monkeypatch):
    """nor does a cell that was added end the build"""
    nb, path = notebooks.notebook(SECTION, solved=True), tmp_path / "solution.ipynb"
    stored = nbformat.read(SECTION.notebook("solutions"), as_version=4)
    monkeypatch.setattr(type(SECTION), "notebook", lambda self, room: path)
    path.write_text(notebooks.to_text(stored))
    assert build.with_old_outputs(SECTION, nb)
    demo = next(c for c in stored.cells if "demo" in c.metadata.get("tags", []))
    demo.source = "print('played with')"
    path.write_text(notebooks.to_text(stored))
    assert not build.with_old_outputs(SECTION, nb)
    stored.cells.append(new_code_cell("1 + 1", id="more"))
    path.write_text(notebooks.to_text(stored))
    assert not build.with_old_outputs(SECTION, nb)


def test_the_link_to_colab_is_made_from_the_setting(monkeypatch):
    """owner, repository, revision and the notebook's place; none for a course that is elsewhere"""
    there = {"source": "https://github.com/someone/a-fork.git", "revision": "v2"}
    monkeypatch.setattr(notebooks, "course_settings", lambda: there)
    link = notebooks.colab_link(SECTION)
    start = "https://colab.research.google.com/github/someone/a-fork/blob/v2/exercises/"
    assert link == f"{start}{SECTION.path}.ipynb"
    title = notebooks.notebook(SECTION, solved=False).cells[0].source
    assert title.splitlines()[2] == f"[Open in Colab]({link})"
    monkeypatch.setattr(notebooks, "course_settings", lambda: there | {"source": "/srv/course"})
    assert notebooks.colab_link(SECTION) == ""


def test_pieces_of_one_stream_are_joined():
    """A kernel that is slow cuts a line in two; a figure between two lines stays between them."""
    said = [new_output("stream", name="stdout", text=text) for text in ("a ", "b\n", "c\n")]
    figure = new_output("display_data", {"text/plain": "figure"})
    warned = new_output("stream", name="stderr", text="!")
    found = build.joined([*said[:2], figure, said[2], warned])
    assert [o.get("text", "figure") for o in found] == ["a b\n", "figure", "c\n", "!"]
