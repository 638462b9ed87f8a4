"""What 3.2.4 needs for families: SAEs from several seeds, maps, clusters, a tree of features."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.sae_variants import tree_features
from utils.saes.coder import SparseCoder, encode, init_coder, reconstruct
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.train import train_coder

if TYPE_CHECKING:
    from utils.models.sae import Sae

STORY_LAYER, STORY_WIDTHS = 2, (384, 768, 1536)
N_PARENTS, N_CHILDREN = 4, 3  # of `tree_features`: 16 features


def story_saes() -> "dict[int, Sae]":
    """The story model's SAEs of three widths, by width."""
    from utils.course import ARTIFACTS
    from utils.models.sae import load_sae

    folder: Path = ARTIFACTS / "tiny_story_4l"
    return {w: load_sae(folder / f"residual_{STORY_LAYER}_{w}") for w in STORY_WIDTHS}


def short_sae(
    rows: Float[Tensor, "row d_in"], cfg: SAEConfig, seed: int, steps: int = 600, lr: float = 1.5e-3
) -> SparseCoder:
    """A short run on rows in memory; start and order of the rows come from the seed."""
    gen = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Tensor]:
        while True:
            yield rows[torch.randint(len(rows), (512,), generator=gen)]

    train = SAETrainConfig(
        steps, lr, warmup_steps=min(50, steps // 4), decay_steps=steps // 3, dead_window=50_000,
        record_every=10**6, label=f"{cfg.architecture} SAE, seed {seed}",
    )  # fmt: skip
    return train_coder(init_coder(cfg, gen), batches(), train).coder


def explained(coder: SparseCoder, rows: Float[Tensor, "row d_in"]) -> float:
    """Share of the rows' variance that the reconstruction has."""
    left = (rows - reconstruct(coder, rows)).square().sum()
    return 1 - float(left / (rows - rows.mean(dim=0)).square().sum())


def normal_like(rows: Float[Tensor, "row d_in"], gen: torch.Generator) -> Float[Tensor, "row d_in"]:
    """As many normal vectors with the mean, the covariance and then the norms of the rows."""
    covariance = torch.cov(rows.T) + 1e-6 * rows.var() * torch.eye(rows.shape[1])
    drawn = torch.randn(rows.shape, generator=gen) @ torch.linalg.cholesky(covariance).T
    drawn = drawn + rows.mean(dim=0)
    return drawn / drawn.norm(dim=1, keepdim=True) * rows.norm(dim=1, keepdim=True)


def meta_variance(rows: Float[Tensor, "row d_in"], n_train: int) -> tuple[float, float]:
    """Variance explained by a meta-SAE (d_in / 2 latents, k = 4), in training and on other rows."""
    rows = rows / rows.norm(dim=1, keepdim=True) * rows.shape[1] ** 0.5
    cfg = SAEConfig(rows.shape[1], max(rows.shape[1] // 2, 8), "topk", k=4)
    coder = short_sae(rows[:n_train], cfg, seed=0, lr=2e-3)
    return explained(coder, rows[:n_train]), explained(coder, rows[n_train:])


def layout(
    rows: Float[Tensor, "point d"], n_neighbors: int, min_dist: float, seed: int = 0
) -> Float[Tensor, "point d_out"]:
    """UMAP in two dimensions, by cosine."""
    import warnings

    n_threads = torch.get_num_threads()  # numba sets it for the whole process: 5 times slower here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's, and that a seed means one thread
        from umap import UMAP

        drawn = UMAP(
            n_neighbors=n_neighbors, min_dist=min_dist, metric="cosine", random_state=seed
        ).fit_transform(rows.numpy())
    torch.set_num_threads(n_threads)
    return torch.tensor(drawn)


def neighbours_kept(
    high: Float[Tensor, "point d"], low: Float[Tensor, "point d_out"], k: int
) -> float:
    """Mean share of each point's k nearest others in `high` that are among those in `low`."""
    near = []
    for x in (high, low):
        distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
        nearest = distance.topk(k, dim=1, largest=False).indices
        near.append(torch.zeros_like(distance, dtype=torch.bool).scatter(1, nearest, True))
    return float((near[0] & near[1]).sum(dim=1).double().mean() / k)


def clusters(points: Float[Tensor, "point d"], least: int) -> Int[Tensor, " point"]:
    """HDBSCAN's cluster of every point, -1 for none."""
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=least, copy=True).fit(points.numpy())
    return torch.tensor(found.labels_)


TRUTH = 10**6  # an SAE that starts from the truth's own seed has the truth's first draw


def tree(
    n: int, seed: int
) -> tuple[Float[Tensor, "item feature"], Float[Tensor, "item d_model"], Tensor]:
    """(magnitudes, data, directions) of parents and children: 16 orthogonal features (3.1.6)."""
    gen = torch.Generator().manual_seed(TRUTH + seed)
    W = torch.linalg.qr(torch.randn(16, 16, generator=gen)).Q
    z = tree_features(n, 1, gen)[:, 0]
    return z, z @ W, W


def tree_sae(
    x: Float[Tensor, "item d_model"], nested: bool, seed: int, latent: int = 16
) -> SparseCoder:
    """BatchTopK with k = 1, plain or Matryoshka with the first four latents nested."""
    widths = (N_PARENTS, latent) if nested else ()
    cfg = SAEConfig(16, latent, "matryoshka" if nested else "batchtopk", k=1, widths=widths)
    return short_sae(x, cfg, seed, steps=1500, lr=1e-2)


def family_of(
    z: Float[Tensor, "item feature"], parent: int
) -> tuple[Bool[Tensor, " item"], Bool[Tensor, " item"]]:
    """Rows with this parent, and rows with one of its children."""
    first = N_PARENTS + N_CHILDREN * parent
    return z[:, parent] > 0, (z[:, first : first + N_CHILDREN] > 0).any(dim=1)


def tree_absorption(
    nested: bool, seed: int, f1_scores: Callable[..., Tensor], absorbed: Callable[..., Tensor]
) -> Float[Tensor, " item"]:
    """For each parent: the share of the rows with one of its children on which it is absorbed.

    The parent's own direction is the probe, the best latent by F1 its main latent.
    """
    z, x, W = tree(20_000, seed)
    coder = tree_sae(x, nested, seed)
    f, W_dec, shares = encode(coder, x), coder.params["W_dec"].detach(), []
    for parent in range(N_PARENTS):
        has, with_child = family_of(z, parent)
        main = f1_scores(f > 0, has).topk(1).indices
        rows = has & with_child
        shares.append(absorbed(x[rows], f[rows], main, W_dec, W[parent], 0.4).float().mean())
    return torch.stack(shares)
