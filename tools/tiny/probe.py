"""A linear probe of the board: softmax(h W + b) over empty, mine, theirs on every square."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


class Probe(NamedTuple):
    """W and b; `logits = states @ weight + bias`, the last two axes being square and state."""

    weight: Float[Tensor, "d_model square_state"]
    bias: Float[Tensor, " square_state"]


def _logits(probe: Probe, states: Float[Tensor, "row d_model"]) -> Tensor:
    return (states @ probe.weight + probe.bias).unflatten(1, (-1, 3))


def fit_probe(
    states: Float[Tensor, "row d_model"],
    boards: Int[Tensor, "row side side"],
    gen: torch.Generator,
    n_steps: int = 400,
    batch: int = 2048,
    lr: float = 1e-2,
) -> Probe:
    """Cross-entropy, summed over squares, by Adam with a falling rate; rows drawn at random."""
    n_squares = boards[0].numel()
    scale = states.std()
    weight = torch.zeros(states.shape[1], 3 * n_squares, requires_grad=True)
    bias = torch.zeros(3 * n_squares, requires_grad=True)
    adam = torch.optim.Adam([weight, bias], lr=lr)
    for step in range(n_steps):
        rows = torch.randint(len(states), (batch,), generator=gen)
        logits = _logits(Probe(weight, bias), states[rows] / scale)
        loss = cross_entropy(logits.flatten(0, 1), boards[rows].flatten()) * n_squares
        adam.param_groups[0]["lr"] = lr * (1 - step / n_steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return Probe((weight / scale).detach(), bias.detach())


def board_accuracy(
    probe: Probe, states: Float[Tensor, "row d_model"], boards: Int[Tensor, "row side side"]
) -> float:
    """Share of squares, over all positions, whose state the probe gets right."""
    return (_logits(probe, states).argmax(dim=-1) == boards.flatten(1)).float().mean().item()
