"""Input normalisation.

average_norm multiplies all rows by one number, so that the average length is sqrt(d); it is
folded into the weights when they are saved. constant_norm gives every row the length sqrt(d) by a
number of its own, which cannot be folded: the saved SAE does it again at run time.
"""

from jaxtyping import Float
from torch import Tensor

from utils.saes.config import SAEConfig


def scaled_rows(
    cfg: SAEConfig, x: Float[Tensor, "batch d"], scale: float
) -> tuple[Float[Tensor, "batch d"], Float[Tensor, "batch 1"] | float]:
    """Normalised rows, and what multiplies the way back."""
    if cfg.normalise == "constant_norm":
        length = x.norm(dim=1, keepdim=True).clamp(min=1e-8) / x.shape[1] ** 0.5
        return x / length, length
    return (x, 1.0) if scale == 1.0 else (x * scale, 1 / scale)


def average_norm_scale(rows: Float[Tensor, "batch d"]) -> float:
    """Sqrt(d) / mean length: multiplied by it, rows have length sqrt(d) on average."""
    return float(rows.shape[1] ** 0.5 / rows.norm(dim=1).mean())


def outlier_mask(
    rows: Float[Tensor, "batch d"], limit: float | None
) -> Float[Tensor, " batch"] | None:
    """Which rows are at most `limit` long, or None if all are (or no limit is set)."""
    if limit is None:
        return None
    kept = rows.norm(dim=1) <= limit
    return None if bool(kept.all()) else kept
