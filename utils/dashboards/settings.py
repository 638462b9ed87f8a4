"""What a dashboard shows, and what it costs."""

from dataclasses import dataclass
from typing import Literal

Partners = Literal["auto", "all", "chosen"]
MOST_PARTNERS = 2**25  # products that `auto` keeps: 256 MB


class DashboardError(ValueError):
    """A dashboard that cannot be made; the text names the cause and the cure."""


@dataclass(frozen=True)
class Settings:
    """Sizes of everything that is shown. Memory grows with them, and not with the text."""

    n_top: int = 12  # strongest examples
    n_intervals: int = 5  # of activation, equally wide from 0 to the largest
    n_quantiles: int = 5  # of the tokens on which the latent is active, equally many in each
    per_group: int = 3  # examples of an interval or quantile, drawn at random
    before: int = 14  # tokens of context
    after: int = 6
    n_loss: int = 3  # strongest examples whose effect on the loss is measured; 0: none
    n_tokens: int = 10  # at either end of the logit weights
    n_partners: int = 8  # correlated latents, and latents with a similar decoder row
    n_enriched: int = 10  # tokens
    partners: Partners = "auto"  # correlate with all latents or the chosen ones
    skip_first: int = 1  # positions at the start of a row that do not count: attention sinks
    batch_rows: int = 16  # in a forward pass
    bins: int = 64  # of the histogram of activations: 33 to 64 of them up to the largest
    seed: int = 0  # which tokens are drawn

    def __post_init__(self) -> None:
        least = {"n_top": 1, "batch_rows": 1, "per_group": 1, "n_intervals": 1, "n_quantiles": 1}
        for name, value in vars(self).items():
            if isinstance(value, int) and value < least.get(name, 0):
                raise DashboardError(f"{name} = {value}: at least {least.get(name, 0)}")
        if self.bins < 2 or self.bins & (self.bins - 1):
            raise DashboardError(f"bins = {self.bins}: a power of two, so that bins can be merged")
        if self.n_loss > self.n_top:
            raise DashboardError(f"n_loss = {self.n_loss}: at most n_top = {self.n_top}")

    @property
    def width(self) -> int:
        """Tokens of a window."""
        return self.before + 1 + self.after

    @property
    def kept(self) -> int:
        """Examples kept of each bin: more than are shown, since windows must not overlap."""
        return self.per_group + 2
