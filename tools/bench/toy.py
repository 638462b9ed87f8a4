"""Measure the fast trainer against the loop that a learner writes: `python -m tools.bench.toy`.

Both train the same toy models from the same weights, on one thread, in alternation. Times are
processor time, so that other programs on the machine count less, and medians over the rounds.
A second table says where a fast step goes and what bounds it.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from utils.toy import (
    SparseSampler,
    ToyConfig,
    ToyGradient,
    TrainConfig,
    evaluate_toy,
    init_toy,
    train_toy_fast,
)

BATCH = 1024
PASSES = 21  # reads and writes per entry outside products and bits: see ToyGradient._part, fill


@dataclass(frozen=True)
class Case:
    """One size to measure."""

    toy: ToyConfig
    n_steps: int  # a round of one loop, long enough for a stable median
    n_rounds: int  # alternations of the two loops
    n_steps_loss: int  # length of the runs whose final losses are compared

    @property
    def name(self) -> str:
        """`8 × (5 → 2)`."""
        return f"{self.toy.inst} × ({self.toy.feature} → {self.toy.hidden})"


CASES = (
    Case(ToyConfig(inst=8, feature=5, hidden=2), 400, 9, 3000),
    Case(ToyConfig(inst=8, feature=100, hidden=20), 25, 9, 400),
)


def train_plain(
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    importance: Float[Tensor, "inst feature"],
    probability: Float[Tensor, "inst feature"],
    cfg: TrainConfig,
    gen: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The course's loop as a learner writes it: two draws, einsum, autograd, Adam's defaults."""
    W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
    optimiser = torch.optim.Adam([W, b], lr=cfg.lr)
    for _ in range(cfg.n_steps):
        size = (cfg.batch, *b.shape)
        active = torch.rand(size, generator=gen) < probability
        x = torch.where(active, torch.rand(size, generator=gen), 0.0)
        h = einsum(x, W, "batch inst feature, inst hidden feature -> batch inst hidden")
        pre = einsum(h, W, "batch inst hidden, inst hidden feature -> batch inst feature") + b
        loss = ((torch.relu(pre) - x) ** 2 * importance).mean(dim=(0, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return W.detach(), b.detach()


def problem(toy: ToyConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, bias, importances (falling tenfold) and probabilities (1 to 0.01)."""
    W, b = init_toy(toy, torch.Generator().manual_seed(0))
    importance = torch.logspace(0, -1, toy.feature).expand_as(b)
    probability = torch.logspace(0, -2, toy.inst).unsqueeze(-1).expand_as(b)
    return W, b, importance, probability


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(case: Case) -> tuple[float, float]:
    """Seconds a step of the plain and of the fast loop."""
    start = problem(case.toy)
    gen = torch.Generator().manual_seed(1)
    cfg = TrainConfig(n_steps=case.n_steps, batch=BATCH)
    plain, fast = [], []
    for _ in range(case.n_rounds):
        plain.append(seconds(lambda: train_plain(*start, cfg, gen)) / cfg.n_steps)
        fast.append(seconds(lambda: train_toy_fast(*start, cfg, gen)) / cfg.n_steps)
    return statistics.median(plain), statistics.median(fast)


def final_losses(case: Case) -> tuple[str, str]:
    """Loss after training, summed over instances: mean and standard error over four data seeds."""
    start, cfg = problem(case.toy), TrainConfig(n_steps=case.n_steps_loss, batch=BATCH)
    ends: tuple[list[float], list[float]] = [], []
    for seed in range(4):
        gen = torch.Generator().manual_seed(seed)
        run = train_toy_fast(*start, cfg, gen)
        for losses, weights in zip(
            ends, (train_plain(*start, cfg, gen), (run.W, run.b)), strict=True
        ):
            judge = torch.Generator().manual_seed(99)
            losses.append(float(evaluate_toy(*weights, *start[2:], judge, 2**16).sum()))
    plain, fast = (
        f"{statistics.mean(losses):.4f} ± {statistics.stdev(losses) / 2:.4f}" for losses in ends
    )
    return plain, fast


def repeat(run: Callable[[], object], n: int) -> float:
    """Median seconds of a call, over seven rounds of `n`."""
    run()
    return statistics.median(seconds(lambda: [run() for _ in range(n)]) / n for _ in range(7))


def shares(case: Case) -> dict[str, float]:
    """Seconds a step spent on random bits, on matrix products, on one whole gradient."""
    W, b, importance, probability = problem(case.toy)
    n, n_calls = b.numel() * BATCH, case.n_steps // 2
    gradient = ToyGradient(W, b, importance, probability, BATCH, torch.Generator().manual_seed(0))
    source = SparseSampler(torch.Generator().manual_seed(0)).bits
    assert source is not None
    parts = gradient.parts

    def bits() -> None:
        for part in parts:
            source.random_raw(part.x.numel() // 2)

    def products() -> None:
        for part in parts:
            torch.bmm(part.W, part.x, out=part.h)
            torch.bmm(part.W.mT, part.h, out=part.out)
            torch.bmm(part.h, part.out.mT, out=part.grad_W)
            torch.bmm(part.W, part.out, out=part.h)
            torch.bmm(part.h, part.x.mT, out=part.grad_W)

    return {
        "random bits": repeat(bits, n_calls),
        "matrix products": repeat(products, n_calls),
        "gradient": repeat(lambda: gradient(False), n_calls),
        "one torch.rand": repeat(lambda: torch.rand(n), n_calls),
    }


def peak_flops() -> float:
    """Floating-point operations a second in a large square product."""
    n = 1024
    left, right, out = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
    return 2 * n**3 / repeat(lambda: torch.mm(left, right, out=out), 5)


def report(console: Console) -> None:
    """Run every case and print the tables."""
    speed = Table(title=f"Adam steps, batch {BATCH}, one thread")
    for column in ("instances", "plain µs", "fast µs", "ratio", "plain loss", "fast loss"):
        speed.add_column(column, justify="right")
    where = Table(title="where a fast step goes, µs")
    for column in ("instances", "bits", "products", "elementwise", "Adam, loop", "products' bound"):
        where.add_column(column, justify="right")
    peak = peak_flops()
    for case in CASES:
        plain, fast = compare(case)
        times = (f"{1e6 * plain:,.0f}", f"{1e6 * fast:,.0f}", f"{plain / fast:.1f}×")
        speed.add_row(case.name, *times, *final_losses(case))
        part = shares(case)
        toy, entries = case.toy, case.toy.inst * case.toy.feature * BATCH
        rest = part["gradient"] - part["random bits"] - part["matrix products"]
        flops = 5 * 2 * entries * toy.hidden
        spent = (part["random bits"], part["matrix products"], rest, fast - part["gradient"])
        where.add_row(case.name, *(f"{1e6 * t:,.0f}" for t in (*spent, flops / peak)))
        console.print(
            f"{case.name}: {entries:,} entries; {1e9 * part['random bits'] / entries:.2f} ns an "
            f"entry for bits (torch.rand {1e9 * part['one torch.rand'] / entries:.2f}, drawn twice "
            f"by the plain loop); {flops / 1e6:,.1f} MFLOP in five products at "
            f"{flops / part['matrix products'] / 1e9:.0f} GFLOP/s (square peak {peak / 1e9:.0f}); "
            f"{PASSES} passes of 4 bytes at {4 * PASSES * entries / rest / 1e9:.0f} GB/s"
        )
    console.print(speed, where)


if __name__ == "__main__":
    os.environ["COURSE_PROGRESS"] = "0"
    torch.set_num_threads(1)
    report(Console(width=110))
