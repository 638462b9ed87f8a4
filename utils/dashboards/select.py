"""From what the pass kept to the examples that are shown: groups, windows, no place twice."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch

from utils.dashboards.result import Example, Group
from utils.dashboards.state import State
from utils.dashboards.text import Text


@dataclass
class Shown:
    """The examples of one latent; windows of two never overlap."""

    width: int
    places: list[tuple[int, int]] = field(default_factory=list)
    windows: list[np.ndarray] = field(default_factory=list)

    def take(self, row: int, pos: int, window: np.ndarray) -> int | None:
        """The example's index; None where its window would overlap another's."""
        if (row, pos) in self.places:
            return self.places.index((row, pos))
        if any(r == row and abs(p - pos) < self.width for r, p in self.places):
            return None
        self.places.append((row, pos))
        self.windows.append(window)
        return len(self.places) - 1


class Selector:
    """Chooses examples latent by latent."""

    def __init__(self, state: State, text: Text) -> None:
        self.text, self.settings = text, text.settings
        self.counts = state.histogram.counts.cpu().numpy()
        self.exponent = state.histogram.exponent.tolist()
        self.largest = state.largest.tolist()
        tables = {"top": state.top, "sample": state.sample}
        self.kept = {
            name: {key: value.cpu().numpy() for key, value in vars(table).items()}
            for name, table in tables.items()
        }

    def used(self, slot: int) -> tuple[int, float]:
        """How many bins reach from 0 to the largest activation, and their width."""
        width = 2.0 ** self.exponent[slot] / self.settings.bins
        return int(self.largest[slot] / width) + 1, width

    def edges(self, slot: int) -> dict[str, list[int]]:
        """Bins that bound the intervals and the quantiles."""
        n, _ = self.used(slot)
        k, q = self.settings.n_intervals, self.settings.n_quantiles
        counts = self.counts[slot][:n]
        share = np.concatenate([[0], counts.cumsum()]) / counts.sum()
        near = [int(np.abs(share - i / q).argmin()) for i in range(q)]
        return {"interval": [round(i * n / k) for i in range(k)] + [n], "quantile": [*near, n]}

    def choose(self, slot: int) -> tuple[list[Example], list[Group]]:
        """The strongest, then each interval and quantile from the top."""
        if not self.counts[slot].any():
            return [], []
        shown, groups = Shown(self.settings.width), []
        top = {key: value[slot] for key, value in self.kept["top"].items()}
        there = [i for i, key in enumerate(top["key"]) if np.isfinite(key)]
        strongest = [shown.take(*(top[k][i] for k in ("row", "pos", "window"))) for i in there]
        values = [float(top["value"][i]) for i in there]
        chosen = [i for i in strongest if i is not None]
        groups.append(Group("strongest", min(values), max(values), len(values), chosen))
        for kind, edges in self.edges(slot).items():
            for low, high in reversed(list(itertools.pairwise(edges))):
                if high > low:
                    groups.append(self._group(slot, kind, low, high, shown))
        return [
            self._example(*pair) for pair in zip(shown.places, shown.windows, strict=True)
        ], groups

    def _group(self, slot: int, kind: str, low: int, high: int, shown: Shown) -> Group:
        """A sample of the tokens in some bins: those with the least random numbers.

        Bins that are full hide what is beyond their last number, so nothing beyond the least of
        these is taken: what is left is a uniform sample of all bins together.
        """
        first, kept = slot * self.settings.bins, self.kept["sample"]
        part = slice(first + low, first + high)
        key = kept["key"][part]
        beyond = key[:, -1].min()
        found: list[int] = []
        for i in key.argsort(axis=None, kind="stable"):
            at = np.unravel_index(i, key.shape)
            if (
                not np.isfinite(key[at])
                or key[at] > beyond
                or len(found) == self.settings.per_group
            ):
                break
            example = shown.take(*(kept[k][part][at] for k in ("row", "pos", "window")))
            if example is not None:
                found.append(example)
        _, width = self.used(slot)
        n = int(self.counts[slot][low:high].sum())
        return Group(kind, low * width, high * width, n, found)  # type: ignore[arg-type]

    def _example(self, place: tuple[int, int], window: np.ndarray) -> Example:
        """The window, cut at the row's ends."""
        row, pos = int(place[0]), int(place[1])
        start, end = self.text.span(row, pos)
        ids = self.text.rows.ids[row, start:end].tolist()
        first = start - (pos - self.settings.before)
        values = window[first : first + end - start].tolist()
        return Example(row, pos, start, ids, values)


def strongest(state: State, n: int) -> list[tuple[int, int, int, int]]:
    """(slot, nth, row, pos) of each latent's n strongest examples."""
    there = state.top.key[:, :n].isfinite().nonzero()
    row, pos = (x[:, :n][tuple(there.T)] for x in (state.top.row, state.top.pos))
    return torch.column_stack([there, row, pos]).tolist()
