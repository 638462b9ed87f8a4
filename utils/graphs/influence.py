"""What matters to the outputs, directly or through others; pruning; how much is explained.

With each row of |A| divided by its sum (a target's share of attention to each source), the
influence of a node on the outputs is the weight of all paths from it to them:

    influence = w (A + A² + A³ + …) = w ((I - A)⁻¹ - I)

with w the outputs' weights. The graph has no loops, so the series ends (Ameisen et al. 2025).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.graphs.graph import Graph

if TYPE_CHECKING:
    from utils.graphs.attribute import Rows

NODES, EDGES = 0.8, 0.98  # what pruning keeps, unless asked otherwise


def shares(adjacency: Float[Tensor, "target source"]) -> Float[Tensor, "target source"]:
    """Absolute values, each row divided by its sum; empty rows stay empty."""
    size = adjacency.abs()
    return size / size.sum(dim=1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)


def influence(graph: Graph) -> Float[Tensor, " node"]:
    """Of every node on the outputs, over all paths; the outputs' own is 0."""
    return through(shares(graph.adjacency.double()), graph.weights.double()).float()


def cumulative_share(graph: Graph) -> Float[Tensor, " node"]:
    """For each node the share of all influence that it and the more influential ones have."""
    worth = influence(graph).double()
    values, order = worth.sort(descending=True, stable=True)
    whole = values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.empty_like(worth).scatter(0, order, values.cumsum(0) / whole).float()


def through(
    shares: Float[Tensor, "target source"], weights: Float[Tensor, " target"]
) -> Float[Tensor, " source"]:
    """w (A + A² + …): terms are added until they are 0."""
    term = weights @ shares
    total = term.clone()
    for _ in range(len(shares)):
        term = term @ shares
        if not term.any():
            return total
        total += term
    raise ValueError("the graph has a loop: a node gives to itself, directly or not")


def power_influence(
    rows: "Rows", out: "Rows", known: Int[Tensor, " chosen"], weights: Float[Tensor, " target"]
) -> Float[Tensor, " feature"]:
    """Influence of all latents while only the rows of `known` ones are there."""

    def normed(r: "Rows") -> Float[Tensor, "target feature"]:
        whole = r.features.abs().sum(1) + r.errors.abs().sum((1, 2)) + r.embeddings.abs().sum(1)
        return r.features.abs() / whole.clamp(min=torch.finfo(whole.dtype).tiny)[:, None]

    between, term = normed(rows), weights / weights.sum() @ normed(out)
    total = term.clone()
    for _ in range(len(known)):
        term = term[known] @ between
        if not term.any():
            break
        total += term
    return total


def edge_influence(
    shares: Float[Tensor, "target source"], weights: Float[Tensor, " target"]
) -> Float[Tensor, "target source"]:
    """Of each edge: its share of its target times what its target is worth to the outputs."""
    return shares * (through(shares, weights) + weights)[:, None]


def enough(values: Float[Tensor, " item"], share: float) -> Bool[Tensor, " item"]:
    """The fewest of the largest values that together have at least this share of the sum."""
    if not 0 < share <= 1:
        raise ValueError(f"a threshold is a share above 0 and up to 1, not {share}")
    found, order = values.sort(descending=True, stable=True)
    before = found.cumsum(dim=0) - found
    few = (before < share * values.sum()) & (found > 0)
    return torch.zeros_like(few).scatter(0, order, few)


def pruned(graph: Graph, nodes: float = NODES, edges: float = EDGES) -> Graph:
    """The nodes that have `nodes` of all influence, and of their edges those with `edges` of it.

    Embeddings and outputs always stay. Latents and errors without an edge to an output, directly
    or not, go; so do latents that nothing gives to. Edges that go are 0.
    """
    graph = replace(graph, share=cumulative_share(graph), thresholds=(nodes, edges))
    always = graph.of_kind("embedding") | graph.of_kind("logit")
    small = graph.kept(enough(influence(graph), nodes) | always)
    by = shares(small.adjacency.double())
    few = enough(edge_influence(by, small.weights.double()).flatten(), edges)
    adjacency = small.adjacency * few.reshape(by.shape)
    stays = torch.ones(len(small.nodes), dtype=torch.bool)
    fixed = small.of_kind("embedding") | small.of_kind("logit")
    feature = small.of_kind("feature")
    while True:
        live = adjacency * stays * stays[:, None]
        gives, gets = (live != 0).any(dim=0), (live != 0).any(dim=1)
        left = stays & (fixed | (gives & (gets | ~feature)))
        if bool((left == stays).all()):
            break
        stays = left
    return replace(small, adjacency=adjacency).kept(stays)


def scores(graph: Graph) -> dict[str, float]:
    """How much of a graph is latents, not errors (1: no errors; 0: nothing but errors).

    `replacement`: of all influence on the outputs that starts at embeddings or errors, the share
    of embeddings. `completeness`: of all that goes into latents and outputs, weighted by their
    influence, the share that is no error (Ameisen et al. 2025).
    """
    by, weights = shares(graph.adjacency.double()), graph.weights.double()
    worth = through(by, weights)
    error, embedding = graph.of_kind("error"), graph.of_kind("embedding")
    from_words, from_errors = float(worth[embedding].sum()), float(worth[error].sum())
    whole = worth + weights
    whole = torch.where(graph.targets, whole, 0.0)
    no_error = 1 - by[:, error].sum(dim=1)
    begun = from_words + from_errors
    return {
        "replacement": from_words / begun if begun else float("nan"),
        "completeness": float((no_error * whole).sum() / whole.sum()),
    }
