"""Indirect-object prompts in the story language (Wang et al. 2022): who gets it, not who gives."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from utils.data.stories.lexicon import ALL_PLACES, ALL_THINGS, BOS, ID, NAMES

Order = Literal["ABBA", "BABA"]
TEMPLATES = (
    "when {1} and {2} went to the {place} , {S} gave a {thing} to",
    "after {1} and {2} walked to the {place} , {S} showed a {thing} to",
    "while {1} and {2} were at the {place} , {S} handed a {thing} to",
    "when {1} and {2} go to the {place} , {S} wants to give a {thing} to",
    "while {1} and {2} are at the {place} , {S} brings a red {thing} to",
    "after {1} and {2} came to the {place} , {S} talked to",
)


@dataclass(frozen=True)
class Prompts:
    """Prompts of one template, and so of one length, from BOS to "to"."""

    tokens: Int[Tensor, "prompt pos"]
    receiver: Int[Tensor, " prompt"]  # the right answer
    giver: Int[Tensor, " prompt"]  # the other name
    order: Order  # ABBA: the receiver is named first; BABA: the giver is
    template: int


def indirect_object_prompts(
    n_prompts: int, template: int, order: Order, gen: torch.Generator
) -> Prompts:
    """Draw names, places and things; the place and the thing need not belong together."""
    rows, receivers, givers = [], [], []
    for _ in range(n_prompts):
        receiver, giver = (NAMES[i] for i in torch.randperm(len(NAMES), generator=gen)[:2])
        place, thing = (
            words[int(torch.randint(len(words), (), generator=gen))]
            for words in (ALL_PLACES, ALL_THINGS)
        )
        first, second = (receiver, giver) if order == "ABBA" else (giver, receiver)
        fill = {"{1}": first, "{2}": second, "{S}": giver, "{place}": place, "{thing}": thing}
        text = f"{BOS} {TEMPLATES[template]}".split()
        rows.append([ID[fill.get(word, word)] for word in text])
        receivers.append(ID[receiver])
        givers.append(ID[giver])
    return Prompts(
        torch.tensor(rows), torch.tensor(receivers), torch.tensor(givers), order, template
    )
