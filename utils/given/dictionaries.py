"""What 3.1.8 and 3.1.9 are given: worlds with a known dictionary, baselines, small SAEs.

An SAE is two dictionaries of tensors: `params`, which are trained, and `hyper`, what differs
between SAEs. `utils.given.dictionary_runs` trains many of them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from sklearn.decomposition import NMF, PCA
from torch import Tensor

from utils.toy import TrainConfig, fit, sample_sparse
from utils.training import Params

Loss = Callable[..., Tensor]  # (params, batch, hyper) -> one number


@dataclass(frozen=True)
class World:
    """How hard the data are."""

    n_feature: int = 40
    d_in: int = 20  # half as many dimensions as features
    exponent: float = 0.7  # the most frequent feature is 13 times as frequent as the rarest
    mean_l0: float = 3.0  # active features per row
    n_group: int = 8  # topics of five features
    rho: float = 0.3  # correlation of the normal numbers behind one topic
    noise: float = 0.05  # an active feature has a mean magnitude of 1
    n_rows: int = 8000  # all that any method gets to see


@dataclass(frozen=True)
class Data:
    """Activations and the truth behind them."""

    x: Float[Tensor, "batch d_in"]
    f: Float[Tensor, "batch feature"]
    D: Float[Tensor, "feature d_in"]
    probability: Float[Tensor, " feature"]
    group: Int[Tensor, " feature"]


def unit(v: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_in"]:
    """Rows scaled to length 1; a zero row stays zero."""
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-8)


def random_dictionary(n: int, d_in: int, gen: torch.Generator) -> Float[Tensor, "n d_in"]:
    """Directions uniform on the sphere."""
    return unit(torch.randn(n, d_in, generator=gen, device=gen.device))


def cosine_table(
    A: Float[Tensor, "row d_in"], B: Float[Tensor, "col d_in"]
) -> Float[Tensor, "row col"]:
    """Cosine of each row of A with each row of B; 0 where one of them is zero (a dead latent)."""
    return einsum(unit(A), unit(B), "row d_in, col d_in -> row col")


def start_rows(x: Float[Tensor, "batch d_in"], n: int, seed: int) -> Float[Tensor, "n d_in"]:
    """Rows of the data, as a first dictionary for K-SVD."""
    gen = torch.Generator(device=x.device).manual_seed(seed)
    return unit(x[torch.randperm(len(x), generator=gen, device=x.device)[:n]])


def pca_dictionary(x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "latent d_in"]:
    """Principal directions and their opposites."""
    directions = torch.as_tensor(PCA().fit(x.double().cpu().numpy()).components_).to(x)
    return torch.cat([directions, -directions])


def nmf_dictionary(
    x: Float[Tensor, "batch d_in"], n_latent: int, seed: int
) -> Float[Tensor, "latent d_in"]:
    """NMF of [ReLU(x), ReLU(-x)]; a component [h+, h-] stands for the direction h+ - h-."""
    split = torch.cat([x.relu(), (-x).relu()], dim=1).double().cpu().numpy()
    nmf = NMF(n_latent, random_state=seed, max_iter=300, tol=1e-3).fit(split)
    positive, negative = torch.as_tensor(nmf.components_).to(x).chunk(2, dim=1)
    return unit(positive - negative)


# ---------------------------------------------------------------------------------- sparse coders


def init_sae(n_latent: int, d_in: int, gen: torch.Generator) -> Params:
    """A random unit decoder, the encoder its transpose, biases 0."""
    W_dec = random_dictionary(n_latent, d_in, gen)
    b_enc, b_dec = W_dec.new_zeros(n_latent), W_dec.new_zeros(d_in)
    return {"W_enc": W_dec.T.contiguous(), "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}


def sae_hyper(l1: float, n_latent: int, tied: bool, device: torch.device | str = "cpu") -> Params:
    """The strength of the penalty, whether the encoder is tied (0 or 1), a mask over latents."""
    tensor = partial(torch.tensor, device=device)
    return {"l1": tensor(l1), "tied": tensor(float(tied)), "mask": tensor([1.0] * n_latent)}


def sae_codes(
    params: Params, x: Float[Tensor, "batch d_in"], hyper: Params
) -> Float[Tensor, "batch latent"]:
    """ReLU((x - b_dec) W_enc + b_enc) * mask; where `tied` is 1 the encoder is W_dec^T."""
    W_enc = torch.lerp(params["W_enc"], params["W_dec"].mT, hyper["tied"])
    return torch.relu((x - params["b_dec"]) @ W_enc + params["b_enc"]) * hyper["mask"]


def squared_error(
    params: Params, codes: Float[Tensor, "batch latent"], x: Float[Tensor, "batch d_in"]
) -> Float[Tensor, ""]:
    """|x - b_dec - f W_dec|^2, summed over d_in, mean over the batch."""
    return (codes @ params["W_dec"] + params["b_dec"] - x).square().sum() / len(x)


def sae_loss(params: Params, x: Float[Tensor, "batch d_in"], hyper: Params) -> Float[Tensor, ""]:
    """Squared error plus l1 times the sum of the codes; mean over the batch."""
    codes = sae_codes(params, x, hyper)
    return squared_error(params, codes, x) + hyper["l1"] * codes.sum() / len(x)


def lasso_objective(
    x: Float[Tensor, "batch d_in"],
    codes: Float[Tensor, "batch latent"],
    D: Float[Tensor, "latent d_in"],
    l1: float,
) -> Float[Tensor, " batch"]:
    """The SAE's loss of every row, for any codes: |x - f D|^2 + l1 * sum f."""
    return (x - codes @ D).square().sum(dim=1) + l1 * codes.sum(dim=1)


