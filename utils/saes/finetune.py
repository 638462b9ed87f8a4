"""A last, short stage of training on what the model makes of the output.

The squared error counts every direction of the output alike; the model does not. This stage adds
the divergence of the model's predictions with the coder in place from those without it, in equal
parts (Karvonen 2025, arXiv 2503.17272):

    loss = mse + kl · (mse / kl, no gradient)       kl = KL(clean || spliced) per prediction

Which latents are active is decided as before: by the k largest scores, or by the threshold.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.corpus import Rows, counted, predicting
from utils.models.loaded import check_edits, check_hooks
from utils.progress import track
from utils.saes.coder import SparseCoder, centre, decoder_norms
from utils.saes.config import require_counts, require_numbers
from utils.saes.normalise import scaled_rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class FinetuneConfig:
    """How long and how fast; one pass over the rows."""

    lr: float = 1e-4  # of Adam, falling linearly to 0
    batch_rows: int = 8
    clip: float = 1.0  # longest gradient
    skip_first: int = 1  # positions that are not replaced
    bfloat16: bool = False  # what the model computes in; the coder always computes in float32
    label: str = "fine-tuning on KL"

    def __post_init__(self) -> None:
        require_counts(self, 1, "batch_rows")
        require_counts(self, 0, "skip_first")
        require_numbers(self, "lr", "clip", positive=True)


@dataclass
class Step:
    """What a forward pass with the coder in place leaves for the loss."""

    coder: SparseCoder
    keep: Bool[Tensor, "row pos"]
    x: Tensor | None = None
    error: Float[Tensor, ""] | None = None  # squared, per row, in the units of training

    def read(self, value: Tensor, hook: Any) -> None:
        """At the hook that the coder reads."""
        self.x = value.detach()

    def write(self, value: Tensor, hook: Any) -> Tensor:
        """At the hook that it writes: replace what counts, and measure the error there."""
        x = value if self.x is None else self.x
        rows, target = (t.detach().flatten(2)[self.keep].float() for t in (x, value))
        with torch.autocast(rows.device.type, enabled=False):
            out = differentiable(self.coder, rows)
        self.error = ((out - target) / units(self.coder, rows)).square().sum(dim=1).mean()
        flat = value.detach().flatten(2).clone()
        flat[self.keep] = out.to(flat.dtype)
        return flat.view_as(value)


def differentiable(coder: SparseCoder, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_out"]:
    """`reconstruct` with a gradient, for the TopK family."""
    p, cfg = coder.params, coder.cfg
    scaled = scaled_rows(cfg, x, coder.scale_in)[0]
    pre = centre(coder, scaled) @ p["encoder"].T + p["b_enc"]
    score = (pre * decoder_norms(coder)).detach()
    if cfg.architecture == "topk":
        least = score.topk(cfg.k, dim=1).values[:, -1:]
        active = score >= least
    else:
        active = score > coder.cut
    out = torch.where(active, pre.relu(), 0) @ p["W_dec"] + p["b_dec"]
    if "W_skip" in p:
        out = out + scaled @ p["W_skip"].T
    return out * units(coder, x)


def units(coder: SparseCoder, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row 1"] | float:
    """How long a row of the output is that training saw at length 1; `x` are raw inputs."""
    if coder.cfg.kind == "sae":
        return scaled_rows(coder.cfg, x, coder.scale_in)[1]
    return 1 / coder.scale_out


def finetune_coder(
    model: "TransformerBridge",
    coder: SparseCoder,
    hooks: tuple[str, str],
    rows: Rows,
    cfg: FinetuneConfig | None = None,
) -> SparseCoder:
    """Train a copy of `coder` further, on (where it reads, where it writes) of a frozen model.

    Raises ValueError for architectures outside the TopK family.
    """
    cfg = cfg or FinetuneConfig()
    if coder.cfg.architecture not in ("topk", "batchtopk"):
        raise ValueError(f"fine-tuning is for topk and batchtopk, not for {coder.cfg.architecture}")
    check_hooks(model, [hooks[0]])
    check_edits(model, [hooks[1]])
    params = {n: v.detach().clone().requires_grad_() for n, v in coder.params.items()}
    live = replace(coder, params=params)
    optimiser = torch.optim.Adam(params.values(), lr=cfg.lr)
    starts = range(0, len(rows), cfg.batch_rows)
    for n, i in enumerate(track(starts, cfg.label)):
        part = slice(i, i + cfg.batch_rows)
        ids, mask = rows.ids[part].to(coder.device), rows.mask[part].to(coder.device)
        loss = finetune_loss(model, live, hooks, ids, mask, cfg)
        optimiser.param_groups[0]["lr"] = cfg.lr * (1 - n / len(starts))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), cfg.clip)
        optimiser.step()
    return replace(coder, params={n: v.detach() for n, v in params.items()})


def finetune_loss(
    model: "TransformerBridge",
    coder: SparseCoder,
    hooks: tuple[str, str],
    ids: Int[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
    cfg: FinetuneConfig,
) -> Float[Tensor, ""]:
    """Squared error plus divergence, scaled to the same size."""
    keep, where = counted(mask, cfg.skip_first), predicting(mask, cfg.skip_first)
    step = Step(coder, keep)
    taps: list[tuple[Any, Any]] = [(hooks[1], step.write)]
    if hooks[0] != hooks[1]:
        taps.insert(0, (hooks[0], step.read))
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=cfg.bfloat16):
        with torch.no_grad():
            clean = model.run_with_hooks(ids, fwd_hooks=[])[:, :-1][where]
        spliced = model.run_with_hooks(ids, fwd_hooks=taps)[:, :-1][where]
    clean, spliced = clean.float().log_softmax(dim=-1), spliced.float().log_softmax(dim=-1)
    kl = (clean.exp() * (clean - spliced)).sum(dim=1).mean()
    assert step.error is not None
    return step.error + kl * (step.error / kl.clamp(min=1e-8)).detach()
