"""A distance in which it counts what the model makes of an error.

The squared error counts every direction of an activation alike; the model does not. A small error
e at a token changes the predictions by about

    KL(clean || with e) = ½ eᵀ F e      F: the Fisher information of all predictions that see it

M is the mean of F over tokens. An SAE trained on y A, with A² = 1 + weight · M / (tr M / d),
minimises

    |e|² + weight · eᵀ M e / (tr M / d)

and A is folded into its weights afterwards, so that the trainer knows nothing of it. Half of
eᵀ M e, averaged over tokens, predicts the KL per token that the SAE will cost in its model, as far
as errors are small and those of different tokens have nothing to do with each other.

Fisher information from drawn labels: Martens and Grosse 2015, arXiv 1503.05671, section 5; the
divergence of predictions as an SAE's loss: Braun et al. 2024, arXiv 2405.12241.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils.data.corpus import Rows, counted, predicting
from utils.models.loaded import check_edits
from utils.progress import track
from utils.saes.coder import SparseCoder, decoder_norms
from utils.saes.config import SAEConfig

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def mean_fisher(
    model: "TransformerBridge",
    rows: Rows,
    hook: str,
    gen: torch.Generator,
    skip_first: int = 1,
    batch_rows: int = 8,
) -> Float[Tensor, "d d"]:
    """E[g gᵀ] over tokens; g: gradient of log p(label) at `hook`, the label drawn from p.

    A token is seen by many predictions. One backward pass serves them all: their log p are added
    with random signs, so that products of two predictions' gradients vanish on average. `gen` is
    a CPU generator. Padding and the first `skip_first` positions are left out.
    """
    check_edits(model, [hook])  # at a copy, the gradient would be that of a branch
    device = next(model.parameters()).device
    total, n = torch.zeros(()), 0
    for i in track(range(0, len(rows), batch_rows), "Fisher information"):
        part = slice(i, i + batch_rows)
        ids, mask = rows.ids[part].to(device), rows.mask[part].to(device)
        keep = counted(mask, skip_first)
        seen: list[Tensor] = []

        def tap(value: Tensor, hook: Any, seen: list[Tensor] = seen) -> Tensor:
            seen.append(value.detach().requires_grad_())
            return seen[0]

        logits = model.run_with_hooks(ids, fwd_hooks=[(hook, tap)])[:, :-1]
        log_p = logits[predicting(mask, skip_first=0)].float().log_softmax(dim=-1)
        label = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=gen)
        sign = torch.randint(2, label.shape, generator=gen) * 2 - 1
        (log_p.gather(1, label.to(device)) * sign.to(device)).sum().backward()
        assert seen[0].grad is not None
        g = seen[0].grad.flatten(2)[keep].double()
        total = total.to(device) + g.T @ g
        n += len(g)
    return (total / n).cpu()


@dataclass(frozen=True)
class Stretch:
    """A: symmetric, positive; in its space the squared error is the distance that is wanted."""

    there: Float[Tensor, "d d"]
    back: Float[Tensor, "d d"]  # its inverse


def stretch(fisher: Float[Tensor, "d d"], weight: float) -> Stretch:
    """The root of 1 + weight · M / (tr M / d)."""
    d = len(fisher)
    eigenvalues, U = torch.linalg.eigh(fisher.double() * (d / fisher.trace().double()))
    root = (1 + weight * eigenvalues.clamp(min=0)).sqrt()
    return Stretch(((U * root) @ U.T).float(), ((U / root) @ U.T).float())


@dataclass(frozen=True)
class Stretched:
    """Batches, with what is to be reconstructed in the stretched space."""

    data: Any  # an iterable of known length
    by: Stretch

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.data:
            if isinstance(batch, Tensor):
                yield batch @ self.by.there.to(batch)
            else:
                x, y = batch
                yield x, y @ self.by.there.to(y)

    def __getattr__(self, name: str) -> Any:
        """The data's own position, where they keep one: a list does not."""
        if name in ("state_dict", "load_state_dict"):
            return getattr(self.data, name)
        raise AttributeError(name)


def check_folds(cfg: SAEConfig) -> None:
    """Raise ValueError where what is trained in the stretched space could not be taken back."""
    if cfg.architecture not in ("batchtopk", "matryoshka"):
        raise ValueError(
            f"only a threshold can be stretched back, {cfg.architecture} has none: take batchtopk "
            "or matryoshka, or train without a distance of predictions"
        )
    if cfg.normalise == "constant_norm":
        raise ValueError("constant_norm takes lengths in the stretched space: use average_norm")


def unstretched(coder: SparseCoder, by: Stretch) -> SparseCoder:
    """The same latents, active in the same rows, for data as it is.

    Of the SAE that was trained on y A. Directions of W_dec come back with length 1, so that
    activations count in the data's units; what selects a latent in the stretched space becomes a
    threshold of its own. Raises ValueError as `check_folds` does.
    """
    check_folds(coder.cfg)
    p = dict(coder.params)
    here, back = by.there.to(coder.device), by.back.to(coder.device)
    norms = decoder_norms(coder)
    directions = p["W_dec"] / norms[:, None] @ back
    lengths = directions.norm(dim=1)
    encoder = p["encoder"] @ here if coder.cfg.kind == "sae" else p["encoder"]
    p["encoder"] = encoder * (norms * lengths)[:, None]
    p["b_enc"] = p["b_enc"] * norms * lengths
    p["W_dec"], p["b_dec"] = directions / lengths[:, None], p["b_dec"] @ back
    if "W_skip" in p:
        p["W_skip"] = back @ p["W_skip"]
    return replace(coder, params=p, cut=coder.cut.to(lengths) * lengths)
