"""Save and load coders in sae_lens' format, without importing sae_lens.

A folder with `cfg.json` and `sae_weights.safetensors` that `sae_lens.SAE.load_from_disk` reads
(written for version 6.54). Folded into the weights: an average norm's scale, and decoder norms
where they weigh a selection. BatchTopK and Matryoshka become JumpReLU with their threshold.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.saes.coder import Params, SparseCoder, decoder_norms
from utils.saes.config import TOPK_FAMILY, Architecture, Kind, SAEConfig
from utils.saes.train import needs_cut

FORMAT = "6.54.12"  # of sae_lens: older numbers would be read by other rules
CLASSES: dict[Architecture, str] = {
    "relu": "standard",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
}
SAE_CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"


def saved_class(cfg: SAEConfig) -> str:
    """The name of sae_lens' class for a coder; ValueError where it has none."""
    base: Architecture = "jumprelu" if needs_cut(cfg) else cfg.architecture
    if cfg.kind == "sae":
        return CLASSES[base]
    if base not in ("relu", "jumprelu"):
        raise ValueError(
            f"sae_lens has no {base} transcoder: train relu, jumprelu, batchtopk or matryoshka"
        )
    return cfg.kind if base == "relu" else f"jumprelu_{cfg.kind}"


@torch.no_grad()
def folded(coder: SparseCoder) -> SparseCoder:
    """The same function of raw rows with scales of 1, and unit norms where those select.

    Output of raw rows is unchanged; activations are divided by nothing unless a decoder norm is
    folded, which multiplies them by it.
    """
    p = dict(coder.params)
    if coder.cfg.architecture in TOPK_FAMILY:
        norms = decoder_norms(coder)
        p |= {"encoder": p["encoder"] * norms.unsqueeze(1), "b_enc": p["b_enc"] * norms}
        p["W_dec"] = p["W_dec"] / norms.unsqueeze(1)
    scale_in, scale_out = coder.scale_in, coder.scale_out
    p |= {"encoder": p["encoder"] * scale_in}
    p |= {"W_dec": p["W_dec"] / scale_out, "b_dec": p["b_dec"] / scale_out}
    if "W_skip" in p:
        p["W_skip"] = p["W_skip"] * (scale_in / scale_out)
    return SparseCoder(coder.cfg, p, coder.cut)


def sae_lens_weights(coder: SparseCoder) -> Params:
    """Tensors under sae_lens' names: W_enc is (d_in, latent), everything else as here."""
    whole = folded(coder)
    weights = {name: value for name, value in whole.params.items() if name != "encoder"}
    weights["W_enc"] = whole.params["encoder"].T
    if needs_cut(coder.cfg):
        weights["threshold"] = coder.cut.to(weights["b_enc"]).expand(coder.cfg.latent)
    return weights


def save_coder(
    coder: SparseCoder,
    folder: Path,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the coder to `folder`; `metadata` says where it belongs (hook_name, model_name, ...).

    Readers find the weights of one save only: the config is written last, and atomically.
    """
    weights = {n: v.to("cpu", dtype).contiguous() for n, v in sae_lens_weights(coder).items()}
    text = json.dumps(_config(coder, dict(metadata or {}), dtype), indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    parts = folder / f"{WEIGHTS}.part", folder / f"{SAE_CFG}.part"
    save_file(weights, parts[0])
    parts[0].chmod(0o644)  # safetensors lets only the owner read
    parts[1].write_text(text)
    parts[0].replace(folder / WEIGHTS)
    parts[1].replace(folder / SAE_CFG)


def _config(coder: SparseCoder, metadata: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    cfg = coder.cfg
    hook = metadata.get("hook_name")
    if cfg.heads is not None and hook is not None and not hook.endswith("_z"):
        raise ValueError(f"a coder of attention z belongs at a hook that ends in _z, not {hook}")
    details = {"architecture": cfg.architecture, "kind": cfg.kind, "heads": cfg.heads, "k": cfg.k}
    config: dict[str, Any] = {
        "architecture": saved_class(cfg),
        "d_in": cfg.d_in,
        "d_sae": cfg.latent,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": cfg.centred,
        "normalize_activations": "none",
        "reshape_activations": "none" if cfg.heads is None else "hook_z",
        "metadata": {"sae_lens_version": FORMAT, "trained_as": details} | metadata,
    }
    if cfg.normalise == "constant_norm":
        config["normalize_activations"] = "constant_norm_rescale"
    if cfg.kind != "sae":
        config["d_out"] = cfg.d_target
    if config["architecture"] == "topk":
        config |= {"k": cfg.k, "rescale_acts_by_decoder_norm": False}
    return config


def load_coder(folder: Path, device: torch.device | str = "cpu") -> SparseCoder:
    """A saved coder, for use: a BatchTopK one comes back as the JumpReLU it was saved as."""
    config = json.loads((folder / SAE_CFG).read_text())
    weights: dict[str, Tensor] = load_file(folder / WEIGHTS, device=str(device))
    name = config["architecture"]
    transcoders: tuple[Kind, ...] = ("skip_transcoder", "transcoder")
    kind: Kind = next((k for k in transcoders if name.endswith(k)), "sae")
    base = name.removesuffix(kind).rstrip("_") or "standard"
    heads = config["metadata"].get("trained_as", {}).get("heads")
    constant = config["normalize_activations"] == "constant_norm_rescale"
    ours = {theirs: ours for ours, theirs in CLASSES.items()}
    cfg = SAEConfig(
        d_in=config["d_in"],
        latent=config["d_sae"],
        architecture=ours[base],
        kind=kind,
        d_out=config.get("d_out"),
        k=config.get("k", 1),
        decoder_norm="unit",  # norms were folded: they select nothing any more
        normalise="constant_norm" if constant else "none",
        heads=heads,
    )
    params = {("encoder" if n == "W_enc" else n): w.float() for n, w in weights.items()}
    params["encoder"] = params["encoder"].T.contiguous()
    return SparseCoder(cfg, params, torch.zeros((), dtype=torch.float64, device=device))
