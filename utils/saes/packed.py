"""Weights in 8 bits: a matrix is whole numbers from -127 to 127, with a scale for each row.

The rows of W_enc are its columns: one per latent, as in W_dec. Vectors stay in float32. The file
has a name of its own, so that nobody takes whole numbers for weights; `read_weights` reads both.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.files import whole

SAE_CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
PACKED = "sae_weights.int8.safetensors"
SCALE, MOST = "_scale", 127
Weights = dict[str, Tensor]


def pack(weights: Weights) -> Weights:
    """Round every matrix; an entry is off by at most half of 1/127 of its row's largest."""
    packed: Weights = {}
    for name, value in weights.items():
        value = value.detach().to("cpu", torch.float32)
        if value.ndim == 2:
            rows = value.T if name == "W_enc" else value
            scale = rows.abs().amax(dim=1) / MOST
            scale = torch.where(scale == 0, 1, scale)  # a row of zeros
            packed[name + SCALE] = scale
            value = (rows / scale[:, None]).round().to(torch.int8)
        packed[name] = value.contiguous()
    return packed


def unpack(packed: Weights) -> Weights:
    """The weights, in float32, under sae_lens' names and in its layout."""
    weights: Weights = {}
    for name, value in packed.items():
        if name.endswith(SCALE):
            continue
        if name + SCALE in packed:
            value = value.float() * packed[name + SCALE][:, None]
            value = value.T.contiguous() if name == "W_enc" else value
        weights[name] = value
    return weights


def save_packed(weights: Weights, folder: Path) -> None:
    """Write the weights to a folder, in 8 bits."""
    with whole(folder / PACKED) as part:
        save_file(pack(weights), part)


def read_weights(folder: Path, device: str | torch.device = "cpu") -> Weights:
    """The weights of a folder, whichever way they were written."""
    if (folder / PACKED).exists():
        return unpack(load_file(folder / PACKED, device=str(device)))
    return load_file(folder / WEIGHTS, device=str(device))


def sae_lens_reader(
    path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
) -> tuple[dict[str, Any], Weights]:
    """What `sae_lens.SAE.load_from_disk` takes as its converter: configuration and weights."""
    config = json.loads((Path(path) / SAE_CFG).read_text())
    return config | {"device": device} | (cfg_overrides or {}), read_weights(Path(path), device)
