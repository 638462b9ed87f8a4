"""Measure the SAE trainer against sae_lens' own: `python -m tools.bench.saes`.

Both train the same architecture from the same weights on the same batches in the same order, on
one thread, in alternation, in one process. Times are processor time of whole steps (loss,
gradient, clipping, Adam, counting what fired), medians over the rounds. A second table says what
the matrix products alone would take at the speed of a large product measured in the same run.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from utils.saes.coder import SparseCoder, init_coder
from utils.saes.config import Architecture, SAEConfig, SAETrainConfig
from utils.saes.gradients import Batch, loss_and_gradient
from utils.saes.train import Trainer

BATCH, K, N_STEPS = 1024, 32, 200
N_DISTINCT = 40  # batches in memory, gone through in turn: 80 MB of rows at the larger size
L1 = 5.0  # a ReLU SAE is still dense after 200 steps (the table's last column): our slow path


@dataclass(frozen=True)
class Case:
    """One architecture and size."""

    architecture: Architecture
    d_in: int
    latent: int
    aim: float | None  # times faster that we want to be; None: for information
    n_rounds: int = 7  # alternations
    n_steps: int = 3  # a round of one trainer

    @property
    def name(self) -> str:
        """`topk 512 → 4096`."""
        return f"{self.architecture} {self.d_in} → {self.latent}"

    @property
    def config(self) -> SAEConfig:
        """The coder's config."""
        return SAEConfig(self.d_in, self.latent, architecture=self.architecture, k=K, sparsity=L1)

    @property
    def sparse(self) -> bool:
        """Whether only k entries of a row take part in all products but the encoder's."""
        return self.architecture != "relu"

    @property
    def flops(self) -> float:
        """Floating-point operations of the products of one step that cannot be left out.

        Dense: encoder, decoder, gradients of both weights, gradient of the code. Sparse: the
        encoder, and the other four on the active entries.
        """
        dense = 2 * BATCH * self.d_in * self.latent
        return dense + 4 * 2 * BATCH * self.d_in * K if self.sparse else 5 * dense


CASES = (
    Case("topk", 512, 4096, aim=3.0),
    Case("topk", 128, 1024, aim=1.5, n_steps=25),
    Case("relu", 512, 4096, aim=1.35),
    Case("relu", 128, 1024, aim=None, n_steps=25),
    Case("batchtopk", 512, 4096, aim=None),
)


def batches(case: Case, gen: torch.Generator) -> list[Float[Tensor, "batch d_in"]]:
    """Sums of 16 of `latent` random directions with exponential strengths, and a little noise."""
    directions = torch.randn(case.latent, case.d_in, generator=gen) / case.d_in**0.5
    rows = []
    for _ in range(N_DISTINCT):
        which = torch.randint(case.latent, (BATCH, 16), generator=gen)
        strength = torch.empty(BATCH, 16).exponential_(generator=gen)
        x = torch.nn.functional.embedding_bag(
            which, directions, per_sample_weights=strength, mode="sum"
        )
        rows.append(x * 4 + 0.1 * torch.randn(x.shape, generator=gen))
    return rows


def theirs(case: Case, coder: SparseCoder, data: Iterator[Tensor]) -> Callable[[], object]:
    """A step of sae_lens' trainer, from our weights; its `sae` keeps the result."""
    from sae_lens import saes
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sizes: dict[str, Any] = {"d_in": case.d_in, "d_sae": case.latent}
    sae: Any
    if case.architecture == "relu":
        sae = saes.StandardTrainingSAE(saes.StandardTrainingSAEConfig(l1_coefficient=L1, **sizes))
    elif case.architecture == "topk":
        sae = saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(k=K, **sizes))
    else:
        sae = saes.BatchTopKTrainingSAE(saes.BatchTopKTrainingSAEConfig(k=K, **sizes))
    with torch.no_grad():
        sae.W_enc.copy_(coder.params["encoder"].T)
        sae.W_dec.copy_(coder.params["W_dec"])
    n = 10**6 * BATCH
    cfg = SAETrainerConfig(n, BATCH, lr=3e-4, lr_end=3e-5)
    trainer: Any = SAETrainer(cfg, sae, data)

    def step() -> None:
        trainer.step(next(trainer.data_provider))
        trainer.n_training_steps += 1

    step.sae = sae  # type: ignore[attr-defined]
    return step


