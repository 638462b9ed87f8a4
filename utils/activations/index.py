"""What a store holds: its settings, its plan (which row goes to which shard), its files."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from utils.files import is_full

Dtype = Literal["float16", "bfloat16", "float32"]
Compute = Literal["float32", "bfloat16"]
Split = Literal["train", "held"]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
INDEX, LOCK = "index.json", ".lock"
VERSION = 1


class StoreError(RuntimeError):
    """A store that cannot be written or read; the message names the cause and the cure."""


@dataclass(frozen=True)
class StoreConfig:
    """What is kept of a forward pass, and how it lies on disk."""

    hooks: tuple[str, ...]  # one; or input and output of a transcoder; or any number
    dtype: Dtype = "float16"  # half the size; bfloat16 where activations exceed 65,504
    # What matrix products are computed in. bfloat16 (the residual stream stays float32) takes half
    # the time on CPUs with instructions for it, and much longer on others.
    compute: Compute = "float32"
    skip_first: int = 1  # the first position is an attention sink of enormous norm
    held_share: float = 0.02  # of the documents, kept apart in shards of their own
    rows_per_shard: int = 256  # 256 × 128 tokens × 576 × 2 bytes = 38 MB
    batch_rows: int = 16  # rows in one forward pass: does not change what is written
    seed: int = 0  # which documents are held out, and the order of rows over shards


@dataclass(frozen=True)
class Shard:
    """One file: rows of the token tensor, in this order."""

    file: str
    split: Split
    rows: Int[Tensor, " n"]
    n_tokens: int


def make_plan(
    keep: Bool[Tensor, "row pos"], document: Int[Tensor, " row"], cfg: StoreConfig
) -> list[Shard]:
    """Hold out whole documents, shuffle the rows of each part, cut them into shards.

    round(held_share × documents) are held out, at least one if the share is positive and there
    are two documents. Shards without a token are left out.
    """
    gen = torch.Generator().manual_seed(cfg.seed)
    documents = torch.unique(document)
    n_held = round(cfg.held_share * len(documents))
    n_held = max(n_held, 1) if cfg.held_share > 0 and len(documents) > 1 else n_held
    held = documents[torch.randperm(len(documents), generator=gen)[:n_held]]
    is_held = torch.isin(document, held)
    shards = []
    parts: tuple[tuple[Split, Tensor], ...] = (("train", ~is_held), ("held", is_held))
    for split, mine in parts:
        rows = mine.nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=gen)]
        for i, piece in enumerate(rows.split(cfg.rows_per_shard)):
            n = int(keep[piece].sum())
            if n:
                shards.append(Shard(f"{split}-{i:05}.safetensors", split, piece, n))
    return shards


def fingerprint(model: torch.nn.Module) -> str:
    """A digest of every parameter's name, shape and first and last numbers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        flat = value.detach().flatten()
        ends = torch.cat([flat[:64], flat[-64:]]).float().cpu()
        digest.update(f"{name} {tuple(value.shape)}".encode() + ends.numpy().tobytes())
    return digest.hexdigest()


def digest_of(*tensors: Tensor) -> str:
    """A digest of tensors' shapes and values."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def digest_of_index(index: dict[str, Any]) -> str:
    """A digest of what a store holds."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()[:16]


def identity(cfg: StoreConfig, model: torch.nn.Module, *tokens: Tensor) -> dict[str, Any]:
    """All that decides the numbers in a store; `batch_rows` does not."""
    config = json.loads(json.dumps(asdict(cfg)))  # tuples become lists, as they are when read
    del config["batch_rows"]
    return {"config": config, "model": fingerprint(model), "tokens": digest_of(*tokens)}


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a store; raises StoreError where there is none or it is of another version."""
    try:
        index = json.loads((folder / INDEX).read_text())
    except FileNotFoundError:
        raise StoreError(f"{folder} holds no activations: write_activations makes them") from None
    except ValueError:
        raise StoreError(f"{folder / INDEX} is no JSON: delete the folder, write again") from None
    if index.get("version") != VERSION:
        raise StoreError(f"{folder} is of version {index.get('version')}, this is {VERSION}")
    return index


def check_same(folder: Path, index: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise StoreError, naming what differs, unless the folder was begun for the same numbers."""
    there = index["identity"]
    old, new = there["config"], wanted["config"]
    differ = [f"{k} ({old.get(k)}, now {v})" for k, v in new.items() if old.get(k) != v]
    differ += [what for what in ("model", "tokens") if there[what] != wanted[what]]
    if differ:
        raise StoreError(
            f"{folder} holds activations of another run; different are: {'; '.join(differ)}. "
            "Take another folder, or delete this one"
        )


@contextmanager
def explained(folder: Path, n_bytes: int) -> Iterator[None]:
    """Turn a full disk into a StoreError that says how much is needed."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        free = shutil.disk_usage(folder).free
        raise StoreError(
            f"the disk is full: {folder} still needs {n_bytes / 1e9:.2f} GB, {free / 1e9:.2f} GB "
            "are free. Finished shards are kept: make room and call again"
        ) from error
