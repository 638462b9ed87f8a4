"""Metrics of a saved SAE on held-out text; all definitions are those of `utils.sae_metrics`.

    speeches   a source that was not trained on: the bars are about it
    same       held-out documents of the sources trained on
    written    the course's corpus sample, which the model wrote, where it is there
    sample     a few rows of speeches that ship with the course, so that a test can measure again
    held_out   speeches and same together: latents that fire on neither are dead
    indirect   logit differences of indirect-object prompts with the SAE spliced in
"""  # fmt: skip

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.activations import ActivationStore
from utils.data.corpus import Rows, counted
from utils.models import ioi
from utils.models.loaded import Loaded
from utils.models.sae import Sae
from utils.sae_metrics import Reconstruction, density_histogram, in_model
from utils.sae_metrics.recovered import Hooks, splice_hooks

Numbers = dict[str, float]
FEWEST_TOKENS = 3_000_000
BARS: list[tuple[str, str, str, float]] = [
    ("training", "tokens", ">=", FEWEST_TOKENS),
    ("speeches", "explained_variance", ">=", 0.80),
    ("speeches", "loss_recovered", ">=", 0.95),
    ("speeches", "l0", "<=", 48),
    ("held_out", "dead", "<=", 0.10),
    ("indirect", "kept", ">=", 0.80),
]
LOSSES = ("loss_clean", "loss_sae", "loss_ablated", "loss_recovered")
ERRORS = ("loss_recovered_se", "kl_recovered_se")  # standard errors: rows are what is drawn
IN_MODEL = ("n_predictions", *LOSSES, "kl_sae", "kl_ablated", "kl_recovered", *ERRORS)
SCORES = ("n_tokens", "explained_variance", "l0", "cosine", "norm_ratio")


def stored(
    sae: Sae, store: ActivationStore, batch: int = 1024
) -> tuple[Numbers, Float[Tensor, " latent"]]:
    """Scores on all activations of a store, and how often each latent fired."""
    found, hooks = Reconstruction(), (sae.hook_in, sae.hook_out)
    batch = min(batch, store.n_tokens())
    reader = store.reader(batch=batch, hooks=hooks, shuffle=False, drop_last=False)
    for x, y in reader:
        codes = sae.encode(x)
        found.update(y, sae.decode(codes, x), codes)
    scores = found.result()
    numbers = {name: float(getattr(scores, name)) for name in SCORES}
    return numbers | {"silent": scores.dead}, scores.density.double() * scores.n_tokens


def spliced_in(loaded: Loaded, sae: Sae, rows: Rows, scores: bool) -> Numbers:
    """Loss and KL with the SAE in the model; with the scores on the same rows, if wanted."""
    found = in_model(loaded.model, rows, sae).numbers()
    return {name: float(found[name]) for name in (*(SCORES if scores else ()), *IN_MODEL)}


def spliced_differences(loaded: Loaded, sae: Sae, prompts: list[ioi.Prompt]) -> Tensor:
    """The prompts' logit differences with the SAE, which leaves the first position alone."""

    def hooks_of(tokens: Tensor) -> Hooks:
        keep = counted(torch.ones_like(tokens, dtype=torch.bool))
        return splice_hooks(sae, keep, Reconstruction())

    return ioi.logit_differences(loaded, prompts, hooks_of)


def indirect(loaded: Loaded, sae: Sae, prompts: list[ioi.Prompt]) -> Numbers:
    """Mean logit difference clean and with the SAE."""
    clean = ioi.logit_differences(loaded, prompts)
    spliced = spliced_differences(loaded, sae, prompts)
    return {
        "n_prompts": float(len(prompts)),
        "clean": float(clean.mean()),
        "spliced": float(spliced.mean()),
        "kept": float(spliced.mean() / clean.mean()),
        "right_clean": float((clean > 0).float().mean()),
        "right_spliced": float((spliced > 0).float().mean()),
    }


def measure(
    loaded: Loaded,
    sae: Sae,
    held: dict[str, ActivationStore],
    rows: dict[str, Rows],
    prompts: list[ioi.Prompt],
) -> tuple[dict[str, Numbers], dict[str, Any]]:
    """All metrics, and the histogram of densities on the held-out stores.

    `held` are stores by the name of their text; `rows` is what runs through the whole model.
    """
    metrics: dict[str, Numbers] = {}
    fired, n = torch.zeros(sae.n_latents, dtype=torch.float64), 0.0
    for name, store in held.items():
        metrics[name], times = stored(sae, store)
        fired, n = fired + times, n + metrics[name]["n_tokens"]
    for name, some in rows.items():
        metrics[name] = metrics.get(name, {}) | spliced_in(loaded, sae, some, name not in held)
    density = (fired / n).float()
    counts, edges = density_histogram(density)
    metrics["held_out"] = {
        "n_tokens": n,
        "dead": float((fired == 0).double().mean()),
        "density_median": float(density.median()),
        "share_above_0.1": float((density > 0.1).double().mean()),
    }
    metrics["indirect"] = indirect(loaded, sae, prompts)
    log10 = [round(x, 2) for x in edges.tolist()]
    return metrics, {"log10_edges": log10, "latents": counts.tolist()}
