"""One training loop for everything that is trained here: gradient, update, record.

`fit` minimises any loss with autograd and fused Adam; `utils.toy.train_toy_fast` hands the same
loop a gradient written by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.progress import track

Schedule = Literal["constant", "linear", "cosine"]
Params = dict[str, Tensor]
Hook = Callable[[int, Params, torch.optim.Adam], None]


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train, and what to keep."""

    n_steps: int = 10_000  # five features in two dimensions settle by then at p = 0.01
    batch: int = 1024  # rows drawn afresh at every step
    lr: float = 1e-3  # Adam's step size at the start
    schedule: Schedule = "constant"  # linear and cosine fall to 0: less noise in the last weights
    n_frames: int = 0  # snapshots of the parameters, the first before step 1, the last after all
    record_every: int = 100  # steps between two recorded losses
    label: str = "training"  # the progress bar's name


@dataclass(frozen=True)
class Run:
    """What a training run leaves behind: copies, never views of live weights."""

    params: Params
    losses: Float[Tensor, "record inst"]  # on the batch of that step; one column if one number
    losses_step: Int[Tensor, " record"]  # steps taken before that batch
    frames: Params  # each with a leading axis "frame"
    frames_step: Int[Tensor, " frame"]  # steps taken before that snapshot


def learning_rate(cfg: TrainConfig, step: int) -> float:
    """Multiply lr by 1 (constant), 1 - t (linear) or (1 + cos(pi t))/2 at t = step / n_steps."""
    t = step / cfg.n_steps
    factor = {"constant": 1.0, "linear": 1 - t, "cosine": 0.5 * (1 + float(np.cos(np.pi * t)))}
    return cfg.lr * factor[cfg.schedule]


def frame_steps(n_steps: int, n_frames: int) -> list[int]:
    """Steps of the snapshots: spaced as squares, since most of the motion comes early."""
    grid = np.linspace(0, 1, n_frames) if n_frames > 1 else np.ones(n_frames)
    return sorted({round(n_steps * t * t) for t in grid.tolist()})


def _copies(params: Params) -> Params:
    return {name: value.detach().clone() for name, value in params.items()}


def descend(
    params: Params,
    gradient: Callable[[bool], Tensor | None],
    update: Callable[[int, float], None],
    cfg: TrainConfig,
) -> Run:
    """Train `params` in place and record.

    `gradient(wanted)` draws a batch, writes the gradients where `update(step, lr)` will read
    them, and returns the loss (one number, or one per instance) if it is wanted.
    """
    keep = set(frame_steps(cfg.n_steps, cfg.n_frames))
    frames = {0: _copies(params)} if 0 in keep else {}
    losses: dict[int, Tensor] = {}
    for step in track(range(cfg.n_steps), cfg.label):
        wanted = step % cfg.record_every == 0
        loss = gradient(wanted)
        if wanted and loss is not None:
            losses[step] = loss.detach().clone().reshape(-1)
        update(step, learning_rate(cfg, step))
        if step + 1 in keep:
            frames[step + 1] = _copies(params)
    last = _copies(params)
    return Run(
        params=last,
        losses=torch.stack([*losses.values()]),
        losses_step=torch.tensor([*losses]),
        frames={
            name: torch.stack([frame[name] for frame in frames.values()])
            if frames
            else value.new_empty(0, *value.shape)
            for name, value in last.items()
        },
        frames_step=torch.tensor([*frames], dtype=torch.int64),
    )


def fit(
    params: Params,
    loss: Callable[[Params, Tensor], Tensor],
    sample: Callable[[torch.Generator], Tensor],
    cfg: TrainConfig,
    gen: torch.Generator,
    before_step: Hook | None = None,
    after_step: Hook | None = None,
) -> Run:
    """Minimise `loss(params, sample(gen))` with Adam; `params` are copied, not changed.

    A loss with one value per instance is summed for the gradient and recorded per instance.
    The hooks get (step, live parameters, optimiser) without autograd, before and after each
    update, and may change gradients, parameters and Adam's moments in place.
    """
    live = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
    optimiser = torch.optim.Adam(live.values(), lr=cfg.lr, fused=True)

    def gradient(wanted: bool) -> Tensor | None:
        optimiser.zero_grad()
        value = loss(live, sample(gen))
        value.sum().backward()
        return value

    @torch.no_grad()
    def update(step: int, lr: float) -> None:
        optimiser.param_groups[0]["lr"] = lr
        if before_step is not None:
            before_step(step, live, optimiser)
        optimiser.step()
        if after_step is not None:
            after_step(step, live, optimiser)

    return descend(live, gradient, update, cfg)


class FlatAdam:
    """Adam (Kingma & Ba 2014, algorithm 1) on one tensor, in six in-place operations.

    On a CPU a call of torch's fused Adam costs 30 us whatever the size, this one 12 us: for a toy
    model of 120 numbers that is a tenth of a step. Large parameters belong in `fit`.
    """

    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def __init__(self, theta: Tensor) -> None:
        self.theta = theta
        self.mean, self.square = torch.zeros_like(theta), torch.zeros_like(theta)
        self.scratch = torch.empty_like(theta)
        self.n_steps = 0

    def step(self, grad: Tensor, lr: float) -> None:
        """theta -= lr * m_hat / (sqrt(v_hat) + eps)."""
        self.n_steps += 1
        unbias1 = 1 - self.beta1**self.n_steps
        unbias2 = (1 - self.beta2**self.n_steps) ** 0.5
        self.mean.lerp_(grad, 1 - self.beta1)
        self.square.mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        # m_hat / (sqrt(v_hat) + eps) = (m / unbias1) unbias2 / (sqrt(v) + eps unbias2)
        torch.sqrt(self.square, out=self.scratch).add_(self.eps * unbias2)
        self.theta.addcdiv_(self.mean, self.scratch, value=-lr * unbias2 / unbias1)
