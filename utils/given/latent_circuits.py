"""What 3.2.5 works on: a model cut at its SAEs, and pairs of prompts whose truth is known."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.data.stories.lexicon import ALL_PLACES, ALL_THINGS, BE_PLURAL, BOS, GIRLS, ID, NAMES
from utils.data.stories.lexicon import VERBS as FORMS
from utils.models.sae import Sae
from utils.models.splice import Hook

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

Edit = Callable[[int, Tensor], Tensor]  # number of the site, activation -> activation
Metric = Callable[[Tensor], Tensor]  # logits at the last position -> a number per row
EMBED = "blocks.0.hook_resid_pre"


@dataclass(frozen=True)
class Chain:
    """A model and the SAEs at some of its hooks, its sites, in the order of the forward pass."""

    loaded: "Loaded"
    saes: Sequence[Sae]

    @property
    def n_sites(self) -> int:
        """How many hooks have an SAE."""
        return len(self.saes)

    def encode(self, site: int, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch latent"]:
        """The latents of a site."""
        return self.saes[site].encode(x)

    def decode(self, site: int, f: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch d_in"]:
        """What latents write at a site, the decoder's bias included."""
        return self.saes[site].sae.decode(f)

    def W_dec(self, site: int) -> Float[Tensor, "latent d_in"]:
        """Decoder rows."""
        return self.saes[site].sae.W_dec.detach()

    def W_enc(self, site: int) -> Float[Tensor, "d_in latent"]:
        """Encoder columns."""
        return self.saes[site].sae.W_enc.detach()

    def run(
        self,
        tokens: Int[Tensor, "row pos"],
        edit: Edit = lambda site, x: x,
        first: int = 0,
        held: dict[str, Tensor] | None = None,
    ) -> Float[Tensor, "row vocab"]:
        """Logits at the last position, the activation at every site from `first` on edited.

        The first position keeps what it has. Values in `held` replace what passes at their hooks.
        """

        def put(site: int) -> Callable[..., Tensor]:
            def hook(value: Tensor, hook: Any) -> Tensor:
                x = value.reshape(*value.shape[:2], -1)
                new = edit(site, x)
                return torch.cat([x[:, :1], new[:, 1:]], dim=1).reshape(value.shape)

            return hook

        hooks: list[Hook]
        hooks = [(name, _hold(value)) for name, value in (held or {}).items()]
        hooks += [(self.saes[i].hook_out, put(i)) for i in range(first, self.n_sites)]
        return _run(self.loaded, tokens, hooks)[:, -1]

    @torch.no_grad()
    def states(self, tokens: Int[Tensor, "row pos"]) -> list[Float[Tensor, "row pos d_in"]]:
        """The clean activation at every site, fifty rows at a time."""
        parts: list[list[Tensor]] = []
        for some in tokens.split(50):
            seen: list[Tensor] = []

            def keep(site: int, x: Tensor, seen: list[Tensor] = seen) -> Tensor:
                seen.append(x.detach())
                return x

            self.run(some, keep)
            parts.append(seen)
        return [torch.cat(site) for site in zip(*parts, strict=True)]

    def rest(
        self,
        site: int,
        tokens: Int[Tensor, "row pos"],
        metric: Metric,
        held: dict[str, Tensor] | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """What the model makes of the activation at one site: the metric of every row."""

        def run(x: Float[Tensor, "row pos d_in"]) -> Float[Tensor, " row"]:
            words = tokens.expand(len(x), -1)
            return metric(self.run(words, lambda i, now: x if i == site else now, site, held))

        return run

    def between(
        self, source: int, target: int, tokens: Int[Tensor, " pos"]
    ) -> Callable[[Tensor], Tensor]:
        """The activation at a later site as a function of that at an earlier one; one prompt."""

        def run(x: Float[Tensor, "pos d_in"]) -> Float[Tensor, "pos d_out"]:
            seen: list[Tensor] = []

            def edit(site: int, now: Tensor) -> Tensor:
                if site == target:
                    seen.append(now[0])
                return x[None] if site == source else now

            self.run(tokens[None], edit, source)
            return seen[0]

        return run

    def from_words(
        self, tokens: Int[Tensor, " pos"], site: int, held: dict[str, Tensor] | None = None
    ) -> tuple[Float[Tensor, "pos d_model"], Callable[[Tensor], Tensor]]:
        """The embeddings of one prompt, and the activation at a site as a function of them."""
        model = self.loaded.model
        hooks: list[Hook] = [(name, _hold(value)) for name, value in (held or {}).items()]
        _, cache = model.run_with_cache(tokens[None], names_filter=lambda name: name == EMBED)

        def run(embed: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_in"]:
            seen: list[Tensor] = []
            watch: list[Hook] = [
                (EMBED, lambda value, hook: embed[None]),
                (self.saes[site].hook_in, lambda value, hook: seen.append(value[0])),
            ]
            _run(self.loaded, tokens[None], [*hooks, *watch])
            return seen[0].reshape(len(tokens), -1)

        return cache[EMBED][0].detach(), run

    @torch.no_grad()
    def values(self, tokens: Int[Tensor, "row pos"], names: Sequence[str]) -> dict[str, Tensor]:
        """The clean values at some hooks: what `held` holds."""
        _, cache = self.loaded.model.run_with_cache(tokens, names_filter=lambda n: n in names)
        return {name: cache[name] for name in names}


def _run(loaded: "Loaded", tokens: Tensor, hooks: list[Hook]) -> Tensor:
    """The model with hooks; that it computes an edited norm another way is no news here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A forward hook edited hook_scale")
        return loaded.model.run_with_hooks(tokens, fwd_hooks=hooks)


def _hold(value: Tensor) -> Callable[..., Tensor]:
    def hook(now: Tensor, hook: Any) -> Tensor:
        return value.expand(now.shape[0], *value.shape[1:]).reshape(now.shape)

    return hook


@dataclass(frozen=True)
class Parts:
    """Latents and errors at every site, on some prompts and on their counterparts."""

    x: list[Float[Tensor, "row pos d_in"]]
    f: list[Float[Tensor, "row pos latent"]]
    e: list[Float[Tensor, "row pos d_in"]]
    f_base: list[Float[Tensor, "*row pos latent"]]  # no row axis where it is their mean
    e_base: list[Float[Tensor, "*row pos d_in"]]

    def x_base(self, chain: Chain, site: int) -> Float[Tensor, "row pos d_in"]:
        """The activation in which everything is replaced."""
        base = chain.decode(site, self.f_base[site]) + self.e_base[site]
        return base.expand_as(self.x[site])

    def active(self) -> list[Tensor]:
        """By site, which latents are active at a position on some prompt, or on a counterpart."""
        pairs = zip(self.f, self.f_base, strict=True)
        return [((f > 0) | (base > 0)).any(dim=0) for f, base in pairs]


@torch.no_grad()
def parts_of(
    chain: Chain, tokens: Int[Tensor, "row pos"], other: Int[Tensor, "row pos"], mean: bool = True
) -> Parts:
    """Latents and errors; the baseline is the mean over the other prompts, or each one's own."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for words in (tokens, other):
        for site, x in enumerate(chain.states(words)):
            f = chain.encode(site, x)
            found.append((x, f, x - chain.decode(site, f)))
    n = chain.n_sites
    clean, rest = found[:n], found[n:]

    def base(i: int) -> list[Tensor]:
        return [part[i].mean(dim=0) if mean else part[i] for part in rest]

    xs, fs, es = ([part[i] for part in clean] for i in range(3))
    return Parts(xs, fs, es, base(1), base(2))


PLURAL = tuple(
    ID[w] for w in (BE_PLURAL[1], *(f[2] for c, v in FORMS.items() if c != "be" for f in v))
)
SINGULAR = tuple(ID[forms[1]] for group in FORMS.values() for forms in group)


def number_gap(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """Log odds of a verb in the plural against one in the singular, both in the present tense."""
    odds = logits.log_softmax(dim=-1)
    return odds[:, PLURAL].logsumexp(dim=-1) - odds[:, SINGULAR].logsumexp(dim=-1)


TEMPLATES = {  # as many words, and up to the last ones the same kind of story
    "names": (
        "{A} and {B} are at the {p} . {B} sees a red {t} . when {A} and {B}",
        "{A} and {B} are at the {p} . when {A} and {B} go to the {q} , {B}",
    ),
    "pronoun": (
        "{A} and {B} are at the {p} . {B} sees a red {t} . they",
        "{A} and {B} are at the {p} . {B} sees a red {t} . {he}",
    ),
}


def number_pairs(
    kind: str, n: int, seed: int
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Prompts (kind `names` or `pronoun`) with a plural subject at the end, and with a singular."""
    gen = torch.Generator().manual_seed(seed)
    rows: tuple[list[list[int]], list[list[int]]] = ([], [])
    for _ in range(n):
        a, b = (NAMES[i] for i in torch.randperm(len(NAMES), generator=gen)[:2].tolist())
        p, q = (ALL_PLACES[i] for i in torch.randperm(len(ALL_PLACES), generator=gen)[:2].tolist())
        t = ALL_THINGS[int(torch.randint(len(ALL_THINGS), (), generator=gen))]
        fill = {"A": a, "B": b, "p": p, "q": q, "t": t, "he": "she" if b in GIRLS else "he"}
        for found, template in zip(rows, TEMPLATES[kind], strict=True):
            found.append([ID[word] for word in (BOS, *template.format(**fill).split())])
    return torch.tensor(rows[0]), torch.tensor(rows[1])


@dataclass(frozen=True)
class Repeats:
    """Random words and their beginning again; and the same without the word to go back to."""

    tokens: Int[Tensor, "row pos"]
    other: Int[Tensor, "row pos"]  # the last word's first occurrence is another word
    target: Int[Tensor, " row"]  # the word that followed it there
    after: int  # where that word is

    def metric(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """The target's logit minus the mean logit."""
        target = self.target.expand(len(logits))
        return logits.gather(1, target[:, None])[:, 0] - logits.mean(dim=-1)

    def row(self, i: int) -> "Repeats":
        """One pair alone."""
        return Repeats(self.tokens[i : i + 1], self.other[i : i + 1], self.target[i : i + 1],
                       self.after)  # fmt: skip


def repeats(n: int, seed: int, period: int = 12, again: int = 6) -> Repeats:
    """BOS, `period` different random words, and the first `again` of them once more."""
    gen = torch.Generator().manual_seed(seed)
    n_words = len(ID)
    drawn = torch.stack(
        [torch.randperm(n_words - 2, generator=gen)[: period + 1] for _ in range(n)]
    )
    words = drawn + 2  # no BOS, no unknown word
    bos = torch.full((n, 1), ID[BOS])
    tokens = torch.cat([bos, words[:, :period], words[:, :again]], dim=1)
    other = tokens.clone()
    other[:, again] = words[:, period]
    return Repeats(tokens, other, words[:, again], again + 1)


def bootstrap(
    values: Float[Tensor, " row"],
    statistic: Callable[[Tensor], float] = lambda some: float(some.mean()),
    seed: int = 0,
    n: int = 1000,
) -> tuple[float, float]:
    """A 95 % interval of a statistic over rows, which are drawn again with replacement."""
    gen = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (n, len(values)), generator=gen)
    found = torch.tensor([statistic(values[some]) for some in drawn], dtype=torch.float64)
    low, high = found.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
