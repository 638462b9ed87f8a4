"""Random sequences that repeat: what an induction head is for (Olsson et al. 2022)."""

import torch
from jaxtyping import Int
from torch import Tensor


def repeated_sequences(
    n_rows: int,
    n_ctx: int,
    n_words: int,
    gen: torch.Generator,
    period: tuple[int, int] | None = None,
    bos: int = 0,
    first_word: int = 2,
) -> Int[Tensor, "row pos"]:
    """BOS, then random words over and over with a period of its own for every row.

    Periods are uniform in [low, high) = `period`; without it each is half of what follows BOS, so
    a row is one block twice. Words are uniform over first_word … n_words - 1, with replacement.
    """
    half = (n_ctx - 1) // 2
    low, high = period or (half, half + 1)
    periods = torch.randint(low, high, (n_rows, 1), generator=gen)
    words = torch.randint(first_word, n_words, (n_rows, high), generator=gen)
    repeats = words.gather(1, torch.arange(n_ctx - 1) % periods)
    return torch.cat([torch.full((n_rows, 1), bos), repeats], dim=1)
