"""The local explainer: the sentence of a family that tells a latent's tokens from the others."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.autointerp.predicates import Family, Predicate, Text

WORTH = 0.005  # balanced accuracy that another sentence must add: chance gives less


@dataclass(frozen=True)
class Explanation:
    """Sentences joined by `or` or by `and`, and their balanced accuracy where they were chosen."""

    predicates: tuple[Predicate, ...]
    joined: str  # "or", "and"; one sentence: either
    score: float

    def __str__(self) -> str:
        return f", {self.joined} ".join(map(str, self.predicates))

    def holds(self, text: Text) -> Bool[Tensor, "row pos"]:
        """Where it is true."""
        parts = torch.stack([predicate.holds(text) for predicate in self.predicates])
        return parts.any(dim=0) if self.joined == "or" else parts.all(dim=0)


def balanced_accuracies(
    active: Bool[Tensor, " token"], holds: Bool[Tensor, "predicate token"]
) -> Float[Tensor, " predicate"]:
    """Half of (share of active tokens where it holds + share of silent ones where it does not)."""
    n_active = int(active.sum())
    if n_active in (0, len(active)):
        raise ValueError(
            f"{n_active} of {len(active)} tokens are active: to be judged, a sentence needs active "
            "and silent ones (more text, or another latent)"
        )
    hits = holds[:, active].sum(dim=1)
    false = holds.sum(dim=1) - hits
    return (hits / n_active + 1 - false / (len(active) - n_active)) / 2


def explain(active: Bool[Tensor, " token"], family: Family, most: int = 3) -> Explanation:
    """The best sentence, or up to `most` joined by `or` (or by `and`) where each adds something.

    Greedy: first the best one, then the one that adds most. Score and choice are on the same
    tokens, so measure it on others before you believe it.
    """
    if len(active) != family.holds.shape[1]:
        raise ValueError(
            f"{len(active)} tokens, but the family is about {family.holds.shape[1]}: pass the "
            "activations of the tokens that count (text.mask), in order"
        )
    if not family.predicates:
        raise ValueError("the family is empty: take more text, or a smaller `least`")
    found = [greedy(active, family, joined, most) for joined in ("or", "and")]
    return max(found, key=lambda explanation: explanation.score)


def greedy(active: Bool[Tensor, " token"], family: Family, joined: str, most: int) -> Explanation:
    """Add the sentence that helps most, while one helps."""
    scores = balanced_accuracies(active, family.holds)
    chosen = [int(scores.argmax())]
    best, now = float(scores.max()), family.holds[chosen[0]]
    while len(chosen) < most:
        with_each = family.holds | now if joined == "or" else family.holds & now
        scores = balanced_accuracies(active, with_each)
        if float(scores.max()) < best + WORTH:
            break
        chosen.append(int(scores.argmax()))
        best, now = float(scores.max()), with_each[chosen[-1]]
    return Explanation(tuple(family.predicates[i] for i in chosen), joined, best)
