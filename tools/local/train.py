"""Train one recipe on the segments that are there; stopped and resumed with the same result."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Bool
from safetensors.torch import load_file, save_file
from torch import Tensor

from tools.local.harvest import Mix
from tools.local.recipes import times
from tools.saes.cost import COST, LOG, Run, counted, read_run
from tools.saes.recipe import FISHER_ROWS, Recipe, train_config
from utils import files
from utils.activations import ActivationStore
from utils.data.corpus import Rows
from utils.models.loaded import Loaded
from utils.saes.coder import SparseCoder, calibrate_cut, init_coder
from utils.saes.distance import Stretch, Stretched, check_folds, mean_fisher, stretch, unstretched
from utils.saes.export import save_coder
from utils.saes.feed import Pair
from utils.saes.finetune import FinetuneConfig, finetune_coder
from utils.saes.records import RecordConfig
from utils.saes.train import train_coder

CUT_BATCHES = 40  # from which the saved threshold is estimated, where it is not the trainer's
FISHER = "fisher.safetensors"


@dataclass(frozen=True)
class Material:
    """What a training reads."""

    stores: list[ActivationStore]
    prose: dict[str, Bool[Tensor, " row"]]  # by segment: which rows are prose by people
    # text to train on, of which some runs through the model: to learn which directions matter to
    # it, and in the last stage
    rows: Rows


def train(
    recipe: Recipe, material: Material, work: Path, folder: Path, loaded: Loaded
) -> tuple[SparseCoder, Run]:
    """Train on these segments and save to `folder`, in float16 and sae_lens' format.

    `work` holds the checkpoint of a run on so many activations; a run on more starts anew. A last
    stage on the model's predictions starts again if it is stopped.
    """
    stores, rows = material.stores, material.rows
    n = sum(store.n_tokens() for store in stores)
    place = work / f"{recipe.name}-{n}"
    data = Mix(reading(material, recipe), batch=recipe.batch, hooks=recipe.hooks, seed=recipe.seed)
    cfg = train_config(recipe, len(data))
    start = init_coder(recipe.sae, torch.Generator().manual_seed(recipe.seed))
    with counted(place / COST):
        by = stretch_of(recipe, loaded, rows, place / FISHER)
        seen = data if by is None else Stretched(data, by)
        trained = train_coder(
            start, seen, cfg, RecordConfig(jsonl=place / LOG), place / "checkpoint.pt"
        )
        coder = trained.coder if by is None else unstretched(trained.coder, by)
        coder = tuned(recipe, coder, loaded, rows)
        if recipe.k_saved is not None:
            first = Mix(stores[:1], batch=recipe.batch, hooks=recipe.hooks, seed=recipe.seed)
            few = [inputs(batch) for batch in islice(first, CUT_BATCHES)]
            calibrate_cut(coder, few, recipe.k_saved)
    where = recipe.where(loaded.name) | {"prepend_bos": True}
    save_coder(coder, folder, where, torch.float16)
    files.write(folder / LOG, (place / LOG).read_bytes())
    cost = read_run(place / COST)
    return coder, Run(n, cfg.n_steps, cost.seconds, cost.cpu_seconds, cost.peak_gb)


def reading(material: Material, recipe: Recipe) -> list[ActivationStore]:
    """What an epoch reads, each store as often as the recipe says."""
    found = []
    for store in material.stores:
        found += [store] * times(recipe, store.folder.name)
        again = (recipe.prose or 1) - 1
        if again and store.folder.name in material.prose:
            found += [store.of_rows(material.prose[store.folder.name])] * again
    return found


def inputs(batch: Tensor | Pair) -> Tensor:
    """What the coder reads."""
    return batch if isinstance(batch, Tensor) else batch[0]


def stretch_of(recipe: Recipe, loaded: Loaded, rows: Rows, file: Path) -> Stretch | None:
    """The space in which the recipe's distance is the plain one; its Fisher matrix is kept."""
    if recipe.predictive is None:
        return None
    check_folds(recipe.sae)
    if not file.exists():
        gen = torch.Generator().manual_seed(recipe.seed)
        found = mean_fisher(loaded.model, rows[:FISHER_ROWS], recipe.hook_out, gen)
        with files.whole(file) as part:
            save_file({"fisher": found}, part)
    return stretch(load_file(file)["fisher"], recipe.predictive)


def tuned(recipe: Recipe, coder: SparseCoder, loaded: Loaded, rows: Rows) -> SparseCoder:
    """The coder after the stage on the model's predictions, where the recipe has one."""
    n = recipe.finetune_rows
    if n == 0:
        return coder
    cfg = FinetuneConfig(recipe.finetune_lr, bfloat16=recipe.source.compute == "bfloat16")
    return finetune_coder(loaded.model, coder, (recipe.hook_in, recipe.hook_out), rows[:n], cfg)
