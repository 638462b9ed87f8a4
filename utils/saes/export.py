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

from utils.files import whole, write
from utils.models.sae import FOLDABLE
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
TRANSCODERS: tuple[Kind, ...] = ("skip_transcoder", "transcoder")
# what every class of sae_lens has in its configuration; `dtype` and `device` say how it was saved
ALL_FIELDS = (
    *("architecture", "d_in", "d_sae", "dtype", "device", "metadata"),
    *("apply_b_dec_to_input", "normalize_activations", "reshape_activations"),
)
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
    plain = folded(coder)
    weights = {name: value for name, value in plain.params.items() if name != "encoder"}
    weights["W_enc"] = plain.params["encoder"].T
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

    Each file is written whole, the config last.
    """
    weights = {n: v.to("cpu", dtype).contiguous() for n, v in sae_lens_weights(coder).items()}
    text = json.dumps(_config(coder, dict(metadata or {}), dtype), indent=2) + "\n"
    with whole(folder / WEIGHTS) as part:
        save_file(weights, part)
    write(folder / SAE_CFG, text)


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


def load_coder(
    folder: Path, device: torch.device | str = "cpu", heads: int | None = None
) -> SparseCoder:
    """A saved coder, for use: a BatchTopK one comes back as the JumpReLU it was saved as.

    Reads what sae_lens has written, too (from version 6.0 on). Raises ValueError for a folder whose
    settings ask for something that is not computed here: none is passed over. `heads` splits an
    attention z, where the folder does not say how many there are.
    """
    config = json.loads((folder / SAE_CFG).read_text())
    weights: dict[str, Tensor] = load_file(folder / WEIGHTS, device=str(device))
    kind, architecture = _require_readable(folder, config)
    metadata = config["metadata"]
    if config.get("reshape_activations", "none") == "hook_z":
        heads = heads or metadata.get("trained_as", {}).get("heads")
        if heads is None:
            raise ValueError(f"{folder} takes an attention z, of how many heads? Say heads=…")
    constant = config.get("normalize_activations") == "constant_norm_rescale"
    cfg = SAEConfig(
        d_in=config["d_in"],
        latent=config["d_sae"],
        architecture=architecture,
        kind=kind,
        d_out=config.get("d_out"),
        k=config.get("k", 1),
        decoder_norm="unit",  # norms are folded: they select nothing any more
        normalise="constant_norm" if constant else "none",
        heads=heads,
    )
    names = _param_names(cfg)
    if set(weights) != names:
        raise ValueError(f"{folder / WEIGHTS} has {sorted(weights)}, expected {sorted(names)}")
    params = {("encoder" if n == "W_enc" else n): w.float() for n, w in weights.items()}
    params["encoder"] = params["encoder"].T.contiguous()
    if kind == "sae" and not config.get("apply_b_dec_to_input", True):
        _read_b_dec(params)
    if config.get("rescale_acts_by_decoder_norm"):
        norms = params["W_dec"].norm(dim=1)
        params |= {"encoder": params["encoder"] * norms[:, None], "b_enc": params["b_enc"] * norms}
        params["W_dec"] = params["W_dec"] / norms[:, None]
    return SparseCoder(cfg, params, torch.zeros((), dtype=torch.float64, device=device))


def _require_readable(folder: Path, config: dict[str, Any]) -> tuple[Kind, Architecture]:
    """What is saved there; ValueError if it is not computed here as sae_lens computes it."""

    def refuse(what: str) -> ValueError:
        return ValueError(
            f"{folder / SAE_CFG}: {what}, which is not computed here; utils.models.sae.load_sae "
            "runs it with sae_lens"
        )

    version = str(config.get("metadata", {}).get("sae_lens_version") or 0)
    if int(version.partition(".")[0]) < 6:
        raise refuse("it was written before sae_lens 6.0, by other rules")
    name = str(config.get("architecture"))
    kind: Kind = next((k for k in TRANSCODERS if name.endswith(k)), "sae")
    base = name.removesuffix(kind).rstrip("_") or "standard"
    ours = {theirs: ours for ours, theirs in CLASSES.items()}
    if base not in ours:
        raise refuse(f"architecture is {name!r}")
    known = {*ALL_FIELDS, *(("k", "rescale_acts_by_decoder_norm") if base == "topk" else ())}
    known |= set() if kind == "sae" else {"d_out"}
    if unknown := sorted(set(config) - known):
        raise refuse(f"it sets {', '.join(unknown)}")
    norm = config.get("normalize_activations", "none")
    if norm in FOLDABLE:
        raise ValueError(
            f"{folder / SAE_CFG}: {norm} is not folded into its weights: do that first"
        )
    if norm not in ("none", "constant_norm_rescale") or (norm != "none" and kind != "sae"):
        raise refuse(f"normalize_activations of its {name} is {norm!r}")
    reshape = config.get("reshape_activations", "none")
    if reshape not in ("none", "hook_z"):
        raise refuse(f"reshape_activations is {reshape!r}")
    return kind, ours[base]


def _param_names(cfg: SAEConfig) -> set[str]:
    """The tensors that sae_lens saves for a coder."""
    names = {"W_enc", "W_dec", "b_dec"}
    names |= {"b_gate", "b_mag", "r_mag"} if cfg.architecture == "gated" else {"b_enc"}
    names |= {"threshold"} if cfg.architecture == "jumprelu" else set()
    return names | ({"W_skip"} if cfg.kind == "skip_transcoder" else set())


def _read_b_dec(params: Params) -> None:
    """Let an encoder that read x read x - b_dec: its biases take b_dec's part back."""
    part = params["encoder"] @ params["b_dec"]
    for name in params.keys() & {"b_enc", "b_gate"}:
        params[name] = params[name] + part
    if "b_mag" in params:
        params["b_mag"] = params["b_mag"] + part * params["r_mag"].exp()
