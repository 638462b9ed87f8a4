"""What latents read and write, from weights alone: encoder columns, decoder rows, logit weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.models.sae import Sae

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Encode = Callable[[Tensor], Tensor]
RESIDUAL = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_out", "hook_attn_out")


def encoder(sae: Sae, latents: Int[Tensor, " n"] | None) -> Encode:
    """A function from activations to the codes of some latents; None: of all.

    Where each latent is decided alone (ReLU, JumpReLU) only its columns are multiplied.
    """
    if latents is None:
        return sae.encode
    architecture = getattr(getattr(sae.sae, "cfg", None), "architecture", lambda: "")()
    if architecture not in ("standard", "jumprelu"):
        return lambda x: sae.encode(x)[..., latents]
    inner = sae.sae
    W, b = inner.W_enc[:, latents].contiguous(), inner.b_enc[latents]
    threshold = inner.threshold[latents] if architecture == "jumprelu" else 0.0

    def encode(x: Tensor) -> Tensor:
        pre = inner.process_sae_in(sae.flatten(x)) @ W + b
        return torch.where(pre > threshold, pre, 0.0).relu()

    return encode


def decoder_rows(sae: Sae, latents: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
    """What one unit of each latent writes at the output hook (before an input norm's scale)."""
    W_dec = getattr(sae.sae, "W_dec", None)
    if W_dec is not None:
        return W_dec.detach()[latents].float()
    unit = torch.nn.functional.one_hot(latents, sae.n_latents).float()
    return sae.sae.decode(unit) - sae.sae.decode(torch.zeros_like(unit))


def to_residual(model: "TransformerBridge", hook: str) -> Encode | None:
    """The linear map from a hook to the residual stream; None where there is none.

    At z (heads side by side) it is W_O of the layer, at an MLP's neurons W_out.
    """
    last = hook.rsplit(".", 1)[-1]
    if last in RESIDUAL:
        return lambda v: v
    if getattr(model.cfg, "use_normalization_before_and_after", False):
        return None  # a norm stands between the head and the stream
    if hook.endswith("attn.hook_z"):
        W = model.W_O[int(hook.split(".")[1])].flatten(0, 1)
    elif hook.endswith("mlp.hook_post"):
        W = model.W_out[int(hook.split(".")[1])]
    else:
        return None
    return lambda v: v.flatten(-2) @ W if v.shape[-1] != len(W) else v @ W


@dataclass(frozen=True)
class ReadOut:
    """The final norm with its scale taken as given, then the unembedding: a linear map.

        logits(v) = (gain ⊙ (v − mean(v))) · W_U        RMSNorm: without the mean
    """  # fmt: skip

    gain: Float[Tensor, " d_model"]
    centred: bool
    scaled: bool  # false where the model has no final norm
    W_U: Float[Tensor, "d_model vocab"]
    soft_cap: float = 0.0  # of Gemma 2: logits are cap · tanh(logits / cap)

    def __call__(self, v: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Change of the logits times the norm's scale, for a vector added to the last residual."""
        v = v - v.mean(dim=-1, keepdim=True) if self.centred else v
        return (v * self.gain) @ self.W_U

    def moved(
        self, logits: Float[Tensor, "*batch vocab"], by: Float[Tensor, "*batch vocab"]
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits after a change before the soft cap."""
        if self.soft_cap <= 0:
            return logits + by
        return self.soft_cap * torch.tanh(torch.atanh(logits / self.soft_cap) + by / self.soft_cap)


@torch.no_grad()
def read_out(model: "TransformerBridge") -> ReadOut:
    """Measure the final norm: what it makes of v and −v differs by twice its gain times v̂.

    So gains that are stored as 1 + w, folded away, or missing need no case of their own.
    """
    d = int(model.cfg.d_model)
    like = next(model.parameters())
    v = torch.linspace(1, 2, d, device=like.device, dtype=like.dtype).roll(d // 3)
    v = v * (1 - 2 * (torch.arange(d, device=like.device) % 2))

    def norm(x: Tensor) -> Tensor:
        return model.ln_final(x[None, None])[0, 0].float() if hasattr(model, "ln_final") else x

    odd = (norm(v) - norm(-v)) / 2
    centred = torch.allclose(norm(v), norm(v + 3), atol=1e-3)
    scaled = torch.allclose(norm(v), norm(2 * v), atol=1e-3)
    unit = v.float() - v.float().mean() if centred else v.float()
    unit = unit / unit.square().mean().sqrt() if scaled else unit
    cap = float(getattr(model.cfg, "output_logits_soft_cap", 0.0) or 0.0)
    return ReadOut(odd / unit, centred, scaled, model.W_U.detach(), cap)


@dataclass(frozen=True)
class LogitWeights:
    """What one unit of a latent adds to the logits by the direct path, centred, scale apart."""

    top: list[tuple[int, float]]  # token and weight, largest first
    bottom: list[tuple[int, float]]  # smallest first
    low: float  # range of the histogram
    high: float
    counts: list[int]
    std: float
    skew: float
    kurtosis: float  # excess: 0 for a normal distribution


@torch.no_grad()
def logit_weights(
    read: ReadOut,
    vectors: Float[Tensor, "latent d_model"],
    n: int,
    bins: int = 50,
    at_once: int = 64,
) -> list[LogitWeights]:
    """Logit weights of vectors written to the residual stream.

    Centred over the vocabulary, since softmax does not see a constant. Kurtosis is the fourth
    standardised moment less 3: large where a few tokens stand out.
    """
    found: list[LogitWeights] = []
    for part in vectors.split(at_once):
        weights = read(part.to(read.W_U.dtype)).float()
        weights = weights - weights.mean(dim=1, keepdim=True)
        std = weights.square().mean(dim=1).sqrt()
        z = weights / std.clamp(min=1e-12)[:, None]
        skew, kurtosis = z.pow(3).mean(dim=1), z.square().square().mean(dim=1) - 3
        n = min(n, weights.shape[1])
        ends = [_pairs(weights, n, largest) for largest in (True, False)]
        numbers = (weights.amin(dim=1), weights.amax(dim=1), _counts(weights, bins))
        moments = (std, skew, kurtosis)
        found += map(LogitWeights, *ends, *(x.tolist() for x in (*numbers, *moments)))
    return found


def _pairs(
    weights: Float[Tensor, "latent vocab"], n: int, largest: bool
) -> list[list[tuple[int, float]]]:
    """Token and weight at one end."""
    value, token = weights.topk(n, largest=largest)
    return [
        list(zip(*pair, strict=True)) for pair in zip(token.tolist(), value.tolist(), strict=True)
    ]


def _counts(weights: Float[Tensor, "latent vocab"], bins: int) -> Int[Tensor, "latent bin"]:
    """Histogram of each row, from its least to its largest value."""
    low, high = weights.amin(dim=1, keepdim=True), weights.amax(dim=1, keepdim=True)
    place = (weights - low) / (high - low).clamp(min=1e-12) * bins
    place = place.long().clamp(0, bins - 1)
    counts = place.new_zeros(len(weights), bins)
    return counts.scatter_add_(1, place, torch.ones_like(place))
