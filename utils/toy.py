"""A fast trainer for toy models of superposition: many instances at once, one random draw a batch.

The model is x_hat = ReLU(W^T W x + b); the loss is the squared error weighted by importance, mean
over batch and feature, summed over instances (TMS, section 2). `train_toy_fast` writes its gradient
out by hand; `fit` runs the same loop on any loss that autograd can differentiate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.training import FlatAdam, Run, TrainConfig, descend, fit

__all__ = [
    "Run",
    "SparseSampler",
    "ToyConfig",
    "ToyGradient",
    "ToyRun",
    "TrainConfig",
    "evaluate_toy",
    "expected_loss",
    "fit",
    "init_toy",
    "sample_sparse",
    "train_toy_fast",
]

CACHE_ENTRIES = 2**19  # of one buffer, 2 MB: larger ones leave the cache, smaller ones cost calls


@dataclass(frozen=True)
class ToyConfig:
    """Sizes of a stack of toy models."""

    inst: int = 8  # models trained side by side, they never interact
    feature: int = 5  # numbers to represent
    hidden: int = 2  # dimensions to represent them in


@dataclass(frozen=True)
class ToyRun:
    """A trained stack of toy models."""

    W: Float[Tensor, "inst hidden feature"]
    b: Float[Tensor, "inst feature"]
    losses: Float[Tensor, "record inst"]
    losses_step: Int[Tensor, " record"]
    frames_W: Float[Tensor, "frame inst hidden feature"]
    frames_b: Float[Tensor, "frame inst feature"]
    frames_step: Int[Tensor, " frame"]


def init_toy(
    cfg: ToyConfig,
    gen: torch.Generator,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[Float[Tensor, "inst hidden feature"], Float[Tensor, "inst feature"]]:
    """Draw W ~ N(0, 2 / (hidden + feature)) (Xavier) and b = 0; `gen` lives on `device`."""
    size = (cfg.inst, cfg.hidden, cfg.feature)
    scale = (2 / (cfg.hidden + cfg.feature)) ** 0.5
    W = torch.randn(size, generator=gen, device=device, dtype=dtype) * scale
    return W, torch.zeros(cfg.inst, cfg.feature, device=device, dtype=dtype)


class SparseSampler:
    """Fills buffers with sparse features from one random number per entry.

    With u uniform on (0, 1], the entry x = max(0, 1 - u/p) has the law we want from one draw:
    x > 0 exactly when u < p, which has probability p; and given u < p, u is uniform on (0, p),
    so u/p is uniform on (0, 1) and so is x. The mask and the magnitude are independent, as with
    two draws. p = 1 gives x = 1 - u; for p = 0 a huge finite slope stands in for 1/p, and
    x > 0 never happens, because u > 0.

    On a CPU u = (k + 1) / 2^32 with k 32 bits of SFC64 (seeded from `gen`), three times as fast
    as torch's own generator there; elsewhere u comes from `gen` itself.
    """

    def __init__(self, gen: torch.Generator) -> None:
        self.gen = gen
        self.bits: np.random.SFC64 | None = None
        self.one, self.least = 1.0, 2.0**-24  # u = 1 and the least u > 0 in a fresh buffer
        if gen.device.type == "cpu":
            self.bits = np.random.SFC64(torch.randint(2**62, (4,), generator=gen).tolist())
            self.one, self.least = 2.0**32, 1.0

    def line(
        self, probability: Float[Tensor, "inst feature"]
    ) -> tuple[Float[Tensor, "inst feature 1"], Float[Tensor, "inst feature 1"]]:
        """Slope and offset of 1 - u/p as a function of what a fresh buffer holds."""
        slope = -1 / (self.one * probability.clamp(min=1e-20)).unsqueeze(-1)
        return slope, 1 + slope * self.least

    def fill(
        self,
        x: Float[Tensor, "inst feature batch"],
        slope: Float[Tensor, "inst feature 1"],
        offset: Float[Tensor, "inst feature 1"],
    ) -> Float[Tensor, "inst feature batch"]:
        """Overwrite `x` with a new batch."""
        if self.bits is None:
            x.uniform_(generator=self.gen)
        else:
            words = self.bits.random_raw((x.numel() + 1) // 2)  # 64 bits: two entries
            x.copy_(torch.from_numpy(words).view(torch.uint32)[: x.numel()].view_as(x))
        return x.mul_(slope).add_(offset).clamp_(min=0)


def sample_sparse(
    probability: float | Float[Tensor, "#inst #feature"],
    inst: int,
    feature: int,
    batch: int,
    gen: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "batch inst feature"]:
    """One batch: each entry uniform on (0, 1) with its probability, else 0 (see SparseSampler)."""
    sampler = SparseSampler(gen)
    x = torch.empty(inst, feature, batch, dtype=dtype, device=gen.device)
    sampler.fill(x, *sampler.line(spread(probability, x[..., 0])))
    return x.permute(2, 0, 1).contiguous()


def spread(value: float | Tensor, like: Float[Tensor, "inst feature"]) -> Tensor:
    """`value` broadcast to one number per instance and feature."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).expand_as(like)


