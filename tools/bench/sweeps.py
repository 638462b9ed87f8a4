"""Measure a stack of SAEs against the same SAEs one after another: `python -m tools.bench.sweeps`.

Both start from the same weights and read the same batches, on one thread (a GPU where there is
one), in alternation, in one process. Times are of whole steps, medians over the rounds. The last
column is how far the weights are apart after 100 steps, relative to their size: rounding, until
two scores are equal within it and another latent is taken; from there on two runs part.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from utils.saes.coder import SparseCoder, init_coder
from utils.saes.config import Architecture, SAEConfig, SAETrainConfig
from utils.saes.stack import Stack
from utils.saes.train import Trainer

N, N_ROUNDS, N_STEPS, COMPARED = 16, 5, 30, 100
TRAIN = SAETrainConfig(10**6, lr=1e-3, dead_window=10**9)


@dataclass(frozen=True)
class Case:
    """Sixteen SAEs of one size."""

    architecture: Architecture
    d_in: int
    latent: int
    batch: int
    aim: float | None = None  # times faster that we want to be; None: for information


CASES = (
    Case("topk", 16, 64, 128, aim=3.0),
    Case("batchtopk", 16, 64, 128, aim=3.0),
    Case("relu", 16, 64, 128, aim=3.0),
    Case("jumprelu", 16, 64, 128, aim=3.0),
    Case("topk", 32, 128, 256),
    Case("topk", 128, 384, 512),
)


def data_of(case: Case, device: str) -> list[Tensor]:
    """Few of many directions are on."""
    gen = torch.Generator().manual_seed(0)
    D = torch.randn(2 * case.d_in, case.d_in, generator=gen)
    on = torch.rand(20, case.batch, 2 * case.d_in, generator=gen) < 0.05
    return [(m * torch.rand(m.shape, generator=gen) @ D).to(device) for m in on]


def coders_of(case: Case, device: str) -> list[SparseCoder]:
    """They differ in k, in the penalty, in their seed."""
    found = []
    for i in range(N):
        cfg = SAEConfig(case.d_in, case.latent, case.architecture, k=2 + i % 8, sparsity=0.02 * i)
        found.append(init_coder(cfg, torch.Generator().manual_seed(i), device))
    return found


def milliseconds(steps: Callable[[], None], device: str) -> float:
    """Of N_STEPS steps, per step."""
    start = time.perf_counter()
    for _ in range(N_STEPS):
        steps()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / N_STEPS


def compare(case: Case, device: str) -> tuple[float, float, float]:
    """(ms one after another, ms of the stack, how far apart the weights are in the end)."""
    data, coders = data_of(case, device), coders_of(case, device)
    stack, alone = Stack(coders, data, TRAIN), [Trainer(c, data, TRAIN) for c in coders]
    runs: list[Stack | Trainer] = [stack, *alone]
    for run in runs:
        run.prepare()
        for _ in range(COMPARED):
            run.step()
    pairs = [
        (run.coder.params, one.coder.params) for run, one in zip(stack.runs, alone, strict=True)
    ]
    off = max(float((a["W_dec"] - b["W_dec"]).norm() / b["W_dec"].norm()) for a, b in pairs)

    def one_by_one() -> None:
        for trainer in alone:
            trainer.step()

    ours, theirs = [], []
    for _ in range(N_ROUNDS):
        theirs.append(milliseconds(one_by_one, device))
        ours.append(milliseconds(lambda: (stack.step(), None)[1], device))
    return statistics.median(theirs), statistics.median(ours), off


def report(console: Console) -> None:
    """Run every case and print the table."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    table = Table(title=f"{N} SAEs, whole steps, one thread, {device}")
    for column in ("case", "one after another ms", "stack ms", "ratio", "aim", "weights apart"):
        table.add_column(column, justify="right")
    for case in CASES:
        theirs, ours, off = compare(case, device)
        name = f"{case.architecture} {case.d_in} → {case.latent}, batch {case.batch}"
        aim = "-" if case.aim is None else f"{case.aim}×"
        ratio = f"{theirs / ours:.2f}×"
        table.add_row(name, f"{theirs:.2f}", f"{ours:.2f}", ratio, aim, f"{off:.0e}")
    console.print(table)


if __name__ == "__main__":
    report(Console())
