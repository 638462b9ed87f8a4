"""How alike two dictionaries are: MMCS, which has a direction, and a matching, which has none."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Similarity:
    """Scores of `latents` against `truth`; cosines are signed, 1 is a perfect score."""

    truth_to_latents: float  # MMCS: was each feature found?
    latents_to_truth: float  # MMCS: is each latent a feature?
    one_to_one: float  # mean cosine of the best matching; an unmatched feature counts as 0
    n_recovered: int  # features whose own latent has a cosine above the threshold


def _unit(v: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows of length 1, in float32 or more; a zero row stays zero: its cosine with any is 0."""
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    return v / v.norm(dim=1, keepdim=True).clamp(min=1e-8)


@torch.no_grad()
def max_cosines(
    source: Float[Tensor, "n d"], target: Float[Tensor, "m d"], chunk: int = 4096
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """For each row of `source` the largest cosine with a row of `target`, and which row that is.

    At most chunk × m cosines are in memory.
    """
    target = _unit(target)
    best = [(_unit(piece) @ target.T).max(dim=1) for piece in source.split(chunk)]
    return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])


def mmcs(source: Float[Tensor, "n d"], target: Float[Tensor, "m d"]) -> float:
    """Mean max cosine similarity from `source` to `target` (Sharkey et al. 2022).

    1/n sum_i max_j cos(source_i, target_j): 1 if every row of `source` has its direction in
    `target`. Not symmetric: two copies of half a dictionary score 1 towards the whole one.
    """
    return max_cosines(source, target)[0].mean().item()


@torch.no_grad()
def matched(
    truth: Float[Tensor, "n d"], latents: Float[Tensor, "m d"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Cosine and partner of every row of `truth` in the matching with the largest sum of cosines.

    The Hungarian algorithm (Kuhn 1955): no latent serves twice. A row without a partner has
    cosine 0 and partner -1. The table of n × m cosines is in memory.
    """
    from scipy.optimize import linear_sum_assignment

    table = _unit(truth) @ _unit(latents).T
    rows, cols = linear_sum_assignment(table.cpu().numpy(), maximize=True)
    rows, cols = (torch.as_tensor(i, device=table.device) for i in (rows, cols))
    cosine = table.new_zeros(len(truth))
    partner = torch.full((len(truth),), -1, device=table.device)
    cosine[rows], partner[rows] = table[rows, cols], cols
    return cosine, partner


def compare(
    truth: Float[Tensor, "n d"], latents: Float[Tensor, "m d"], threshold: float = 0.9
) -> Similarity:
    """All scores of a learned dictionary against a known one, rows being directions."""
    cosine, _ = matched(truth, latents)
    return Similarity(
        truth_to_latents=mmcs(truth, latents),
        latents_to_truth=mmcs(latents, truth),
        one_to_one=cosine.mean().item(),
        n_recovered=int((cosine > threshold).sum()),
    )
