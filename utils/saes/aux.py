"""Dead latents: who is dead, and the auxiliary loss that brings them back (Gao et al. 2024).

The dead latents with the largest scores reconstruct what the living ones left over:

    e = y - output, no gradient;   aux = weight min(n_dead / aux_k, 1) ||e_hat - e||^2
    e_hat = z W_dec over the aux_k largest dead scores of a row, z their pre-activations

as sae_lens 6.54 has it (no ReLU on z: a latent that is dead because its pre-activations are
negative needs a gradient, too), with Gao's weight of 1/32 in place of 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.saes.coder import SparseCoder, decoder_norms
from utils.saes.config import TOPK_FAMILY
from utils.saes.gradients import Pass


@dataclass
class Firing:
    """How many rows ago each latent was active, counted in whole batches."""

    rows_since: Int[Tensor, " latent"]  # since the end of the last batch with an activation
    n_rows: int = 0  # rows seen in all

    def update(self, fired: Float[Tensor, " latent"], n: int) -> None:
        """Take in a batch of n rows, on which each latent was active `fired` times."""
        self.rows_since.add_(n).masked_fill_(fired > 0, 0)
        self.n_rows += n

    def dead(self, window: int) -> Bool[Tensor, " latent"]:
        """Latents with no activation in the last `window` rows (none before so many)."""
        return self.rows_since >= window


def add_dead_latents_loss(
    coder: SparseCoder, step: Pass, dead: Int[Tensor, " dead"], weight: float, aux_k: int
) -> None:
    """Add the dead latents' loss and gradient to a step's, at the cost of their share."""
    params, grads, n = coder.params, step.grads, len(step.x_c)
    bias = "b_gate" if coder.cfg.architecture == "gated" else "b_enc"
    z = torch.addmm(params[bias][dead], step.x_c, params["encoder"][dead].T)
    if aux_k < len(dead):
        weigh = coder.cfg.architecture in TOPK_FAMILY
        score = z * decoder_norms(coder)[dead] if weigh else z
        kept = score.topk(aux_k, sorted=False).indices
        z = torch.zeros_like(z).scatter_(1, kept, z.gather(1, kept))
    weight *= min(len(dead) / aux_k, 1.0)
    W_dec = params["W_dec"][dead]
    difference = z @ W_dec + step.error  # e is -error
    err = difference * (2 * weight / n)
    g = err @ W_dec.T
    if aux_k < len(dead):
        g = torch.zeros_like(g).scatter_(1, kept, g.gather(1, kept))
    g_sum = g.sum(0)
    grads["W_dec"].index_add_(0, dead, z.T @ err)
    grads["encoder"].index_add_(0, dead, g.T @ step.x_c)
    grads[bias] = grads[bias].index_add(0, dead, g_sum)
    if coder.cfg.centred:
        grads["b_dec"] -= g_sum @ params["encoder"][dead]
    step.losses["aux"] = weight * difference.square().sum() / n
