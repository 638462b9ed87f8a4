"""Train one recipe on the segments that are there; stopped and resumed with the same result."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tools.local.harvest import Chain
from tools.local.recipes import Recipe, train_config
from utils.activations import ActivationStore
from utils.corpus import Rows
from utils.models.loaded import Loaded
from utils.saes.coder import SparseCoder, init_coder
from utils.saes.export import save_coder
from utils.saes.finetune import FinetuneConfig, finetune_coder
from utils.saes.records import RecordConfig
from utils.saes.train import train_coder

LOG, COST = "log.jsonl", "cost.json"


@dataclass(frozen=True)
class Run:
    """What a training cost and saw."""

    tokens: int = 0  # different ones
    n_steps: int = 0
    seconds: float = 0.0  # on the clock, over all parts of the run
    cpu_seconds: float = 0.0  # of computing: less than the former on a busy machine
    peak_gb: float = 0.0  # of memory, the whole process


@contextmanager
def counted(file: Path) -> Iterator[None]:
    """Add the time spent inside to what a file says, even if it ends in an error."""
    clock, cpu = time.monotonic(), time.process_time()
    try:
        yield
    finally:
        before = read_run(file)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
        now = Run(
            seconds=before.seconds + time.monotonic() - clock,
            cpu_seconds=before.cpu_seconds + time.process_time() - cpu,
            peak_gb=max(before.peak_gb, peak),
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(now)) + "\n")


def read_run(file: Path) -> Run:
    """The costs so far."""
    return Run(**json.loads(file.read_text())) if file.exists() else Run()


def train(
    recipe: Recipe,
    stores: list[ActivationStore],
    work: Path,
    folder: Path,
    loaded: Loaded,
    rows: Rows,
) -> tuple[SparseCoder, Run]:
    """Train on these segments and save to `folder`, in float16 and sae_lens' format.

    `rows` are text to train on, of which the last stage takes some; if that is stopped, it starts
    again. `work` holds the checkpoint of a run on so many activations; a run on more starts anew.
    """
    n = sum(store.n_tokens() for store in stores)
    place = work / f"{recipe.name}-{n}"
    data = Chain(stores, batch=recipe.batch, hooks=recipe.hooks, seed=recipe.seed)
    cfg = train_config(recipe, len(data))
    start = init_coder(recipe.sae, torch.Generator().manual_seed(recipe.seed))
    with counted(place / COST):
        trained = train_coder(
            start, data, cfg, RecordConfig(jsonl=place / LOG), place / "checkpoint.pt"
        )
        coder = tuned(recipe, trained.coder, loaded, rows)
    where = {"hook_name": recipe.hook_in, "model_name": loaded.name, "prepend_bos": True}
    if recipe.hook_in != recipe.hook_out:
        where["hook_name_out"] = recipe.hook_out
    save_coder(coder, folder, where, torch.float16)
    (folder / LOG).write_bytes((place / LOG).read_bytes())
    cost = read_run(place / COST)
    return coder, Run(n, cfg.n_steps, cost.seconds, cost.cpu_seconds, cost.peak_gb)


def tuned(recipe: Recipe, coder: SparseCoder, loaded: Loaded, rows: Rows) -> SparseCoder:
    """The coder after the stage on the model's predictions, where the recipe has one."""
    n = recipe.finetune_rows
    if n == 0:
        return coder
    few = Rows(rows.ids[:n], rows.mask[:n], rows.document[:n])
    cfg = FinetuneConfig(recipe.finetune_lr, bfloat16=recipe.source.compute == "bfloat16")
    return finetune_coder(loaded.model, coder, (recipe.hook_in, recipe.hook_out), few, cfg)
