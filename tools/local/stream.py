"""Train many coders from one run of the model over the text; no activation touches the disk.

The rows, in random order, come in chunks. A chunk's activations at all hooks wait in memory, their
tokens are shuffled, and every coder takes them in small batches; then comes the next chunk. Rows of
a chunk are of hundreds of documents, so a batch is as mixed as a store's.

Between two chunks nothing is in flight: there a checkpoint is the coders' states and a number, and
a run that goes on from it ends with the same weights.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from utils import files
from utils.activations.index import Compute, Dtype, Shard, StoreConfig
from utils.activations.read import generator
from utils.activations.write import capture_shard
from utils.data.corpus import Rows, counted
from utils.saes.checkpoint import require_finite, require_same
from utils.saes.coder import SparseCoder
from utils.saes.config import SAETrainConfig
from utils.saes.records import RecordConfig, Recorder
from utils.saes.train import Trainer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Hooks = tuple[str, str]  # where a coder reads and writes
Say = Callable[[str], None]


@dataclass(frozen=True)
class StreamConfig:
    """How the text is cut; what all coders of a stream have in common."""

    batch: int = 1024  # tokens
    chunk_rows: int = 512  # in memory at once: 512 × 127 tokens × 2,304 bytes a layer = 150 MB
    dtype: Dtype = "bfloat16"  # of what waits in memory
    compute: Compute = "float32"  # of the model
    seed: int = 0  # of the tokens' order in a chunk
    batch_rows: int = 16  # rows in one forward pass
    checkpoint_every: int = 8  # chunks


@dataclass
class Tap:
    """Where a trainer's batches come from: what waits in memory, in an order."""

    x: Tensor | None = None
    y: Tensor | None = None
    pieces: deque[Int[Tensor, " token"]] = field(default_factory=deque)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while self.pieces:
            assert self.x is not None and self.y is not None
            piece = self.pieces.popleft()
            yield self.x[piece].float(), self.y[piece].float()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the stream knows which chunk comes next."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Stream:
    """A model, the rows it reads, and how."""

    model: "TransformerBridge"
    rows: Rows  # in random order
    cfg: StreamConfig

    @property
    def n_chunks(self) -> int:
        """How often the memory is filled."""
        return -(-len(self.rows) // self.cfg.chunk_rows)

    def chunk(self, i: int) -> Rows:
        """The rows of a chunk."""
        return self.rows[i * self.cfg.chunk_rows : (i + 1) * self.cfg.chunk_rows]

    def n_batches(self, i: int) -> int:
        """Batches that a chunk gives: all of its tokens, in pieces of nearly the same size."""
        return max(1, int(counted(self.chunk(i).mask).sum()) // self.cfg.batch)

    def n_steps(self) -> int:
        """Batches of all chunks."""
        return sum(map(self.n_batches, range(self.n_chunks)))

    def activations(self, rows: Rows, hooks: tuple[str, ...]) -> dict[str, Tensor]:
        """What passes the hooks at every token that counts: (token, d) each."""
        keep, cfg = counted(rows.mask), self.cfg
        store = StoreConfig(hooks, cfg.dtype, cfg.compute, batch_rows=cfg.batch_rows)
        shard = Shard("", "train", torch.arange(len(rows)), int(keep.sum()))
        return capture_shard(self.model, rows.ids, keep, shard, store)

    def pieces(self, i: int, n_tokens: int) -> list[Int[Tensor, " token"]]:
        """The chunk's tokens in their order, cut into batches."""
        order = torch.randperm(n_tokens, generator=generator(self.cfg.seed, i))
        return list(order.tensor_split(self.n_batches(i)))


class Group:
    """Coders that are trained on the same run."""

    def __init__(
        self, stream: Stream, coders: Mapping[str, tuple[SparseCoder, Hooks]], cfg: SAETrainConfig
    ) -> None:
        self.stream, self.cfg = stream, cfg
        self.hooks = {name: hooks for name, (_, hooks) in coders.items()}
        self.taps = {name: Tap() for name in coders}
        self.trainers = {
            name: Trainer(coder, self.taps[name], cfg) for name, (coder, _) in coders.items()
        }
        self.next_chunk = 0

    def load(self, i: int) -> dict[str, Tensor]:
        """A chunk's activations, ready in the taps."""
        hooks = tuple(dict.fromkeys(hook for pair in self.hooks.values() for hook in pair))
        found = self.stream.activations(self.stream.chunk(i), hooks)
        pieces = self.stream.pieces(i, len(found["row"]))
        for name, (hook_in, hook_out) in self.hooks.items():
            tap = self.taps[name]
            tap.x, tap.y, tap.pieces = found[hook_in], found[hook_out], deque(pieces)
        return found

    def steps(self, name: str, recorder: Recorder) -> None:
        """Train one coder on what its tap holds."""
        trainer, tap = self.trainers[name], self.taps[name]
        while tap.pieces:
            try:
                batch, step = trainer.step()
            except FloatingPointError as error:
                raise FloatingPointError(f"{name}: {error}") from error
            done = trainer.n_steps == self.cfg.n_steps
            if trainer.n_steps % self.cfg.record_every == 0 or done:
                recorder.write(trainer.metrics(batch, step))

    def prepare(self) -> None:
        """Scales and means, from the first chunk, whose batches are trained on all the same."""
        self.load(0)
        for name, trainer in self.trainers.items():
            tap = self.taps[name]
            pieces = list(tap.pieces)
            n = trainer.cfg.n_norm_batches
            tap.pieces = deque(pieces[i % len(pieces)] for i in range(n))
            trainer.prepare()

    def finish(self) -> dict[str, SparseCoder]:
        """The coders, their thresholds estimated on the last chunk with the weights as they are."""
        self.load(self.stream.n_chunks - 1)
        for name, trainer in self.trainers.items():
            pieces = list(self.taps[name].pieces)
            n = max(1, trainer.cfg.n_norm_batches)
            self.taps[name].pieces = deque(pieces[i % len(pieces)] for i in range(n))
            trainer.finish()
        return {name: trainer.coder for name, trainer in self.trainers.items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint; refused, and the old one kept, where a weight is not finite."""
        states = {name: trainer.state() for name, trainer in self.trainers.items()}
        for state in states.values():
            require_finite(path, state)
        with files.whole(path) as part:
            torch.save({"next_chunk": self.next_chunk, "trainers": states}, part)

    def restore(self, path: Path) -> bool:
        """Go on from a checkpoint, if there is one; ValueError if it is of other settings."""
        if not path.exists():
            return False
        saved = torch.load(path, weights_only=True)
        if saved["trainers"].keys() != self.trainers.keys():
            raise ValueError(f"{path} is of other layers: remove it, or train those")
        for name, trainer in self.trainers.items():
            state = saved["trainers"][name]
            require_same(path, state, trainer.coder.cfg, trainer.cfg)
            trainer.restore(state)
        self.next_chunk = saved["next_chunk"]
        return True


def train_group(group: Group, work: Path, say: Say, threads: int = 1) -> dict[str, SparseCoder]:
    """Train all coders of a group, or go on where its checkpoint in `work` stands.

    The model runs in `threads` threads, then as many layers are trained side by side, each in one.
    """
    checkpoint, stream = work / "checkpoint.pt", group.stream
    if not group.restore(checkpoint):
        group.prepare()
    recorders = {
        name: Recorder(RecordConfig(jsonl=work / f"{name}.jsonl"), {}, trainer.n_steps)
        for name, trainer in group.trainers.items()
    }
    begin, first, n = time.monotonic(), group.next_chunk, stream.n_chunks
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for i in range(first, n):
            torch.set_num_threads(threads)  # the library's products heed the last one who said so
            group.load(i)
            torch.set_num_threads(1)
            jobs = [pool.submit(group.steps, name, recorders[name]) for name in group.trainers]
            for job in jobs:
                job.result()
            group.next_chunk = i + 1
            if group.next_chunk % stream.cfg.checkpoint_every == 0 or group.next_chunk == n:
                group.save(checkpoint)
            spent = time.monotonic() - begin
            left = spent / (i + 1 - first) * (n - i - 1) / 3600
            say(f"chunk {i + 1} of {n}, {left:.1f} hours left; {progress(recorders)}")
    torch.set_num_threads(threads)
    return group.finish()


def progress(recorders: Mapping[str, Recorder]) -> str:
    """The last line of each log: explained variance and L0."""
    last = [(name, log.records[-1]) for name, log in recorders.items() if log.records]
    found = [(name, float(r["explained_variance"] or 0), r["l0"] or 0) for name, r in last]
    return ", ".join(f"{name} {ev:.3f} (L0 {l0:.0f})" for name, ev, l0 in found)
