"""What an SAE does to activations: sparsity and error, batch by batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Metrics over all tokens that were counted."""

    n_tokens: int
    l0: float  # non-zero latents per token
    mse: float  # |x - x_hat|^2, summed over d, mean over tokens
    fvu: float  # fraction of variance unexplained; above 1 if worse than the mean
    explained_variance: float  # 1 - fvu
    cosine: float  # of x and x_hat, mean over tokens
    norm_ratio: float  # sum |x_hat| / sum |x|: below 1 is shrinkage
    dead: float  # share of latents that never fired on these tokens
    density: Float[Tensor, " latent"]  # share of tokens on which each latent fires


class Reconstruction:
    """Sums over batches, in float64: memory is a few vectors of length d and one of length latent.

    Explained variance is centred per dimension and pooled over dimensions:

        1 - sum_t |x_t - x_hat_t|^2 / sum_t |x_t - mean(x)|^2

    with the mean over the same tokens, so that always answering with the mean scores 0. It is one
    minus the normalised MSE of Gao et al. 2024 (arXiv:2406.04093, section 2.1). It is not the mean
    over dimensions of each dimension's share, nor the mean over tokens of each token's.
    For a transcoder `x` is the target, the MLP's output.
    """

    def __init__(self) -> None:
        self.n = 0
        self.error = self.cosine = self.norm = self.norm_hat = self.square = 0.0
        self.shift: Tensor | None = None  # near the mean: large means would cancel digits
        self.total: Tensor
        self.fired: Int[Tensor, " latent"]

    @torch.no_grad()
    def update(
        self,
        x: Float[Tensor, "*batch d"],
        x_hat: Float[Tensor, "*batch d"],
        codes: Float[Tensor, "*batch latent"],
        mask: Bool[Tensor, "*batch"] | None = None,
    ) -> None:
        """Count a batch; where `mask` is false a token does not count."""
        if mask is not None:
            x, x_hat, codes = x[mask], x_hat[mask], codes[mask]
        x, x_hat = (v.flatten(0, -2).double() for v in (x, x_hat))
        codes = codes.flatten(0, -2)
        if not len(x):
            return
        if self.shift is None:
            self.shift, self.total = x.mean(dim=0), torch.zeros_like(x[0])
            self.fired = torch.zeros(codes.shape[1], dtype=torch.int64, device=codes.device)
        centred, norm, norm_hat = x - self.shift, x.norm(dim=1), x_hat.norm(dim=1)
        self.n += len(x)
        self.error += (x - x_hat).square().sum().item()
        self.square += centred.square().sum().item()
        self.total += centred.sum(dim=0)
        self.norm += norm.sum().item()
        self.norm_hat += norm_hat.sum().item()
        self.cosine += ((x * x_hat).sum(dim=1) / (norm * norm_hat).clamp(min=1e-12)).sum().item()
        self.fired += (codes != 0).sum(dim=0)

    def result(self) -> Scores:
        """The metrics so far; raises ValueError before the first token.

        fvu is NaN where all tokens are equal: there is no variance to explain.
        """
        if self.shift is None:
            raise ValueError("no token was counted")
        variance = self.square - self.total.square().sum().item() / self.n
        fvu = self.error / variance if variance > 0 else float("nan")
        density = self.fired.double() / self.n
        return Scores(
            n_tokens=self.n,
            l0=density.sum().item(),
            mse=self.error / self.n,
            fvu=fvu,
            explained_variance=1 - fvu,
            cosine=self.cosine / self.n,
            norm_ratio=self.norm_hat / self.norm if self.norm else float("nan"),
            dead=(self.fired == 0).double().mean().item(),
            density=density.float().cpu(),
        )


def density_histogram(
    density: Float[Tensor, " latent"], lowest: float = -6.0, n_bins: int = 24
) -> tuple[Int[Tensor, " bin"], Float[Tensor, " edge"]]:
    """Counts of latents over log10(density), and the edges of the bins.

    Bins are equally wide from `lowest` to 0; rarer latents are in the first bin. Dead latents have
    no logarithm: they are in no bin, so the counts may sum to less than the number of latents.
    """
    edges = torch.linspace(lowest, 0.0, n_bins + 1)
    log = density[density > 0].log10().clamp(min=lowest, max=0.0)
    return torch.histogram(log.float().cpu(), edges).hist.to(torch.int64), edges
