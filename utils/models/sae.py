"""One small interface to every SAE and transcoder, whoever made it.

`sae_lens` has one class per architecture, each with its own treatment of attention heads, input
norms and skip paths. `Sae` hides those: activations go in as they are at a hook and come out as
they are at a hook.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# what the library leaves out in silence until it is folded into the weights
FOLDABLE = ("expected_average_only_in", "covariance_whitening")
NORMS_AT_RUN_TIME = ("layer_norm", "constant_norm_rescale")


@dataclass(frozen=True)
class Sae:
    """An SAE or a transcoder, with the hooks where it reads and writes."""

    sae: Any  # has encode(x) and decode(latents); of sae_lens or your own
    hook_in: str
    hook_out: str  # equal to hook_in unless this is a transcoder
    d_in: int
    n_latents: int

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes somewhere else than it reads."""
        return self.hook_in != self.hook_out

    @property
    def layer(self) -> int:
        """The block that it belongs to; -1 for the embedding."""
        parts = self.hook_in.split(".")
        return int(parts[1]) if parts[0] == "blocks" else -1

    @property
    def kind(self) -> str:
        """`transcoder`, `attention` (at z), `residual`, or `mlp` (the rest)."""
        return kind_of(self.hook_in, self.hook_out)

    def flatten(self, x: Float[Tensor, "..."]) -> Float[Tensor, "... d_in"]:
        """Activations as rows of d_in: at z, heads side by side."""
        if x.shape[-1] == self.d_in:
            return x
        if x.ndim > 1 and x.shape[-1] * x.shape[-2] == self.d_in:
            return x.flatten(-2)
        raise ValueError(
            f"{self.hook_in} has shape {tuple(x.shape)}, but the SAE reads vectors of"
            f" {self.d_in}: it was made for another model or another hook"
        )

    def encode(self, x: Float[Tensor, "..."]) -> Float[Tensor, "*batch latent"]:
        """Latents of the activations at `hook_in`, heads or no heads."""
        return self.sae.encode(self.flatten(x))

    def decode(
        self, latents: Float[Tensor, "*batch latent"], x: Float[Tensor, "..."]
    ) -> Float[Tensor, "*batch d_out"]:
        """Reconstruction from the latents; `x` (at `hook_in`) for input norms and skip paths."""
        rows = self.flatten(x)
        cfg = getattr(self.sae, "cfg", None)
        if getattr(cfg, "normalize_activations", "none") in NORMS_AT_RUN_TIME:
            self.sae.run_time_activation_norm_fn_in(rows)  # decode uses up what this remembers
        out = self.sae.decode(latents)
        skip = getattr(self.sae, "W_skip", None)  # only the library's forward() adds it
        if skip is not None:
            out = out + rows.to(skip.dtype) @ skip.T
        return out.to(x.dtype)

    def to(self, device: str | torch.device) -> "Sae":
        """The same on another device (moves the weights)."""
        self.sae.to(device)
        return self


def kind_of(hook_in: str, hook_out: str) -> str:
    """The kind of SAE, by its hooks."""
    if hook_in != hook_out:
        return "transcoder"
    if hook_in.endswith("hook_z"):
        return "attention"
    return "residual" if "resid" in hook_in else "mlp"


def as_sae(sae: Any, hook_in: str | None = None, hook_out: str | None = None) -> Sae:
    """Wrap an SAE of `sae_lens` (or one with the same `cfg`); freezes its parameters.

    The hooks are the given ones, else those of its metadata. Raises ValueError where they are
    unknown, where it reads a single head, or where its input scale was never folded in.
    """
    cfg = sae.cfg
    hook_in = hook_in or cfg.metadata.hook_name
    hook_out = hook_out or cfg.metadata.hook_name_out or hook_in
    if not hook_in:
        raise ValueError("the SAE does not say where it reads: name hook_in")
    if cfg.metadata.hook_head_index is not None:
        raise ValueError(f"the SAE at {hook_in} reads one head only: not supported")
    if cfg.normalize_activations in FOLDABLE:
        method = {"expected_average_only_in": "norm_scaling_factor"}
        fold = f"fold_activation_{method.get(cfg.normalize_activations, 'whitening')}"
        raise ValueError(
            f"the SAE at {hook_in} expects scaled inputs ({cfg.normalize_activations}): fold the"
            f" scale into its weights first ({fold})"
        )
    if getattr(sae, "hook_z_reshaping_mode", False):
        sae.turn_off_forward_pass_hook_z_reshaping()  # flatten() does it, and keeps no state
    sae.eval().requires_grad_(False)
    return Sae(sae, hook_in, hook_out, int(cfg.d_in), int(cfg.d_sae))


def load_sae(folder: str | Path, device: str | torch.device = "cpu") -> Sae:
    """The SAE of a folder in `sae_lens`' own format, in float32."""
    from sae_lens import SAE

    return as_sae(SAE.load_from_disk(folder, device=str(device), dtype="float32"))


@dataclass(frozen=True)
class Entry:
    """An SAE that lies in a folder, as its cfg.json describes it."""

    folder: Path
    kind: str
    layer: int
    n_latents: int


def entries(folder: Path) -> list[Entry]:
    """Every SAE below a folder, by kind, layer and width; reads no weights."""
    found = []
    for path in sorted(folder.rglob("cfg.json")):
        cfg = json.loads(path.read_text())
        meta = cfg.get("metadata", {})
        hook_in = meta.get("hook_name") or ""
        parts = hook_in.split(".")
        layer = int(parts[1]) if parts[0] == "blocks" else -1
        kind = kind_of(hook_in, meta.get("hook_name_out") or hook_in)
        found.append(Entry(path.parent, kind, layer, int(cfg["d_sae"])))
    return sorted(found, key=lambda entry: (entry.kind, entry.layer, entry.n_latents))
