"""Draw stories with labels, and label stories that somebody else wrote."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.data.stories.lexicon import BOS, ID
from utils.data.stories.telling import Teller, Told

LABELS = tuple(name for name in Told._fields if name not in ("token", "logp", "entropy", "belief"))


@dataclass(frozen=True)
class Stories:
    """Rows of stories, each row from its first BOS on; see `telling.Told` for the labels."""

    tokens: Int[Tensor, "row pos"]
    logp: Float[Tensor, "row pos"]  # nats, given the words before; 0 at the first position
    entropy: Float[Tensor, "row pos"]  # its expectation, given the words before
    belief: Float[Tensor, "row pos"]
    labels: dict[str, Int[Tensor, "row pos"]]

    @property
    def loss(self) -> float:
        """Mean of -logp over what is to be predicted: the least loss any model can have."""
        return float(-self.logp[:, 1:].double().mean())

    @property
    def entropy_rate(self) -> float:
        """The same with each word's surprise replaced by its expectation: less noise."""
        return float(self.entropy[:, 1:].double().mean())


def uniforms(gen: torch.Generator, block: int = 4096) -> Callable[[], float]:
    """A function that returns uniform numbers in [0, 1), drawn from `gen` in blocks."""
    waiting: list[float] = []

    def draw() -> float:
        if not waiting:
            waiting.extend(torch.rand(block, generator=gen, dtype=torch.float64).tolist())
        return waiting.pop()

    return draw


def collect(rows: Iterable[Sequence[Told]]) -> Stories:
    """Rows of equal length as tensors."""
    table = [list(zip(*row, strict=True)) for row in rows]
    column = {name: i for i, name in enumerate(Told._fields)}

    def integers(name: str) -> Tensor:
        return torch.tensor([row[column[name]] for row in table])

    def numbers(name: str) -> Tensor:
        return torch.tensor([row[column[name]] for row in table], dtype=torch.float32)

    return Stories(
        tokens=integers("token"),
        logp=numbers("logp"),
        entropy=numbers("entropy"),
        belief=numbers("belief"),
        labels={name: integers(name) for name in LABELS},
    )


def sample_stories(n_rows: int, n_ctx: int, gen: torch.Generator) -> Stories:
    """Rows of `n_ctx` words: BOS, a story, and the next ones (each from a BOS) up to the end."""
    uniform = uniforms(gen)

    def row() -> list[Told]:
        teller = Teller(mood=lambda: uniform() < 0.5)
        told = [teller.first]
        while len(told) < n_ctx:
            told.append(teller.tell(teller.choose(uniform)[0]))
        return told

    return collect(row() for _ in range(n_rows))


def sample_tokens(n_rows: int, n_ctx: int, gen: torch.Generator) -> Int[Tensor, "row pos"]:
    """The tokens of `sample_stories` alone, three times as fast: for training."""
    uniform = uniforms(gen)
    rows = torch.full((n_rows, n_ctx), ID[BOS])
    for row in rows:
        teller = Teller(mood=lambda: uniform() < 0.5)
        words = []
        for _ in range(n_ctx - 1):
            words.append(choice := teller.choose(uniform))
            teller.advance(*choice)
        row[1:] = torch.tensor([token for token, _, _ in words])
    return rows


def annotate(tokens: Int[Tensor, "row pos"]) -> Stories:
    """Labels and exact probabilities of stories in the grammar, each row starting with BOS.

    The mood is then nobody's secret: `happy` is -1 and `belief` says what the words tell. A word
    that the grammar does not allow where it stands raises ValueError.
    """

    def row(words: list[int]) -> list[Told]:
        if words[0] != ID[BOS]:
            raise ValueError("a row must start with BOS")
        teller = Teller()
        return [teller.first, *(teller.tell(word) for word in words[1:])]

    return collect(row(words) for words in tokens.tolist())
