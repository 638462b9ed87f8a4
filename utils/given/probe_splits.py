"""A yes-or-no question in one of four regimes, and six probes on it, for 3.2.10."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.biased_probe import fit_probe

if TYPE_CHECKING:
    from utils.given.evaluating import Tokens

K_PROBES, DECAYS = (1, 4, 16), (1e-2, 1e-1, 1.0)
N_TEST = 600
Flip = Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class Split:
    """Items to train, validate and test a probe on; their labels, noisy ones where they are."""

    train: Int[Tensor, " item"]
    valid: Int[Tensor, " item"]
    test: Int[Tensor, " item"]
    y_train: Bool[Tensor, " item"]
    y_valid: Bool[Tensor, " item"]


def split_of(data: "Tokens", task: str, regime: str, seed: int, flip: Flip, n: int = 256) -> Split:
    """A task in one of the regimes; the test is balanced, clean, and from other stories.

    few data: 32 for training. imbalance: one in 16 is a yes. label noise: a quarter of the labels
    of training and validation are flipped. shift: those are from the first 20 words of a row, the
    test from its second half. Otherwise training, validation and test are alike.
    """
    gen = torch.Generator().manual_seed(seed)
    y, first = data.tasks[task], data.fit
    shifted = regime == "shift"
    pool = first & (data.pos <= 20) if shifted else first
    rest = ~first & (data.pos >= 48) if shifted else ~first

    def drawn(where: Tensor, n_yes: int, n_no: int) -> Tensor:
        parts = []
        for answer, size in ((y, n_yes), (~y, n_no)):
            places = (where & answer).nonzero()[:, 0]
            parts.append(places[torch.randperm(len(places), generator=gen)[:size]])
        both = torch.cat(parts)
        return both[torch.randperm(len(both), generator=gen)]

    n = 32 if regime == "few data" else n
    yes = n // 16 if regime == "imbalance" else n // 2
    chosen = drawn(pool, 2 * yes, 2 * (n - yes))  # half of them for validation
    test = drawn(rest, N_TEST // 2, N_TEST // 2)
    y_seen = y[chosen]
    if regime == "label noise":
        y_seen = flip(y_seen, 0.25, gen)
    half = len(chosen) // 2
    return Split(chosen[:half], chosen[half:], test, y_seen[:half], y_seen[half:])


def probes_on(
    data: "Tokens",
    f: Float[Tensor, "item latent"],
    task: str,
    split: Split,
    choose: Callable[..., Tensor],
    auc: Callable[..., float],
) -> tuple[list[float], list[float], list[bool]]:
    """(validation AUC, test AUC, whether on latents) of six probes, standardised on training rows.

    Three on the stream itself, with more and more weight decay; three on 1, 4 and 16 latents.
    """
    y = data.tasks[task]
    inputs = [(data.x, decay, False) for decay in DECAYS]
    for k in K_PROBES:
        picked = choose(f[split.train], split.y_train, k)
        inputs.append((f[:, picked], 1e-2, True))
    valid, test, latent = [], [], []
    for values, decay, on_latents in inputs:
        mean, std = values[split.train].mean(dim=0), values[split.train].std(dim=0)
        scaled = (values - mean) / (std + 1e-3 * std.max() + 1e-8)
        w, b = fit_probe(scaled[split.train], split.y_train, decay)
        says = scaled @ w + b
        valid.append(auc(says[split.valid], split.y_valid))
        test.append(auc(says[split.test], y[split.test]))
        latent.append(on_latents)
    return valid, test, latent
