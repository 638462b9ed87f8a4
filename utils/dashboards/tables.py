"""Examples kept in constant memory: for every group, the n with the least keys.

A group is a latent (key: minus the activation, so the strongest stay) or a latent's bin of
activation (key: a random number of latent, row and position, so a uniform sample stays). What is
kept does not depend on how the text is cut into batches.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

NONE = float("inf")  # the key of an empty place


@dataclass
class Events:
    """Places where latents are active, in the order of the text; one entry each."""

    group: Int[Tensor, " n"]
    key: Float[Tensor, " n"]
    row: Int[Tensor, " n"]  # of the batch
    pos: Int[Tensor, " n"]
    column: Int[Tensor, " n"]  # of the batch's activations
    value: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, which: Tensor) -> "Events":
        return Events(*(x[which] for x in vars(self).values()))


class Table:
    """The n entries with the least keys of every group, sorted, each with its window."""

    def __init__(
        self, n_groups: int, n: int, width: int, device: torch.device | str = "cpu"
    ) -> None:
        self.key = torch.full((n_groups, n), NONE, dtype=torch.float64, device=device)
        self.row = torch.full((n_groups, n), -1, device=device)
        self.pos = torch.full((n_groups, n), -1, device=device)
        self.value = torch.zeros(n_groups, n, device=device)
        self.window = torch.zeros(n_groups, n, width, device=device)

    def offer(
        self,
        events: Events,
        acts: Float[Tensor, "row pos latent"],
        first_row: int = 0,
        before: int = 0,
    ) -> None:
        """Take in the events whose key is less than the last of their group; ties: first come.

        `acts` are the batch's activations, from which the windows are cut.
        """
        n, width = self.window.shape[1:]
        events = events[events.key < self.key[events.group, -1]]
        order = events.key.argsort(stable=True)
        events = events[order[events.group[order].argsort(stable=True)]]
        groups, counts = events.group.unique_consecutive(return_counts=True)
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        nth = torch.arange(len(events), device=first.device) - first
        place = torch.arange(len(groups), device=first.device).repeat_interleave(counts)
        few = nth < n
        events, at = events[few], (place[few], nth[few])
        new = Table(len(groups), n, width, self.key.device)
        new.key[at], new.value[at] = events.key, events.value
        new.row[at], new.pos[at] = events.row + first_row, events.pos
        new.window[at] = _windows(acts, events, before, width).to(new.window.dtype)
        for name, mine in vars(self).items():
            setattr(new, name, torch.cat([mine[groups], getattr(new, name)], dim=1))
        for name, value in _least(vars(new), n).items():
            getattr(self, name)[groups] = value

    def halve(self, latents: Int[Tensor, " n"], bins: int) -> None:
        """Merge bins 2i and 2i + 1 of these latents into bin i; groups are (latent, bin)."""
        n = self.key.shape[1]
        pairs, empty = {}, Table(1, n, self.window.shape[2], self.key.device)
        for name, mine in vars(self).items():
            of_latent = mine.view(-1, bins, *mine.shape[1:])[latents]
            pairs[name] = of_latent.reshape(-1, 2 * n, *mine.shape[2:])
        for name, value in _least(pairs, n).items():
            whole = getattr(self, name).view(-1, bins, *value.shape[1:])
            whole[latents, : bins // 2] = value.view(-1, bins // 2, *value.shape[1:])
            whole[latents, bins // 2 :] = getattr(empty, name)[0]


def _least(entries: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    """The n entries with the least keys, sorted."""
    order = entries["key"].argsort(dim=1, stable=True)[:, :n]
    found = {}
    for name, value in entries.items():
        index = order.view(*order.shape, *(1,) * (value.ndim - 2)).expand(-1, -1, *value.shape[2:])
        found[name] = value.gather(1, index)
    return found


def _windows(
    acts: Float[Tensor, "row pos latent"], events: Events, before: int, width: int
) -> Float[Tensor, "n k"]:
    """The latent's activations around each event, 0 outside of the row."""
    at = events.pos[:, None] - before + torch.arange(width, device=events.pos.device)
    inside = (at >= 0) & (at < acts.shape[1])
    at = at.clamp(0, acts.shape[1] - 1)
    return acts[events.row[:, None], at, events.column[:, None]] * inside


def apart(events: Events, span: int) -> Events:
    """Only events that have no larger one of their group and row within `span` positions.

    Greedy: the largest is taken, its neighbours are dropped, then the next; ties: the first.
    """
    if not len(events):
        return events
    n_rows = int(events.row.max()) + 1
    line = events.group * n_rows + events.row
    order = (-events.value).argsort(stable=True)
    order = order[line[order].argsort(stable=True)]
    taken = []
    while len(order):
        _, counts = line[order].unique_consecutive(return_counts=True)
        best = order[counts.cumsum(0) - counts]
        taken.append(best)
        far = (events.pos[order] - events.pos[best].repeat_interleave(counts)).abs() > span
        order = order[far]
    return events[torch.cat(taken).sort().values]


def draw(
    latent: Int[Tensor, " n"], row: Int[Tensor, " n"], pos: Int[Tensor, " n"], seed: int
) -> Float[Tensor, " n"]:
    """A number in [0, 1) for each place, always the same one: splitmix64 (Steele et al. 2014)."""
    x = torch.zeros_like(latent) + seed
    for part in (latent, row, pos):
        x = x * 6364136223846793005 + part + 1442695040888963407  # wraps around
        x = (x ^ _shift(x, 30)) * -4658895280553007687
        x = (x ^ _shift(x, 27)) * -7723592293110705685
        x = x ^ _shift(x, 31)
    return _shift(x, 11).double() / 2**53


def _shift(x: Int[Tensor, " n"], by: int) -> Int[Tensor, " n"]:
    """To the right, with zeros from the left."""
    return (x >> by) & ((1 << (64 - by)) - 1)
