"""3.2.6's blind case: describe a latent from its weights, commit, then see where it is active."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.autointerp import Family, Predicate, Text, family
from utils.data.stories.lexicon import VOCABULARY
from utils.data.stories.sample import sample_stories
from utils.given.transcoder_runs import judged, seen
from utils.models.sae import Sae

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

KINDS = ("token", "word", "class", "begins 1", "begins 2", "begins 3", "ends 2", "ends 3")


class NotYet(RuntimeError):
    """The case is opened before there is a commitment, or with another answer."""


def vocabulary_family() -> Family:
    """Sentences about a word by itself, and of which words of the stories they are true."""
    words = [*VOCABULARY]
    text = Text([[word] for word in words], torch.ones(len(words), 1, dtype=torch.bool))
    found = family(text, least=1, kinds=KINDS)
    first: dict[tuple[bool, ...], int] = {}
    for i, row in enumerate(found.holds.tolist()):
        first.setdefault(tuple(row), i)  # of sentences that say the same, one
    keep = sorted(first.values())
    return Family([found.predicates[i] for i in keep], text, found.holds[keep])


@dataclass
class BlindCase:
    """A latent whose weights one may read; its activations are shown after a commitment."""

    loaded: "Loaded"
    sae: Sae
    seed: int
    n_rows: int = 100
    digest: str = ""
    salt: str = field(default_factory=lambda: secrets.token_hex(8))

    @cached_property
    def said(self) -> Family:
        """What one could say of a word."""
        return vocabulary_family()

    @cached_property
    def _data(self) -> tuple[Int[Tensor, "row pos"], Float[Tensor, "row pos latent"]]:
        gen = torch.Generator().manual_seed(self.seed)
        tokens = sample_stories(self.n_rows, int(self.loaded.model.cfg.n_ctx), gen).tokens
        x = seen(self.loaded, tokens, [self.sae.hook_in], self.sae.layer)[self.sae.hook_in]
        return tokens, self.sae.encode(x) * (torch.arange(x.shape[1]) > 0)[:, None]

    @cached_property
    def latent(self) -> int:
        """The latent of the case, drawn among those that can be judged."""
        _, f = self._data
        live = judged((f[:, 1:] > 0).flatten(0, 1), 100)
        gen = torch.Generator().manual_seed(self.seed)
        return int(live[torch.randint(len(live), (), generator=gen)])

    def find(self, sentence: str) -> int:
        """The number of a sentence of the family."""
        told = [str(p) for p in self.said.predicates]
        if sentence not in told:
            raise ValueError(f"the family has no {sentence!r}; it has {', '.join(told[:5])}, …")
        return told.index(sentence)

    def commit(self, predicate: int, commitment: Callable[[str, str], str]) -> str:
        """Fix the answer; what is shown and kept is its digest. One commitment per case."""
        if self.digest:
            raise NotYet("there is a commitment already: it cannot be changed")
        self.digest = commitment(str(self.said.predicates[predicate]), self.salt)
        return self.digest

    def open(
        self, predicate: int, commitment: Callable[[str, str], str]
    ) -> tuple[Bool[Tensor, " token"], Bool[Tensor, " token"]]:
        """(where the sentence holds, where the latent is active) on stories nobody has read."""
        if not self.digest:
            raise NotYet("commit to a sentence first")
        if commitment(str(self.said.predicates[predicate]), self.salt) != self.digest:
            raise NotYet("that is not the sentence that you committed to")
        tokens, f = self._data
        return self.said.holds[predicate][tokens[:, 1:]].flatten(), (
            f[:, 1:, self.latent] > 0
        ).flatten()

    def examples(self, n: int = 6) -> list[str]:
        """The strongest activations with words around them; only after a commitment."""
        if not self.digest:
            raise NotYet("commit to a sentence first")
        tokens, f = self._data
        acts, found = f[:, :, self.latent], []
        for row in acts.amax(dim=1).topk(n).indices.tolist():
            at = int(acts[row].argmax())
            words = [VOCABULARY[int(t)] for t in tokens[row]]
            marked = [*words[max(at - 6, 0) : at], f"[{words[at]}]", *words[at + 1 : at + 4]]
            found.append(f"{float(acts[row, at]):.2f}  {' '.join(marked)}")
        return found


def told(predicate: Predicate, holds: Bool[Tensor, " vocab"], n: int = 6) -> str:
    """A sentence with some of the words of which it is true."""
    words = [VOCABULARY[int(i)] for i in holds.nonzero()[:n, 0]]
    more = " …" if int(holds.sum()) > n else ""
    return f"{predicate} ({', '.join(words)}{more})"
