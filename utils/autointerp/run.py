"""Explain many latents on one half of the text, and score the sentences on the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.autointerp.endpoint import EndpointError, NoEndpoint
from utils.autointerp.examples import Examples, draw
from utils.autointerp.explain import Explanation, explain
from utils.autointerp.judges import EndpointJudge, Judge, LocalJudge, explain_by, marks_of
from utils.autointerp.predicates import Text, family
from utils.autointerp.score import Score, detection, fuzzing, simulation
from utils.progress import track

FEWEST = 10  # windows in which a latent is active, to be explained and to be judged
FEW = "only {} windows of one kind (active or silent, in a half of the text), {} are needed: \
take more rows"


@dataclass(frozen=True)
class Interpretation:
    """A latent's sentence with its scores; where there is none, `why` says so."""

    latent: int
    sentence: str = ""
    detection: Score | None = None
    fuzzing: Score | None = None
    simulation: Score | None = None
    why: str = ""


@dataclass(frozen=True)
class Halves:
    """Text to explain by and text to judge by; activations come for all rows, in this order."""

    first: Text
    second: Text

    def split(self, acts: Float[Tensor, "row pos"]) -> tuple[Tensor, Tensor]:
        """The activations on each."""
        n = len(self.first.mask)
        return acts[:n], acts[n:]


def halves(text: Text) -> Halves:
    """The rows in two: no row is in both."""
    n = len(text.mask) // 2
    return Halves(text[slice(0, n)], text[slice(n, None)])


def scores(
    judge: Judge[Any], said: Any, shown: Examples, text: Text, gen: torch.Generator
) -> tuple[Score, Score, Score]:
    """Detection, fuzzing and simulation of one sentence; ValueError where one has no negatives."""
    marks, true = marks_of(shown, gen)
    use = marks.any(dim=1)
    if true[use].all():
        raise ValueError("it is active at every token of its windows: nothing to mark wrongly")
    found = detection(judge.detect(said, shown, text), shown.active)
    some = shown[use]
    fuzzed = fuzzing(judge.fuzz(said, some, text, marks[use]), true[use])
    guessed = judge.simulate(said, shown, text)
    return found, fuzzed, simulation(guessed.flatten(), shown.acts.flatten())


def interpret(
    acts_of: Callable[[int], Float[Tensor, "row pos"]],
    latents: Sequence[int],
    text: Text,
    judge: EndpointJudge | None = None,
    seed: int = 0,
    n_examples: int = 25,
) -> list[Interpretation]:
    """A sentence and three scores for each latent; the local explainer where there is no `judge`.

    `acts_of(latent)` are its activations on all rows of `text`, of which the first half explains
    and the second half judges. `n_examples` windows with and as many without an activation. A
    latent that a server did not answer about is listed with the reason, and the others go on: with
    a cache a second run asks for what is missing. NoEndpoint where there is nobody to ask.
    """
    parts = halves(text)
    sentences = family(parts.first) if judge is None else None

    def one(latent: int) -> Interpretation:
        first, second = parts.split(acts_of(latent))
        gen = torch.Generator().manual_seed(seed * 1_000_003 + latent)
        try:
            by = draw(first, parts.first.mask, gen, n_examples, 0)
            shown = draw(second, parts.second.mask, gen, n_examples, n_examples)
        except ValueError as error:
            return Interpretation(latent, why=str(error))
        least = min(len(by.rows), int(shown.active.sum()), int((~shown.active).sum()))
        if least < FEWEST:
            return Interpretation(latent, why=FEW.format(least, FEWEST))
        try:
            if sentences is not None:
                said: Explanation = explain(first[parts.first.mask] > 0, sentences)
                return Interpretation(
                    latent, str(said), *scores(LocalJudge(), said, shown, parts.second, gen)
                )
            assert judge is not None
            told = explain_by(judge, by, parts.first)
            return Interpretation(latent, told, *scores(judge, told, shown, parts.second, gen))
        except NoEndpoint:
            raise
        except (EndpointError, ValueError) as error:  # a ReplyError is one
            return Interpretation(latent, why=str(error))

    return [one(latent) for latent in track(latents, "latents explained")]
