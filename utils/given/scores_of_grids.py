"""Proxies and truth of many SAEs at once, for 3.2.10: one row per SAE, one column per score."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from utils.given import evaluating
from utils.given.evaluating import Tokens
from utils.given.families import explained, short_sae
from utils.given.worlds import World, grid, world
from utils.progress import track
from utils.sae_metrics.similarity import matched
from utils.saes.coder import SparseCoder, encode
from utils.saes.config import SAEConfig

UNSEEN = 10**6  # the seed of stories that no SAE here is trained on
Score = Callable[..., float]
Learned = Mapping[str, Callable]  # the learner's functions, by name


@dataclass(frozen=True)
class Table:
    """Scores of a grid of SAEs; larger is meant to be better in every column."""

    proxies: dict[str, Float[Tensor, " item"]]
    truth: Float[Tensor, " item"]
    l0: Float[Tensor, " item"]
    names: list[str]

    def joined(self, name: str) -> Float[Tensor, "item two_k"]:
        """A proxy beside the truth, a row per SAE: what a bootstrap draws."""
        return torch.stack([self.proxies[name], self.truth], dim=1)


def _table(rows: Sequence[Mapping[str, float]], names: list[str]) -> Table:
    columns = {name: torch.tensor([row[name] for row in rows]).double() for name in rows[0]}
    truth, l0 = columns.pop("truth"), columns.pop("l0")
    return Table(columns, truth, l0, names)


def best_single(
    f: Float[Tensor, "item latent"], y: Tensor, choose: Callable[..., Tensor], auc: Score
) -> float:
    """The AUC on the second half of the latent that differs most on the first half."""
    half = len(y) // 2
    if not (0 < int(y[:half].sum()) < half and 0 < int(y[half:].sum()) < len(y) - half):
        return 0.5
    best = int(choose(f[:half], y[:half], 1)[0])
    up = f[:half, best][y[:half]].mean() >= f[:half, best][~y[:half]].mean()
    return auc(f[half:, best] * (1 if up else -1), y[half:])


def world_scores(coder: SparseCoder, held: World, learned: Learned) -> dict[str, float]:
    """One SAE on rows whose features are known."""
    x, z, W = held.x, held.z, coder.params["W_dec"].detach()
    f = encode(coder, x)
    cosine, partner = matched(held.W, W)
    singles = [
        best_single(f[:1200], z[:1200, i] > 0, learned["choose"], learned["auc"])
        for i in range(z.shape[1])
    ]
    holes = []
    for parent in range(0, z.shape[1], 4):
        if int(partner[parent]) >= 0:
            child = (z[:, parent + 1 : parent + 4] > 0).any(dim=1)
            fires = f[:, int(partner[parent])] > 0
            holes.append(learned["contrast"](fires, z[:, parent] > 0, child))
    l0 = float((f > 0).double().sum(dim=1).mean())
    return {
        "variance explained": explained(coder, x),
        "sparsity (-L0)": -l0,
        "one-latent probes": sum(singles) / len(singles),
        "no holes": -sum(holes) / max(len(holes), 1),
        "little overlap": -learned["overlap"](W),
        "truth": float(cosine.mean()),
        "l0": l0,
    }


def world_grid(seed: int, learned: Learned, quick: bool = False) -> Table:
    """36 SAEs (12 if `quick`) on a hierarchical world; truth: mean cosine of the best matching."""
    widths, ks = [20, 40] if quick else [10, 20, 40], [1, 2, 3, 4, 6, 8]
    steps = [60] if quick else [200, 1200]
    train = world("hierarchical", 20_000, seed, noise=0.05)
    held = world("hierarchical", 4_000, seed, noise=0.05, draw=1)
    coders = grid(train.x, widths, ks, seed, steps)
    names = [f"{w} latents, k = {k}, {s} steps" for s in steps for w in widths for k in ks]
    rows = [world_scores(c, held, learned) for c in track(coders, "scores")]
    return _table(rows, names)


def story_scores(coder: SparseCoder, held: Tokens, learned: Learned) -> dict[str, float]:
    """One SAE on stories; truth: mean F1 of each label's best latent."""
    f = evaluating.codes(coder, held.x)
    chosen = torch.randperm(len(f), generator=torch.Generator().manual_seed(0))[:1200]
    singles = [
        best_single(f[chosen], y[chosen], learned["choose"], learned["auc"])
        for y in held.tasks.values()
    ]
    l0 = float((f > 0).double().sum(dim=1).mean())
    said = evaluating.explained_share(f > 0, held)
    return {
        "variance explained": explained(coder, held.x),
        "sparsity (-L0)": -l0,
        "loss recovered": evaluating.loss_recovered(evaluating.of_coder(coder), 8, UNSEEN),
        "explanations": float(said.mean()) if len(said) else 0.5,
        "one-latent probes": sum(singles) / len(singles),
        "little overlap": -learned["overlap"](coder.params["W_dec"].detach()),
        "truth": evaluating.detector_quality(f > 0, held.truth, learned["detectors"]),
        "l0": l0,
    }


def story_grid(train: Tokens, held: Tokens, seed: int, learned: Learned, quick: bool) -> Table:
    """24 SAEs of short runs (4 if `quick`) on the story model."""
    widths, ks, steps = [96, 192, 384], [4, 8, 16, 32], [40, 240]
    if quick:
        widths, ks, steps = [96], [4, 16], [10, 20]
    rows, names = [], []
    points = [(w, k, s) for s in steps for w in widths for k in ks]
    for width, k, n in track(points, "SAEs trained and scored"):
        cfg = SAEConfig(train.x.shape[1], width, "topk", k=k)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no latent can die in so short a run
            coder = short_sae(train.x, cfg, seed + width + k, steps=n)
        rows.append(story_scores(coder, held, learned))
        names.append(f"{width} latents, k = {k}, {n} steps")
    return _table(rows, names)
