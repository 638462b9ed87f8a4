"""Every number that is reported about an SAE, defined once.

metrics = Reconstruction()                        # of batches that need not fit in memory
for x in reader: metrics.update(x, x_hat, codes)
metrics.result().explained_variance

in_model(model, rows, sae)                        # the same, and loss and KL recovered
together(model, rows, saes)                       # loss and KL with several in one pass
compare(truth, sae.W_dec)                         # MMCS in both directions, one to one
strongest(model, rows, sae)                       # the tokens that each latent fires on most
"""

from utils.sae_metrics.contexts import Contexts, strongest, window
from utils.sae_metrics.reconstruction import Reconstruction, Scores, density_histogram
from utils.sae_metrics.recovered import (
    Costs,
    InModel,
    in_model,
    mean_activation,
    recovered,
    standard_error,
    together,
)
from utils.sae_metrics.similarity import Similarity, compare, matched, mmcs

__all__ = [
    "Contexts",
    "Costs",
    "InModel",
    "Reconstruction",
    "Scores",
    "Similarity",
    "compare",
    "density_histogram",
    "in_model",
    "matched",
    "mean_activation",
    "mmcs",
    "recovered",
    "standard_error",
    "strongest",
    "together",
    "window",
]
