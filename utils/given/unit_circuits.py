"""3.2.6: what MLPs write as a sum of units, transcoders' latents or neurons, and circuits of them.

Attention stays live. A unit outside the circuit has its mean on other prompts; so has what the
units leave out. The first position is never touched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.graphs.coders import coder_of
from utils.models.sae import Sae
from utils.models.splice import Hook

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

Metric = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Units:
    """For every layer, where units are read, how, and what one unit of each writes."""

    loaded: "Loaded"
    hooks: list[str]
    encode: list[Callable[[Tensor], Tensor]]
    W: list[Float[Tensor, "latent d_model"]]
    b: list[Float[Tensor, " d_model"]]

    @property
    def outs(self) -> list[str]:
        """Where MLPs write."""
        return [self.loaded.hook("mlp_out", i) for i in range(len(self.hooks))]


def latents_as_units(loaded: "Loaded", saes: Sequence[Sae]) -> Units:
    """Transcoders without skip paths, one per layer."""
    coders = [coder_of(sae) for sae in saes]
    assert all(coder.W_skip is None for coder in coders)
    return Units(loaded, [sae.hook_in for sae in saes], [sae.encode for sae in saes],
                 [c.W_dec for c in coders], [c.b_out for c in coders])  # fmt: skip


def neurons_as_units(loaded: "Loaded") -> Units:
    """The MLPs' own units, after the nonlinearity."""
    layers = range(loaded.n_layers)
    outs = [loaded.model.blocks[i].mlp.out for i in layers]
    return Units(loaded, [loaded.hook("mlp_post", i) for i in layers],
                 [lambda value: value for _ in layers], [o.weight.detach().T for o in outs],
                 [o.bias.detach() for o in outs])  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """Means over the other prompts: units, and what they leave out of the MLPs' outputs."""

    f: list[Float[Tensor, "pos latent"]]
    rest: list[Float[Tensor, "pos d_model"]]


@torch.no_grad()
def values(units: Units, tokens: Int[Tensor, "row pos"]) -> tuple[list[Tensor], list[Tensor]]:
    """(units, outputs) of every layer on the clean run."""
    names = [*units.hooks, *units.outs]
    _, cache = units.loaded.model.run_with_cache(tokens, names_filter=lambda n: n in names)
    f = [encode(cache[hook]) for encode, hook in zip(units.encode, units.hooks, strict=True)]
    return f, [cache[name] for name in units.outs]


def baseline(units: Units, other: Int[Tensor, "row pos"]) -> Baseline:
    """From other prompts of the same length."""
    f, outs = values(units, other)
    rest = [(o - x @ W).mean(dim=0) for x, o, W in zip(f, outs, units.W, strict=True)]
    return Baseline([x.mean(dim=0) for x in f], rest)


def run_units(
    units: Units,
    tokens: Int[Tensor, "row pos"],
    metric: Metric,
    keep: Sequence[Bool[Tensor, "pos latent"]],
    base: Baseline,
) -> Float[Tensor, " row"]:
    """The metric where units outside the circuit, and what units leave out, have their means."""
    read: dict[int, Tensor] = {}

    def hooks_of(layer: int) -> list:
        def look(value: Tensor, hook: Any) -> None:
            read[layer] = units.encode[layer](value)

        def write(out: Tensor, hook: Any) -> Tensor:
            f = torch.where(keep[layer], read[layer], base.f[layer])
            new = f @ units.W[layer] + base.rest[layer]
            return torch.cat([out[:, :1], new[:, 1:]], dim=1)

        return [(units.hooks[layer], look), (units.outs[layer], write)]

    hooks = [pair for layer in range(len(units.hooks)) for pair in hooks_of(layer)]
    with torch.no_grad():
        return metric(units.loaded.model.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1])


def slopes(
    units: Units,
    tokens: Int[Tensor, "row pos"],
    other: Int[Tensor, "row pos"],
    metric: Metric,
    n_steps: int = 10,
) -> list[Float[Tensor, "row pos d_model"]]:
    """Mean gradient by every MLP's output while all go together from clean to the other's mean."""
    clean, moved = values(units, tokens)[1], values(units, other)[1]
    total = [torch.zeros_like(x) for x in clean]
    for k in range(n_steps):
        share = (k + 0.5) / n_steps
        points = [x + share * (y.mean(dim=0) - x) for x, y in zip(clean, moved, strict=True)]
        points = [torch.cat([x[:, :1], p[:, 1:]], dim=1).requires_grad_()
                  for x, p in zip(clean, points, strict=True)]  # fmt: skip
        hooks: list[Hook] = [
            (name, lambda value, hook, p=p: p) for name, p in zip(units.outs, points, strict=True)
        ]
        with torch.enable_grad():
            out = metric(units.loaded.model.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1])
            grads = torch.autograd.grad(out.sum(), points)
        total = [t + g / n_steps for t, g in zip(total, grads, strict=True)]
    return total


def unit_scores(
    units: Units,
    tokens: Int[Tensor, "row pos"],
    base: Baseline,
    slope: Sequence[Float[Tensor, "row pos d_model"]],
    node_attribution: Callable[..., tuple[Tensor, Tensor]],
) -> list[Float[Tensor, "pos latent"]]:
    """Scores by the learner's function of 3.2.5; nothing at the first position."""
    f, outs = values(units, tokens)
    found = []
    for i, (x, out, W) in enumerate(zip(f, outs, units.W, strict=True)):
        score = node_attribution(x, base.f[i], out - x @ W, base.rest[i], slope[i], W)[0].clone()
        score[0] = 0
        found.append(score)
    return found
