"""What a judge's answers about a sentence are worth."""

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from utils.dashboards.statistics import wilson

TWO_SIDED = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"


def detection(said: Bool[Tensor, " example"], true: Bool[Tensor, " example"]) -> Score:
    """Balanced accuracy: mean of the shares found among the true and among the false.

    Always answering one way scores 0.5, however many of each there are. The interval joins the two
    shares' Wilson intervals, distances to the ends in quadrature (Newcombe 1998).
    """
    n_true, n_false = int(true.sum()), int((~true).sum())
    if said.shape != true.shape:
        raise ValueError(f"{len(said)} answers for {len(true)} examples")
    if n_true == 0 or n_false == 0:
        raise ValueError(f"{n_true} true and {n_false} false examples: at least one of each")
    found, refused = int((said & true).sum()), int((~said & ~true).sum())
    shares = found / n_true, refused / n_false
    (low1, high1), (low2, high2) = wilson(found, n_true), wilson(refused, n_false)
    value = sum(shares) / 2
    low = value - math.hypot(shares[0] - low1, shares[1] - low2) / 2
    high = value + math.hypot(high1 - shares[0], high2 - shares[1]) / 2
    return Score(value, low, high, len(true))


def fuzzing(said: Bool[Tensor, " example"], true: Bool[Tensor, " example"]) -> Score:
    """The same, where each example is a window with marked tokens: are these the active ones?"""
    return detection(said, true)


def simulation(guessed: Float[Tensor, " token"], acts: Float[Tensor, " token"]) -> Score:
    """Pearson correlation of guessed and true activations, with Fisher's interval.

    0 where the guess or the truth is constant. Tokens of one window are not independent, so the
    interval is too narrow: resample windows for an honest one.
    """
    if guessed.shape != acts.shape or len(acts) < 4:
        raise ValueError(f"{len(guessed)} guesses for {len(acts)} tokens: equally many, 4 or more")
    x, y = (v.double() - v.double().mean() for v in (guessed, acts))
    size = float(x.norm() * y.norm())
    r = float(x @ y) / size if size > 0 else 0.0
    z, half = math.atanh(max(-0.999999, min(0.999999, r))), TWO_SIDED / math.sqrt(len(acts) - 3)
    return Score(r, math.tanh(z - half), math.tanh(z + half), len(acts))
