"""Checkpoints from which a run goes on exactly: weights, Adam, counters, the data's position.

What is in one is a trainer's own affair (`Trainer.state`, `Trainer.restore`); here it is written,
read, and compared with the settings of the run that wants to go on from it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.files import whole
from utils.saes.config import SAEConfig, SAETrainConfig

VERSION = 1
COSMETIC = ("label", "record_every", "checkpoint_every")  # these do not change the weights


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a trainer's state; whoever reads the path finds the old one or the new one, whole.

    Raises FloatingPointError, and leaves the old one, where a weight is NaN or infinite.
    """
    if bad := not_finite(state["params"]):
        raise FloatingPointError(
            f"{bad} is not finite after step {state['n_steps']}: it is not written, and {path} is "
            "left as it was"
        )
    with whole(path) as part:
        torch.save({"version": VERSION, **state}, part)


def load_checkpoint(
    path: Path, sae: SAEConfig, train: SAETrainConfig, device: torch.device | str = "cpu"
) -> dict[str, Any] | None:
    """The state that was written for these settings; None if there is none.

    Raises ValueError if it belongs to a run with other settings, or holds weights that are not
    finite.
    """
    if not path.exists():
        return None
    state = torch.load(path, map_location=device, weights_only=True)
    changed = [] if state["version"] == VERSION else ["version"]
    for kind, cfg in (("sae", sae), ("train", train)):
        now = asdict(cfg)
        changed += [
            f"{kind}.{name}"
            for name in now
            if name not in COSMETIC and state[kind].get(name) != now[name]
        ]
    if changed:
        raise ValueError(
            f"{path} is of a run with other settings ({', '.join(changed)}): "
            "remove it, or train with the settings that it was written with"
        )
    if bad := not_finite(state["params"]):
        raise ValueError(f"{bad} in {path} is not finite: remove the file, and train again")
    return state


def not_finite(params: Mapping[str, Tensor]) -> str:
    """The names of the tensors that hold NaN or infinity, or "" if none does."""
    return ", ".join(name for name, value in params.items() if not bool(value.isfinite().all()))
