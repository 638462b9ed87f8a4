"""Statements about a token that a program can check: the explanations of 3.2.4's local explainer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from utils.data.stories.sample import Stories
from utils.data.stories.telling import ROLES

SUFFIXES = ("ing", "ed", "ly", "er", "est", "s", "tion", "al", "y", "ment", "ive", "ity")
LABELS = ("tense", "number", "depth", "subject", "who", "where", "happy")


@dataclass(frozen=True)
class Predicates:
    """Names, and where each of them is true; a column per token, row after row."""

    names: list[str]
    holds: Bool[Tensor, "item token"]

    def but(self, *words: str) -> "Predicates":
        """Without those whose name begins with one of the words."""
        keep = [i for i, name in enumerate(self.names) if not name.startswith(words)]
        return Predicates([self.names[i] for i in keep], self.holds[keep])


def _equal(
    values: Int[Tensor, " token"], least: int, name: Sequence[str] | None, word: str
) -> tuple[list[str], Bool[Tensor, "item token"]]:
    """`value is v` for every value of 0 or more that occurs at least `least` times."""
    found, counts = values.unique(return_counts=True)
    kept = found[(counts >= least) & (found >= 0)]
    names = [f"{word} {name[int(v)] if name else int(v)!r}" for v in kept]
    return names, values == kept[:, None]


def _before(ids: Int[Tensor, "row pos"]) -> Int[Tensor, "row pos"]:
    """The token before; -1 at the start of a row."""
    return torch.cat([torch.full_like(ids[:, :1], -1), ids[:, :-1]], dim=1)


def story_predicates(
    stories: Stories, mask: Bool[Tensor, "row pos"], words: Sequence[str], least: int = 20
) -> Predicates:
    """Token, token before, the grammar's role and labels, position, on the tokens of the mask."""
    place = torch.arange(mask.shape[1]).expand_as(mask)
    parts = [
        _equal(stories.tokens[mask], least, words, "token"),
        _equal(_before(stories.tokens)[mask], least, words, "after"),
        _equal(stories.labels["role"][mask], least, ROLES, "role"),
        _equal(place[mask] // 16, least, None, "sixteenth"),
    ]
    parts += [_equal(stories.labels[name][mask], least, None, name) for name in LABELS]
    return Predicates([n for names, _ in parts for n in names], torch.cat([h for _, h in parts]))


def text_predicates(
    ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], words: Sequence[str], least: int
) -> Predicates:
    """Token, token before, shapes, endings and first letters of any text's tokens.

    `words` has the text of every token of the vocabulary.
    """
    tokens = ids[mask]
    parts = [
        _equal(tokens, least, [repr(w) for w in words], "token"),
        _equal(_before(ids)[mask], least, [repr(w) for w in words], "after"),
        _equal(torch.arange(mask.shape[1]).expand_as(mask)[mask] // 16, least, None, "sixteenth"),
    ]
    shapes = {
        "begins with a space": [w.startswith(" ") for w in words],
        "no letter": [not any(c.isalpha() for c in w) for w in words],
        "has a digit": [any(c.isdigit() for c in w) for w in words],
        "has a line break": ["\n" in w for w in words],
        "begins with a capital": [w.strip()[:1].isupper() for w in words],
        "all capitals": [w.strip().isupper() and len(w.strip()) > 1 for w in words],
    }
    shapes |= {f"ends in {s}": [w.strip().endswith(s) for w in words] for s in SUFFIXES}
    letters = "abcdefghijklmnopqrstuvwxyz"
    shapes |= {f"first letter {c}": [w.strip()[:1].lower() == c for w in words] for c in letters}
    of_word = torch.tensor(list(shapes.values()))
    parts.append((list(shapes), of_word[:, tokens]))
    same = _words_in_any_case(words)
    parts.append(_equal(same[tokens], least, [words[i].strip().lower() for i in same], "word"))
    return Predicates([n for names, _ in parts for n in names], torch.cat([h for _, h in parts]))


def _words_in_any_case(words: Sequence[str]) -> Int[Tensor, " vocab"]:
    """For every token the first one that is the same word but for spaces and capitals."""
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(w.strip().lower(), i) for i, w in enumerate(words)])
