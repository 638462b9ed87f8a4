"""Train the small models' SAEs that are missing, each into artifacts/<model>/<kind>_<layer>_<n>/.

    python -m tools.tiny.saes                  all models; what is done is skipped
    python -m tools.tiny.saes tiny_othello     one of them
    python -m tools.tiny.saes --measure        only measure the saved weights, write the cards

Activations and checkpoints lie in the course's cache folder; a run that is stopped goes on from
there and ends with the same weights.
"""  # fmt: skip

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import typer

from tools.saes.cards import Card, facts, read_card, readme, rounded, run_of, write_card
from tools.saes.cost import COST, LOG, Run, counted, read_run
from tools.saes.examples import as_text, examples
from tools.saes.recipe import Recipe, plain
from tools.tiny.recipes import ABOUT as MODELS
from tools.tiny.recipes import OTHELLO
from tools.tiny.sae_recipes import (
    CARD_SEED,
    PLANS,
    TRAIN_SEED,
    Plan,
    hooks_of,
    recipes_of,
    rows_for,
    train_config,
)
from utils.activations import ActivationStore, StoreConfig, write_activations
from utils.course import ARTIFACTS
from utils.data.corpus import Rows
from utils.models.loaded import Loaded
from utils.models.sae import Sae, load_sae
from utils.models.smollm2 import cache_folder
from utils.models.tiny import CONFIG, WEIGHTS, load_tiny
from utils.sae_metrics import in_model
from utils.saes.coder import init_coder
from utils.saes.export import WEIGHTS as SAE_WEIGHTS
from utils.saes.export import save_coder
from utils.saes.records import RecordConfig
from utils.saes.train import train_coder

Numbers = dict[str, float]
METRICS = ("l0", "explained_variance", "loss_recovered", "kl_recovered", "dead")
MORE = ("n_tokens", "n_predictions", "cosine", "norm_ratio", "loss_clean", "loss_sae", "kl_sae")


