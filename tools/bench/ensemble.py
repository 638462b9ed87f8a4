"""Measure 16 SAEs trained together against one after another: `python -m tools.bench.ensemble`.

Both train the SAEs of section 3.1.9 (4 coefficients, 2 sizes, tied or not) from the same starts on
the same batches, on one thread, in alternation. Times are processor time, medians of three.
The results are compared in float64, where rounding cannot hide a mistake; the exit status is 1
where they differ.
"""

import os
import statistics
import sys
from functools import partial
from itertools import product

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from part31_superposition.s8_dictionary_learning import make_data
from part31_superposition.s9_many_dictionaries import stacks
from tools.bench.toy import seconds
from utils.given.dictionaries import World, rows_of, sae_loss, unit_decoder
from utils.given.dictionary_runs import Member, member_of
from utils.toy import TrainConfig, fit
from utils.training import Params

N_ROUNDS, N_STEPS, BATCH = 3, 1000, 128  # tracing the stack, once a run, is part of its time
N_STEPS_EQUAL, EQUAL = 300, 1e-9  # length of the runs that are compared, largest difference
SIZES = ((30, 60), (60, 120))


def members_of(sizes: tuple[int, int]) -> list[Member]:
    """16 SAEs."""
    return list(product(sizes, (0.2, 0.4, 0.6, 0.9), (False, True)))


def start(
    members: list[Member], d_in: int, dtype: torch.dtype
) -> tuple[Params, Params, list[tuple[Params, Params]]]:
    """Parameters and `hyper` of the stack, and of every SAE alone, without padding."""
    params, hyper = stacks.init(members, d_in, torch.Generator().manual_seed(1))
    params, hyper = ({k: v.to(dtype) for k, v in each.items()} for each in (params, hyper))
    alone = []
    for i, (n, _, _) in enumerate(members):
        own, settings = member_of(params, i), member_of(hyper, i)
        own = {"W_enc": own["W_enc"][:, :n], "b_enc": own["b_enc"][:n]} | {
            "W_dec": own["W_dec"][:n], "b_dec": own["b_dec"],
        }  # fmt: skip
        alone.append((own, settings | {"mask": settings["mask"][:n]}))
    return params, hyper, alone


def train_together(
    x: Float[Tensor, "batch d_in"], params: Params, hyper: Params, cfg: TrainConfig
) -> Float[Tensor, "inst latent d_in"]:
    """The decoders of a stack."""
    gen = torch.Generator().manual_seed(2)
    return stacks.train(sae_loss, params, hyper, rows_of(x, BATCH), cfg, gen).params["W_dec"]


def train_alone(
    x: Float[Tensor, "batch d_in"], alone: list[tuple[Params, Params]], cfg: TrainConfig
) -> list[Float[Tensor, "latent d_in"]]:
    """The decoders of all SAEs, one after another, by the course's loop: autograd, fused Adam."""
    decoders = []
    for params, hyper in alone:
        gen, loss = torch.Generator().manual_seed(2), partial(sae_loss, hyper=hyper)
        run = fit(params, loss, rows_of(x, BATCH), cfg, gen, after_step=unit_decoder)
        decoders.append(run.params["W_dec"])
    return decoders


def ratio(x: Float[Tensor, "batch d_in"], members: list[Member]) -> tuple[float, float]:
    """Median seconds of a step of all SAEs, together and one after another."""
    params, hyper, alone = start(members, x.shape[1], x.dtype)
    cfg = TrainConfig(N_STEPS, BATCH, 1e-2, "cosine")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(N_ROUNDS):
        times[0].append(seconds(lambda: train_together(x, params, hyper, cfg)))
        times[1].append(seconds(lambda: train_alone(x, alone, cfg)))
    together, apart = (statistics.median(each) / N_STEPS for each in times)
    return together, apart


def difference(x: Float[Tensor, "batch d_in"], members: list[Member]) -> float:
    """Largest difference of two decoder entries, in float64; padding must have stayed zero."""
    x = x.double()
    params, hyper, alone = start(members, x.shape[1], x.dtype)
    cfg = TrainConfig(N_STEPS_EQUAL, BATCH, 1e-2, "cosine")
    stack, worst = train_together(x, params, hyper, cfg), 0.0
    for W, own in zip(stack, train_alone(x, alone, cfg), strict=True):
        padding = W[len(own) :].abs().sum().item()
        worst = max(worst, (W[: len(own)] - own).abs().max().item(), padding)
    return worst


def report(console: Console) -> bool:
    """Run both cases, print the table; whether all results are equal."""
    x = make_data(World(), seed=0).x
    table = Table(title=f"Adam steps of 16 SAEs, batch {BATCH}, one thread")
    columns = ("latents", "one by one µs", "together µs", "ratio", "largest difference")
    for column in columns:
        table.add_column(column, justify="right")
    equal = True
    for sizes in SIZES:
        members = members_of(sizes)
        together, apart = ratio(x, members)
        gap = difference(x, members)
        equal &= gap < EQUAL
        times = (f"{1e6 * apart:,.0f}", f"{1e6 * together:,.0f}", f"{apart / together:.1f}×")
        table.add_row(f"{sizes[0]} and {sizes[1]}", *times, f"{gap:.0e}")
    console.print(table)
    console.print(f"Differences are of decoders in float64 after {N_STEPS_EQUAL} steps.")
    return equal


if __name__ == "__main__":
    os.environ["COURSE_PROGRESS"] = "0"
    torch.set_num_threads(1)
    if not report(Console(width=110)):
        sys.exit("the results differ")
