"""A sparse coder's weights, and what they compute without training.

With x_c = x - b_dec for an SAE and x_c = x for a transcoder:

    pre    = x_c encoder^T + b_enc
    relu       a = max(pre, 0)
    jumprelu   a = pre where pre > threshold, else 0
    topk       a = pre at the k largest positive pre ||W_dec_l|| of each row, else 0
    batchtopk, matryoshka   a = pre where pre ||W_dec_l|| > threshold, else 0
    gated      a = max(e^r_mag (x_c encoder^T) + b_mag, 0) where x_c encoder^T + b_gate > 0
    output = a W_dec + b_dec (+ x W_skip^T)
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from utils.saes.config import SAEConfig
from utils.saes.normalise import scaled_rows
from utils.saes.select import batch_topk_support, topk_support
from utils.saes.support import Dense, Support

Params = dict[str, Tensor]


@dataclass(frozen=True)
class SparseCoder:
    """Weights of an SAE or a transcoder; the encoder has one row per latent, like W_dec.

    Trained by gradient: encoder (latent, d_in), W_dec (latent, d_out), b_dec (d_out), b_enc
    (latent) or, if gated, b_gate, b_mag and r_mag (latent); threshold (latent) if jumprelu;
    W_skip (d_out, d_in) if a skip transcoder. Tensors change in place during training.
    """

    cfg: SAEConfig
    params: Params
    # batchtopk, matryoshka: the threshold, estimated (0 before any step); one for all latents, or
    # one for each after `distance.unstretched`
    cut: Tensor
    scale_in: float = 1.0  # the weights expect inputs times this, see normalise.py
    scale_out: float = 1.0  # and give outputs times this

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.params["W_dec"].device

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "SparseCoder":
        """A copy elsewhere, or in another precision."""
        params = {name: value.to(device, dtype, copy=True) for name, value in self.params.items()}
        return replace(self, params=params, cut=self.cut.to(device, copy=True))


def init_coder(
    cfg: SAEConfig,
    gen: torch.Generator,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SparseCoder:
    """Random directions of norm decoder_init_norm; an SAE's encoder starts as its decoder.

    `gen` is a CPU generator, so that a seed means the same weights on every device.
    """

    def directions(width: int) -> Tensor:
        W = torch.randn(cfg.latent, width, generator=gen, dtype=dtype)
        norm = 1.0 if cfg.decoder_norm == "unit" else cfg.decoder_init_norm
        return (W * (norm / W.norm(dim=1, keepdim=True))).to(device)

    W_dec = directions(cfg.d_target)
    zeros = torch.zeros(cfg.latent, dtype=dtype, device=device)
    params = {"encoder": W_dec.clone() if cfg.kind == "sae" else directions(cfg.d_in)}
    params |= {"W_dec": W_dec, "b_dec": zeros.new_zeros(cfg.d_target)}
    if cfg.architecture == "gated":
        params |= {"b_gate": zeros, "b_mag": zeros.clone(), "r_mag": zeros.clone()}
    else:
        params["b_enc"] = zeros
    if cfg.architecture == "jumprelu":
        params["threshold"] = torch.full_like(zeros, cfg.threshold)
    if cfg.kind == "skip_transcoder":
        params["W_skip"] = zeros.new_zeros(cfg.d_target, cfg.d_in)
    return SparseCoder(cfg, params, torch.zeros((), dtype=torch.float64, device=device))


def decoder_norms(coder: SparseCoder) -> Float[Tensor, " latent"]:
    """Lengths of the latents' directions, 1 if they are constrained to it."""
    W_dec = coder.params["W_dec"]
    if coder.cfg.decoder_norm == "unit":
        return W_dec.new_ones(len(W_dec))
    return W_dec.norm(dim=1).clamp(min=1e-8)  # a direction may vanish: no division by 0


