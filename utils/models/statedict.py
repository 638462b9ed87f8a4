"""Models that are published as a configuration and a plain state dictionary, no more.

Neel Nanda's attention-only models use the names of `HookedTransformer`; Othello-GPT (Li et al.
2023) those of minGPT. Both become native models behind `TransformerBridge`.
"""

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils.models.offline import offline

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Weights = dict[str, Tensor]
FILES = ("model_final.pth", "final.pth")  # Nanda's name, then Othello-GPT's
COPIED = ("d_model", "d_head", "n_heads", "n_layers", "n_ctx", "d_vocab", "d_mlp", "attn_only")


def boot_statedict(repo: str, device: str | torch.device = "cpu") -> "TransformerBridge":
    """The model of a repository, from the hub's cache or the network, with its tokenizer."""
    from transformers import AutoTokenizer

    with open(_download(repo, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    # a pickle may run code: only tensors are read from it
    weights = torch.load(_download(repo, *FILES), map_location="cpu", weights_only=True)
    name = config.get("tokenizer_name")
    tokenizer = AutoTokenizer.from_pretrained(name, add_bos_token=True) if name else None
    return build(config, weights, tokenizer).to(device)


def build(config: dict[str, Any], weights: Weights, tokenizer: Any = None) -> "TransformerBridge":
    """A native model with these weights."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    is_mingpt = "tok_emb.weight" in weights
    norm = config.get("normalization", config.get("normalization_type"))
    cfg = TransformerBridgeConfig(
        **{name: config[name] for name in COPIED if config.get(name) is not None},
        act_fn=config.get("act_fn") or "gelu",
        normalization_type=norm,
        eps=config.get("eps", 1e-5),
        init_weights=False,
    )
    with offline(), torch.random.fork_rng(devices=[]):
        model = TransformerBridge.boot_native(cfg, tokenizer=tokenizer)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    mine = from_mingpt(weights) if is_mingpt else from_hooked(weights)
    if config.get("shortformer_pos"):
        positions = mine.pop("pos_embed.weight")
        mine["pos_embed.weight"] = torch.zeros_like(positions)
        _add_to_queries_and_keys(model, positions)
    for name, shape in shapes.items():
        if name.endswith(".bias"):  # one that the format leaves out is 0
            mine.setdefault(name, torch.zeros(shape))
    model.load_state_dict({name: mine[name].float() for name in mine}, strict=True)
    return model.eval().requires_grad_(False)


def from_hooked(weights: Weights) -> Weights:
    """Names and layouts of `HookedTransformer`: per head, and x @ W instead of W @ x."""
    out: Weights = {}
    for name, value in weights.items():
        stem, _, last = name.rpartition(".")
        if last in ("mask", "IGNORE"):
            continue  # constants
        elif last in ("W_Q", "W_K", "W_V"):  # [head, d_model, d_head]
            out[f"{stem}.{last[-1].lower()}.weight"] = value.transpose(1, 2).flatten(0, 1)
        elif last in ("b_Q", "b_K", "b_V"):  # [head, d_head]
            out[f"{stem}.{last[-1].lower()}.bias"] = value.flatten()
        elif last == "W_O":  # [head, d_head, d_model]
            out[f"{stem}.o.weight"] = value.flatten(0, 1).T
        elif last in ("W_in", "W_out"):
            out[f"{stem}.{last[2:]}.weight"] = value.T
        elif last in ("b_in", "b_out"):
            out[f"{stem}.{last[2:]}.bias"] = value
        else:
            kind = {"w": "weight", "b": "bias", "b_O": "o.bias", "W_U": "weight", "b_U": "bias"}
            out[f"{stem}.{kind.get(last, 'weight')}"] = value.T if last == "W_U" else value
    return out


def from_mingpt(weights: Weights) -> Weights:
    """Names of minGPT; its layouts are those of `torch.nn.Linear` already."""
    renames = (
        ("tok_emb.", "embed."),
        (".attn.query.", ".attn.q."),
        (".attn.key.", ".attn.k."),
        (".attn.value.", ".attn.v."),
        (".attn.proj.", ".attn.o."),
        (".mlp.0.", ".mlp.in."),
        (".mlp.2.", ".mlp.out."),
        ("ln_f.", "ln_final."),
        ("head.", "unembed."),
    )
    out: Weights = {}
    for name, value in weights.items():
        if name.endswith("attn.mask"):
            continue
        for old, new in renames:
            name = name.replace(old, new)
        if name == "pos_emb":
            name, value = "pos_embed.weight", value[0]
        out[name] = value
    return out


def _add_to_queries_and_keys(model: "TransformerBridge", positions: Tensor) -> None:
    """Shortformer: positions enter queries and keys alone, after the norm (Press et al. 2021).

    q = W_q (norm(x) + p) = W_q norm(x) + W_q p, so a fixed W_q p is added behind the projection,
    by hooks that stay when hooks are reset.
    """

    def add(value: Tensor, hook: Any) -> Tensor:
        layer, letter = int(hook.name.split(".")[1]), hook.name.split(".")[3]
        weight = getattr(model.blocks[layer].attn, letter).weight
        extra = positions[: value.shape[1]].to(weight) @ weight.T
        return value + extra.reshape(1, *extra.shape[:1], *value.shape[2:])

    for layer in range(model.cfg.n_layers):
        for letter in ("q", "k"):
            model.add_hook(f"blocks.{layer}.attn.{letter}.hook_out", add, is_permanent=True)


def _download(repo: str, *names: str) -> str:
    """The first of these files that the repository has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in names[:-1]:
        try:
            return hf_hub_download(repo, name)
        except EntryNotFoundError:
            continue
    return hf_hub_download(repo, names[-1])
