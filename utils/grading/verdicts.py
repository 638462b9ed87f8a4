"""Verdicts kept between two checks, so that only what changed is tested again.

A verdict is kept under everything that it depends on: what the answer rests on in the learner's
file, the course's sources, tests and models, the versions of the libraries, device and seed. Only
PASS and FAIL are kept: an error or a time-out may be the machine's. `--fresh` looks at none of
them.
"""

import ast
import contextlib
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from utils import files
from utils.course import ARTIFACTS, PARTS, ROOT, Exercise, Section
from utils.grading.learner import Script
from utils.grading.statements import FILES, Statement, fingerprint, needed

FOLDER = ROOT / ".cache" / "verdicts"
KEPT = ("PASS", "FAIL")
MOST = 5000  # files in the folder; beyond, the oldest go
LIBRARIES = ("torch", "numpy", "scipy", "einops", "jaxtyping", "pytest")


class Verdicts:
    """The kept verdicts of one section on one device."""

    def __init__(
        self, section: Section, device: str, seed: int | None, folder: Path = FOLDER
    ) -> None:
        self.folder = folder
        self.base = f"{_course(section)} {device} {seed}"
        with contextlib.suppress(OSError):
            _prune(folder)

    def key(self, script: Script, exercise: Exercise) -> str | None:
        """The name under which a verdict is kept; None where it may depend on something else."""
        chosen = needed(script.statements, [exercise.name])
        if not all(map(_is_closed, chosen)):
            return None
        text = f"{self.base} {exercise.id} {fingerprint(chosen)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str | None) -> dict[str, Any] | None:
        """A kept verdict."""
        try:
            found = json.loads((self.folder / f"{key}.json").read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and found.get("verdict") in KEPT else None

    def put(self, key: str | None, result: dict[str, Any]) -> None:
        """Keep a verdict; where there is no room or no right to, nothing is kept."""
        if key and result["verdict"] in KEPT:
            with contextlib.suppress(OSError):
                files.write(self.folder / f"{key}.json", json.dumps(result))


def _is_closed(s: Statement) -> bool:
    """Whether a statement rests on the file, the course and installed packages only."""
    if "open" in s.reads or s.problem:
        return False
    modules = []
    for node in ast.walk(s.node) if s.node else ():
        if isinstance(node, ast.Attribute) and node.attr in FILES:
            return False
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module or ".")
    return all(_is_installed(name.partition(".")[0]) for name in modules)


def _is_installed(module: str) -> bool:
    """Whether an import brings the course or a library, not another file of the learner's."""
    if module in (*PARTS, "utils", "tools") or module in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any("site-packages" in place or "dist-packages" in place for place in places)


def _course(section: Section) -> str:
    """A hash of all that a verdict depends on beside the learner's file."""
    found = hashlib.sha256(sys.version.encode())
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.update(f"{name}={metadata.version(name)}".encode())
    for path in _sources(section):
        with contextlib.suppress(OSError):
            found.update(path.name.encode() + path.read_bytes())
    for path in sorted(ARTIFACTS.rglob("*.safetensors")):  # 90 MB: by size and time, not read
        with contextlib.suppress(OSError):
            state = path.stat()
            found.update(f"{path} {state.st_size} {state.st_mtime_ns}".encode())
    return found.hexdigest()


def _sources(section: Section) -> Iterator[Path]:
    for room in ("utils", *PARTS):
        yield from sorted((ROOT / room).rglob("*.py"))
    for lesson in section.lessons():
        yield from (lesson.test_file(), lesson.test_file("mistakes"))
    yield from (ROOT / "tests" / "conftest.py", ROOT / "tests" / "learner.ini")


def _prune(folder: Path) -> None:
    names = list(folder.glob("*.json"))
    if len(names) > MOST:
        for path in sorted(names, key=lambda p: p.stat().st_mtime)[: len(names) - MOST // 2]:
            path.unlink(missing_ok=True)
