"""Run a model over token rows and keep what passes its hooks, shard by shard.

Memory: one shard twice (as numbers and as the bytes of its file) and one forward pass of
`batch_rows` rows up to the last hook's layer, however many rows there are.
"""

import errno
import inspect
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils import files
from utils.activations.index import (
    DTYPES,
    INDEX,
    LOCK,
    VERSION,
    Compute,
    Shard,
    StoreConfig,
    StoreError,
    check_same,
    explained,
    identity,
    make_plan,
    read_index,
)
from utils.activations.read import ActivationStore, open_store
from utils.data.corpus import Rows, counted
from utils.progress import track

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def stop_layer(model: "TransformerBridge", hooks: Sequence[str]) -> int | None:
    """The first layer that no hook needs: `stop_at_layer`; None where the whole model must run."""
    layers = []
    for hook in hooks:
        found = re.match(r"blocks\.(\d+)\.", hook)
        if found is None and not hook.startswith(("embed", "hook_embed", "pos_embed", "hook_pos")):
            return None  # a hook after the blocks
        layers.append(int(found.group(1)) if found else -1)
    stop = max(layers) + 1
    return stop if stop < model.cfg.n_layers else None


def may_keep(model: "TransformerBridge") -> bool:
    """Whether the model can leave out the logits of most positions, a third of its work."""
    inner = getattr(model, "original_model", None)
    known = inspect.signature(inner.forward).parameters if inner is not None else {}
    return "logits_to_keep" in known


@torch.no_grad()
def capture(
    model: "TransformerBridge",
    ids: Int[Tensor, "row pos"],
    hooks: Sequence[str],
    compute: Compute = "float32",
) -> dict[str, Float[Tensor, "row pos ..."]]:
    """What passes each hook on these rows; no layer above the last hook's runs.

    Raises StoreError for a hook that did not run exactly once, or not on (row, pos, …).
    """
    found: dict[str, Tensor] = {}
    runs = dict.fromkeys(hooks, 0)

    def keep(value: Tensor, hook: Any, name: str) -> None:
        runs[name] += 1
        found[name] = value.detach()

    taps: list[Any] = [(name, lambda v, hook, n=name: keep(v, hook, n)) for name in hooks]
    ids = ids.to(next(model.parameters()).device)
    stop = stop_layer(model, hooks)
    few: dict[str, Any] = {}
    if stop is None and all(name.startswith("blocks.") for name in hooks) and may_keep(model):
        few = {"logits_to_keep": 1}  # the whole model runs, and no hook needs its logits
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=compute == "bfloat16"):
        model.run_with_hooks(ids, fwd_hooks=taps, stop_at_layer=stop, **few)
    for name, n in runs.items():
        if n != 1:
            raise StoreError(f"hook {name!r} ran {n} times in a forward pass, not once")
        if found[name].shape[:2] != ids.shape:
            raise StoreError(
                f"{name!r} has shape {tuple(found[name].shape)}: not (row, pos, …) = "
                f"{tuple(ids.shape)}, so it has no vector per token"
            )
    return found


def capture_shard(
    model: "TransformerBridge",
    ids: Int[Tensor, "row pos"],
    keep: Bool[Tensor, "row pos"],
    shard: Shard,
    cfg: StoreConfig,
) -> dict[str, Tensor]:
    """A shard's tensors: per hook (token, d); row and pos of each token."""
    where = keep[shard.rows].nonzero()
    tensors = {"row": shard.rows[where[:, 0]].to(torch.int32), "pos": where[:, 1].to(torch.int16)}
    n = 0
    for rows in shard.rows.split(cfg.batch_rows):
        mask = keep[rows]
        found = capture(model, ids[rows], cfg.hooks, cfg.compute)
        end = n + int(mask.sum())
        for name, value in found.items():
            flat = value[mask.to(value.device)].flatten(1).to("cpu", DTYPES[cfg.dtype])
            if not flat.isfinite().all():
                raise StoreError(f"{name!r} is not finite in {cfg.dtype}: take bfloat16 or float32")
            if name not in tensors:
                tensors[name] = flat.new_empty(shard.n_tokens, flat.shape[1])
            tensors[name][n:end] = flat
        n = end
    return tensors


