"""Indirect objects: the shortest test that a language model is whole (Wang et al. 2022).

"When Mary and John went to the store, John gave a drink to" must go on with " Mary". The score of
a prompt is the logit of the right name less that of the repeated one; chance is 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.models.loaded import Loaded

ABBA = "When {io} and {s} went to the store, {s} gave a drink to"
BABA = "When {s} and {io} went to the store, {s} gave a drink to"
NAMES = ("Mary", "John", "Tom", "Anna", "James", "Sarah")

HooksOf = Callable[[Tensor], list[tuple[Any, Callable[..., Any]]]]


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
def logit_differences(
    loaded: Loaded, asked: list[Prompt], hooks_of: HooksOf | None = None
) -> Float[Tensor, " prompt"]:
    """Logit of the right name less that of the repeated one, at the last position.

    `hooks_of(tokens)` gives the hooks under which a batch of prompts runs.
    """
    model, found = loaded.model, torch.zeros(len(asked))
    rows = [model.to_tokens(prompt.text)[0] for prompt in asked]
    names = torch.tensor([[model.to_single_token(x) for x in (p.io, p.s)] for p in asked])
    for length in {len(row) for row in rows}:  # prompts of one length need no padding
        which = [i for i, row in enumerate(rows) if len(row) == length]
        tokens = torch.stack([rows[i] for i in which])
        hooks = hooks_of(tokens) if hooks_of else []
        logits = model.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1].float().cpu()
        right, wrong = logits.gather(1, names[which]).T
        found[which] = right - wrong
    return found
