"""What one could say of a token, as sentences that are true or false: the local explainer's words.

Every sentence is of a kind (the token, the token before, how it begins, what class of word it is,
where it stands, a label, a word earlier in the row) and has a value. Most kinds give each token
exactly one value, so a sentence holds where the value is the asked one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

SENTENCE_ENDS = (".", "!", "?")
LABEL = "label "  # what the kinds of labels begin with
EARLIER = "earlier"
SHORTEST_TOPIC = 4  # letters of a word that may stand for a topic


@dataclass(frozen=True)
class Text:
    """Rows of tokens as strings; labels are whole numbers, -1 where there is none."""

    pieces: Sequence[Sequence[str]]  # row, pos
    mask: Bool[Tensor, "row pos"]  # the tokens that count
    labels: Mapping[str, Int[Tensor, "row pos"]] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)  # what label values are called

    def __post_init__(self) -> None:
        sizes = (len(self.pieces), {len(row) for row in self.pieces})
        if sizes != (self.mask.shape[0], {self.mask.shape[1]} if len(self.mask) else set()):
            raise ValueError(f"pieces and mask {tuple(self.mask.shape)} must have the same shape")
        for name, values in self.labels.items():
            if values.shape != self.mask.shape:
                raise ValueError(f"label {name!r} has shape {tuple(values.shape)}, not the mask's")

    def __getitem__(self, rows: slice) -> "Text":
        """Some of the rows."""
        labels = {name: values[rows] for name, values in self.labels.items()}
        return Text(self.pieces[rows], self.mask[rows], labels, self.names)

    @cached_property
    def columns(self) -> dict[str, list[list[str | None]]]:
        """For each kind the value at every token; None where it has none."""
        # a tokenizer of whole words has no spaces: there every token is a word
        spaced = any(piece[:1].isspace() for row in self.pieces for piece in row)
        rows = self.pieces if spaced else [[f" {piece}" for piece in row] for row in self.pieces]
        found = {
            kind: [each(row) for row in (self.pieces if kind in AS_IS else rows)]
            for kind, each in KINDS.items()
        }
        for name, values in self.labels.items():
            names = self.names.get(name)
            told = [[called(v, names) for v in row] for row in values.tolist()]
            found[LABEL + name] = told
        return found

    def coded(self, kind: str) -> tuple[Int[Tensor, "row pos"], dict[str, int]]:
        """A kind's values as numbers (-1: none), and the number of each value."""
        if kind not in self._coded:
            number: dict[str, int] = {}
            rows = [
                [-1 if v is None else number.setdefault(v, len(number)) for v in row]
                for row in self.columns[kind]
            ]
            self._coded[kind] = torch.tensor(rows).reshape(self.mask.shape), number
        return self._coded[kind]

    @cached_property
    def _coded(self) -> dict[str, tuple[Tensor, dict[str, int]]]:
        return {}


def called(value: int, names: Sequence[str] | None) -> str | None:
    """A label's value as a word."""
    if value < 0:
        return None
    return names[value] if names is not None else str(value)


def word(piece: str) -> str:
    """A token's letters, small, without the space before it."""
    return piece.strip().lower()


def word_class(piece: str) -> str:
    """What one sees of a token without knowing the language."""
    bare = piece.strip()
    if not bare:
        return "a line break" if "\n" in piece else "white space"
    if bare.isdigit():
        return "a number"
    if not any(c.isalnum() for c in bare):
        return "punctuation"
    if bare.isupper() and len(bare) > 1:
        return "in capitals"
    if bare[0].isupper():
        return "capitalised"
    return "a word or its beginning" if piece[0].isspace() else "the inside or end of a word"


def before(row: Sequence[str]) -> list[str | None]:
    """The token before each."""
    return [None, *row[:-1]]


def beginning(n: int) -> Callable[[Sequence[str]], list[str | None]]:
    """The first n letters of tokens that begin a word and are longer than that."""

    def of(row: Sequence[str]) -> list[str | None]:
        return [word(p)[:n] if begins(p) and len(word(p)) > n else None for p in row]

    return of


def begins(piece: str) -> bool:
    """Whether a token begins a word."""
    return piece[:1].isspace() and word(piece)[:1].isalpha()


def ending(n: int) -> Callable[[Sequence[str]], list[str | None]]:
    """The last n letters of tokens of letters that are longer than that."""

    def of(row: Sequence[str]) -> list[str | None]:
        return [word(p)[-n:] if word(p).isalpha() and len(word(p)) > n else None for p in row]

    return of


