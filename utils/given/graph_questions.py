"""3.2.7's prompts in the story language, with the words that must matter by its grammar."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from utils.data.stories.choices import scene_of
from utils.data.stories.lexicon import (
    ALL_PLACES,
    ALL_THINGS,
    BOS,
    ID,
    NAMES,
    PLACES,
    SCENES,
    THINGS,
    VERBS,
)
from utils.graphs.targets import Targets, direction

if TYPE_CHECKING:
    from utils.graphs.frozen import Frozen

MEETS = {  # past, present after two people, where
    "when": ("went", "go", "to"),
    "after": ("came", "come", "to"),
    "while": ("were", "are", "at"),
}
WORDS = (
    *("BOS", "opening", "first name", "and", "second name", "verb", "to/at", "the", "place", ","),
    *("giver", "gives", "a", "thing", "to"),
)
KINDS = ("receiver", "tense", "thing")


@dataclass(frozen=True)
class Question:
    """A prompt, and two groups of next words: what is explained is the difference of their logits.

    `matters` are the positions of the words that decide, by the grammar.
    """

    tokens: Int[Tensor, " pos"]
    right: list[int]
    wrong: list[int]
    matters: list[int]
    kind: str

    def targets(self, frozen: "Frozen") -> Targets:
        """Mean logit of the right words minus that of the wrong ones, as a direction."""
        W_U = frozen.loaded.model.W_U.detach()
        vector = W_U[:, self.right].mean(dim=1) - W_U[:, self.wrong].mean(dim=1)
        return direction(frozen, vector, self.kind)

    def gap(self, logits: Tensor) -> Tensor:
        """The same of logits, but for the unembedding's bias that a direction leaves out."""
        return logits[..., self.right].mean(dim=-1) - logits[..., self.wrong].mean(dim=-1)


def ids(words: Sequence[str]) -> list[int]:
    """Numbers of words."""
    return [ID[word] for word in words]


def story_ids(text: str) -> Int[Tensor, " pos"]:
    """A story's tokens, BOS first."""
    return torch.tensor(ids([BOS, *text.split()]))


def question(kind: str, gen: torch.Generator) -> Question:
    """One prompt: who gets it (`receiver`), past or present (`tense`), or what (`thing`)."""

    def draw(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (), generator=gen))]

    first, second = (NAMES[i] for i in torch.randperm(len(NAMES), generator=gen)[:2])
    opening, past = draw(tuple(MEETS)), bool(torch.rand((), generator=gen) < 0.5)
    verb, where = MEETS[opening][0 if past else 1], MEETS[opening][2]
    place, giver = draw(ALL_PLACES), draw((first, second))
    gives = draw([forms[0 if past else 1] for forms in VERBS["give"]])
    start = f"{opening} {first} and {second} {verb} {where} the {place} , {giver}"
    if kind == "tense":
        verbs = [forms for group in ("give", "want", "talk") for forms in VERBS[group]]
        forms = [ids([v[0] for v in verbs]), ids([v[1] for v in verbs])]
        return Question(story_ids(start), forms[not past], forms[past], [5], kind)
    scene = scene_of(ID[place])
    if kind == "thing":
        other = draw([s for s in SCENES if s != scene])
        text = f"{start} {gives} a"
        return Question(story_ids(text), ids(THINGS[scene]), ids(THINGS[other]), [8], kind)
    receiver = second if giver == first else first
    text = f"{start} {gives} a {draw(ALL_THINGS)} to"
    return Question(story_ids(text), ids([receiver]), ids([giver]), [2, 4, 10], kind)


def questions(kind: str, n: int, seed: int) -> list[Question]:
    """Several prompts of a kind."""
    gen = torch.Generator().manual_seed(seed)
    return [question(kind, gen) for _ in range(n)]


@dataclass(frozen=True)
class Swap:
    """Two prompts that differ in the place alone, and the things that belong to either."""

    tokens: Int[Tensor, " pos"]
    other: Int[Tensor, " pos"]  # a place of another scene
    same: Int[Tensor, " pos"]  # another place of the same scene: the control
    here: list[int]
    there: list[int]


def swaps(n: int, seed: int) -> list[Swap]:
    """Pairs of prompts up to the word before the thing, with places of two scenes."""
    gen, found = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        one = question("thing", gen)
        scene = scene_of(int(one.tokens[8]))
        others = [s for s in SCENES if s != scene]
        other = others[int(torch.randint(len(others), (), generator=gen))]
        tokens, same = one.tokens.clone(), one.tokens.clone()
        tokens[8] = ID[PLACES[other][int(torch.randint(4, (), generator=gen))]]
        near = [place for place in ids(PLACES[scene]) if place != int(one.tokens[8])]
        same[8] = near[int(torch.randint(len(near), (), generator=gen))]
        found.append(Swap(one.tokens, tokens, same, ids(THINGS[scene]), ids(THINGS[other])))
    return found
