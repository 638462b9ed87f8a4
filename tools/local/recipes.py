"""What is trained: a residual SAE and a transcoder in the middle, an attention SAE at the names."""

from dataclasses import dataclass, replace

from tools.local.harvest import Pass
from utils.models.loaded import SITES
from utils.saes.config import SAEConfig, SAETrainConfig

# A third of the way up. Later layers cost more per token to harvest, and 3 M tokens through eleven
# blocks take an hour of a CPU thread already.
LAYER = 10


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

    @property
    def hooks(self) -> str | tuple[str, str]:
        """What the reader is asked for: pairs where this is a transcoder."""
        return self.hook_in if self.hook_in == self.hook_out else (self.hook_in, self.hook_out)


@dataclass(frozen=True)
class Sizes:
    """The shape of the model and of what is trained on it; the defaults are the course's."""

    d_model: int = 576
    heads: int = 9
    d_head: int = 64
    layer: int = LAYER
    residual: int = 4608  # latents: 8 × the width; 10.6 MB in float16
    transcoder: int = 2304  # 4 × the width; 5.3 MB
    attention: int = 2304
    k: int = 40  # the bars allow an L0 of 48: room for a threshold on text of another kind
    batch: int = 1024
    epochs: int = 2


def middle_pass(layer: int) -> Pass:
    """Residual stream, and what goes into and comes out of the MLP, at one layer."""
    sites = ("resid_post", "mlp_in", "mlp_out")
    return Pass(f"layer{layer}", tuple(SITES[site].format(layer) for site in sites))


def names_pass(layer: int) -> Pass:
    """The attention heads' outputs where names are moved."""
    return Pass(f"z{layer}", (SITES["z"].format(layer),))


def recipes(names_layer: int, sizes: Sizes | None = None) -> list[Recipe]:
    """The three recipes; `names_layer` is what the attribution found."""
    s = sizes or Sizes()
    middle, names = middle_pass(s.layer), names_pass(names_layer)
    resid, mlp_in, mlp_out = middle.hooks
    width, d_z, (z,) = s.d_model, s.heads * s.d_head, names.hooks
    residual = SAEConfig(width, s.residual, "topk", k=s.k)
    # sae_lens has no TopK transcoder; this one is saved as a JumpReLU one
    transcoder = SAEConfig(width, s.transcoder, "batchtopk", "transcoder", width, s.k)
    attention = SAEConfig(d_z, s.attention, "topk", k=s.k, heads=s.heads)
    about = (
        f"An SAE of the residual stream after block {s.layer}.",
        f"A transcoder of the MLP of block {s.layer}: from what it reads to what it writes.",
        f"An SAE of the attention heads' outputs (z) of block {names_layer}, where names move.",
    )
    found = [
        Recipe(f"residual_{s.layer}", about[0], middle, resid, resid, residual),
        Recipe(f"transcoder_{s.layer}", about[1], middle, mlp_in, mlp_out, transcoder),
        Recipe(f"attention_{names_layer}", about[2], names, z, z, attention),
    ]
    return [
        replace(r, sae=replace(r.sae, normalise="average_norm"), batch=s.batch, epochs=s.epochs)
        for r in found
    ]


def train_config(recipe: Recipe, n_batches: int) -> SAETrainConfig:
    """The trainer's settings for data of so many batches."""
    n_steps = recipe.epochs * n_batches
    return SAETrainConfig(
        n_steps=n_steps,
        lr=recipe.lr,
        warmup_steps=min(recipe.warmup, n_steps // 10),
        decay_steps=round(recipe.decay * n_steps),
        checkpoint_every=200,
        label=recipe.name,
    )