def place(row: Sequence[str]) -> list[str | None]:
    """Where in the row a token stands, where that is near its beginning."""
    early = [f"token {i} of the row" for i in range(1, 4)]
    return [None, *early, *[None] * len(row)][: len(row)]


def opening(row: Sequence[str]) -> list[str | None]:
    """Tokens right after the end of a sentence."""
    ends = [piece.strip().endswith(SENTENCE_ENDS) for piece in row]
    return [None, *("first" if end else None for end in ends[:-1])]


KINDS: dict[str, Callable[[Sequence[str]], list[str | None]]] = {
    "token": lambda row: list(row),
    "word": lambda row: [word(p) if word(p).isalpha() else None for p in row],
    "previous": before,
    "class": lambda row: [word_class(p) for p in row],
    "previous class": lambda row: [None, *map(word_class, row[:-1])],
    "begins 1": beginning(1),
    "begins 2": beginning(2),
    "begins 3": beginning(3),
    "ends 2": ending(2),
    "ends 3": ending(3),
    "place": place,
    "sentence": opening,
}
AS_IS = ("token", "previous")
SENTENCES = {
    "token": "the token is {!r}",
    "word": "the word is {!r}, small or capitalised",
    "previous": "the token before is {!r}",
    "class": "the token is {}",
    "previous class": "the token before is {}",
    "begins 1": "a word that begins with {!r}",
    "begins 2": "a word that begins with {!r}",
    "begins 3": "a word that begins with {!r}",
    "ends 2": "letters that end in {!r}",
    "ends 3": "letters that end in {!r}",
    "place": "{}",
    "sentence": "the {} token of a sentence",
    EARLIER: "the word {!r} stands earlier in the row",
}


@dataclass(frozen=True)
class Predicate:
    """A sentence about a token, true or false."""

    kind: str
    value: str

    def __str__(self) -> str:
        if self.kind.startswith(LABEL):
            return f"{self.kind.removeprefix(LABEL)} is {self.value}"
        return SENTENCES[self.kind].format(self.value)

    def holds(self, text: Text) -> Bool[Tensor, "row pos"]:
        """Where it is true."""
        if self.kind == EARLIER:
            return after(self.value, text)
        if self.kind not in KINDS and self.kind.removeprefix(LABEL) not in text.labels:
            raise ValueError(f"the text has no {self.kind!r}")
        codes, number = text.coded(self.kind)
        return codes == number.get(self.value, -2)


def after(topic: str, text: Text) -> Bool[Tensor, "row pos"]:
    """Where a word stood earlier in the row."""
    codes, number = text.coded("word")
    here = codes == number.get(topic, -2)
    return here.cumsum(dim=1) - here.long() > 0


@dataclass(frozen=True)
class Family:
    """Sentences, and where each holds among the tokens that count, in the text's order."""

    predicates: list[Predicate]
    text: Text
    holds: Bool[Tensor, "predicate token"]

    @cached_property
    def n_true(self) -> Int[Tensor, " predicate"]:
        """On how many tokens each holds."""
        return self.holds.sum(dim=1)

    def on(self, text: Text) -> "Family":
        """The same sentences on another text."""
        return evaluated(self.predicates, text)


def evaluated(predicates: list[Predicate], text: Text) -> Family:
    """Where these hold."""
    holds = torch.zeros(len(predicates), int(text.mask.sum()), dtype=torch.bool)
    for i, predicate in enumerate(predicates):
        holds[i] = predicate.holds(text)[text.mask]
    return Family(predicates, text, holds)


def family(text: Text, least: int = 20, kinds: Sequence[str] | None = None) -> Family:
    """Every sentence that is true of at least `least` tokens that count, and not of all of them.

    `kinds` chooses: names of KINDS, "earlier", "label role" …; None: all. Of "earlier" it is the
    word's own occurrences that are counted, not the tokens after them.
    """
    known = [*KINDS, EARLIER, *(LABEL + name for name in text.labels)]
    if unknown := set(kinds or ()) - set(known):
        raise ValueError(f"there is no kind {min(unknown)!r}: choose from {', '.join(known)}")
    n, keep = int(text.mask.sum()), text.mask.tolist()
    found = []
    for kind in kinds or known:
        column = text.columns["word" if kind == EARLIER else kind]
        times = Counter(
            v
            for row, used in zip(column, keep, strict=True)
            for v, use in zip(row, used, strict=True)
            if use and v is not None
        )
        values = [v for v, times_v in sorted(times.items()) if least <= times_v < n]
        if kind == EARLIER:
            values = [v for v in values if len(v) >= SHORTEST_TOPIC]
        found += [Predicate(kind, v) for v in values]
    return evaluated(found, text)
