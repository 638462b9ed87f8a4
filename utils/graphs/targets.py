"""What a graph explains: the likely next tokens, the difference of two, or a direction."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from utils.graphs.frozen import Frozen, GraphError


@dataclass(frozen=True)
class Targets:
    """Outputs at the last position, as directions in what the unembedding reads."""

    vectors: Float[Tensor, "target d_model"]
    bias: Float[Tensor, " target"]  # what the unembedding's own bias adds
    weights: Float[Tensor, " target"]  # probabilities of tokens; 1 for others
    tokens: list[int]  # -1 where it is no token
    labels: list[str]


def likely(frozen: Frozen, share: float = 0.95, most: int = 10) -> Targets:
    """The most probable next tokens that together have `share` of the probability."""
    probabilities = frozen.logits[-1].softmax(dim=-1)
    best = probabilities.topk(min(most, len(probabilities)))
    n = int((best.values.cumsum(dim=0) < share).sum()) + 1
    return of_tokens(frozen, best.indices[:n].tolist())


def of_tokens(frozen: Frozen, tokens: Sequence[int]) -> Targets:
    """Chosen next tokens: each one's logit minus the mean logit of all."""
    ids = torch.as_tensor(list(tokens), dtype=torch.long, device=frozen.tokens.device)
    d_vocab = frozen.logits.shape[-1]
    if len(ids) == 0 or not bool(((ids >= 0) & (ids < d_vocab)).all()):
        raise GraphError(f"targets are tokens from 0 to {d_vocab - 1}, at least one: {tokens}")
    W_U, b_U = frozen.loaded.model.W_U.detach(), unembedding_bias(frozen)
    vectors = W_U[:, ids].T - W_U.mean(dim=1)
    decode = frozen.loaded.tokenizer
    labels = [decode.decode([t]) if decode is not None else str(t) for t in ids.tolist()]
    weights = frozen.logits[-1].softmax(dim=-1)[ids]
    return Targets(vectors, b_U[ids] - b_U.mean(), weights, ids.tolist(), labels)


def difference(frozen: Frozen, token: int, other: int) -> Targets:
    """How much likelier one token is than another: the difference of their logits."""
    if token == other:
        raise GraphError("the two tokens are one: their difference is 0")
    one, two = of_tokens(frozen, [token]), of_tokens(frozen, [other])
    vectors, bias = one.vectors - two.vectors, one.bias - two.bias
    texts = f"{one.labels[0]} - {two.labels[0]}"
    return Targets(vectors, bias, torch.ones_like(bias), [-1], [texts])


def direction(frozen: Frozen, vector: Float[Tensor, " d_model"], label: str) -> Targets:
    """A direction of one's own, which reads what the unembedding reads."""
    if vector.shape != frozen.final.shape[1:]:
        raise GraphError(f"the direction has shape {tuple(vector.shape)}, not (d_model,)")
    one = torch.ones(1, device=vector.device)
    return Targets(vector[None].detach(), 0 * one, one, [-1], [label])


def unembedding_bias(frozen: Frozen) -> Float[Tensor, " vocab"]:
    """b_U; zeros where the model has none."""
    found = getattr(frozen.loaded.model, "b_U", None)
    return frozen.logits.new_zeros(frozen.logits.shape[-1]) if found is None else found.detach()
