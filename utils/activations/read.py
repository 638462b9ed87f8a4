"""Read a store: shards mixed, tokens shuffled, the position exact.

An epoch is one fixed order of all tokens of a split: the shards shuffled, cut into groups of
`mix`, the tokens of each group shuffled. Batch i is the i-th slice of that order, a function of
(seed, epoch, i); so a position is two numbers. Memory: the maps of one or two groups of shards,
of which the system keeps as much as there is room for, and one batch.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.activations.index import (
    Split,
    StoreError,
    digest_of,
    digest_of_index,
    read_index,
)

Batch = Tensor | tuple[Tensor, ...]


def generator(*key: int) -> torch.Generator:
    """A generator seeded by several numbers, without collisions between neighbours."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class ActivationStore:
    """A complete store."""

    folder: Path
    index: dict[str, Any]
    rows: Bool[Tensor, " row"] | None = None  # which of its rows are read; None: all

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hook names, in the order in which they were asked for."""
        return tuple(self.index["identity"]["config"]["hooks"])

    def shape(self, hook: str) -> tuple[int, ...]:
        """The shape of one token's activation: (d,), or (head, d_head) for attention z."""
        return tuple(self.index["shapes"][hook])

    def shards(self, split: str) -> list[dict[str, Any]]:
        """File, rows and tokens of the shards of `train` or `held`."""
        return [shard for shard in self.index["shards"] if shard["split"] == split]

    def n_tokens(self, split: str = "train") -> int:
        """How many activations a split has."""
        return sum(shard["tokens"] for shard in self.shards(split))

    def tensors(self, file: str) -> dict[str, Tensor]:
        """A shard's tensors, mapped from the file: read when touched."""
        from safetensors import safe_open

        with safe_open(self.folder / file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118

    def of_rows(self, rows: Bool[Tensor, " row"]) -> "ActivationStore":
        """The same files, of which only the tokens of these rows are counted and read.

        `rows` says of each row of the tokens that were written whether it is wanted.
        """
        shards = [
            {**shard, "tokens": int(rows[self.tensors(shard["file"])["row"].long()].sum())}
            for shard in self.index["shards"]
        ]
        index = {**self.index, "shards": shards, "only": digest_of(rows)}
        return replace(self, index=index, rows=rows)

    def chosen(self, shards: list[dict[str, Tensor]]) -> Int[Tensor, " token"]:
        """Which tokens of these shards are read, as places in them put one after the other."""
        row = torch.cat([shard["row"] for shard in shards]).long()
        wanted = torch.ones_like(row, dtype=torch.bool) if self.rows is None else self.rows[row]
        return wanted.nonzero().flatten()

    def reader(self, **settings: Any) -> "Reader":
        """A `Reader` of this store."""
        return Reader(self, **settings)


def open_store(folder: str | Path) -> ActivationStore:
    """Open a store; raises StoreError if shards are missing."""
    path = Path(folder)
    index = read_index(path)
    missing = [s["file"] for s in index["shards"] if not (path / s["file"]).exists()]
    if missing:
        raise StoreError(
            f"{path} lacks {len(missing)} of {len(index['shards'])} shards (first {missing[0]}): "
            "call write_activations again, it writes only these"
        )
    return ActivationStore(path, index)


@dataclass(frozen=True)
class _Group:
    """Shards that are shuffled together."""

    order: Int[Tensor, " token"]  # places in the shards put one after the other
    starts: Int[Tensor, " shard"]  # of each shard among these places
    shards: list[dict[str, Tensor]]

    def take(self, which: slice, name: str, dtype: torch.dtype) -> Float[Tensor, "batch d"]:
        """The activations at these places of the order."""
        places = self.order[which]
        shard = torch.searchsorted(self.starts, places, right=True) - 1
        out = torch.empty(len(places), self.shards[0][name].shape[1], dtype=dtype)
        for s, tensors in enumerate(self.shards):
            mine = (shard == s).nonzero().flatten()
            out[mine] = tensors[name][places[mine] - self.starts[s]].to(dtype)
        return out


class Reader:
    """An iterable of batches of activations, of (input, output) pairs for two hooks.

    `iter(reader)` goes on where the reader stands and ends after `epochs` epochs; the next
    `iter` reads `epochs` more, in another order. `state_dict()` is the position after the last
    batch that came out. `hooks`: a name gives tensors, a tuple tuples; by default all that the
    store has.
    """

    def __init__(
        self,
        store: ActivationStore,
        batch: int = 1024,
        split: Split = "train",
        hooks: str | tuple[str, ...] | None = None,
        seed: int = 0,
        epochs: int = 1,
        mix: int = 4,  # shards shuffled together
        shuffle: bool = True,
        drop_last: bool = True,  # else an epoch's last batch may be smaller
        flat: bool = True,  # (batch, d) of an attention z, else (batch, head, d_head)
        dtype: torch.dtype = torch.float32,
    ) -> None:
        default = store.hooks[0] if len(store.hooks) == 1 else store.hooks
        self.store, self.hooks = store, default if hooks is None else hooks
        self.names = (self.hooks,) if isinstance(self.hooks, str) else tuple(self.hooks)
        unknown = [name for name in self.names if name not in store.hooks]
        if unknown:
            raise StoreError(f"the store has {', '.join(store.hooks)}, not {', '.join(unknown)}")
        self.batch, self.split, self.seed, self.epochs = batch, split, seed, epochs
        self.mix, self.shuffle, self.flat, self.dtype = mix, shuffle, flat, dtype
        self.shards, n = store.shards(split), store.n_tokens(split)
        self.n_batches = n // batch if drop_last else -(-n // batch)
        if self.n_batches == 0:
            raise StoreError(f"{split} has {n} activations: no batch of {batch}")
        self.epoch, self.position = 0, 0  # of the next batch
        self._groups: dict[tuple[int, int], _Group] = {}

    def __len__(self) -> int:
        """Batches in one epoch."""
        return self.n_batches

    def __iter__(self) -> Iterator[Batch]:
        last = (self.epoch // self.epochs + 1) * self.epochs
        while self.epoch < last:
            while self.position < self.n_batches:
                self.position += 1  # before it is given out: the state is the one after it
                yield self.batch_at(self.epoch, self.position - 1)
            self.epoch, self.position = self.epoch + 1, 0

    def batch_at(self, epoch: int, i: int) -> Batch:
        """Batch `i` of an epoch, wherever the reader stands."""
        begin, end, at = i * self.batch, (i + 1) * self.batch, 0
        pieces: list[tuple[_Group, slice]] = []
        for g, members in enumerate(self._layout(epoch)):
            size = sum(self.shards[s]["tokens"] for s in members)
            if at < end and at + size > begin:
                which = slice(max(begin - at, 0), end - at)
                pieces.append((self._group(epoch, g, members), which))
            at += size
        found = []
        for name in self.names:
            x = torch.cat([group.take(which, name, self.dtype) for group, which in pieces])
            found.append(x if self.flat else x.unflatten(1, self.store.shape(name)))
        return found[0] if isinstance(self.hooks, str) else tuple(found)

    def _layout(self, epoch: int) -> list[list[int]]:
        """The groups of shards of an epoch."""
        n = len(self.shards)
        gen = generator(self.seed, epoch)
        order = torch.randperm(n, generator=gen).tolist() if self.shuffle else list(range(n))
        return [order[i : i + self.mix] for i in range(0, n, self.mix)]

    def _group(self, epoch: int, g: int, members: list[int]) -> _Group:
        """A group, opened; the one before it is kept, since a batch may need both."""
        if (epoch, g) not in self._groups:
            opened = [self.store.tensors(self.shards[s]["file"]) for s in members]
            sizes = torch.tensor([len(shard["row"]) for shard in opened])
            order = self.store.chosen(opened)
            if self.shuffle:
                order = order[torch.randperm(len(order), generator=generator(self.seed, epoch, g))]
            self._groups = dict([*self._groups.items()][-1:])
            self._groups[epoch, g] = _Group(order, sizes.cumsum(0) - sizes, opened)
        return self._groups[epoch, g]

    # ------------------------------------------------------------------------------ the position

    def _settings(self) -> dict[str, Any]:
        """What the order of batches depends on."""
        names = ("batch", "split", "seed", "mix", "shuffle")
        return {name: getattr(self, name) for name in names} | {
            "store": digest_of_index(self.store.index)
        }

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, and what it depends on."""
        return {"epoch": self.epoch, "position": self.position, **self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position; raises StoreError if it is one of another order of batches."""
        differ = [k for k, v in self._settings().items() if state.get(k) != v]
        if differ:
            raise StoreError(f"this position is of a reader with another {', '.join(differ)}")
        self.epoch, self.position = state["epoch"], state["position"]
