"""Which SAEs the small models get, and the rows that they are trained and measured on.

All of them together must stay under 6 MB, which is less than 4 × the input width at every site
takes (7.5 MB). So attention and most transcoders have twice as many latents as inputs, and one
layer of each story model and of the Othello model has several widths, for splitting.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from tools.saes.recipe import Pass, Recipe
from tools.saes.recipe import train_config as shared_train_config
from tools.tiny.metrics import HELD_OUT
from tools.tiny.recipes import TASKS
from utils.data.corpus import Rows
from utils.data.othello import Games
from utils.models.loaded import SITES
from utils.saes.config import SAEConfig, SAETrainConfig

TRAIN_SEED = 500_003  # of the rows; neither the models' training nor any evaluation draws from it
CARD_SEED, TEST_SEED = HELD_OUT + 501, HELD_OUT + 502  # rows of the cards, rows of the tests
KINDS = {  # where each kind reads and writes
    "residual": ("resid_post", "resid_post"),
    "attention": ("z", "z"),
    "transcoder": ("mlp_in", "mlp_out"),
}
ABOUT = {
    "residual": "An SAE of the residual stream after block {}.",
    "attention": "An SAE of the attention heads' outputs (z, heads side by side) of block {}.",
    "transcoder": "A transcoder of the MLP of block {}: from what it reads to what it writes.",
}
Widths = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Plan:
    """A model's SAEs; for each layer, widths in multiples of the input's."""

    residual: Widths
    attention: Widths
    transcoder: Widths = ()
    k: int = 12  # latents active per token
    n_rows: int = 2_500  # to train on
    epochs: int = 6  # each activation is seen so many times
    batch: int = 512
    n_held: int = 256  # rows that a card measures
    n_block: int = 16  # rows of a block: the spread of blocks is a small sample's error


PLANS = {
    "tiny_story_1l": Plan(residual=((2, 4),), attention=((2,),), transcoder=((4,),)),
    "tiny_story_4l": Plan(
        residual=((4,), (4,), (4, 8, 16), (4,)),
        attention=((2,),) * 4,
        transcoder=((2,),) * 4,
    ),
    "tiny_attn_only_2l": Plan(residual=((2,),) * 2, attention=((2,),) * 2),
    "tiny_othello": Plan(
        residual=((2,), (2,), (2, 4), (2,), (2,)),
        attention=((2,),) * 5,
        transcoder=((2,),) * 5,
        k=16,  # a position has 36 squares
        n_rows=6_000,  # games, which are a third as long as a row of stories
    ),
}


def rows_for(name: str, n_rows: int, seed: int) -> Rows:
    """Rows of the kind that a model was trained on; where a game is over there is padding."""
    gen = torch.Generator().manual_seed(seed)
    drawn: Any = TASKS[name]().draw(n_rows, gen)
    ids, mask = (
        (drawn.tokens, drawn.alive)
        if isinstance(drawn, Games)
        else (drawn, torch.ones_like(drawn, dtype=torch.bool))
    )
    return Rows(ids, mask, torch.arange(len(ids)))


def recipes_of(name: str, plan: Plan, config: dict[str, Any]) -> list[Recipe]:
    """One recipe per SAE of a model of this configuration; seeds count from 0."""
    found: list[Recipe] = []
    source = Pass("all", hooks_of(plan))
    for kind, (site_in, site_out) in KINDS.items():
        d, heads = config["d_model"], None
        if kind == "attention":
            d, heads = config["n_heads"] * config["d_head"], config["n_heads"]
        is_transcoder = kind == "transcoder"
        for layer, times in enumerate(getattr(plan, kind)):
            for width in (d * many for many in times):
                # sae_lens has no TopK transcoder; a BatchTopK one is saved as a JumpReLU one
                sae = SAEConfig(
                    d,
                    width,
                    "batchtopk" if is_transcoder else "topk",
                    "transcoder" if is_transcoder else "sae",
                    k=plan.k,
                    normalise="average_norm",
                    heads=heads,
                )
                recipe = Recipe(
                    f"{kind}_{layer}_{width}",
                    ABOUT[kind].format(layer),
                    source,
                    SITES[site_in].format(layer),
                    SITES[site_out].format(layer),
                    sae,
                    epochs=plan.epochs,
                    batch=plan.batch,
                    lr=3e-3,  # 1e-3 left more unexplained after as many steps
                    seed=len(found),
                )
                found.append(recipe)
    return found


def hooks_of(plan: Plan) -> tuple[str, ...]:
    """Every hook that some SAE of the plan reads or writes."""
    hooks = [
        SITES[site].format(layer)
        for kind, sites in KINDS.items()
        for layer in range(len(getattr(plan, kind)))
        for site in sites
    ]
    return tuple(dict.fromkeys(hooks))


def n_bytes(recipe: Recipe) -> int:
    """Size of the two matrices in float16: nearly all of a saved SAE."""
    return 2 * recipe.sae.latent * (recipe.sae.d_in + recipe.sae.d_target)


def train_config(recipe: Recipe, n_batches: int) -> SAETrainConfig:
    """The trainer's settings for data of so many batches."""
    cfg = shared_train_config(recipe, n_batches)
    return replace(
        cfg,
        # runs are short, so latents are revived early
        dead_window=min(5_000, cfg.n_steps * recipe.batch // 4),
        aux_coefficient=1 / 4,
        # few dead latents per row: many together, their default, explain what is left over and none
        # of them alone
        aux_k=4,
        checkpoint_every=500,
    )