def _new_index(
    model: "TransformerBridge",
    ids: Int[Tensor, "row pos"],
    plan: list[Shard],
    cfg: StoreConfig,
    wanted: dict[str, Any],
) -> dict[str, Any]:
    """Everything about the store that is known before the first shard."""
    shapes = {name: list(v.shape[2:]) for name, v in capture(model, ids[:1], cfg.hooks).items()}
    return {
        "version": VERSION,
        "identity": wanted,
        "shapes": shapes,  # z is [head, d_head] here and flat in the file
        "n_pos": ids.shape[1],
        "held_rows": sorted(int(i) for s in plan if s.split == "held" for i in s.rows),
        "shards": [
            {"file": s.file, "split": s.split, "rows": len(s.rows), "tokens": s.n_tokens}
            for s in plan
        ],
    }


def write_activations(
    model: "TransformerBridge",
    rows: Rows | Int[Tensor, "row pos"],
    folder: str | Path,
    cfg: StoreConfig,
) -> ActivationStore:
    """Write the store, or what is missing of it; returns it open.

    Rows given as a tensor have no padding, and each is a document of its own. Raises StoreError
    if the folder was begun with other settings, another model or other tokens, if another process
    writes there, or if the disk is full; HookMissing for hooks that the model lacks.
    """
    from filelock import FileLock, Timeout

    from utils.models.loaded import check_hooks

    if isinstance(rows, Tensor):
        rows = Rows(rows, torch.ones_like(rows, dtype=torch.bool), torch.arange(len(rows)))
    check_hooks(model, list(cfg.hooks))
    keep, path = counted(rows.mask, cfg.skip_first), Path(folder)
    plan = make_plan(keep, rows.document, cfg)
    if not any(shard.split == "train" for shard in plan):
        raise StoreError("no token is left to store: every position is masked or held out")
    wanted = identity(cfg, model, rows.ids, rows.mask, rows.document)
    path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path / LOCK, timeout=0):
            if (path / INDEX).exists():
                check_same(path, read_index(path), wanted)
            else:
                if stray := sorted(p.name for p in path.glob("*.safetensors")):
                    raise StoreError(
                        f"{path} has shards ({stray[0]}) and no {INDEX}: of which run they are, "
                        "nobody knows. Delete the folder, or take another"
                    )
                index = _new_index(model, rows.ids, plan, cfg, wanted)
                files.write(path / INDEX, json.dumps(index))
            _write_missing(model, rows.ids, keep, plan, path, cfg)
    except Timeout:
        raise StoreError(f"another process is writing to {path}: wait for it") from None
    return open_store(path)


def _write_missing(
    model: "TransformerBridge",
    ids: Int[Tensor, "row pos"],
    keep: Bool[Tensor, "row pos"],
    plan: list[Shard],
    path: Path,
    cfg: StoreConfig,
) -> None:
    """Write the shards that are not there; a file that is there is whole."""
    from safetensors.torch import save

    # of a run that was killed: the lock says that it is dead
    for leftover in path.glob(f".*{files.PART}"):
        leftover.unlink()
    missing = [shard for shard in plan if not (path / shard.file).exists()]
    shapes = read_index(path)["shapes"].values()
    per_token = sum(torch.Size(s).numel() for s in shapes) * DTYPES[cfg.dtype].itemsize + 6
    left = per_token * sum(shard.n_tokens for shard in missing)
    if left > shutil.disk_usage(path).free:
        with explained(path, left):
            raise OSError(errno.ENOSPC, "no space left on device")
    for shard in track(missing, "activations"):
        tensors = capture_shard(model, ids, keep, shard, cfg)
        with explained(path, left):
            files.write(path / shard.file, save(tensors))
        left -= per_token * shard.n_tokens
