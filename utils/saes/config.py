"""What to train and how: two frozen configs, and the conversion of L1 coefficients.

The squared error is summed over d_out and averaged over the batch everywhere here, as in sae_lens.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Architecture = Literal["relu", "gated", "jumprelu", "topk", "batchtopk", "matryoshka"]
Kind = Literal["sae", "transcoder", "skip_transcoder"]
Schedule = Literal["constant", "linear", "cosine"]
DecoderNorm = Literal["free", "unit"]
Normalise = Literal["none", "average_norm", "constant_norm"]
TOPK_FAMILY = ("topk", "batchtopk", "matryoshka")


def require_choices(cfg: Any, **choices: Any) -> None:
    """Raise ValueError unless each named field is one of a Literal's values."""
    for name, kind in choices.items():
        if getattr(cfg, name) not in get_args(kind):
            known = ", ".join(get_args(kind))
            raise ValueError(f"{name} is one of {known}, not {getattr(cfg, name)!r}")


def optional(cfg: Any) -> set[str]:
    """The fields that may be None."""
    return {field.name for field in fields(cfg) if type(None) in get_args(field.type)}


def require_counts(cfg: Any, least: int, *names: str) -> None:
    """Raise ValueError unless each named field is a whole number, `least` or more."""
    for name in names:
        value = getattr(cfg, name)
        if value is None and name in optional(cfg):
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} is a whole number, not {value!r}")
        if value < least:
            raise ValueError(f"{name} = {value} must be at least {least}")


def require_numbers(cfg: Any, *names: str, positive: bool = False) -> None:
    """Raise ValueError unless each named field is a finite, and >= 0 or > 0."""
    for name in names:
        value = getattr(cfg, name)
        if value is None and name in optional(cfg):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{name} is a number, not {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} = {value} must be finite")
        if value < 0 or (positive and value == 0):
            raise ValueError(f"{name} = {value} must be {'above 0' if positive else '0 or more'}")


@dataclass(frozen=True)
class SAEConfig:
    """Sizes and shape of one sparse coder."""

    d_in: int  # width of the rows read
    latent: int  # number of latents
    architecture: Architecture = "topk"  # how a pre-activation becomes an activation
    kind: Kind = "sae"  # a transcoder predicts another activation; a skip one adds W_skip x
    d_out: int | None = None  # width of the rows predicted; None is d_in
    k: int = 32  # latents active per row: exactly (topk), on average (batchtopk, matryoshka)
    widths: tuple[int, ...] = ()  # matryoshka: nested dictionary sizes, the last is all latents
    sparsity: float = 1.0  # weight of the L1 (relu, gated) or L0 (jumprelu) penalty
    bandwidth: float = 0.05  # jumprelu: width of the kernel that stands in for a step's slope
    threshold: float = 0.01  # jumprelu: where thresholds start
    # free: norms weigh penalty and selection, as in sae_lens; unit: rows of W_dec have norm 1, as
    # the Gated paper has it (a Gated SAE with free norms was still dense after 500 steps here)
    decoder_norm: DecoderNorm = "free"
    decoder_init_norm: float = 0.1  # sae_lens' value: small first reconstructions
    normalise: Normalise = "none"  # see normalise.py
    heads: int | None = None  # attention z: heads flattened into d_in, split again when saved

    def __post_init__(self) -> None:
        require_choices(self, architecture=Architecture, kind=Kind, normalise=Normalise)
        require_choices(self, decoder_norm=DecoderNorm)
        require_counts(self, 1, "d_in", "latent", "d_out", "heads", "k")
        require_numbers(self, "sparsity", "threshold")
        require_numbers(self, "bandwidth", "decoder_init_norm", positive=True)
        if self.kind == "sae" and self.d_out not in (None, self.d_in):
            raise ValueError(f"an SAE predicts its input: d_out = {self.d_out}, d_in = {self.d_in}")
        if self.architecture in TOPK_FAMILY and self.k > self.latent:
            raise ValueError(f"k = {self.k} is more than there are latents: {self.latent}")
        if self.kind != "sae" and self.normalise == "constant_norm":
            raise ValueError("constant_norm has no way back for a transcoder: use average_norm")
        if self.heads is not None and self.d_in % self.heads:
            raise ValueError(f"{self.heads} heads do not divide d_in = {self.d_in}")
        if not all(type(width) is int for width in self.widths):
            raise ValueError(f"widths are whole numbers, not {self.widths}")
        increasing = list(self.widths) == sorted(set(self.widths))
        ends = (min(self.widths, default=1) > 0, max(self.widths, default=0) == self.latent)
        if (self.architecture == "matryoshka") != bool(self.widths):
            raise ValueError("widths belong to architecture='matryoshka', and it needs them")
        if self.widths and not (increasing and all(ends)):
            raise ValueError(f"widths must increase from above 0 to {self.latent}: {self.widths}")

    @property
    def d_target(self) -> int:
        """Width of the rows predicted."""
        return self.d_in if self.d_out is None else self.d_out

    @property
    def centred(self) -> bool:
        """Whether b_dec is subtracted from the input: it has its width in an SAE only."""
        return self.kind == "sae"


