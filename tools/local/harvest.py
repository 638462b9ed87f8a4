"""Activations of the language model on disk, segment by segment, and batches from the segments."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tools.saes.recipe import Pass
from utils.activations import ActivationStore, Reader, StoreConfig, StoreError, write_activations
from utils.activations.index import INDEX, read_index
from utils.data.corpus import Rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


HELD_OUT = "held-"  # what the names of segments begin with that are not trained on


def harvest(
    model: "TransformerBridge", what: Pass, rows: dict[str, Rows], folder: Path
) -> list[ActivationStore]:
    """Write the segments that are missing, in order; a stopped one goes on with its next shard."""
    exact = StoreConfig(hooks=what.hooks, held_share=0.0)  # other documents are held out
    fast = replace(exact, compute=what.compute)
    return [
        write_activations(
            model, segment, folder / what.name / name, exact if name.startswith(HELD_OUT) else fast
        )
        for name, segment in rows.items()
    ]


def stores_of(
    what: Pass, names: list[str], folder: Path, partial: bool = False
) -> list[ActivationStore]:
    """The stores of the segments that are wholly there, or (`partial`) there in part."""
    found = []
    for name in names:
        path = folder / what.name / name
        if not (path / INDEX).exists():
            continue
        index = read_index(path)
        shards = [shard for shard in index["shards"] if (path / shard["file"]).exists()]
        if shards and (partial or len(shards) == len(index["shards"])):
            found.append(ActivationStore(path, {**index, "shards": shards}))
    return found


class Mix:
    """Batches in which every store has its share, with a position that a checkpoint can hold.

    A batch is `pieces` small ones, each of one store; a store's pieces come at even distances
    over the epoch. One store after the other would be simpler, but an SAE forgets the kind of text
    that it has not seen for a while, and BatchTopK would give each kind the same number of
    latents, which at one threshold it does not have. A store that is there twice is read in two
    orders. What is left of an epoch after its last whole batch is not read.
    """

    def __init__(
        self, stores: list[ActivationStore], batch: int = 1024, pieces: int = 16, **settings: Any
    ) -> None:
        if not stores:
            raise StoreError("no segment is complete: harvest first")
        self.pieces = math.gcd(pieces, batch)
        size, seed = batch // self.pieces, settings.pop("seed", 0)
        self.readers = [
            Reader(store, batch=size, seed=seed + i, **settings) for i, store in enumerate(stores)
        ]
        places = [
            ((n + 0.5) / len(reader), i)
            for i, reader in enumerate(self.readers)
            for n in range(len(reader))
        ]
        self.order = [i for _, i in sorted(places)]
        if len(self) == 0:
            raise StoreError(f"these segments have no batch of {batch} activations: harvest more")
        self.at = 0  # the next batch

    def __len__(self) -> int:
        """Batches in one epoch."""
        return len(self.order) // self.pieces

    def __iter__(self) -> Iterator[Any]:
        reading = [iter(reader) for reader in self.readers]
        while self.at < len(self):
            turns = self.order[self.at * self.pieces : (self.at + 1) * self.pieces]
            found = [next(reading[i]) for i in turns]
            self.at += 1
            tuples = [piece if isinstance(piece, tuple) else (piece,) for piece in found]
            whole = tuple(torch.cat(part) for part in zip(*tuples, strict=True))
            yield whole[0] if isinstance(found[0], Tensor) else whole
        for rest in reading:  # to the end: then the readers begin another epoch
            deque(rest, maxlen=0)
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch."""
        return {"at": self.at, "readers": [reader.state_dict() for reader in self.readers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position; raises StoreError if the segments are others than they were."""
        if len(state["readers"]) != len(self.readers):
            n, now = len(state["readers"]), len(self.readers)
            raise StoreError(f"this position is in {n} segments, now there are {now}")
        for reader, mine in zip(self.readers, state["readers"], strict=True):
            reader.load_state_dict(mine)
        self.at = state["at"]
