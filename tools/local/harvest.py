"""Activations of the language model on disk, segment by segment, and batches from the segments."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.activations import ActivationStore, Reader, StoreConfig, StoreError, write_activations
from utils.activations.index import INDEX, Compute, read_index
from utils.corpus import Rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


HELD_OUT = "held-"  # what the names of segments begin with that are not trained on


@dataclass(frozen=True)
class Pass:
    """One run of the model over the rows, up to the highest of its hooks."""

    name: str  # of the folder
    hooks: tuple[str, ...]
    compute: Compute = "float32"  # what is held out is always computed in float32


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


class Chain:
    """Batches of one store after the other, with a position that a checkpoint can hold."""

    def __init__(self, stores: list[ActivationStore], **settings: Any) -> None:
        if not stores:
            raise StoreError("no segment is complete: harvest first")
        self.readers = [Reader(store, **settings) for store in stores]
        self.at = 0  # the reader that gives the next batch

    def __len__(self) -> int:
        """Batches in one epoch."""
        return sum(len(reader) for reader in self.readers)

    def __iter__(self) -> Iterator[Any]:
        while self.at < len(self.readers):
            yield from self.readers[self.at]
            self.at += 1
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