def centre(coder: SparseCoder, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
    """What the encoder reads: x less b_dec for an SAE, x for a transcoder."""
    return x - coder.params["b_dec"] if coder.cfg.centred else x


@torch.no_grad()
def encode(coder: SparseCoder, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch latent"]:
    """Activations of raw (not normalised) rows, zeros included."""
    rows = scaled_rows(coder.cfg, x.reshape(-1, x.shape[-1]), coder.scale_in)[0]
    support, code = encode_sparse(coder, rows)
    return support.scatter(code).view(*x.shape[:-1], coder.cfg.latent)


@torch.no_grad()
def encode_sparse(
    coder: SparseCoder, x: Float[Tensor, "batch d_in"]
) -> tuple[Support, Float[Tensor, " *entry"]]:
    """Support and activations of normalised rows."""
    cfg, params = coder.cfg, coder.params
    pre = centre(coder, x) @ params["encoder"].T
    whole = Dense((pre.shape[0], pre.shape[1]))
    if cfg.architecture == "gated":
        magnitude = (pre * params["r_mag"].exp() + params["b_mag"]).relu()
        return whole, torch.where(pre + params["b_gate"] > 0, magnitude, 0)
    pre += params["b_enc"]
    if cfg.architecture == "relu":
        return whole, pre.relu()
    if cfg.architecture == "jumprelu":
        return whole, torch.where(pre > params["threshold"], pre.relu(), 0)
    norms = decoder_norms(coder)
    if cfg.architecture == "topk":
        support, _ = topk_support(pre * norms, cfg.k)
        return support, support.take(pre)
    return whole, torch.where(pre * norms > coder.cut, pre.relu(), 0)


@torch.no_grad()
def reconstruct(
    coder: SparseCoder, x: Float[Tensor, "*batch d_in"]
) -> Float[Tensor, "*batch d_out"]:
    """The coder's output for raw rows, in raw units."""
    scaled, back = scaled_rows(coder.cfg, x.reshape(-1, x.shape[-1]), coder.scale_in)
    support, code = encode_sparse(coder, scaled)
    out = support.decode(code, coder.params["W_dec"]) + coder.params["b_dec"]
    if "W_skip" in coder.params:
        out = out + scaled @ coder.params["W_skip"].T
    out = out * back if coder.cfg.normalise == "constant_norm" else out / coder.scale_out
    return out.view(*x.shape[:-1], coder.cfg.d_target)


@torch.no_grad()
def calibrate_cut(
    coder: SparseCoder, batches: list[Float[Tensor, "batch d_in"]], k: int | None = None
) -> Float[Tensor, "*latent"]:
    """Set and return the threshold at which raw rows have `k` active latents on average.

    The running average of a training run belongs to weights that have moved since; this is the
    k-th largest score per row, over all rows at once, of the weights as they are. Batches need not
    be alike: one may hold all of the largest scores. In memory: one batch's scores, and `k` for
    every row. Where every latent has a threshold of its own, all are multiplied by the same
    factor. `k` is by default that of training. Raises FloatingPointError for rows that are not
    finite, ValueError where there is none or `k` is impossible.
    """
    k = coder.cfg.k if k is None else k
    n_rows = sum(len(x) for x in batches)
    if not n_rows or not 1 <= k <= coder.cfg.latent or k != int(k):
        raise ValueError(f"no threshold gives {k} of {coder.cfg.latent} latents on {n_rows} rows")
    relative = coder.cut / coder.cut.mean() if coder.cut.ndim else torch.ones_like(coder.cut)
    norms = decoder_norms(coder) / relative.to(coder.params["W_dec"])
    n_active = k * n_rows  # the threshold is the largest score that is not among so many
    largest = coder.params["W_dec"].new_empty(0)
    for x in batches:
        rows = scaled_rows(coder.cfg, x.to(coder.device), coder.scale_in)[0]
        pre = centre(coder, rows) @ coder.params["encoder"].T + coder.params["b_enc"]
        if not bool(pre.isfinite().all()):
            raise FloatingPointError("the rows for the threshold hold NaN or infinity")
        largest = torch.cat([largest, batch_topk_support(pre * norms, n_active + 1)[1]])
        if len(largest) > n_active + 1:
            largest = largest.topk(n_active + 1, sorted=False).values
    edge = largest.min().item() if len(largest) > n_active else 0.0
    return coder.cut.copy_(edge * relative)
