"""What the variants of 3.1.5 share: architectures as parts, and data with features in features."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

Params = dict[str, Tensor]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Architecture:
    """How SAEs encode, and what they minimise."""

    encode: Callable[[Params, Tensor], Pair]  # h to activations, and to what they were made from
    loss: Callable[[Params, Tensor, Pair], Tensor]  # of h and that pair
    extra: dict[str, float] = field(default_factory=dict)  # more parameters per latent, their start
    encoder: str = "transposed"


@dataclass
class Silence:
    """Counts the steps since each latent was last active."""

    patience: int = 20  # steps of silence after which a latent counts as dead
    steps: Tensor | int = 0

    def dead(self, acts: Float[Tensor, "batch inst latent"]) -> Bool[Tensor, "inst latent"]:
        """Take note of a batch; return who is dead."""
        self.steps = torch.where((acts > 0).any(dim=0), 0, self.steps + 1)
        return self.steps > self.patience


def tree_features(
    batch: int, inst: int, gen: torch.Generator, n_parent: int = 4, n_child: int = 3
) -> Float[Tensor, "batch inst feature"]:
    """Parents (p = 0.15) first, then their children: with a parent comes one child in 80 %.

    Magnitudes are uniform on [0.5, 1.5).
    """
    size, device = (batch, inst, n_parent), gen.device
    parent = torch.rand(size, generator=gen, device=device) < 0.15
    which = torch.randint(n_child, size, generator=gen, device=device)
    has = parent & (torch.rand(size, generator=gen, device=device) < 0.8)
    child = one_hot(which, n_child).bool() & has[..., None]
    on = torch.cat([parent, child.flatten(2)], dim=-1)
    return on * (0.5 + torch.rand(on.shape, generator=gen, device=device))


def hole_share(
    x: Float[Tensor, "batch inst feature"],
    acts: Float[Tensor, "batch inst latent"],
    cosines: Float[Tensor, "inst feature latent"],
    n_parent: int = 4,
    n_child: int = 3,
) -> Float[Tensor, " inst"]:
    """Of the rows with a child: the share in which its parent's best latent is silent."""
    shares = []
    for parent in range(n_parent):
        first = n_parent + n_child * parent
        rows = (x[..., first : first + n_child] > 0).any(dim=-1)
        best = cosines[:, parent].argmax(dim=-1)
        silent = acts.gather(-1, best.expand(len(acts), -1)[..., None])[..., 0] == 0
        shares.append((silent & rows).sum(dim=0) / rows.sum(dim=0))
    return torch.stack(shares).mean(dim=0)
