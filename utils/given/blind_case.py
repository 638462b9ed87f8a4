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
from utils.data.stories.lexicon import (
    BOYS,
    COLOURED,
    FEEL,
    GIRLS,
    LOOKS,
    NAMES,
    PLACES,
    SCENES,
    THINGS,
    TIMES,
    VERBS,
    VOCABULARY,
    plural,
)
from utils.data.stories.sample import sample_stories
from utils.given.transcoder_runs import seen
from utils.models.sae import Sae

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

LETTERS = ("token", "begins 1", "begins 2", "begins 3", "ends 2", "ends 3")


def word_labels() -> dict[str, dict[str, set[str]]]:
    """What the lexicon says of words: kind of label, value, its words; a word has one of a kind."""
    forms = [form for group in (*VERBS.values(), *FEEL) for form in group]
    things = {scene: {*some, *map(plural, some)} for scene, some in THINGS.items()}
    single = {t for some in THINGS.values() for t in some}
    return {
        "kind of word": {
            "a girl's name": set(GIRLS),
            "a boy's name": set(BOYS),
            "a place": {p for some in PLACES.values() for p in some},
            "one thing": single,
            "several things": {plural(t) for t in single},
            "a verb in the past": {past for past, _, _ in forms},
            "a verb after he": {one for _, one, _ in forms},
            "a verb after they": {many for _, _, many in forms},
            "a happy word": {w for happy, _ in COLOURED.values() for w in happy},
            "a sad word": {w for _, sad in COLOURED.values() for w in sad},
            "a look": set(LOOKS),
            "a time": set(TIMES),
        },
        "word": {"a name": set(NAMES), "a verb": {w for form in forms for w in form}},
        "scene": {scene: {*PLACES[scene], *things[scene]} for scene in SCENES},
        "verb": {
            name: {w for form in group for w in form}
            for name, group in (*VERBS.items(), ("feel", FEEL[0] + FEEL[1]))
        },
    }


class NotYet(RuntimeError):
    """The case is opened before there is a commitment, or with another answer."""


def vocabulary_family() -> Family:
    """Sentences about a word by itself, and of which words of the stories they are true."""
    words, labels, names = [*VOCABULARY], {}, {}
    for kind, values in word_labels().items():
        names[kind] = list(values)
        numbers = [next((i for i, n in enumerate(values) if w in values[n]), -1) for w in words]
        labels[kind] = torch.tensor(numbers)[:, None]
    mask = torch.ones(len(words), 1, dtype=torch.bool)
    text = Text([[word] for word in words], mask, labels, names)
    found = family(text, least=1, kinds=[*(f"label {kind}" for kind in labels), *LETTERS])
    first: dict[tuple[bool, ...], int] = {}
    for i, row in enumerate(found.holds.tolist()):
        first.setdefault(tuple(row), i)  # of sentences that say the same, one
    keep = sorted(first.values())
    return Family([found.predicates[i] for i in keep], text, found.holds[keep])


def clear_cases(
    score: Float[Tensor, "token latent"],
    holds: Bool[Tensor, "item token"],
    n: int,
    choose: Callable[..., int],
    least: float = 0.7,
) -> Int[Tensor, " item"]:
    """Latents whose sentence, chosen by weights, is true of `least` of the n best tokens.

    Nothing but weights decides, so a case that is drawn from them is still blind.
    """
    clear = []
    for k, column in enumerate(score.T):
        says = holds[choose(column, holds, n)]
        if float(says[column.topk(n).indices].double().mean()) >= least:
            clear.append(k)
    return torch.tensor(clear)


@dataclass
class BlindCase:
    """A latent whose weights one may read; its activations are shown after a commitment."""

    loaded: "Loaded"
    sae: Sae
    said: Family  # what one could say of a word
    candidates: Int[Tensor, " item"]
    seed: int
    n_rows: int = 100
    digest: str = ""
    salt: str = field(default_factory=lambda: secrets.token_hex(8))

    @cached_property
    def _data(self) -> tuple[Int[Tensor, "row pos"], Float[Tensor, "row pos latent"]]:
        gen = torch.Generator().manual_seed(self.seed)
        tokens = sample_stories(self.n_rows, int(self.loaded.model.cfg.n_ctx), gen).tokens
        x = seen(self.loaded, tokens, [self.sae.hook_in], self.sae.layer)[self.sae.hook_in]
        return tokens, self.sae.encode(x) * (torch.arange(x.shape[1]) > 0)[:, None]

    @cached_property
    def latent(self) -> int:
        """The latent of the case, drawn from the candidates."""
        gen = torch.Generator().manual_seed(self.seed)
        return int(self.candidates[torch.randint(len(self.candidates), (), generator=gen)])

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
