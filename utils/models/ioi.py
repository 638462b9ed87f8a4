"""Indirect objects: the shortest test that a language model is whole (Wang et al. 2022).

"When Mary and John went to the store, John gave a drink to" must go on with " Mary". The score of
a prompt is the logit of the right name less that of the repeated one; chance is 0.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from utils.models.loaded import Loaded

ABBA = "When {io} and {s} went to the store, {s} gave a drink to"
BABA = "When {s} and {io} went to the store, {s} gave a drink to"
NAMES = ("Mary", "John", "Tom", "Anna", "James", "Sarah")


@dataclass(frozen=True)
class Prompt:
    """A prompt with the right name and the repeated one."""

    text: str
    io: str
    s: str


def prompts(template: str, names: tuple[str, ...] = NAMES) -> list[Prompt]:
    """The template with every ordered pair of neighbouring names."""
    pairs = list(pairwise(names))
    pairs += [(b, a) for a, b in pairs]
    return [Prompt(template.format(io=io, s=s), f" {io}", f" {s}") for io, s in pairs]


@torch.no_grad()
def logit_differences(loaded: Loaded, asked: list[Prompt]) -> Float[Tensor, " prompt"]:
    """Logit of the right name less that of the repeated one, at the last position."""
    model, found = loaded.model, []
    for prompt in asked:  # one at a time: lengths differ
        logits = model(model.to_tokens(prompt.text))[0, -1]
        right, wrong = (model.to_single_token(name) for name in (prompt.io, prompt.s))
        found.append(logits[right] - logits[wrong])
    return torch.stack(found)
