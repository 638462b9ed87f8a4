"""Checkpoints from which a run goes on exactly: weights, Adam, counters, the data's position."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from utils.saes.config import SAEConfig, SAETrainConfig

if TYPE_CHECKING:
    from utils.saes.train import Trainer

VERSION = 1


def save_checkpoint(path: Path, trainer: "Trainer") -> None:
    """Write a checkpoint; whoever reads the path finds the old one or the new one, whole."""
    coder = trainer.coder
    state = {
        "version": VERSION,
        "sae": asdict(coder.cfg),
        "train": asdict(trainer.cfg),
        "n_steps": trainer.n_steps,
        "params": coder.params,
        "cut": coder.cut,
        "scales": (coder.scale_in, coder.scale_out),
        "longest": trainer.longest,
        "optimiser": trainer.optimiser.state_dict(),
        "firing": (trainer.firing.rows_since, trainer.firing.n_rows),
        "feed": trainer.feed.state(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # the name must not outlive a crash that loses the contents
    part.replace(path)


def load_checkpoint(path: Path, trainer: "Trainer") -> bool:
    """Put a trainer where the checkpoint was; False if there is none.

    Raises ValueError if the checkpoint belongs to a run with other settings.
    """
    if not path.exists():
        return False
    state = torch.load(path, map_location=trainer.coder.device, weights_only=True)
    _require_same(path, state, trainer.coder.cfg, trainer.cfg)
    coder = trainer.coder
    for name, value in coder.params.items():
        value.copy_(state["params"][name])
    coder.cut.copy_(state["cut"])
    scale_in, scale_out = state["scales"]
    trainer.coder = replace(coder, scale_in=scale_in, scale_out=scale_out)
    trainer.optimiser.load_state_dict(state["optimiser"])
    trainer.firing.rows_since.copy_(state["firing"][0])
    trainer.firing.n_rows = state["firing"][1]
    trainer.n_steps, trainer.longest = state["n_steps"], state["longest"]
    trainer.feed.restore(state["feed"])
    return True


def _require_same(path: Path, state: dict[str, Any], sae: SAEConfig, train: SAETrainConfig) -> None:
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


COSMETIC = ("label", "record_every", "checkpoint_every")  # these do not change the weights
