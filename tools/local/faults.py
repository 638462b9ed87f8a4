"""Train the runs of 3.2.8 that are to be diagnosed; the list below gives the answers away.

    python -m tools.local.faults            those that are missing
    python -m tools.local.faults --again    all of them

Each differs in exactly one thing from the reference of its architecture (the last one in two), and
leaves a small log whose settings are sealed. All together take about two minutes of one core.
"""  # fmt: skip

from pathlib import Path
from typing import Annotated

import torch
import typer

from utils.course import ARTIFACTS
from utils.given.training_runs import RunConfig, make_run, save_run, with_fault
from utils.models.profiles import load_model

MODEL = "tiny_story_4l"
RELU = RunConfig(architecture="relu")
PLAN: dict[str, tuple[RunConfig, tuple[str, ...]]] = {
    "topk_reference": (RunConfig(), ("healthy",)),
    "relu_reference": (RELU, ("healthy",)),
    "run_a": (RunConfig(), ("k too small",)),
    "run_b": (RunConfig(seed=1), ("healthy",)),
    "run_c": (RELU, ("L1 too small",)),
    "run_d": (RunConfig(), ("wrong data",)),
    "run_e": (RunConfig(), ("no warm-up",)),
    "run_f": (RunConfig(), ("expansion too large",)),
    "run_g": (RELU, ("wrong input scale",)),
    "run_h": (RunConfig(), ("learning rate too low",)),
    "run_i": (RunConfig(), ("expansion 1",)),
    "run_j": (RELU, ("L1 too small", "wrong data")),
}


def main(
    folder: Path = ARTIFACTS / MODEL / "training_runs",
    again: Annotated[bool, typer.Option("--again", help="also those that are there")] = False,
    only: Annotated[list[str] | None, typer.Option(help="names of runs; all by default")] = None,
    n_steps: Annotated[int, typer.Option(help="shorter runs, for a test")] = RunConfig.n_steps,
) -> None:
    """Train the runs that are missing."""
    torch.set_num_threads(1)
    loaded = load_model("language", "tiny", None, "cpu")
    for name in only or PLAN:
        path, (base, faults) = folder / f"{name}.jsonl", PLAN[name]
        if path.exists() and not again:
            print(f"{name}: done, skipped")
            continue
        short = {"n_steps": n_steps, "warmup": min(base.warmup, n_steps)}
        cfg = with_fault(RunConfig(**{**vars(base), **short}), *faults)
        records = make_run(loaded, cfg)
        save_run(path, " and ".join(faults), cfg, records)
        print(f"{name}: {len(records)} records", flush=True)


if __name__ == "__main__":
    typer.run(main)