def support_f1(
    codes: Float[Tensor, "batch latent"],
    f: Float[Tensor, "batch feature"],
    matching: tuple[Float[Tensor, " feature"], Int[Tensor, " feature"]],
) -> float:
    """F1 of `code > 0.2` against `feature is active`, over all features matched above 0.9."""
    cosine, partner = matching
    found = cosine > 0.9
    said, true = codes[:, partner[found]] > 0.2, f[:, found] > 0
    return float(2 * (said & true).sum() / (said.sum() + true.sum()))


def root_loss(params: Params, x: Float[Tensor, "batch d_in"], hyper: Params) -> Float[Tensor, ""]:
    """The same with sqrt(f + 0.01) - 0.1 in place of f: the slope at 0 is 5, not infinite."""
    codes = sae_codes(params, x, hyper)
    roots = (codes + 0.01).sqrt() - 0.1
    return squared_error(params, codes, x) + hyper["l1"] * roots.sum() / len(x)


def noise_loss(params: Params, batch: Params, hyper: Params) -> Float[Tensor, ""]:
    """Squared error alone, with noise of size hyper["l1"] on the pre-activations."""
    x = batch["x"]
    z = (x - params["b_dec"]) @ params["W_enc"] + params["b_enc"]
    return squared_error(params, torch.relu(z + hyper["l1"] * batch["normal"]), x)


def spike_slab_loss(kl: Loss, params: Params, batch: Params, hyper: Params) -> Float[Tensor, ""]:
    """Negative evidence bound of a spike-and-slab VAE with output noise hyper["l1"].

    `kl` is the divergence per latent. The gate is a relaxed coin of temperature 1/2.
    """
    x, u = batch["x"], batch["uniform"]
    centred = x - params["b_dec"]
    logit = centred @ params["W_gate"] + params["b_gate"]
    mean, log_std = centred @ params["W_enc"] + params["b_enc"], params["log_std"]
    gate = torch.sigmoid(2 * (logit + torch.log(u) - torch.log(1 - u)))
    codes = gate * torch.relu(mean + log_std.exp() * batch["normal"])
    divergence = kl(logit, mean, log_std, hyper["prior"]).sum() / len(x)
    return squared_error(params, codes, x) / (2 * hyper["l1"] ** 2) + divergence


# ------------------------------------------------------------------------------------ training them

TRAINING = TrainConfig(n_steps=2000, batch=128, lr=1e-2, schedule="cosine", label="SAE")


def unit_decoder(_step: int, params: Params, _optimiser: object = None) -> None:
    """Put the decoder's rows back to length 1, in place; called after every update."""
    params["W_dec"].copy_(unit(params["W_dec"]))


def rows_of(x: Float[Tensor, "batch d_in"], size: int) -> Callable[[torch.Generator], Tensor]:
    """A sampler of `size` random rows of x."""
    return lambda gen: x[torch.randint(len(x), (size,), generator=gen, device=gen.device)]


def noisy_rows_of(
    x: Float[Tensor, "batch d_in"], size: int, n_latent: int
) -> Callable[..., Params]:
    """A sampler of rows together with the random numbers that a noisy loss needs."""

    def sample(gen: torch.Generator) -> Params:
        shape, rows = (size, n_latent), rows_of(x, size)(gen)
        normal = torch.randn(shape, generator=gen, device=gen.device)
        uniform = torch.rand(shape, generator=gen, device=gen.device).clamp(1e-6, 1 - 1e-6)
        return {"x": rows, "normal": normal, "uniform": uniform}

    return sample


def train_sae(
    x: Float[Tensor, "batch d_in"], n_latent: int, l1: float, seed: int
) -> tuple[Params, Params]:
    """One untied SAE, trained by the course's own loop: its parameters and its `hyper`."""
    gen = torch.Generator(x.device).manual_seed(seed)
    hyper = sae_hyper(l1, n_latent, False, x.device)
    params, rows = init_sae(n_latent, x.shape[1], gen), rows_of(x, TRAINING.batch)
    loss = partial(sae_loss, hyper=hyper)
    return fit(params, loss, rows, TRAINING, gen, after_step=unit_decoder).params, hyper


def train_square(
    p: Float[Tensor, " n_p"], n_starts: int, gen: torch.Generator, n_steps: int = 1500
) -> tuple[Float[Tensor, "n_p latent d_in"], Float[Tensor, " n_p"]]:
    """Tied SAEs without bias, three latents, on two features that are active with probability p.

    The start with the lowest loss for each p, and its mean L1, both on fresh points.
    """
    inst = n_starts * len(p)
    start = {"D": random_dictionary(3 * inst, 2, gen).reshape(inst, 3, 2)}
    probability = p.repeat(n_starts)[:, None]

    def loss(params: Params, x: Tensor, l1: float = 0.02) -> Float[Tensor, " inst"]:
        D = unit(params["D"])
        codes = torch.relu(einsum(x, D, "batch inst d_in, inst latent d_in -> batch inst latent"))
        x_hat = einsum(codes, D, "batch inst latent, inst latent d_in -> batch inst d_in")
        return ((x_hat - x).square().sum(dim=2) + l1 * codes.sum(dim=2)).mean(dim=0)

    def sample(gen: torch.Generator, n: int = 256) -> Float[Tensor, "n inst d_in"]:
        return sample_sparse(probability, inst, 2, n, gen)

    cfg = TrainConfig(n_steps, 256, 1e-2, "cosine", label="three latents in a square")
    D, x = fit(start, loss, sample, cfg, gen).params["D"], sample(gen, 8192)
    table = loss({"D": D}, x).reshape(n_starts, -1)
    best = table.argmin(dim=0) * len(p) + torch.arange(len(p), device=gen.device)
    cost = loss({"D": D}, x, 1.0) - loss({"D": D}, x, 0.0)
    return unit(D[best]), cost[best]
