"""Data of 3.2.10 whose features are known: four ways to occur together, and grids of small SAEs."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.given.families import explained
from utils.progress import track
from utils.sae_metrics.similarity import matched
from utils.saes.coder import SparseCoder, encode, init_coder
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.stack import train_stack

Kind = Literal["independent", "correlated", "exclusive", "hierarchical"]
N_GROUPS, SIZE = 5, 4  # features come in groups: 20 in as many dimensions
N_FEATURES = N_GROUPS * SIZE
P, TOGETHER = 0.15, 0.6  # how often a feature is on; correlation within a group (normal copula)
BATCH = 128


@dataclass(frozen=True)
class World:
    """Rows, what is in them, and the features' directions (orthonormal)."""

    z: Float[Tensor, "item feature"]
    x: Float[Tensor, "item d_model"]
    W: Float[Tensor, "feature d_model"]

    @property
    def l0(self) -> float:
        """How many features are on in a row, on average."""
        return float((self.z > 0).double().sum(dim=1).mean())


def occurring(kind: Kind, n: int, gen: torch.Generator) -> Float[Tensor, "item feature"]:
    """0 or 1 by feature. Within a group: nothing in common, often together, never, or parent first.

    exclusive: a group is on in 0.6 of the rows, then with one of its four. hierarchical: the first
    of a group is its parent (on in 0.3), each other one is on in 0.33 of the rows with the parent.
    """
    uniform = torch.rand(n, N_GROUPS, SIZE, generator=gen)
    if kind == "exclusive":
        which = (uniform[..., 0] / (P * SIZE) * SIZE).long()
        return torch.nn.functional.one_hot(which.clamp(max=SIZE), SIZE + 1)[..., :SIZE].flatten(1)
    if kind == "hierarchical":
        parent = uniform[..., :1] < 2 * P
        children = parent & (uniform[..., 1:] < 1 / 3)
        return torch.cat([parent, children], dim=-1).flatten(1)
    rho = TOGETHER if kind == "correlated" else 0.0
    own, shared = (torch.randn(n, N_GROUPS, s, generator=gen) for s in (SIZE, 1))
    edge = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * P)))
    return (math.sqrt(rho) * shared + math.sqrt(1 - rho) * own > edge).flatten(1)


def world(kind: Kind, n: int, seed: int, noise: float = 0.0, draw: int = 0) -> World:
    """`n` rows; a feature that is on has size 1, give or take 0.15; `noise` per dimension.

    One `seed` has one set of directions; with another `draw` come other rows of them.
    """
    # not an SAE's seed: it would start from the very numbers that the truth was made of
    gen = torch.Generator().manual_seed(10**6 + seed)
    W = torch.linalg.qr(torch.randn(N_FEATURES, N_FEATURES, generator=gen)).Q
    gen = torch.Generator().manual_seed(10**9 + 1000 * seed + draw)
    on = occurring(kind, n, gen)
    z = on * (1 + 0.15 * torch.randn(n, N_FEATURES, generator=gen)).clamp(min=0.1)
    return World(z, z @ W + noise * torch.randn(n, N_FEATURES, generator=gen), W)


def batches(x: Float[Tensor, "item d_in"], seed: int, size: int = BATCH) -> Iterator[Tensor]:
    """Random rows, again and again."""
    gen = torch.Generator().manual_seed(seed)
    while True:
        yield x[torch.randint(len(x), (size,), generator=gen)]


def train_together(
    x: Float[Tensor, "item d_in"], configs: Sequence[SAEConfig], seeds: Sequence[int], n_steps: int
) -> list[SparseCoder]:
    """One SAE per config (which differ in k alone) and seed, on the same rows."""
    window = 20_000 if n_steps * BATCH > 25_000 else n_steps * BATCH // 2  # rows without a sign
    starts = [init_coder(cfg, torch.Generator().manual_seed(s)) for cfg in configs for s in seeds]
    cfg = SAETrainConfig(
        n_steps, 3e-3, warmup_steps=n_steps // 10, decay_steps=n_steps // 3, dead_window=window,
        record_every=10**6, label="SAEs side by side",
    )  # fmt: skip
    return [one.coder for one in train_stack(starts, batches(x, seeds[0]), cfg)]


def grid(
    x: Float[Tensor, "item d_in"],
    widths: Sequence[int],
    ks: Sequence[int],
    seed: int,
    n_steps: Sequence[int],
) -> list[SparseCoder]:
    """Every width with every k and every length of training."""
    found = []
    for steps in track(n_steps, "lengths of training"):
        for width in widths:
            configs = [SAEConfig(x.shape[1], width, "batchtopk", k=k) for k in ks]
            found += train_together(x, configs, [seed + width], steps)
    return found


def curves(
    coders: Sequence[SparseCoder],
    data: World,
    overlap: Callable[[Tensor], float],
    coefficients: Callable[[Tensor, Tensor], Tensor],
    shares: Callable[[Tensor, Tensor], tuple[float, float]],
) -> dict[str, list[float]]:
    """By SAE: L0, variance explained, cosine with the truth (best matching), overlap of the rows,
    and the shares of a matched row's square that belong to its own group's others, and to others'.
    """
    names = ("l0", "explained", "cosine", "overlap", "mates", "strangers")
    found: dict[str, list[float]] = {name: [] for name in names}
    group = torch.arange(N_FEATURES) // SIZE
    for coder in coders:
        W = coder.params["W_dec"].detach()
        if len(W) < N_FEATURES:
            raise ValueError(f"{len(W)} latents cannot each stand for one of {N_FEATURES} features")
        cosine, partner = matched(data.W, W)
        rows = W[partner] / W[partner].norm(dim=1, keepdim=True).clamp(min=1e-8)
        mates, strangers = shares(coefficients(rows, data.W), group)
        found["l0"].append(float((encode(coder, data.x) > 0).double().sum(dim=1).mean()))
        found["explained"].append(explained(coder, data.x))
        found["cosine"].append(float(cosine.mean()))
        found["overlap"].append(overlap(W))
        found["mates"].append(mates)
        found["strangers"].append(strangers)
    return found


def in_order(C: Float[Tensor, "latent feature"]) -> Int[Tensor, " latent"]:
    """The latents in the order of the features that they are most made of."""
    return C.argmax(dim=1).sort(stable=True).indices
