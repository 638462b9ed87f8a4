"""Which stretches of text a sentence about a latent is judged by."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """Windows of one width; the first are those in which the latent is active."""

    rows: Int[Tensor, " example"]
    starts: Int[Tensor, " example"]
    width: int
    fraction: Int[Tensor, " example"]  # which interval of strength: 0 the weakest; -1 silent
    acts: Float[Tensor, "example pos"]

    def __getitem__(self, use: Bool[Tensor, " example"]) -> "Examples":
        """Some of them."""
        parts = (self.rows, self.starts, self.fraction, self.acts)
        rows, starts, fraction, acts = (part[use] for part in parts)
        return Examples(rows, starts, self.width, fraction, acts)

    @property
    def active(self) -> Bool[Tensor, " example"]:
        """Whether the latent is active anywhere in it."""
        return self.fraction >= 0


def windows(n_pos: int, width: int) -> Int[Tensor, " start"]:
    """Where windows begin that share no token; the first token of a row (BOS) is in none."""
    return torch.arange(1, n_pos - width + 1, width)


def draw(
    acts: Float[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
    gen: torch.Generator,
    n_active: int = 25,
    n_silent: int = 25,
    width: int = 16,
    n_fractions: int = 5,
) -> Examples:
    """Windows with activations, equally many of each interval of strength, and silent ones.

    Windows share no token, and every token in them counts (`mask`). Those with an activation are
    sorted by their largest one and cut into `n_fractions` parts of equal size; as many are drawn of
    each. Silent windows are measured, not assumed: the latent is 0 on every token. Fewer come back
    where there are fewer.
    """
    starts = windows(acts.shape[1], width)
    if len(starts) == 0:
        raise ValueError(f"a row of {acts.shape[1]} tokens has no window of {width} without BOS")
    spread = starts[:, None] + torch.arange(width)
    whole = mask[:, spread].all(dim=-1)
    strongest = acts[:, spread].amax(dim=-1)
    row, number = (whole & (strongest > 0)).nonzero(as_tuple=True)
    order = strongest[row, number].argsort(stable=True)
    found = []
    for i, part in enumerate(order.tensor_split(n_fractions)):
        n = n_active // n_fractions + (i < n_active % n_fractions)
        some = part[torch.randperm(len(part), generator=gen)[:n]]
        found += [(int(row[j]), int(starts[number[j]]), i) for j in some]
    row, number = (whole & (strongest == 0)).nonzero(as_tuple=True)
    for j in torch.randperm(len(row), generator=gen)[:n_silent]:
        found.append((int(row[j]), int(starts[number[j]]), -1))
    table = torch.tensor(found, dtype=torch.long).reshape(-1, 3)
    rows, begin, fraction = table.unbind(dim=1)
    inside = acts[rows[:, None], begin[:, None] + torch.arange(width)]
    return Examples(rows, begin, width, fraction, inside)
