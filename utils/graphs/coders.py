"""Transcoders as the affine pieces that a graph needs, whoever made them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.graphs.frozen import Frozen, GraphError
from utils.models.sae import NORMS_AT_RUN_TIME, Sae

SKIP_FIRST = 1  # transcoders are trained without the first position: there, all is error


@dataclass(frozen=True)
class Coder:
    """One layer's transcoder: f = activation(x W_enc + bias), out = f W_dec + b_out + W_skip x."""

    W_enc: Float[Tensor, "d_in latent"]
    bias: Float[Tensor, " latent"]
    W_dec: Float[Tensor, "latent d_model"]
    b_out: Float[Tensor, " d_model"]
    W_skip: Float[Tensor, "d_model d_in"] | None


def coder_of(sae: Sae) -> Coder:
    """A transcoder's pieces."""
    inner = sae.sae
    cfg = getattr(inner, "cfg", None)
    if getattr(cfg, "normalize_activations", "none") in NORMS_AT_RUN_TIME:
        raise GraphError(f"{sae.hook_in}: a norm at run time is not linear; fold it first")
    W_enc, bias = inner.W_enc.detach(), inner.b_enc.detach()
    if getattr(cfg, "apply_b_dec_to_input", False):
        bias = bias - inner.b_dec.detach() @ W_enc
    with torch.no_grad():
        b_out = inner.decode(bias.new_zeros(1, sae.n_latents))[0]
    skip = getattr(inner, "W_skip", None)
    return Coder(W_enc, bias, inner.W_dec.detach(), b_out, None if skip is None else skip.detach())


@dataclass(frozen=True)
class Features:
    """All latents that are active, in the order of layer, position, latent."""

    layer: Int[Tensor, " feature"]
    pos: Int[Tensor, " feature"]
    latent: Int[Tensor, " feature"]
    value: Float[Tensor, " feature"]

    def __len__(self) -> int:
        return len(self.layer)


@dataclass(frozen=True)
class Replacement:
    """Transcoders in place of the MLPs of a prompt, with what they leave out as errors."""

    frozen: Frozen
    coders: list[Coder]
    features: Features
    error: Float[Tensor, "layer pos d_model"]
    own: Float[Tensor, "layer pos d_model"]  # what the MLPs write, less the skip paths

    def skip(self, layer: int, x: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "..."]:
        """What goes through the skip path of a layer; nothing at the first position."""
        W_skip = self.coders[layer].W_skip
        if W_skip is None:
            return torch.zeros_like(self.own[layer]).expand(len(x), -1, -1)
        beside = x @ W_skip.T
        return torch.cat([torch.zeros_like(beside[:, :SKIP_FIRST]), beside[:, SKIP_FIRST:]], dim=1)

    def biases(self) -> Float[Tensor, "layer pos d_model"]:
        """What the decoders' biases write."""
        rows = torch.stack([coder.b_out for coder in self.coders])
        full = rows[:, None].repeat(1, self.frozen.n_pos, 1)
        full[:, :SKIP_FIRST] = 0
        return full


@torch.no_grad()
def replace_mlps(frozen: Frozen, transcoders: Sequence[Sae]) -> Replacement:
    """Put a transcoder at every layer; GraphError where one is missing or reads another place."""
    by_layer = {sae.layer: sae for sae in transcoders}
    layers = range(frozen.n_layers)
    if missing := [i for i in layers if i not in by_layer]:
        raise GraphError(f"no transcoder for layer {missing[0]}: a graph needs one for every layer")
    for i in layers:
        sae, places = by_layer[i], (frozen.reads[i], frozen.loaded.hook("mlp_out", i))
        if (sae.hook_in, sae.hook_out) != places:
            raise GraphError(
                f"the transcoder of layer {i} goes from {sae.hook_in} to {sae.hook_out}; a graph "
                f"needs {places[0]} to {places[1]}. If it reads another place before the MLP, give "
                "the transcoders to `freeze`, too"
            )
    coders = [coder_of(by_layer[i]) for i in layers]
    acts = [by_layer[i].encode(frozen.mlp_in[i]).clone() for i in layers]  # of any widths
    for f in acts:
        f[:SKIP_FIRST] = 0
    active = [f.nonzero() for f in acts]
    layer = torch.cat([torch.full_like(at[:, 0], i) for i, at in enumerate(active)])
    pos, latent = torch.cat(active).unbind(dim=1)
    value = torch.cat([f[at[:, 0], at[:, 1]] for f, at in zip(acts, active, strict=True)])
    features = Features(layer, pos, latent, value)
    empty = Replacement(frozen, coders, features, frozen.mlp_out, frozen.mlp_out)
    skipped = torch.stack([empty.skip(i, frozen.mlp_in[i][None])[0] for i in layers])
    written = torch.stack([acts[i] @ coders[i].W_dec for i in layers])
    own = frozen.mlp_out - skipped
    return Replacement(frozen, coders, features, own - written - empty.biases(), own)
