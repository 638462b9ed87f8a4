"""The k largest of each row, or of the whole batch, without sorting what cannot be among them.

Both keep positive entries only (TopK and BatchTopK end in a ReLU). Of equal entries at the edge
the first ones stay, so that exactly k do.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from utils.saes.support import Ragged, ragged

Floats = NDArray[np.floating]


def topk_support(
    scores: Float[Tensor, "batch latent"], k: int
) -> tuple[Ragged, Float[Tensor, " entry"]]:
    """The k largest positive scores of each row (fewer where fewer are positive), and the scores.

    On a CPU: latents go into groups; the k-th largest of the groups' maxima is at most the k-th
    largest score, and only about 37 of 4096 scores reach it for k = 32. A partial sort of these
    few finds the k-th largest.
    """
    if scores.is_cuda:
        return _topk_support_plain(scores, k)
    S = _readable(scores).numpy()
    bound = _positive(_kth_largest(_group_maxima(S, k), k))
    flat = np.flatnonzero(bound[:, None] <= S)
    rows, value = flat // S.shape[1], S.reshape(-1)[flat]
    counts = np.bincount(rows, minlength=len(S))
    starts = np.cumsum(counts) - counts
    padded = np.full((len(S), max(int(counts.max(initial=0)), k)), -np.inf, S.dtype)
    padded[rows, np.arange(len(rows)) - starts[rows]] = value
    edge = _kth_largest(padded, k)[rows]
    keep = value >= edge
    if int(keep.sum()) > int(np.minimum(counts, k).sum()):
        keep = _first_ties(value > edge, value == edge, starts, rows, k)
    flat = flat[keep]
    kept = torch.from_numpy(value[keep]).to(scores.dtype)
    return ragged(torch.from_numpy(flat), (len(S), S.shape[1])), kept


def batch_topk_support(
    scores: Float[Tensor, "batch latent"], n: int
) -> tuple[Ragged, Float[Tensor, " entry"]]:
    """The n largest positive scores of the batch, and the scores.

    On a CPU every 61st score gives a bound that a little more than n scores reach; a partial sort
    of these finds the n-th largest. A bound that turns out too high is replaced by 0.
    """
    shape = (scores.shape[0], scores.shape[1])
    if scores.is_cuda:
        value, flat = scores.reshape(-1).topk(min(n, scores.numel()), sorted=False)
        flat, by_place = flat[value > 0].sort()
        return ragged(flat, shape), value[value > 0][by_place]
    S = _readable(scores).numpy().reshape(-1)
    places = _candidates(S, n)
    found = S[places]
    if len(places) > n:
        edge = np.partition(found, len(found) - n)[len(found) - n]
        more = found > edge
        keep = more | ((found == edge) & (np.cumsum(found == edge) <= n - int(more.sum())))
        places, found = places[keep], found[keep]
    return ragged(torch.from_numpy(places), shape), torch.from_numpy(found).to(scores.dtype)


def _topk_support_plain(
    scores: Float[Tensor, "batch latent"], k: int
) -> tuple[Ragged, Float[Tensor, " entry"]]:
    value, latents = scores.topk(k, sorted=False)
    rows = torch.arange(len(scores), device=scores.device).unsqueeze(1).expand_as(latents)
    kept = value > 0
    shape = (scores.shape[0], scores.shape[1])
    return Ragged(rows[kept], latents[kept], shape), value[kept]


def _readable(scores: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
    """The same numbers in a precision that numpy has; float32 holds all of a half's exactly."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    return scores.detach().to(wide)


def _group_maxima(S: Floats, k: int) -> Floats:
    """Maxima of 4 k groups of latents, or S itself where groups would hold one latent."""
    n_groups = 4 * k
    size = S.shape[1] // n_groups
    if size < 2:
        return S
    # group g holds latents g, g + n_groups, ...: maxima run along contiguous memory
    whole = S[:, : size * n_groups].reshape(len(S), size, n_groups)
    return torch.from_numpy(whole).amax(1).numpy()


def _kth_largest(S: Floats, k: int) -> Floats:
    return np.partition(S, S.shape[1] - k, axis=1)[:, S.shape[1] - k]


def _positive(bound: Floats) -> Floats:
    return np.maximum(bound, np.finfo(bound.dtype).tiny)


def _candidates(S: Floats, n: int) -> NDArray[np.int64]:
    """Places of the positive scores above a bound that at least n of them reach, if n do."""
    sample = S[::61]  # a prime: no latent is over-represented
    wanted = len(sample) * n / len(S)
    wanted = int(wanted + 4 * wanted**0.5 + 1)  # four standard deviations more than needed
    if wanted < len(sample):
        edge = np.partition(sample, len(sample) - wanted)[len(sample) - wanted]
        flat = np.flatnonzero(_positive(edge) <= S)
        if len(flat) >= n:
            return flat
    return np.flatnonzero(S > 0)


def _first_ties(
    more: NDArray[np.bool_],
    tie: NDArray[np.bool_],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    k: int,
) -> NDArray[np.bool_]:
    """`more`, and of each row's `tie` the first ones up to k in all."""
    rank = np.cumsum(tie)
    before = np.concatenate([[0], rank])[starts]  # ties in earlier rows
    n_more = np.bincount(rows[more], minlength=len(starts))
    return more | (tie & (rank - before[rows] <= k - n_more[rows]))
