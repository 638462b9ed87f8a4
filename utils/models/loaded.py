"""What a section gets when it asks for a model: the model, its tokenizer, its hook names."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SITES = {
    "resid_pre": "blocks.{}.hook_resid_pre",
    "resid_mid": "blocks.{}.hook_resid_mid",
    "resid_post": "blocks.{}.hook_resid_post",
    "z": "blocks.{}.attn.hook_z",  # [batch, pos, head, d_head]
    "pattern": "blocks.{}.attn.hook_pattern",
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_in": "blocks.{}.mlp.hook_in",  # after the norm and its gain: what the MLP really reads
    "mlp_post": "blocks.{}.mlp.hook_post",
    "mlp_out": "blocks.{}.hook_mlp_out",  # what the MLP adds to the residual stream
}


class HookMissing(ValueError):
    """A hook name that this model does not have; the library would ignore it in silence."""


class HookInert(ValueError):
    """A hook that runs, but at which an edit does nothing, or not what its name says."""


# Hooks of the library (3.9) that hand out a copy: pattern of the name, whether on native models
# only, what an edit does there, what to edit instead. tests/utils/models/test_hooks.py tries every
# hook that is not here.
_ATTENTION = "attn.hook_z, hook_q, hook_k and hook_v of the same block act"
INERT: tuple[tuple[str, bool, str, str], ...] = (
    (
        r"blocks\.\d+\.hook_resid_mid",
        False,
        "reaches the MLP and not the stream that goes on beside it",
        "hook_attn_out, hook_resid_pre and hook_resid_post of the same block act, and ln2.hook_in "
        "for the MLP's branch alone",
    ),
    (r"blocks\.\d+\.attn\.hook_(pattern|attn_scores)", True, "changes nothing", _ATTENTION),
    (r"blocks\.\d+\.attn\.hook_rot_[qk]", True, "changes nothing", _ATTENTION),
    (
        r"(embed|pos_embed|rotary_emb)\.hook_in",
        False,
        "changes nothing",
        "hook_embed and blocks.0.hook_resid_pre act",
    ),
)


@dataclass(frozen=True)
class Loaded:
    """A model behind `TransformerBridge`, in evaluation mode, its parameters frozen."""

    model: "TransformerBridge"
    tokenizer: Any  # None for Othello: its tokens are squares
    name: str  # as its publisher calls it
    profile: str = ""  # under which it was asked for, if it was

    @property
    def n_layers(self) -> int:
        """How many blocks it has."""
        return int(self.model.cfg.n_layers)

    @property
    def device(self) -> torch.device:
        """Where its parameters lie."""
        return next(self.model.parameters()).device

    def hook(self, site: str, layer: int) -> str:
        """The hook name of a site (a key of SITES); a negative layer counts from the end."""
        if site not in SITES:
            raise HookMissing(f"there is no site {site!r}; the sites are {', '.join(SITES)}")
        if not -self.n_layers <= layer < self.n_layers:
            raise HookMissing(f"{self.name} has layers 0 to {self.n_layers - 1}, not {layer}")
        name = SITES[site].format(layer % self.n_layers)
        check_hooks(self.model, [name])
        return name


def check_hooks(model: "TransformerBridge", names: list[str]) -> None:
    """Raise HookMissing for a name that the model lacks, with the nearest names that it has."""
    known = model.hook_dict
    for name in names:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=3) or list(known)[:3]
            raise HookMissing(f"the model has no hook {name!r}; near it are {', '.join(near)}")


def inert(model: "TransformerBridge", name: str) -> str:
    """Why an edit at this hook would be in vain, or ""."""
    native = getattr(model.cfg, "architecture", None) == "TransformerLensNative"
    for pattern, native_only, does, instead in INERT:
        if re.fullmatch(pattern, name) and (native or not native_only):
            kind = "models of this kind" if native_only else "every model"
            return f"an edit at {name!r} {does} (on {kind}); {instead}"
    return ""


def check_edits(model: "TransformerBridge", names: list[str]) -> None:
    """Raise HookMissing for a name that the model lacks, HookInert where an edit is in vain."""
    check_hooks(model, names)
    for name in names:
        if why := inert(model, name):
            raise HookInert(why)
