"""What the variants of 3.1.6 share: architectures as parts, data, and a few measures."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

Params = dict[str, Tensor]  # "W_enc", "b_enc", "W_dec", "b_dec"; a tied SAE has no "W_enc"
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


def child_with_parent(
    cosines: Float[Tensor, "inst feature latent"], n_parent: int = 4, n_child: int = 3
) -> Float[Tensor, "inst child"]:
    """Cosine of each child's best latent with the child's parent."""
    best = cosines[:, n_parent:].argmax(dim=-1)
    parent = torch.arange(n_parent * n_child, device=cosines.device) // n_child
    return torch.stack([c[parent, latent] for c, latent in zip(cosines, best, strict=True)])


def by_feature(cosines: Float[Tensor, "feature latent"]) -> Float[Tensor, "feature latent"]:
    """The latents (columns) in the order of the features that they are closest to."""
    return cosines[:, cosines.argmax(dim=0).argsort(stable=True)]


def by_fifths(values: Float[Tensor, " n"], order: Float[Tensor, " n"]) -> Float[Tensor, " fifth"]:
    """Mean of the values in each fifth, lowest `order` first."""
    return torch.stack([part.mean() for part in values[order.argsort()].tensor_split(5)])


def two_features(phi: Float[Tensor, " angle"], n: int) -> Float[Tensor, "inst 2 2"]:
    """Toy models with two unit features at each angle (degrees), n of each."""
    angles = torch.stack([0 * phi, phi], dim=-1).repeat_interleave(n, 0).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def encoder_tilt(params: Params) -> Float[Tensor, "inst latent"]:
    """Angle in degrees between each latent's encoder column and its decoder row."""
    cosine = torch.cosine_similarity(params["W_enc"].mT, params["W_dec"], dim=-1)
    return cosine.clamp(-1, 1).acos().rad2deg()