class Part(NamedTuple):
    """Some instances, with the buffers they share with the other parts."""

    W: Float[Tensor, "inst hidden feature"]
    b: Float[Tensor, "inst feature 1"]
    grad_W: Float[Tensor, "inst hidden feature"]
    grad_b: Float[Tensor, "inst feature"]
    scale: Float[Tensor, "inst feature 1"]
    slope: Float[Tensor, "inst feature 1"]
    offset: Float[Tensor, "inst feature 1"]
    x: Float[Tensor, "inst feature batch"]
    out: Float[Tensor, "inst feature batch"]
    error: Float[Tensor, "inst feature batch"]
    h: Float[Tensor, "inst hidden batch"]


class ToyGradient:
    """Loss and gradient of a stack of toy models, by hand, in preallocated buffers.

    With the batch as the last axis: h = W x, pre = W^T h + b, out = ReLU(pre), and
    g = (2 / (batch feature)) importance (out - x) [out > 0] is dLoss/dpre. W occurs twice:
    dLoss/dW = h g^T + (W g) x^T, dLoss/db = sum of g over the batch. `theta` and `grad` hold W
    and b one after the other, so that the optimiser sees one tensor. Instances go through in
    parts small enough for their buffers to stay in cache.
    """

    def __init__(
        self,
        W: Float[Tensor, "inst hidden feature"],
        b: Float[Tensor, "inst feature"],
        importance: float | Float[Tensor, "#inst #feature"],
        probability: float | Float[Tensor, "#inst #feature"],
        batch: int,
        gen: torch.Generator,
    ) -> None:
        self.sampler = SparseSampler(gen)
        self.theta = torch.cat([W.detach().flatten(), b.detach().flatten()])
        self.grad = torch.zeros_like(self.theta)
        self.W, self.b = (self.theta[: W.numel()].view_as(W), self.theta[W.numel() :].view_as(b))
        scale = spread(importance, b).unsqueeze(-1) * (2 / (batch * b.shape[1]))
        line = self.sampler.line(spread(probability, b))
        grads = (self.grad[: W.numel()].view_as(W), self.grad[W.numel() :].view_as(b))
        whole = (self.W, self.b.unsqueeze(-1), *grads, scale, *line)
        n_inst, n_hidden, n_feature = W.shape
        size = n_inst if W.is_cuda else max(1, CACHE_ENTRIES // (n_feature * batch))
        buffers = W.new_empty(3, min(size, n_inst), n_feature, batch)
        h = W.new_empty(min(size, n_inst), n_hidden, batch)
        self.parts = []
        for first in range(0, n_inst, size):
            rows = slice(first, first + size)
            n = min(size, n_inst - first)
            self.parts.append(Part(*(t[rows] for t in whole), *(t[:n] for t in (*buffers, h))))

    def __call__(self, wanted: bool) -> Float[Tensor, " inst"] | None:
        """Draw a batch, fill `grad`; return the loss per instance if it is wanted."""
        losses = [self._part(part, wanted) for part in self.parts]
        return torch.cat(losses) if wanted else None

    def _part(self, part: Part, wanted: bool) -> Float[Tensor, " inst"]:
        W, b, grad_W, grad_b, scale, slope, offset, x, out, error, h = part
        self.sampler.fill(x, slope, offset)
        torch.bmm(W, x, out=h)
        torch.baddbmm(b, W.mT, h, out=out).relu_()
        torch.sub(out, x, out=error)
        # scale / 2 is importance over batch times feature: this sum is the loss's mean
        loss = (error.square() * scale).sum(dim=(1, 2)) / 2 if wanted else grad_b
        active = out.sign_()  # 1 where the ReLU passes, else 0
        g = error.mul_(active).mul_(scale)
        torch.sum(g, dim=-1, out=grad_b)
        torch.bmm(h, g.mT, out=grad_W)
        grad_W.baddbmm_(torch.bmm(W, g, out=h), x.mT)
        return loss


def replayed(gradient: ToyGradient) -> Callable[[bool], Tensor | None]:
    """The gradient's kernels as one CUDA graph, so that none waits for its launch.

    Steps whose loss is wanted run kernel by kernel.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        gradient(False)  # libraries allocate their workspaces outside the graph
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(gradient.sampler.gen)  # else every replay draws one batch
    with torch.cuda.graph(graph):
        gradient(False)
    return lambda wanted: gradient(True) if wanted else graph.replay()


def train_toy_fast(
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    importance: float | Float[Tensor, "#inst #feature"],
    probability: float | Float[Tensor, "#inst #feature"],
    cfg: TrainConfig,
    gen: torch.Generator,
) -> ToyRun:
    """Train every instance with Adam from (W, b), which are not changed."""
    with torch.no_grad():
        gradient = ToyGradient(W, b, importance, probability, cfg.batch, gen)
        step = replayed(gradient) if W.is_cuda else gradient
        adam = FlatAdam(gradient.theta)
        live = {"W": gradient.W, "b": gradient.b}
        run = descend(live, step, lambda _, lr: adam.step(gradient.grad, lr), cfg)
    W, b = run.params["W"], run.params["b"]
    frames_W, frames_b = run.frames["W"], run.frames["b"]
    return ToyRun(W, b, run.losses, run.losses_step, frames_W, frames_b, run.frames_step)


def evaluate_toy(
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    importance: float | Float[Tensor, "#inst #feature"],
    probability: float | Float[Tensor, "#inst #feature"],
    gen: torch.Generator,
    batch: int = 16_384,
) -> Float[Tensor, " inst"]:
    """The loss of each instance on one large fresh batch, the same rows for equal `gen` states."""
    with torch.no_grad():
        loss = ToyGradient(W, b, importance, probability, batch, gen)(True)
    assert loss is not None
    return loss


def expected_loss(
    W: Float[Tensor, "inst hidden feature"],
    b: Float[Tensor, "inst feature"],
    importance: float | Float[Tensor, "#inst #feature"],
    probability: float | Float[Tensor, "#inst #feature"],
    n_nodes: int = 12,
) -> Float[Tensor, " inst"]:
    """The loss of each instance without sampling noise, for two to four features.

    A feature is 0 with probability 1 - p, else uniform: Gauss-Legendre nodes on [0, 1] and the
    point 0 integrate over each, their product over all. ReLU's kink leaves an error below 1 %.
    """
    n_feature = W.shape[2]
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    node = torch.as_tensor(np.append(0, (nodes + 1) / 2)).to(W)
    weight = torch.as_tensor(weights / 2).to(W)
    index = torch.cartesian_prod(*[torch.arange(n_nodes + 1)] * n_feature).to(W.device)
    x = node[index].mT
    p = spread(probability, b).unsqueeze(-1)
    mass = torch.cat([1 - p, p * weight], dim=-1)
    scale = spread(importance, b).unsqueeze(-1)
    losses = []
    for rows in torch.arange(len(W)).split(128):  # the grid is large: a few instances at a time
        law = torch.stack([mass[rows, f][:, index[:, f]] for f in range(n_feature)]).prod(0)
        out = torch.relu(W[rows].mT @ (W[rows] @ x) + b[rows].unsqueeze(-1))
        losses.append(((out - x).square() * scale[rows]).mean(1).mul(law).sum(-1))
    return torch.cat(losses)
