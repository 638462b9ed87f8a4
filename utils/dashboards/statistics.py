"""Intervals and tests: how far the numbers of a dashboard can be trusted."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

Z = 1.959964  # of 95 %


def wilson(k: int, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval for a share k / n, 95 % by default (Wilson 1927).

        (p + z²/2n ± z √(p (1 − p) / n + z²/4n²)) / (1 + z²/n)

    It takes tokens as independent, which tokens of one row are not: a true interval is wider.
    """  # fmt: skip
    if n == 0:
        return 0.0, 1.0
    p, below = k / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / below
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / below
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if k == 0 else low), (1.0 if k == n else high)


@dataclass(frozen=True)
class Enriched:
    """A token on which a latent is active more often than chance would have it."""

    token: int
    active: int  # occurrences of the token on which the latent is active
    seen: int  # occurrences
    log10_p: float  # of the corrected p-value; 0 for p = 1


def tail(k: np.ndarray, n: int, active: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """log10 P(X ≥ k), where of n tokens `active` are drawn and `seen` are of the kind counted.

    X is hypergeometric. Exact also where the probability is below the smallest number.
    """
    from scipy.stats import hypergeom

    with np.errstate(divide="ignore"):
        found = np.log10(hypergeom.sf(k - 1, n, seen, active))
    for i in np.flatnonzero(~np.isfinite(found)):
        found[i] = hypergeom.logsf(k[i] - 1, n, seen[i], active[i]) / math.log(10)
    return np.minimum(found, 0.0)


def enrichment(
    key: Int[Tensor, " pair"],
    count: Int[Tensor, " pair"],
    seen: Int[Tensor, " vocab"],
    active: Int[Tensor, " latent"],
    n_show: int,
    level: float = 0.05,
) -> list[list[Enriched]]:
    """Each latent's tokens with p ≤ `level`, smallest p first.

    p is the hypergeometric tail, times the number of different tokens in the text (Bonferroni:
    one test per token, whichever were looked at). Tokens of a row are not independent, so p is
    to be read as an order, and differences between 1e-50 and 1e-60 as nothing.
    """
    n, n_tests = int(seen.sum()), int((seen > 0).sum())
    latent, token = (key // len(seen)).cpu().numpy(), (key % len(seen)).cpu().numpy()
    k, times, fires = count.cpu().numpy(), seen.cpu().numpy(), active.cpu().numpy()
    more = k * n > fires[latent] * times[token]  # the others are no candidates
    latent, token, k = latent[more], token[more], k[more]
    log_p = tail(k, n, fires[latent], times[token]) + math.log10(max(n_tests, 1))
    order = np.lexsort((token, -k, log_p, latent))
    order = order[log_p[order] <= math.log10(level)]
    found: list[list[Enriched]] = [[] for _ in range(len(active))]
    for i in order:
        mine = found[latent[i]]
        if len(mine) < n_show:
            mine.append(Enriched(int(token[i]), int(k[i]), int(times[token[i]]), float(log_p[i])))
    return found
