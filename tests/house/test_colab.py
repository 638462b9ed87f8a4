"""Away from home: a notebook alone in a folder, in an environment that has no course, as in Colab.

The notebook's first cell fetches the course from COURSE_SOURCE, here a repository made of the
working tree. The new environment borrows the packages of this one: nothing is downloaded.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils.course import ROOT, find_section, sections

IN_COLAB = {"ipykernel": "6.17.1", "ipython": "7.34.0"}  # under the kernel that runs the notebook
NOT_FOR_NOTEBOOKS = {"jupyterlab", "notebook", "ipykernel", "ipywidgets", "jupyter-server", "typer"}
# Runs in the new environment: the notebook up to its first check, then where the course came from.
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient

nb = nbformat.read(sys.argv[1], as_version=4)
is_check = ["check" in cell.metadata.get("tags", []) for cell in nb.cells]
where = nbformat.v4.new_code_cell("import utils; print(utils.__file__)")
nb.cells = [*nb.cells[: is_check.index(True) + 1], where]
NotebookClient(nb, timeout=120).execute()
for cell in nb.cells[-2:]:
    texts = [out.get("text") or out["data"]["text/plain"] for out in cell.outputs]
    print(json.dumps("".join(texts)))
"""


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular."""
    who = [
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "-c",
        "core.hooksPath=/dev/null",
    ]
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository that holds the working tree as it is now, on the revision of the setting."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    copy = tmp_path / "source"
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["course"]
    git(copy, "init", "--quiet", f"--initial-branch={settings['revision']}")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message=the course")
    return copy


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A new environment with this one's packages but without the course."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=True, symlinks=True)
    found = home / "bin" / "python"

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [found, "-I", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    packages = ask("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    ask("-m", "pip", "uninstall", "--yes", "setuptools")  # Python 3.11 brings one that is too old
    # a path in a .pth is no site folder: its own .pth files, such as the course's, are not read
    (Path(packages) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, version in IN_COLAB.items():  # what pip sees there; the borrowed ones do the work
        (info := Path(packages) / f"{name}-{version}.dist-info").mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("")
        (info / "INSTALLER").write_text("pip\n")
    assert ask("-c", "import rich").returncode == 0, "the new environment must have the packages"
    assert ask("-c", "import utils").returncode == 1, "the new environment must not have the course"
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX layout of environments")
@pytest.mark.parametrize("number", ["3.1.1", "3.2.8"])
def test_colab__first_cell_fetches_the_course(tmp_path, source, python, number):
    """with nothing but the notebook, the first cell brings the course, and checks answer"""
    folder = tmp_path / "content"
    folder.mkdir()
    section = find_section(number)
    notebook = section.notebook("exercises")
    shutil.copy(notebook, folder)
    settings = {
        "COURSE_SOURCE": f"file://{source}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the value backwards: 0 is "no isolation"
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
    }
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [python, "-c", RUN, notebook.name],
        cwd=folder, env={**kept, **settings}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    verdict, place = map(json.loads, done.stdout.splitlines()[-2:])
    first = section.exercises[0]
    assert first.id in verdict
    assert "not attempted yet" in verdict or "no prediction yet" in verdict
    assert str(folder / "course" / "utils" / "__init__.py") in place
    versions = "import importlib.metadata as m; print(*map(m.version, {names}))"
    asked = [python, "-I", "-c", versions.format(names=list(IN_COLAB))]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert found == list(IN_COLAB.values()), "the first cell replaced what the kernel runs on"
    assert sorted(p.name for p in folder.iterdir()) == ["course", notebook.name]


def needed() -> dict[str, list[Requirement]]:
    """Every package that `pip install` of the course brings, and what is asked of it."""
    found: dict[str, list[Requirement]] = {}
    lines = (ROOT / "requirements-notebook.txt").read_text().splitlines()
    todo = [Requirement(line) for line in lines if line and not line.startswith("#")]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        found.setdefault(name, []).append(wanted)
        if len(found[name]) == 1:
            todo += map(Requirement, importlib.metadata.requires(name) or [])
    return found


def test_colab__gets_what_a_notebook_needs_and_keeps_its_own_kernel():
    """no JupyterLab, no kernel, no command line; Colab's IPython is new enough for all of it"""
    found = needed()
    assert not NOT_FOR_NOTEBOOKS & found.keys()
    for name, version in IN_COLAB.items():
        for wanted in found.get(name, []):
            assert wanted.specifier.contains(version), f"{wanted} would replace {name} {version}"


WITHOUT_THE_REST = """
import importlib.metadata, json, sys
from importlib.machinery import PathFinder
allowed = set(json.loads(sys.argv[1]))
owners = importlib.metadata.packages_distributions()

class Fewer(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        have = {d.lower().replace("_", "-").replace(".", "-") for d in owners.get(name, [])}
        return None if have and not have & allowed else super().find_spec(name, path, target)

sys.meta_path = [Fewer if finder is PathFinder else finder for finder in sys.meta_path]
from utils.course import sections
from utils.notebook import open_section
for section in sections():
    if section.path.startswith("part31"):
        names = {}
        check = open_section(section.path, names)
        first = next(e for e in section.exercises if e.kind == "function")
        exec(first.source, names)
        check(first.name)
"""


def test_part_31_runs_with_only_what_colab_gets():
    """every section opens and checks an answer where all other packages are absent"""
    allowed = json.dumps([*needed(), "superposition-course"])
    command = [sys.executable, "-c", WITHOUT_THE_REST, allowed]
    inside = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=inside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = sum(s.path.startswith("part31") for s in sections())
    assert done.stdout.count("passed (") == wanted, done.stdout
