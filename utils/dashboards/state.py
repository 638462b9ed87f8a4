"""Everything that one pass over the text remembers: its size does not depend on the text."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.dashboards.settings import Settings
from utils.dashboards.sums import Histogram, Moments, TokenCounts
from utils.dashboards.tables import Events, Table, apart, draw


@dataclass(frozen=True)
class Sizes:
    """What the state's size depends on."""

    latents: tuple[int, ...]  # shown, by their numbers in the SAE
    columns: tuple[int, ...]  # where they stand among the codes that are computed
    n_codes: int  # computed: all latents, or those shown
    d_in: int
    vocabulary: int


@dataclass(frozen=True)
class Batch:
    """Some rows of text, what the SAE read there, and its codes."""

    ids: Int[Tensor, "row pos"]
    keep: Bool[Tensor, "row pos"]  # tokens that count
    x: Float[Tensor, "row pos d_in"]
    codes: Float[Tensor, "row pos latent"]
    first_row: int  # of the text


class State:
    """Counters, histograms, examples and sums of the latents shown."""

    def __init__(
        self, sizes: Sizes, settings: Settings, device: torch.device | str = "cpu"
    ) -> None:
        n, width = len(sizes.latents), settings.width
        self.settings, self.sizes = settings, sizes
        self.latents = torch.tensor(sizes.latents, device=device)
        self.slot = torch.full((sizes.n_codes,), -1, device=device)
        self.slot[list(sizes.columns)] = torch.arange(n, device=device)
        self.done = torch.zeros(2, dtype=torch.int64)  # rows, tokens that count
        self.largest = torch.zeros(n, device=device)
        self.rows = torch.zeros(n, dtype=torch.int64, device=device)
        self.histogram = Histogram(n, settings.bins, device)
        self.top = Table(n, settings.n_top, width, device)
        self.sample = Table(n * settings.bins, settings.kept, width, device)
        self.codes = Moments(n, sizes.n_codes, device)
        self.inputs = Moments(n, sizes.d_in, device)
        self.tokens = TokenCounts(sizes.vocabulary, device)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name: what a checkpoint holds. The tensors are the state's own."""
        self.tokens.settle()
        found = {"done": self.done, "largest": self.largest, "rows": self.rows}
        for name in ("histogram", "top", "sample", "codes", "inputs", "tokens"):
            for key, value in vars(getattr(self, name)).items():
                if isinstance(value, Tensor):
                    found[f"{name}.{key}"] = value
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the place of a state that was saved."""
        for name, value in tensors.items():
            owner, _, key = name.rpartition(".")
            target = getattr(self, owner) if owner else self
            setattr(target, key, value.to(getattr(target, key).device))

    def update(self, batch: Batch) -> None:
        """Take in a batch. Time grows with the number of active latents, not with all."""
        fires = (batch.codes > 0) & batch.keep[..., None]
        row, pos, column = fires.nonzero(as_tuple=True)
        value = batch.codes[row, pos, column]
        n_pos = batch.ids.shape[1]
        every = (row * n_pos + pos, column, value)
        mine = self.slot[column] >= 0
        row, pos, column, value = (x[mine] for x in (row, pos, column, value))
        slot = self.slot[column]
        chosen = (row * n_pos + pos, slot, value)
        self.codes.add(chosen, every, batch.ids.numel())
        x = batch.x * batch.keep[..., None]
        self.inputs.add_dense(chosen, x.flatten(0, 1))
        self.tokens.add(batch.ids[batch.keep], slot, batch.ids[row, pos])
        self._count(slot, row, value.float())
        self._examples(batch, Events(slot, slot.double(), row, pos, column, value.float()))
        self.done += torch.tensor([len(batch.ids), int(batch.keep.sum())])

    def _count(self, slot: Tensor, row: Tensor, value: Tensor) -> None:
        """Largest activation, rows, histogram."""
        self.largest.scatter_reduce_(0, slot, value, "amax")
        n_rows = int(row.max()) + 1 if len(row) else 1
        once = (slot * n_rows + row).unique() // n_rows
        self.rows += once.bincount(minlength=len(self.rows))
        for latents in self.histogram.grow(self.largest):
            self.sample.halve(latents, self.settings.bins)
        self.histogram.add(slot, self.histogram.bin(slot, value))

    def _examples(self, batch: Batch, events: Events) -> None:
        """The strongest places, and a sample of every bin of activation."""
        before, slot = self.settings.before, events.group
        events.key = -events.value.double()
        strong = events[events.key < self.top.key[slot, -1]]
        strong = apart(strong, self.settings.width - 1)
        self.top.offer(strong, batch.codes, batch.first_row, before)
        events.group = slot * self.settings.bins + self.histogram.bin(slot, events.value)
        rows = events.row + batch.first_row
        events.key = draw(self.latents[slot], rows, events.pos, self.settings.seed)
        self.sample.offer(events, batch.codes, batch.first_row, before)
