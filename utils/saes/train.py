"""The training loop: batch, gradient, update, record; it resumes where a checkpoint left off."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.progress import track
from utils.saes.aux import Firing, add_dead_latents_loss
from utils.saes.checkpoint import VERSION, load_checkpoint, not_finite, save_checkpoint
from utils.saes.coder import Params, SparseCoder, calibrate_cut
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.feed import Feed, Pair
from utils.saes.gradients import Batch, Pass, Workspace, loss_and_gradient
from utils.saes.normalise import average_norm_scale, outlier_mask, scaled_rows
from utils.saes.records import Metrics, RecordConfig, Recorder
from utils.saes.schedules import active_latents, learning_rate, sparsity_weight

EDGE_MEMORY = 0.9  # of the running threshold: about ten batches, the weights hardly move in them
MOST_OUTLIERS = 100  # batches of nothing else, before the run is given up


@dataclass(frozen=True)
class TrainedCoder:
    """What a run leaves behind."""

    coder: SparseCoder
    records: list[Metrics]  # the lines of the log
    rows_since: Tensor  # per latent, rows since its last activation


class Trainer:
    """A run's moving parts: the live weights, Adam, what fired when, where the data is."""

    def __init__(
        self, coder: SparseCoder, data: Iterable[Tensor] | Iterable[Pair], cfg: SAETrainConfig
    ) -> None:
        live = {name: value.detach().clone() for name, value in coder.params.items()}
        self.coder, self.cfg = replace(coder, params=live, cut=coder.cut.clone()), cfg
        betas = (cfg.beta1, cfg.beta2)
        self.optimiser = torch.optim.Adam(live.values(), lr=cfg.lr, betas=betas, fused=True)
        since = torch.zeros(coder.cfg.latent, dtype=torch.int64, device=coder.device)
        self.firing = Firing(since)
        self.feed = Feed(data, coder.cfg, coder.device)
        self.n_steps = 0  # taken so far
        self.work = Workspace()
        self.longest: float | None = None  # raw rows longer than this are outliers

    def first_batches(self) -> list[Pair]:
        """Read what `prepare` looks at; nothing where the settings need nothing."""
        sae, cfg = self.coder.cfg, self.cfg
        wanted = cfg.mean_bias or cfg.outlier_factor is not None or sae.normalise == "average_norm"
        if not wanted:
            return []
        if cfg.n_norm_batches < 1:
            raise ValueError("n_norm_batches = 0, but average norm, mean or outliers need some")
        return [next(self.feed) for _ in range(cfg.n_norm_batches)]

    def prepare(self, pairs: list[Pair] | None = None) -> None:
        """Take scales, the outliers' limit and the targets' mean from the first batches."""
        sae, cfg = self.coder.cfg, self.cfg
        pairs = self.first_batches() if pairs is None else pairs
        if not pairs:
            return
        if cfg.outlier_factor is not None:
            lengths = torch.cat([x.norm(dim=1) for x, _ in pairs])
            # the median: a mean would follow the outliers that it is to find
            self.longest = cfg.outlier_factor * float(lengths.median())
        x, y = (torch.cat(side) for side in zip(*map(self.kept, pairs), strict=True))
        if sae.normalise == "average_norm":
            scale_in = average_norm_scale(x)
            scale_out = scale_in if sae.kind == "sae" else average_norm_scale(y)
            self.coder = replace(self.coder, scale_in=scale_in, scale_out=scale_out)
        if cfg.mean_bias:
            self.start_at_means(x, y)
        scales = torch.tensor([self.coder.scale_in, self.coder.scale_out, self.longest or 0.0])
        if not_finite({**self.coder.params, "scales": scales}):
            raise FloatingPointError(
                f"the {cfg.n_norm_batches} batches read before step 1 hold NaN or infinity, or "
                "only zeros: mend the data, and run it again"
            )

    def start_at_means(self, x: Float[Tensor, "row d_in"], y: Float[Tensor, "row d_out"]) -> None:
        """Set b_dec to the targets' mean, and let latents begin with pre-activations of mean 0.

        Subtracting b_dec does that in an SAE. A transcoder subtracts nothing from its input, so
        the latents' biases begin by taking its mean off.
        """
        sae, params = self.coder.cfg, self.coder.params
        params["b_dec"].copy_(scaled_rows(sae, y, self.coder.scale_out)[0].mean(0))
        if not sae.centred:
            offset = params["encoder"] @ scaled_rows(sae, x, self.coder.scale_in)[0].mean(0)
            for name in params.keys() & {"b_enc", "b_gate", "b_mag"}:
                params[name] -= offset

    def kept(self, pair: Pair) -> Pair:
        """The pair without its outliers."""
        x, y = pair
        mask = outlier_mask(x, self.longest)
        return pair if mask is None else (x[mask], y[mask])

    def drawn(self) -> Pair:
        """The next pair of which something is kept."""
        for _ in range(MOST_OUTLIERS):
            x, y = self.kept(next(self.feed))
            if len(x):
                return x, y
        raise ValueError(f"{MOST_OUTLIERS} batches held outliers only: raise outlier_factor")

    def batch(self) -> Batch:
        """Draw and normalise a batch."""
        sae, (x, y) = self.coder.cfg, self.drawn()
        scaled = scaled_rows(sae, x, self.coder.scale_in)[0]
        target = scaled if sae.kind == "sae" else scaled_rows(sae, y, self.coder.scale_out)[0]
        weight = sparsity_weight(sae, self.cfg, self.n_steps)
        k = active_latents(sae, self.cfg, self.n_steps)
        return Batch(scaled, target, weight, k, self.work)

    @torch.no_grad()
    def step(self) -> tuple[Batch, Pass]:
        """One batch: loss, gradient, update."""
        sae, cfg, batch = self.coder.cfg, self.cfg, self.batch()
        step = loss_and_gradient(self.coder, batch)
        if cfg.aux_coefficient:
            dead = self.firing.dead(cfg.dead_window).nonzero().squeeze(1)
            if len(dead):
                aux_k = cfg.aux_k or max(1, sae.d_in // 2)
                add_dead_latents_loss(self.coder, step, dead, cfg.aux_coefficient, aux_k)
        self.update(batch, step)
        self.firing.update(step.fired, len(batch.x))
        if step.edge is not None:
            self.average_edge(step.edge)
        self.n_steps += 1
        return batch, step

    def require_finite(self, batch: Batch, step: Pass, length: Float[Tensor, ""]) -> None:
        """Raise FloatingPointError if a step would spoil the weights; `length`: its gradient's."""
        loss = float(sum(step.losses.values()))
        if math.isfinite(loss) and math.isfinite(length):
            return
        rows = (batch.x, batch.y)
        if all(bool(x.isfinite().all()) for x in rows):
            cure = (
                f"the batch is finite, so the run diverged: take a smaller lr (it is "
                f"{self.cfg.lr:g}) or a longer warm-up, and begin anew"
            )
        else:
            cure = "the batch holds NaN or infinity: mend the data, and run it again"
        raise FloatingPointError(
            f"step {self.n_steps + 1}: the loss is {loss}, its gradient is {float(length)} long, "
            f"and the weights were left as they are after step {self.n_steps}; {cure}"
        )

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, for a checkpoint."""
        coder = self.coder
        return {
            "version": VERSION,
            "sae": asdict(coder.cfg),
            "train": asdict(self.cfg),
            "n_steps": self.n_steps,
            "params": coder.params,
            "cut": coder.cut,
            "scales": (coder.scale_in, coder.scale_out),
            "longest": self.longest,
            "optimiser": self.optimiser.state_dict(),
            "firing": (self.firing.rows_since, self.firing.n_rows),
            "feed": self.feed.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go where a trainer with the same settings was; the data must be the same, too."""
        for name, value in self.coder.params.items():
            value.copy_(state["params"][name])
        self.coder.cut.copy_(state["cut"])
        scale_in, scale_out = state["scales"]
        self.coder = replace(self.coder, scale_in=scale_in, scale_out=scale_out)
        self.optimiser.load_state_dict(state["optimiser"])
        self.firing.rows_since.copy_(state["firing"][0])
        self.firing.n_rows = state["firing"][1]
        self.n_steps, self.longest = state["n_steps"], state["longest"]
        self.feed.restore(state["feed"])

    def update(self, batch: Batch, step: Pass) -> None:
        """Clip, take Adam's step, and put constrained weights back in their set."""
        params, grads = self.coder.params, step.grads
        if self.coder.cfg.decoder_norm == "unit":
            drop_parallel_part(params, grads)
        length = clip(grads, self.cfg.clip)
        if not length.is_cuda:  # on a GPU asking would wait: `metrics` and checkpoints ask there
            self.require_finite(batch, step, length)
        for name, value in params.items():
            value.grad = grads[name]
        self.optimiser.param_groups[0]["lr"] = learning_rate(self.cfg, self.n_steps)
        self.optimiser.step()
        back_into_bounds(self.coder.cfg, params)

    def average_edge(self, edge: Float[Tensor, ""]) -> None:
        """Running average of the least positive score kept, equally right after few steps."""
        rate = max(1 - EDGE_MEMORY, 1 / (self.n_steps + 1))  # a plain mean over the first ten
        self.coder.cut.lerp_(edge.to(self.coder.cut.dtype), rate)

    def last_batches(self) -> list[Pair]:
        """Read what `finish` looks at."""
        if not needs_cut(self.coder.cfg):
            return []
        return [next(self.feed) for _ in range(max(1, self.cfg.n_norm_batches))]

    def finish(self, pairs: list[Pair] | None = None) -> None:
        """Estimate the threshold of the last weights on the last batches; warn of no effect."""
        pairs = self.last_batches() if pairs is None else pairs
        if pairs:
            calibrate_cut(self.coder, [self.kept(pair)[0] for pair in pairs])
        seen, window = self.firing.n_rows, self.cfg.dead_window
        if self.cfg.aux_coefficient and seen < window:
            warnings.warn(
                f"after {seen:,} rows no latent could count as dead, and none was revived: "
                f"dead_window is {window:,} rows",
                stacklevel=3,
            )

    def metrics(self, batch: Batch, step: Pass) -> Metrics:
        """What is recorded of a step; `dead` is null until as many rows were seen as it needs."""
        losses = {name: float(value) for name, value in step.losses.items()}
        spread = float((batch.y - batch.y.mean(0)).square().sum()) / len(batch.y)
        seen = self.firing.n_rows >= self.cfg.dead_window
        metrics: Metrics = {"step": self.n_steps, "rows": self.firing.n_rows}
        metrics |= {"loss": sum(losses.values())} | losses
        metrics["explained_variance"] = 1 - losses["mse"] / spread if spread else None
        metrics["l0"] = float(step.fired.sum()) / len(batch.x)
        metrics["dead"] = int(self.firing.dead(self.cfg.dead_window).sum()) if seen else None
        metrics["lr"] = learning_rate(self.cfg, self.n_steps - 1)
        if step.edge is not None:
            metrics["threshold"] = float(self.coder.cut)
        if not math.isfinite(metrics["loss"] or 0):  # on a GPU: elsewhere no such step is taken
            raise FloatingPointError(f"step {self.n_steps}: the loss is {metrics['loss']}")
        return metrics


def drop_parallel_part(params: Params, grads: Params) -> None:
    """Take off what would only change the norms of W_dec's rows; stacked coders, too."""
    along = (grads["W_dec"] * params["W_dec"]).sum(-1, keepdim=True)
    grads["W_dec"].addcmul_(along, params["W_dec"], value=-1)


def back_into_bounds(cfg: SAEConfig, params: Params) -> None:
    """Thresholds are not negative, rows of W_dec have norm 1 if so asked; stacked coders, too."""
    if "threshold" in params:
        params["threshold"].clamp_(min=0)
    if cfg.decoder_norm == "unit":
        params["W_dec"].div_(params["W_dec"].norm(dim=-1, keepdim=True).clamp(min=1e-8))


def clip(grads: Params, longest: float | None) -> Float[Tensor, ""]:
    """Scale the whole gradient down to length `longest`, as clip_grad_norm_ does; what it was."""
    length = torch.stack([grad.norm() for grad in grads.values()]).norm()
    if longest is None:
        return length
    factor = (longest / (length + 1e-6)).clamp(max=1)
    if factor.is_cuda or factor < 1:  # on a GPU asking would wait
        for grad in grads.values():
            grad.mul_(factor)
    return length


def train_coder(
    coder: SparseCoder,
    data: Iterable[Tensor] | Iterable[Pair],
    cfg: SAETrainConfig,
    records: RecordConfig | None = None,
    checkpoint: Path | None = None,
) -> TrainedCoder:
    """Train a copy of `coder` on batches of rows (an SAE) or pairs of rows (a transcoder).

    With a path, a checkpoint is written to it, and a run that finds one there goes on from it, to
    the same weights as one that was never interrupted. Raises ValueError if that checkpoint is of
    another run. Raises FloatingPointError before a step that is not finite; the checkpoint is then
    that of an earlier, finite step, from which the same call goes on once the data is mended.
    """
    trainer = Trainer(coder, data, cfg)
    state = checkpoint and load_checkpoint(checkpoint, coder.cfg, cfg, coder.device)
    if state:
        trainer.restore(state)
    else:
        trainer.prepare()
    run_config = {"sae": asdict(coder.cfg), "train": asdict(cfg)}
    recorder = Recorder(records or RecordConfig(), run_config, trainer.n_steps)
    try:
        for _ in track(range(trainer.n_steps, cfg.n_steps), cfg.label):
            batch, step = trainer.step()
            done = trainer.n_steps == cfg.n_steps
            if trainer.n_steps % cfg.record_every == 0 or done:
                recorder.write(trainer.metrics(batch, step))
            every = cfg.checkpoint_every
            if checkpoint is not None and (done or (every and trainer.n_steps % every == 0)):
                save_checkpoint(checkpoint, trainer.state())
    finally:
        recorder.close()
    trainer.finish()
    return TrainedCoder(trainer.coder, recorder.records, trainer.firing.rows_since)


def needs_cut(cfg: SAEConfig) -> bool:
    """Whether activations outside training need an estimated threshold."""
    return cfg.architecture in ("batchtopk", "matryoshka")