def ours(coder: SparseCoder, data: list[Tensor]) -> Trainer:
    """Our trainer with the same settings: Adam, clipping at 1, nothing read ahead."""
    cfg = SAETrainConfig(n_steps=10**6, mean_bias=False, dead_window=1001 * BATCH)
    return Trainer(coder, data, cfg)


def seconds(step: Callable[[], object], n: int) -> float:
    """Processor time of a step."""
    start = time.process_time()
    for _ in range(n):
        step()
    return (time.process_time() - start) / n


def final_loss(cfg: SAEConfig, params: dict[str, Tensor], x: Tensor) -> tuple[float, float]:
    """The whole loss on rows that neither trainer saw, by one formula for both; active latents."""
    coder = SparseCoder(cfg, params, torch.zeros((), dtype=torch.float64))
    step = loss_and_gradient(coder, Batch(x, x, cfg.sparsity, cfg.k))
    return float(sum(step.losses.values())), float(step.fired.sum()) / len(x)


@dataclass(frozen=True)
class Outcome:
    """What a case measured."""

    theirs: float  # seconds a step
    ours: float
    loss_theirs: float  # after N_STEPS
    loss_ours: float
    active: float  # latents a row at the end, of ours


def compare(case: Case) -> Outcome:
    """Time both in alternation, then train both on to N_STEPS and compare their losses."""
    data = batches(case, torch.Generator().manual_seed(1))
    *data, held_out = data
    coder = init_coder(case.config, torch.Generator().manual_seed(0))
    their_step, mine = theirs(case, coder, itertools.cycle(data)), ours(coder, data)
    their_times, our_times = [], []
    seconds(their_step, 1), seconds(mine.step, 1)
    for _ in range(case.n_rounds):
        their_times.append(seconds(their_step, case.n_steps))
        our_times.append(seconds(mine.step, case.n_steps))
    while mine.n_steps < N_STEPS:
        their_step()
        mine.step()
    sae = their_step.sae  # type: ignore[attr-defined]
    learned = {name: value.detach() for name, value in sae.named_parameters()}
    learned["encoder"] = learned.pop("W_enc").T.contiguous()
    loss_theirs, _ = final_loss(case.config, learned, held_out)
    times = statistics.median(their_times), statistics.median(our_times)
    return Outcome(*times, loss_theirs, *final_loss(case.config, mine.coder.params, held_out))


def peak_flops() -> float:
    """Floating-point operations a second in a large square product."""
    n = 2048
    left, right, out = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
    return 2 * n**3 / min(seconds(lambda: torch.mm(left, right, out=out), 1) for _ in range(7))


def report(console: Console) -> None:
    """Run every case and print the tables."""
    speed = Table(title=f"whole steps, batch {BATCH}, k = {K}, one thread")
    columns = ("case", "sae_lens ms", "ours ms", "ratio", "aim", "their loss", "our loss", "L0")
    for column in columns:
        speed.add_column(column, justify="right")
    where = Table(title="the limit: matrix products alone, at a large product's speed")
    limits = ("case", "products", "MFLOP", "limit ms", "share reached", "ratio at the limit")
    for column in limits:
        where.add_column(column, justify="right")
    peak = peak_flops()
    for case in CASES:
        out = compare(case)
        limit = case.flops / peak
        losses = (f"{out.loss_theirs:.4f}", f"{out.loss_ours:.4f}", f"{out.active:.0f}")
        times = (f"{1e3 * out.theirs:.1f}", f"{1e3 * out.ours:.1f}")
        aim = "-" if case.aim is None else f"{case.aim}×"
        speed.add_row(case.name, *times, f"{out.theirs / out.ours:.2f}×", aim, *losses)
        products = "1 dense, 4 gathered" if case.sparse else "5 dense"
        share = f"{limit / out.ours:.0%}", f"{out.theirs / limit:.2f}×"
        flops = f"{case.flops / 1e6:,.0f}"
        where.add_row(case.name, products, flops, f"{1e3 * limit:.1f}", *share)
        console.print(f"{case.name}: {times[0]} and {times[1]} ms a step")
    console.print(f"large product: {peak / 1e9:.0f} GFLOP/s")
    console.print(f"losses: on {BATCH} rows held out, after {N_STEPS} steps", speed, where)


if __name__ == "__main__":
    os.environ |= {"COURSE_PROGRESS": "0", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    torch.set_num_threads(1)
    report(Console(width=110))
