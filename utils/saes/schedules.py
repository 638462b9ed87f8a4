"""What changes over a run: the step size, the penalty's weight, the number of active latents."""

import math

from utils.saes.config import SAEConfig, SAETrainConfig


def learning_rate(cfg: SAETrainConfig, step: int) -> float:
    """Step size before step `step` (from 0): warm-up, schedule and decay multiplied.

    Warm-up (step + 1) / warmup_steps; then, with t from 0 to 1 over the rest, 1 (constant),
    1 - t (linear) or (1 + cos(pi t)) / 2 (cosine); decay (steps left) / decay_steps.
    """
    rise = min(1.0, (step + 1) / cfg.warmup_steps) if cfg.warmup_steps else 1.0
    t = max(0, step - cfg.warmup_steps) / max(1, cfg.n_steps - cfg.warmup_steps)
    shape = {"constant": 1.0, "linear": 1 - t, "cosine": 0.5 * (1 + math.cos(math.pi * t))}
    fall = min(1.0, (cfg.n_steps - step) / cfg.decay_steps) if cfg.decay_steps else 1.0
    return cfg.lr * rise * shape[cfg.schedule] * fall


def sparsity_weight(sae: SAEConfig, cfg: SAETrainConfig, step: int) -> float:
    """The penalty's weight: from 0 linearly to its value over sparsity_warmup steps."""
    return sae.sparsity * (min(1.0, step / cfg.sparsity_warmup) if cfg.sparsity_warmup else 1.0)


def active_latents(sae: SAEConfig, cfg: SAETrainConfig, step: int) -> int:
    """Latents per row: from k_start linearly to k over sparsity_warmup steps."""
    if cfg.k_start is None or step >= cfg.sparsity_warmup:
        return sae.k
    start = min(cfg.k_start, sae.latent)
    return round(start + (sae.k - start) * step / cfg.sparsity_warmup)
