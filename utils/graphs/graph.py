"""What a graph is: nodes, what each gives to each later one, and what biases add."""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Kind = Literal["feature", "error", "embedding", "logit"]


@dataclass(frozen=True)
class Node:
    """A latent at a token, an MLP's error at a token, a token's embedding, or an output."""

    kind: Kind
    layer: int  # -1 for embeddings; as many as there are layers for outputs
    pos: int
    number: int  # latent; token for embeddings and outputs (-1: a direction); -1 for errors
    activation: float = 1.0  # of a latent; probability of an output
    label: str = ""  # a token's string, or an output's own name


@dataclass(frozen=True)
class Graph:
    """Rows of the adjacency are targets, columns sources; errors and embeddings have empty rows.

    value = Σ_source adjacency + constant        (exactly, for latents and outputs)
    value + bias = the latent's pre-activation, or the output's logit minus the mean logit
                   (before the cap, where the model caps its logits)
    """

    tokens: Int[Tensor, " pos"]
    strings: list[str]  # of the tokens
    nodes: list[Node]  # latents, errors, embeddings, outputs
    adjacency: Float[Tensor, "target source"]
    constant: Float[Tensor, " target"]  # decoder biases, biases of norms and attention
    value: Float[Tensor, " target"]
    bias: Float[Tensor, " target"]
    n_active: int  # latents that were active; those that are no node are in the error nodes
    n_layers: int
    prompt: str = ""
    model: str = ""
    supernodes: dict[str, list[int]] = field(default_factory=dict)  # name: numbers of nodes
    thresholds: tuple[float, float] = (1.0, 1.0)  # of nodes and edges: what it was pruned with
    share: Float[Tensor, " node"] | None = None  # `cumulative_share` before it was pruned

    def of_kind(self, kind: Kind) -> Bool[Tensor, " node"]:
        """Which nodes are of a kind."""
        return torch.tensor([node.kind == kind for node in self.nodes], dtype=torch.bool)

    @property
    def targets(self) -> Bool[Tensor, " node"]:
        """Nodes that are explained: latents and outputs."""
        return self.of_kind("feature") | self.of_kind("logit")

    @property
    def weights(self) -> Float[Tensor, " node"]:
        """How much each node counts as an output: probabilities, summing to 1."""
        found = torch.tensor([n.activation if n.kind == "logit" else 0.0 for n in self.nodes])
        return found / found.sum()

    def gap(self) -> float:
        """The largest |value - Σ adjacency - constant| of a target, relative to the largest part
        of that row or the value: 0 but for rounding."""
        left = self.value - self.adjacency.double().sum(dim=1) - self.constant
        size = torch.maximum(self.adjacency.abs().amax(dim=1), self.value.abs())
        size = torch.maximum(size, self.constant.abs())[self.targets]
        return float((left.abs()[self.targets] / size.clamp(min=1e-12)).max())

    def kept(self, nodes: Bool[Tensor, " node"]) -> "Graph":
        """The graph of some of the nodes, with the edges between them; sums are then smaller."""
        at = nodes.nonzero().flatten()
        number = {old: new for new, old in enumerate(at.tolist())}
        supernodes = {
            name: [number[i] for i in members if i in number]
            for name, members in self.supernodes.items()
        }
        return replace(
            self,
            nodes=[self.nodes[i] for i in at.tolist()],
            adjacency=self.adjacency[at][:, at],
            constant=self.constant[at],
            value=self.value[at],
            bias=self.bias[at],
            share=None if self.share is None else self.share[at],
            supernodes={name: members for name, members in supernodes.items() if members},
        )
