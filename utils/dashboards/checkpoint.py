"""A stopped run goes on: the state on disk, with a digest of everything that decides it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils import files
from utils.activations.index import digest_of, fingerprint
from utils.dashboards.settings import DashboardError, Settings
from utils.data.corpus import Rows
from utils.models.loaded import Loaded
from utils.models.sae import Sae

VERSION = 1


def identity(
    loaded: Loaded, sae: Sae, rows: Rows, latents: list[int], settings: Settings
) -> dict[str, Any]:
    """All that decides the numbers of a run; the size of its batches does so up to rounding."""
    told: dict[str, Any] = asdict(settings)
    del told["batch_rows"]
    return {
        "version": VERSION,
        "model": f"{loaded.name} {fingerprint(loaded.model)}",
        "SAE": digest_of_sae(sae),
        "text": digest_of(rows.ids, rows.mask),
        "latents": hashlib.sha256(json.dumps(latents).encode()).hexdigest(),
        "settings": told,
    }


def digest_of_sae(sae: Sae) -> str:
    """Of weights, configuration and hooks."""
    inner = sae.sae
    named = inner.state_dict() if isinstance(inner, torch.nn.Module) else vars(inner)
    tensors = {k: v for k, v in sorted(named.items()) if isinstance(v, Tensor)}
    cfg: Any = getattr(inner, "cfg", None)
    told = cfg.to_dict() if hasattr(cfg, "to_dict") else {}
    told = {k: v for k, v in told.items() if k not in ("device", "dtype", "metadata")}
    text = f"{type(inner).__name__} {sae.hook_in} {sae.hook_out} {sae.n_latents} {list(tensors)}"
    text += json.dumps(told, sort_keys=True, default=str)
    weights = digest_of(*(value.detach().float() for value in tensors.values()))
    return hashlib.sha256((text + weights).encode()).hexdigest()


def save(path: Path, tensors: dict[str, Tensor], wanted: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    from safetensors.torch import save_file

    found = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with files.whole(path) as part:
        save_file(found, part, metadata={"identity": json.dumps(wanted)})


def load(path: Path, wanted: dict[str, Any]) -> dict[str, Tensor] | None:
    """The tensors of a checkpoint; None where there is none.

    Raises DashboardError where it belongs to another run, or is no checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    cure = f"Delete {path}, or name another checkpoint"
    try:
        with safe_open(path, framework="pt") as file:
            there = json.loads((file.metadata() or {})["identity"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise DashboardError(f"{path} is no checkpoint of a dashboard ({error}). {cure}") from None
    if differ := _differences(there, wanted):
        raise DashboardError(
            f"{path} is the checkpoint of another run; different are: {'; '.join(differ)}. {cure},"
            " or ask for the same as that run"
        )
    return tensors


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs, settings by name and value."""
    old, new = there.get("settings", {}), wanted["settings"]
    found = [f"{k} ({old.get(k)}, now {v})" for k, v in new.items() if old.get(k) != v]
    plain = (k for k in wanted if k != "settings")
    return [f"the {k}" for k in plain if there.get(k) != wanted[k]] + found
