"""What decides an SAE's weights, for the language model and for the small ones."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from utils.activations.index import Compute
from utils.saes.config import SAEConfig, SAETrainConfig

FISHER_ROWS = 256  # that say which directions matter, where a recipe asks: five minutes


@dataclass(frozen=True)
class Pass:
    """One run of the model over the rows, up to the highest of its hooks."""

    name: str  # of the folder
    hooks: tuple[str, ...]
    compute: Compute = "float32"  # what is held out is always computed in float32


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, together with the data."""

    name: str  # of the folder under artifacts/smollm2
    about: str
    source: Pass  # where its activations come from
    hook_in: str
    hook_out: str
    sae: SAEConfig
    epochs: int = 2  # each activation is seen so many times
    batch: int = 1024
    lr: float = 1e-3  # with thousands, not millions, of steps: larger than in papers
    warmup: int = 100  # steps
    decay: float = 0.25  # share of the run, at its end, in which lr falls to 0
    seed: int = 0
    # weight of the model's predictions in the distance that is minimised (utils/saes/distance.py)
    predictive: float | None = None
    # then one pass over so many rows in which the model's predictions count, too
    # (utils/saes/finetune.py)
    finetune_rows: int = 0
    finetune_lr: float = 1e-4
    # BatchTopK: active latents per row of training text at the threshold that is saved; None: sae.k
    k_saved: int | None = None
    # how often each epoch reads the formal prose that the model wrote; None: never
    formal: int | None = None
    # how often it reads prose by people; None: once, like their documentation
    prose: int | None = None

    @property
    def hooks(self) -> str | tuple[str, str]:
        """What the reader is asked for: pairs where this is a transcoder."""
        return self.hook_in if self.hook_in == self.hook_out else (self.hook_in, self.hook_out)

    def where(self, model: str) -> dict[str, Any]:
        """Where it belongs, for the configuration that is saved with it."""
        hooks = {"hook_name": self.hook_in, "model_name": model}
        return hooks if self.hook_in == self.hook_out else hooks | {"hook_name_out": self.hook_out}


def train_config(recipe: Recipe, n_batches: int) -> SAETrainConfig:
    """The trainer's settings for data of so many batches."""
    n_steps = recipe.epochs * n_batches
    return SAETrainConfig(
        n_steps=n_steps,
        lr=recipe.lr,
        warmup_steps=min(recipe.warmup, n_steps // 10),
        decay_steps=round(recipe.decay * n_steps),
        # half of the width, the default, leaves more latents dead
        aux_k=32,
        checkpoint_every=200,
        label=recipe.name,
    )


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON reads it back, without what it does not have."""
    return json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if v is not None}))
