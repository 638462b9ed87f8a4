"""Distributions over words, and what each slot of the grammar may be filled with."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate

from utils.data.stories.lexicon import (
    ALL_THINGS,
    BE_PLURAL,
    COLOURED,
    FEEL,
    ID,
    PLACES,
    SCENES,
    THINGS,
    VERBS,
    VOCABULARY,
    plural,
)

P_COLOUR = 0.9  # a happy story's coloured words are happy ones this often, and the other way round
COLOURS = frozenset((*COLOURED, "feel"))
P_LOCAL = 0.8  # things that belong to the scene, against any thing at all


class Choice:
    """A distribution over words: uniform where no probabilities are given."""

    __slots__ = ("_sums", "probs", "tokens")

    def __init__(self, tokens: Sequence[int], probs: Sequence[float] | None = None) -> None:
        self.tokens, self.probs = tokens, probs
        self._sums: list[float] = []

    def draw(self, u: float) -> int:
        """The word at quantile u in [0, 1)."""
        if self.probs is None:
            return self.tokens[int(u * len(self.tokens))]
        self._sums = self._sums or list(accumulate(self.probs))
        return self.tokens[min(bisect_right(self._sums, u), len(self.tokens) - 1)]

    def prob(self, token: int) -> float:
        """Probability of a word; 0 for a word that does not fit."""
        if token not in self.tokens:
            return 0.0
        return self.probs[self.tokens.index(token)] if self.probs else 1 / len(self.tokens)

    def entropy(self) -> float:
        """Shannon entropy in nats."""
        if self.probs is None:
            return math.log(len(self.tokens))
        return -sum(p * math.log(p) for p in self.probs if p > 0)


def ids(words: Sequence[str]) -> tuple[int, ...]:
    """Numbers of words."""
    return tuple(ID[word] for word in words)


@cache
def fixed(*words: str) -> Choice:
    """Uniform over words that do not depend on the story."""
    return Choice(ids(words))


@cache
def thing(scene: str, several: bool) -> Choice:
    """A thing: P_LOCAL on the scene's own ones, the rest over all things."""
    floor = (1 - P_LOCAL) / len(ALL_THINGS)
    local = P_LOCAL / len(THINGS[scene])
    words = [plural(word) if several else word for word in ALL_THINGS]
    return Choice(ids(words), [floor + local * (word in THINGS[scene]) for word in ALL_THINGS])


@cache
def _forms(verb_class: str, tense: int, number: int) -> tuple[int, ...]:
    """One form of every verb of a class: tense 0 past, 1 present; number 0 singular, 1 plural."""
    if verb_class == "be" and number == 1:
        return ids([BE_PLURAL[tense]])
    column = 0 if tense == 0 else 1 + number
    return ids([forms[column] for forms in VERBS[verb_class]])


@cache
def verb(verb_class: str, tense: int, number: int) -> Choice:
    """Any verb of the class in the form that agrees; tense -1: not told yet, so both."""
    tenses = (0, 1) if tense < 0 else (tense,)
    return Choice([token for t in tenses for token in _forms(verb_class, t, number)])


@cache
def _coloured(slot: str, tense: int, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if slot != "feel":
        happy, sad = COLOURED[slot]
        return ids(happy), ids(sad)
    tenses = (0, 1) if tense < 0 else (tense,)
    columns = [0 if t == 0 else 1 + number for t in tenses]
    first, second = (ids([f[c] for c in columns for f in verbs]) for verbs in FEEL)
    return first, second


def coloured(slot: str, belief: float, tense: int, number: int) -> Choice:
    """Words of both colours: P_COLOUR on the story's own, which is happy with `belief`."""
    happy, sad = _coloured(slot, tense, number)
    p_happy = belief * P_COLOUR + (1 - belief) * (1 - P_COLOUR)
    p, q = p_happy / len(happy), (1 - p_happy) / len(sad)
    return Choice((*happy, *sad), [p] * len(happy) + [q] * len(sad))


@cache
def _happy_words() -> frozenset[int]:
    colours = [ids(happy) for happy, _ in COLOURED.values()]
    return frozenset(i for c in (*colours, ids([w for f in FEEL[0] for w in f])) for i in c)


def updated(belief: float, token: int) -> float:
    """Bayes' rule: belief in a happy story after one more coloured word."""
    happy, sad = (P_COLOUR, 1 - P_COLOUR) if token in _happy_words() else (1 - P_COLOUR, P_COLOUR)
    return belief * happy / (belief * happy + (1 - belief) * sad)


@cache
def past_words() -> frozenset[int]:
    """Every verb form that tells that the story is in the past."""
    verbs = [*(v for group in VERBS.values() for v in group), *(v for group in FEEL for v in group)]
    return frozenset((*ids([forms[0] for forms in verbs]), ID[BE_PLURAL[0]]))


@cache
def scene_of(place: int) -> str:
    """The scene that a place belongs to."""
    return next(scene for scene in SCENES if VOCABULARY[place] in PLACES[scene])