@dataclass(frozen=True)
class Workshop:
    """A model, what it is to get, and where things lie."""

    name: str  # a key of TASKS
    plan: Plan
    folder: Path  # of the model, and what ships
    cache: Path  # activations and checkpoints

    @cached_property
    def loaded(self) -> Loaded:
        """The model."""
        model = load_tiny(self.folder)
        return Loaded(model, model.tokenizer, self.name)

    @cached_property
    def digest(self) -> str:
        """Of the model's weights: SAEs of other weights are stale."""
        return hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest()[:16]

    def recipes(self) -> list[Recipe]:
        """What the model is to get."""
        config = json.loads((self.folder / CONFIG).read_text())
        return recipes_of(self.name, self.plan, config)

    def place(self) -> Path:
        """The cache of this model, these weights and this plan."""
        asked = hashlib.sha256(repr(self.plan).encode()).hexdigest()[:8]
        return self.cache / "tiny_saes" / f"{self.name}-{self.digest[:8]}-{asked}"

    @cached_property
    def store(self) -> ActivationStore:
        """All activations that are trained on; writes what is missing of them."""
        rows = rows_for(self.name, self.plan.n_rows, TRAIN_SEED)
        # other rows, drawn from another seed, are held out
        cfg = StoreConfig(hooks_of(self.plan), held_share=0.0, batch_rows=64)
        return write_activations(self.loaded.model, rows, self.place() / "activations", cfg)

    @cached_property
    def held_rows(self) -> Rows:
        """What the cards measure on."""
        return rows_for(self.name, self.plan.n_held, CARD_SEED)

    def finished(self, recipe: Recipe) -> bool:
        """Weights, and a card of this very recipe, data and model."""
        card, folder = read_card(self.folder / recipe.name), self.folder / recipe.name
        if card is None or not (folder / SAE_WEIGHTS).exists():
            return False
        cfg = train_config(recipe, card["n_steps"] // recipe.epochs)
        wanted = (plain(recipe), asdict(cfg), self.plan.n_rows, self.digest)
        return wanted == tuple(card.get(k) for k in ("recipe", "training", "rows", "model_digest"))

    def make(self, recipe: Recipe) -> Card:
        """Train or resume, save, measure what was saved, write the card."""
        folder = self.folder / recipe.name
        (folder / "card.json").unlink(missing_ok=True)  # it is not of the weights that come
        return self.describe(recipe, self.train(recipe, folder))

    def train(self, recipe: Recipe, folder: Path) -> Run:
        """Train and save in float16."""
        work, store = self.place() / recipe.name, self.store
        data: Any = store.reader(batch=recipe.batch, hooks=recipe.hooks, seed=recipe.seed)
        cfg = train_config(recipe, len(data))
        start = init_coder(recipe.sae, torch.Generator().manual_seed(recipe.seed))
        with counted(work / COST):
            log = RecordConfig(jsonl=work / LOG)
            trained = train_coder(start, data, cfg, log, work / "checkpoint.pt")
        save_coder(trained.coder, folder, recipe.where(self.name), torch.float16)
        cost = read_run(work / COST)
        return replace(cost, tokens=store.n_tokens(), n_steps=cfg.n_steps)

    def describe(self, recipe: Recipe, run: Run) -> Card:
        """Measure the saved weights and write their card."""
        folder = self.folder / recipe.name
        metrics = measure(self.loaded, load_sae(folder), self.held_rows, self.plan.n_block)
        card = make_card(self, recipe, run, metrics) | {"examples": self.examples(load_sae(folder))}
        write_card(card, folder, readme(card))
        return card

    def examples(self, sae: Sae) -> dict[str, Any]:
        """Some latents with their strongest contexts on the held-out rows."""
        tokenizer = self.loaded.tokenizer

        def names(ids: list[int]) -> str:
            if tokenizer is None:  # a move per token
                return "".join(f" {OTHELLO.name(i)}" for i in ids)
            return as_text(ids, tokenizer)

        return examples(self.loaded, sae, self.held_rows, "those that the card measures on", names)

    def measure_again(self, recipe: Recipe) -> Card | None:
        """A new card for weights that are there; None where there are none."""
        if not self.finished(recipe):
            return None
        card = read_card(self.folder / recipe.name) or {}
        return self.describe(recipe, run_of(card))


def measure(loaded: Loaded, sae: Sae, rows: Rows, n_block: int) -> dict[str, Numbers]:
    """Metrics on all rows, and their standard deviation over blocks of `n_block` rows.

    Zeros stand for the output where recovered is 0; `mean_anchor` takes its mean instead.
    """
    model = loaded.model
    whole = in_model(model, rows, sae, batch_rows=64).numbers()
    anchored = in_model(model, rows, sae, "mean", batch_rows=64).numbers()
    blocks = []
    for i in range(0, len(rows), n_block):
        found = in_model(model, rows[i : i + n_block], sae, batch_rows=n_block).numbers()
        blocks.append([float(found[name]) for name in METRICS])
    spread = torch.tensor(blocks, dtype=torch.float64).std(dim=0).tolist()
    return {
        "held_out": {name: float(whole[name]) for name in (*METRICS, *MORE)},
        "mean_anchor": {n: float(anchored[n]) for n in ("loss_recovered", "kl_recovered")},
        "spread_of_blocks": dict(zip(METRICS, spread, strict=True)),
    }


def make_card(shop: Workshop, recipe: Recipe, run: Run, metrics: dict[str, Numbers]) -> Card:
    """Everything that a reader needs to judge an SAE and to make it again."""
    plan, (_, data) = shop.plan, MODELS[shop.name]
    return {
        **facts(recipe, run),
        "model": shop.name,
        "model_digest": shop.digest,
        "data": f"{run.tokens:,} tokens ({plan.n_rows:,} rows, seed {TRAIN_SEED}) of what the "
        f"model was trained on: {data.rstrip('.')}",
        "command": f"python -m tools.tiny.saes {shop.name}",
        "licence": "MIT",
        "evaluated_on": f"{plan.n_held} rows drawn afresh from the same generator (seed "
        f"{CARD_SEED}, which no training uses); spread_of_blocks: standard deviation over blocks "
        f"of {plan.n_block} of these rows; dead: never active on these rows; recovered: 0 is an "
        "output of zeros, under mean_anchor its mean. The first position is neither replaced nor "
        "counted. `utils/sae_metrics` defines each metric; losses in nats",
        "training": asdict(train_config(recipe, run.n_steps // recipe.epochs)),
        "rows": plan.n_rows,
        "metrics": rounded(metrics),
        "bars": [],
    }


def summary(card: Card) -> str:
    """A line for the terminal."""
    held = card["metrics"]["held_out"]
    numbers = ", ".join(f"{name} {held[name]:.3f}" for name in METRICS)
    return f"{card['model']}/{card['name']}: {numbers} ({card['cpu_seconds']} s)"


def main(
    names: Annotated[list[str] | None, typer.Argument(help=", ".join(PLANS))] = None,
    again: Annotated[bool, typer.Option("--measure", help="measure again, do not train")] = False,
    artifacts: Path = ARTIFACTS,
    threads: Annotated[int, typer.Option(help="of torch; 0: its own choice")] = 0,
) -> None:
    """Train the small models' SAEs that are missing."""
    torch.set_num_threads(threads or torch.get_num_threads())
    for name in names or PLANS:
        shop = Workshop(name, PLANS[name], artifacts / name, cache_folder())
        for recipe in shop.recipes():
            if shop.finished(recipe) and not again:
                print(f"{name}/{recipe.name}: done, skipped (delete its card.json to redo it)")
                continue
            card = shop.measure_again(recipe) if again else shop.make(recipe)
            print(f"{name}/{recipe.name}: not there" if card is None else summary(card), flush=True)


if __name__ == "__main__":
    typer.run(main)
