"""Many small coders trained at once: what a sweep needs on one device.

A small SAE's step is mostly the fixed cost of its operations, so coders that differ in k, in
sparsity or in their seed, but not in size, share them: weights have a leading axis `inst`, every
coder reads the same batch, and each ends up where `train_coder` would have brought it, up to
rounding. Products are dense here, so a large SAE is better trained alone (gradients.py skips what
is not active).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.progress import track
from utils.saes.aux import Firing, add_dead_latents_loss
from utils.saes.checkpoint import VERSION, require_same, save_checkpoint
from utils.saes.coder import Params, SparseCoder
from utils.saes.config import SAETrainConfig
from utils.saes.feed import Pair
from utils.saes.gradients import Batch, Pass
from utils.saes.records import RecordConfig, Recorder
from utils.saes.schedules import active_latents, learning_rate, sparsity_weight
from utils.saes.train import TrainedCoder, Trainer, back_into_bounds, drop_parallel_part

STACKABLE = ("relu", "jumprelu", "topk", "batchtopk")
MAY_DIFFER = ("k", "sparsity", "threshold")  # fields of SAEConfig


@dataclass
class Stacked:
    """What one step of all coders computed."""

    mse: Float[Tensor, " inst"]
    penalty: Float[Tensor, " inst"]
    grads: Params
    fired: Float[Tensor, "inst latent"]
    x_c: Float[Tensor, "inst batch d_in"]
    error: Float[Tensor, "inst batch d_out"]
    edge: Float[Tensor, " inst"] | None = None
    aux: dict[int, Tensor] = field(default_factory=dict)  # of coders with dead latents


def require_stackable(coders: Sequence[SparseCoder]) -> None:
    """Raise ValueError unless the coders differ in what a stack may hold apart, and no more."""
    if not coders:
        raise ValueError("a stack needs at least one coder")
    first = coders[0].cfg
    if first.architecture not in STACKABLE:
        raise ValueError(
            f"a stack trains {', '.join(STACKABLE)}, not {first.architecture}: use train_coder"
        )
    for coder in coders[1:]:
        one, other = asdict(first), asdict(coder.cfg)
        differ = [name for name in one if name not in MAY_DIFFER and one[name] != other[name]]
        if differ:
            raise ValueError(
                f"coders of one stack differ in {', '.join(differ)}: put them into stacks of their "
                "own (utils.saes.sweep does)"
            )


class Stack:
    """Trainers whose weights are rows of the same tensors, so that one step moves them all."""

    def __init__(
        self,
        coders: Sequence[SparseCoder],
        data: Iterable[Tensor] | Iterable[Pair],
        cfg: SAETrainConfig,
    ) -> None:
        require_stackable(coders)
        self.cfg, self.sae = cfg, coders[0].cfg
        self.runs = [Trainer(coder, data, cfg) for coder in coders]
        self.lead = self.runs[0]  # it alone draws batches
        self.params: Params = {}
        self.share()

    def share(self) -> None:
        """Stack the trainers' weights, and make each trainer's a view of them."""
        names = self.lead.coder.params
        self.params = {
            name: torch.stack([run.coder.params[name] for run in self.runs]) for name in names
        }
        since = torch.stack([run.firing.rows_since for run in self.runs])
        self.firing = Firing(since, self.lead.firing.n_rows)
        for i, run in enumerate(self.runs):
            views = {name: value[i] for name, value in self.params.items()}
            run.coder = replace(run.coder, params=views)
            run.firing = Firing(since[i], self.firing.n_rows)
        betas = (self.cfg.beta1, self.cfg.beta2)
        values = self.params.values()
        self.optimiser = torch.optim.Adam(values, lr=self.cfg.lr, betas=betas, fused=True)

    def prepare(self) -> None:
        """As a trainer does: every coder from the same first batches."""
        pairs = self.lead.first_batches()
        for run in self.runs:
            run.prepare(pairs)

    @torch.no_grad()
    def step(self) -> tuple[Batch, Stacked]:
        """One batch for all: losses, gradients, updates."""
        cfg, batch, n_steps = self.cfg, self.lead.batch(), self.lead.n_steps
        params = self.params
        k = [active_latents(run.coder.cfg, cfg, n_steps) for run in self.runs]
        weight = [sparsity_weight(run.coder.cfg, cfg, n_steps) for run in self.runs]
        step = _step(self.lead.coder, params, batch, k, batch.x.new_tensor(weight))
        if cfg.aux_coefficient:
            self.revive(step)
        if self.sae.decoder_norm == "unit":
            drop_parallel_part(params, step.grads)
        length = clip_each(step.grads, cfg.clip)
        self.require_finite(batch, step, length)
        for name, value in params.items():
            value.grad = step.grads[name]
        self.optimiser.param_groups[0]["lr"] = learning_rate(cfg, n_steps)
        self.optimiser.step()
        back_into_bounds(self.sae, params)
        self.firing.update(step.fired, len(batch.x))
        for i, run in enumerate(self.runs):
            run.firing.n_rows = self.firing.n_rows
            if step.edge is not None and bool(step.edge[i].isfinite()):  # else nothing was active
                run.average_edge(step.edge[i])
            run.n_steps += 1
        return batch, step

    def revive(self, step: Stacked) -> None:
        """Add the dead latents' loss, coder by coder: few have any."""
        dead = self.firing.dead(self.cfg.dead_window)
        for i in dead.any(dim=1).nonzero().flatten().tolist():
            one, coder = self.one(step, i), self.runs[i].coder
            aux_k = self.cfg.aux_k or max(1, self.sae.d_in // 2)
            which = dead[i].nonzero().squeeze(1)
            add_dead_latents_loss(coder, one, which, self.cfg.aux_coefficient, aux_k)
            step.aux[i] = one.losses["aux"]
            for name, grad in one.grads.items():
                step.grads[name][i] = grad

    def one(self, step: Stacked, i: int) -> Pass:
        """The step of one coder, as its trainer knows it."""
        losses = {"mse": step.mse[i]}
        if self.sae.architecture in ("relu", "jumprelu"):
            losses["l1_loss" if self.sae.architecture == "relu" else "l0_loss"] = step.penalty[i]
        if i in step.aux:
            losses["aux"] = step.aux[i]
        grads = {name: grad[i] for name, grad in step.grads.items()}
        edge = None if step.edge is None else step.edge[i]
        return Pass(losses, grads, step.fired[i], step.x_c[i], step.error[i], edge)

    def require_finite(self, batch: Batch, step: Stacked, length: Float[Tensor, " inst"]) -> None:
        """Raise FloatingPointError if a step would spoil the weights of any coder."""
        good = (step.mse + step.penalty).isfinite() & length.isfinite()
        if not bool(good.all()):
            i = int((~good).nonzero()[0])
            self.runs[i].require_finite(batch, self.one(step, i), length[i])

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, for a checkpoint."""
        return {
            "version": VERSION,
            "coders": [asdict(run.coder.cfg) for run in self.runs],
            "train": asdict(self.cfg),
            "n_steps": self.lead.n_steps,
            "params": self.params,
            "cuts": [run.coder.cut for run in self.runs],
            "scales": (self.lead.coder.scale_in, self.lead.coder.scale_out),
            "longest": self.lead.longest,
            "optimiser": self.optimiser.state_dict(),
            "firing": (self.firing.rows_since, self.firing.n_rows),
            "feed": self.lead.feed.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go where a stack with the same settings was."""
        for name, value in self.params.items():
            value.copy_(state["params"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.firing.rows_since.copy_(state["firing"][0])
        self.firing.n_rows = state["firing"][1]
        scale_in, scale_out = state["scales"]
        for run, cut in zip(self.runs, state["cuts"], strict=True):
            run.coder.cut.copy_(cut)
            run.coder = replace(run.coder, scale_in=scale_in, scale_out=scale_out)
            run.n_steps, run.longest = state["n_steps"], state["longest"]
            run.firing.n_rows = self.firing.n_rows
        self.lead.feed.restore(state["feed"])

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint if there is one; ValueError if it is of another stack."""
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.lead.coder.device, weights_only=True)
        if len(state["coders"]) != len(self.runs):
            raise ValueError(
                f"{path} is of a stack of {len(state['coders'])} coders, not of {len(self.runs)}: "
                "remove it, or train what it was written for"
            )
        for run, sae in zip(self.runs, state["coders"], strict=True):
            require_same(path, state | {"sae": sae}, run.coder.cfg, self.cfg)
        self.restore(state)
        return True


def _step(
    lead: SparseCoder, params: Params, batch: Batch, k: list[int], weight: Float[Tensor, " inst"]
) -> Stacked:
    """Losses and gradients of all coders; the formulas are those of gradients.py."""
    cfg, n, W_dec = lead.cfg, len(batch.x), params["W_dec"]
    x_c = batch.x - params["b_dec"][:, None] if cfg.centred else batch.x.expand(len(k), -1, -1)
    pre = torch.baddbmm(params["b_enc"][:, None], x_c, params["encoder"].mT)
    norms = W_dec.norm(dim=-1).clamp(min=1e-8)
    if cfg.decoder_norm == "unit":
        norms = torch.ones_like(norms)
    active, edge = _active(cfg.architecture, params, pre, norms, k)
    on = active.to(pre.dtype)  # several times as fast as torch.where with a number
    a = pre * on
    error = torch.baddbmm(params["b_dec"][:, None] - batch.y, a, W_dec)
    if "W_skip" in params:
        error = error + batch.x @ params["W_skip"].mT
    err = error * (2 / n)
    # half precision would stop counting at 256
    exact = torch.promote_types(on.dtype, torch.float32)
    flow, fired = err @ W_dec.mT, on.sum(dim=1, dtype=exact)
    slope, penalty = (weight / n)[:, None], torch.zeros_like(weight)
    if cfg.architecture == "relu":
        flow = flow + (slope * norms)[:, None]
        penalty = (slope * norms * a.sum(dim=1)).sum(dim=1)
    g = flow * on
    g_sum = g.sum(dim=1)
    grads = {"encoder": g.mT @ x_c, "W_dec": a.mT @ err, "b_enc": g_sum, "b_dec": err.sum(dim=1)}
    if cfg.architecture == "relu":
        grads["W_dec"] += W_dec * (slope * a.sum(dim=1) / norms)[..., None]
    if cfg.centred:
        grads["b_dec"] -= (g_sum[:, None] @ params["encoder"])[:, 0]
    if "W_skip" in params:
        grads["W_skip"] = err.mT @ batch.x
    if cfg.architecture == "jumprelu":
        theta, width = params["threshold"][:, None], cfg.bandwidth
        near = ((pre - theta) / width).abs() < 0.5
        pull = torch.where(near, -(theta * flow + slope[:, None]) / width, 0)
        grads["threshold"], penalty = pull.sum(dim=1), slope[:, 0] * fired.sum(dim=1)
    mse = error.square().sum(dim=(1, 2)) / n
    return Stacked(mse, penalty, grads, fired, x_c, error, edge)


def _active(
    architecture: str,
    params: Params,
    pre: Float[Tensor, "inst batch latent"],
    norms: Float[Tensor, "inst latent"],
    k: list[int],
) -> tuple[Bool[Tensor, "inst batch latent"], Float[Tensor, " inst"] | None]:
    """Which latents are on; for batchtopk also the least positive score that was kept."""
    if architecture == "relu":
        return pre > 0, None
    if architecture == "jumprelu":
        return pre > params["threshold"][:, None], None
    scores = pre * norms[:, None]
    if architecture == "topk":
        return _largest(scores, k), None
    kept = _largest(scores.flatten(1), [n * pre.shape[1] for n in k])
    edge = torch.where(kept, scores.flatten(1), math.inf).amin(dim=1)
    return kept.view_as(pre), edge


HALF = (torch.bfloat16, torch.float16)  # NumPy has no bfloat16


def _largest(scores: Float[Tensor, "inst *row item"], k: list[int]) -> Bool[Tensor, "..."]:
    """The k largest positive ones along the last axis; k is the coder's own."""
    most, kept = scores.shape[-1], scores > 0
    if scores.is_cuda:
        values, where = scores.topk(min(max(k), most), dim=-1)
        own = torch.tensor(k, device=scores.device).view(-1, *[1] * (scores.ndim - 1))
        few = torch.arange(values.shape[-1], device=scores.device) < own
        return torch.zeros_like(kept).scatter_(-1, where, few.expand_as(where)) & kept
    for one in {n for n in k if n < most}:
        mine = [i for i, n in enumerate(k) if n == one]
        found = scores[mine].float().numpy() if scores.dtype in HALF else scores[mine].numpy()
        edge = torch.from_numpy(np.partition(found, most - one)[..., most - one, None])
        kept[mine] &= scores[mine] >= edge
        if int(kept[mine].sum(dim=-1).amax()) > one:  # equal scores at the edge: exactly k of them
            where = scores[mine].topk(one).indices
            kept[mine] &= torch.zeros_like(kept[mine]).scatter_(-1, where, True)
    return kept


def clip_each(grads: Params, longest: float | None) -> Float[Tensor, " inst"]:
    """Scale each coder's whole gradient down to length `longest`; what the lengths were."""
    squares = [grad.flatten(1).square().sum(dim=1) for grad in grads.values()]
    length = torch.stack(squares).sum(dim=0).sqrt()
    if longest is not None:
        factor = (longest / (length + 1e-6)).clamp(max=1)
        for grad in grads.values():
            grad.mul_(factor.view(-1, *[1] * (grad.ndim - 1)))
    return length


def train_stack(
    coders: Sequence[SparseCoder],
    data: Iterable[Tensor] | Iterable[Pair],
    cfg: SAETrainConfig,
    records: Sequence[RecordConfig] = (),
    checkpoint: Path | None = None,
) -> list[TrainedCoder]:
    """Train copies of coders that differ in k, sparsity or seed, on the same batches, at once.

    Each result is `train_coder`'s up to rounding; records, checkpoints and errors are as there.
    """
    stack = Stack(coders, data, cfg)
    if checkpoint is None or not stack.load(checkpoint):
        stack.prepare()
    lead, wanted = stack.lead, records or [RecordConfig()] * len(coders)
    configs = [{"sae": asdict(coder.cfg), "train": asdict(cfg)} for coder in coders]
    logs = [Recorder(one, c, lead.n_steps) for one, c in zip(wanted, configs, strict=True)]
    try:
        for _ in track(range(lead.n_steps, cfg.n_steps), cfg.label):
            batch, step = stack.step()
            done = lead.n_steps == cfg.n_steps
            if lead.n_steps % cfg.record_every == 0 or done:
                for i, (run, log) in enumerate(zip(stack.runs, logs, strict=True)):
                    log.write(run.metrics(batch, stack.one(step, i)))
            every = cfg.checkpoint_every
            if checkpoint is not None and (done or (every and lead.n_steps % every == 0)):
                save_checkpoint(checkpoint, stack.state())
    finally:
        for log in logs:
            log.close()
    last = lead.last_batches()
    for run in stack.runs:
        run.finish(last)
    ends = zip(stack.runs, logs, strict=True)
    return [TrainedCoder(run.coder, log.records, run.firing.rows_since) for run, log in ends]