@dataclass(frozen=True)
class SAETrainConfig:
    """How long and how fast to train, and what to record."""

    n_steps: int  # batches to train on
    lr: float = 3e-4  # Adam's step size after the warm-up
    schedule: Schedule = "constant"  # what follows the warm-up: linear and cosine fall to 0
    warmup_steps: int = 0  # lr rises linearly over the first steps: Adam's moments are rough there
    decay_steps: int = 0  # lr falls linearly to 0 over the last steps: less noise in the weights
    beta1: float = 0.9  # Adam's memory of the gradient
    beta2: float = 0.999  # Adam's memory of its square
    clip: float | None = 1.0  # longest gradient; sae_lens' value
    sparsity_warmup: int = 0  # steps over which the penalty rises from 0, or k falls from k_start
    k_start: int | None = None  # topk family: more latents at first keep more of them alive
    dead_window: int = 250_000  # rows without an activation after which a latent counts as dead
    aux_coefficient: float = 1 / 32  # weight of the dead latents' loss (Gao et al. 2024); 0: none
    aux_k: int | None = None  # dead latents used per row; None is d_in / 2 (Gao et al., B.1)
    outlier_factor: float | None = None  # drop rows this many times longer than the median one
    n_norm_batches: int = 10  # read, not trained on, for norm and mean; as many again for the cut
    mean_bias: bool = True  # start where means need not be learnt: see Trainer.start_at_means
    record_every: int = 50  # steps between two lines of the log
    checkpoint_every: int = 0  # steps between two checkpoints; 0: only after the last
    label: str = "training SAE"  # the progress bar's name

    def __post_init__(self) -> None:
        require_choices(self, schedule=Schedule)
        require_counts(self, 1, "n_steps", "k_start", "dead_window", "aux_k", "record_every")
        require_counts(self, 0, "warmup_steps", "decay_steps", "sparsity_warmup")
        require_counts(self, 0, "n_norm_batches", "checkpoint_every")
        require_numbers(self, "beta1", "beta2", "aux_coefficient")
        require_numbers(self, "lr", "clip", "outlier_factor", positive=True)
        if max(self.beta1, self.beta2) >= 1:
            raise ValueError(f"beta1 = {self.beta1} and beta2 = {self.beta2} must be below 1")
        if self.warmup_steps + self.decay_steps > self.n_steps:
            raise ValueError(
                f"warmup_steps = {self.warmup_steps} and decay_steps = {self.decay_steps} overlap "
                f"in {self.n_steps} steps"
            )


def l1_coefficient(
    value: float,
    d_out: int,
    mse: Literal["mean", "sum"] = "mean",
    input_scale: float = 1.0,
) -> float:
    """The coefficient with the same optimum here, for one quoted elsewhere.

    A loss with the squared error averaged over d_out is ours divided by d_out, so its coefficient
    grows by d_out. Multiplying inputs by s multiplies the squared error by s^2 and activations by
    s, so the coefficient grows by s = `input_scale` = (norm trained at here) / (norm there).
    """
    return value * (d_out if mse == "mean" else 1) * input_scale
