"""Away from home: a notebook alone in a folder, in an environment that has no course, as in Colab.

The notebook's first cell fetches the course from COURSE_SOURCE, here a repository made of the
working tree. The new environment borrows the packages of this one: nothing is downloaded.
"""

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

from utils.course import ROOT, find_section

SECTION = find_section("3.1.1")
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
    assert ask("-c", "import rich").returncode == 0, "the new environment must have the packages"
    assert ask("-c", "import utils").returncode == 1, "the new environment must not have the course"
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX layout of environments")
def test_colab__first_cell_fetches_the_course(tmp_path, source, python):
    """with nothing but the notebook, the first cell brings the course, and checks answer"""
    folder = tmp_path / "content"
    folder.mkdir()
    notebook = SECTION.notebook("exercises")
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
    first = SECTION.exercises[0]
    assert first.id in verdict
    assert "not attempted yet" in verdict or "no prediction yet" in verdict
    assert str(folder / "course" / "utils" / "__init__.py") in place
    assert sorted(p.name for p in folder.iterdir()) == ["course", notebook.name]
