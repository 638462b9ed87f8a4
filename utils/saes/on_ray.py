"""A sweep on a Ray cluster, one trial per stack; the same results as `sweep.run`.

Needs the extra `sweeps` (`pip install 'ray[tune]'`). All workers must see `folder`: finished stacks
and checkpoints lie there, so a worker that dies is replaced by one that goes on from its last
checkpoint, and so does a new driver after the old one was killed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.saes.records import RecordConfig
from utils.saes.sweep import Point, Result, Sweep, in_order, require_folder, train_group

Records = Callable[[Point], RecordConfig]


class StacksFailed(RuntimeError):
    """Some stacks failed more often than was allowed; the text says why."""


def _modules() -> tuple[Any, Any]:
    """`ray` and `ray.tune`, without its telemetry."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # ours is in the folder
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise ModuleNotFoundError(
            "a sweep on Ray needs it: pip install 'ray[tune]' (or run it here, without Ray)"
        ) from error
    return ray, tune


def trial(
    config: dict[str, Any],
    rows: Float[Tensor, "row d"],
    held_out: Float[Tensor, "row d"],
    sweep: Sweep,
    folder: Path,
    records: Records | None,
    threads: int,
) -> dict[str, list[Result]]:
    """What a worker does: one stack, from its checkpoint if there is one."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    points = sweep.stacks()[config["stack"]]
    return {"results": train_group(points, sweep, rows, held_out, folder, records, device)}


def run_on_ray(
    sweep: Sweep,
    rows: Float[Tensor, "row d"],
    held_out: Float[Tensor, "row d"],
    folder: Path,
    records: Records | None = None,
    cpus: int = 1,
    gpus: float = 0,
    retries: int = 3,
) -> list[Result]:
    """Train all SAEs on the cluster; a second call goes on where the first was stopped.

    `cpus` and `gpus` are those of one stack. Starts a local Ray where none is running; a running
    cluster is used if `ray.init(address=...)` was called. Workers have folders of their own: paths
    in `records` must be absolute. Raises StacksFailed if a stack failed
    `retries` + 1 times.
    """
    ray, tune = _modules()
    folder = folder.resolve()
    require_folder(sweep, folder, rows, held_out)
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    job = tune.with_parameters(
        trial, rows=rows, held_out=held_out, sweep=sweep, folder=folder, records=records,
        threads=cpus,
    )  # fmt: skip
    tuner = tune.Tuner(
        tune.with_resources(job, {"cpu": cpus, "gpu": gpus}),
        param_space={"stack": tune.grid_search(list(range(len(sweep.stacks()))))},
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=retries),
            verbose=0,
        ),
    )
    grid = tuner.fit()
    if grid.errors:
        why = str(grid.errors[0]).strip().splitlines()[-1]  # above it is the worker's traceback
        raise StacksFailed(
            f"{len(grid.errors)} of {len(sweep.stacks())} stacks failed {retries + 1} times; "
            f"the first: {why}. What is finished is in {folder}: the same call goes on"
        )
    found = [result for one in grid for result in one.metrics["results"]]
    return in_order(sweep, found, folder)
