"""What `collect` returns: plain data, the same whichever model and SAE it comes from."""

from dataclasses import dataclass, field
from typing import Literal

from utils.dashboards.settings import Settings
from utils.dashboards.statistics import Enriched
from utils.dashboards.weights import LogitWeights

Numbers = list[float | None]  # None where a number is unknown


@dataclass(frozen=True)
class Example:
    """A window of text around a token on which the latent is active."""

    row: int  # of the text
    pos: int  # of the token in its row
    start: int  # of the window in its row; it holds neither padding nor the first token
    tokens: list[int]
    activations: list[float]
    # Change of the loss on the next token, in nats, when the latent is set to 0 on the tokens
    # shown; positive where the latent helps. None where there is no next token, or not measured.
    direct: Numbers | None = None  # by the direct path, the final norm's scale frozen
    full: Numbers | None = None  # in the model with the SAE spliced in and its error kept
    # of attention latents: what each token shown adds to the pre-activation at `pos`, and the rest
    sources: Numbers | None = None
    outside: float | None = None  # tokens before the window
    heads: list[float] | None = None  # the same by head, over all tokens


@dataclass(frozen=True)
class Group:
    """Examples of one kind; `low` ≤ activation < `high` (the strongest: ≤)."""

    kind: Literal["strongest", "interval", "quantile"]
    low: float
    high: float
    n: int  # tokens of the text in it
    examples: list[int]  # indices into the latent's examples


@dataclass(frozen=True)
class Partner:
    """Another latent or an input coordinate, and how alike they are."""

    index: int
    value: float
    cosine: float | None = None  # of the activations, where `value` is Pearson's r


@dataclass(frozen=True)
class Latent:
    """All about one latent."""

    index: int
    n_active: int
    n_rows: int  # in which it is active
    density: float
    density_low: float  # Wilson's 95 % interval
    density_high: float
    largest: float
    mean: float  # where it is active
    std: float
    histogram: list[int]  # of the positive activations, equal bins from 0
    bin_width: float
    examples: list[Example]  # the strongest first
    groups: list[Group]
    correlated: list[Partner]  # Pearson's r with other latents' activations
    cosine: list[Partner]  # of decoder rows
    inputs_correlated: list[Partner]  # Pearson's r with coordinates of what the SAE reads
    outputs_aligned: list[Partner]  # the largest coordinates of the decoder row
    outputs_l1: float  # sum of the absolute coordinates
    enriched: list[Enriched]
    logits: LogitWeights | None  # None where it does not write to the residual stream
    heads: list[float] | None  # attention: share of each head in the decoder row's squared norm

    @property
    def is_dead(self) -> bool:
        """Never active on this text."""
        return self.n_active == 0


@dataclass(frozen=True)
class Dashboards:
    """Dashboards of some latents of one SAE on one text."""

    model: str
    kind: str
    hook_in: str
    hook_out: str
    n_latents: int  # of the SAE
    n_rows: int
    n_tokens: int  # that count
    n_pos: int  # in a row
    n_vocab_seen: int  # different tokens: tests of a latent's enrichment
    partners: str  # correlations are with "all" latents or the "chosen" ones
    settings: Settings
    vocab: dict[int, str]  # the text of every token that is named anywhere
    latents: list[Latent]
    seconds: dict[str, float] = field(default_factory=dict, compare=False)  # of this run
