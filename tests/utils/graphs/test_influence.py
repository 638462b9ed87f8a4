"""Influence on graphs done by hand and at random; pruning keeps what it says; scores."""

import pytest
import torch

from utils.graphs import Graph, Node, influence, pruned, scores
from utils.graphs.influence import enough, shares, through


def chain(weights: list[float]) -> Graph:
    """An embedding, latents one above the other, an error beside the first, one output."""
    n = len(weights)
    nodes = [Node("feature", i, 1, i, 1.0) for i in range(n - 1)]
    nodes += [Node("error", 0, 1, -1), Node("embedding", -1, 1, 7), Node("logit", n - 1, 1, 3, 1.0)]
    A = torch.zeros(n + 2, n + 2)
    A[0, n] = weights[0]
    for i in range(1, n - 1):
        A[i, i - 1] = weights[i]
    A[n + 1, n - 2] = weights[-1]
    A[n + 1, n - 1] = 1.0
    zeros = torch.zeros(n + 2)
    return Graph(torch.tensor([0, 7]), ["<s>", "a"], nodes, A, zeros, zeros, zeros, n - 1, n - 1)


def random_graph(n: int = 30, seed: int = 0) -> Graph:
    """A random graph without loops: half latents, errors, embeddings, two outputs."""
    gen = torch.Generator().manual_seed(seed)
    half = n // 2
    nodes = [Node("feature", i, 1, i, 1.0) for i in range(half)]
    nodes += [Node("error", i, 1, -1) for i in range(half // 2)]
    nodes += [Node("embedding", -1, p, p) for p in range(n - 2 - len(nodes))]
    nodes += [Node("logit", half, 1, t, p) for t, p in ((3, 0.6), (4, 0.2))]
    A = torch.randn(n, n, generator=gen) * (torch.rand(n, n, generator=gen) < 0.6)
    for i, target in enumerate(nodes):
        for j, source in enumerate(nodes):
            if target.kind not in ("feature", "logit") or source.layer >= target.layer:
                A[i, j] = 0
    zeros = torch.zeros(n)
    return Graph(torch.arange(2), ["a", "b"], nodes, A, zeros, A.sum(1), zeros, half, half)


def test_influence_on_a_chain_by_hand():
    graph = chain([2.0, -5.0, 3.0])  # the output: 3 of 4 from the latent, 1 of 4 from the error
    expected = torch.tensor([0.75, 0.75, 0.25, 0.75, 0.0])
    torch.testing.assert_close(influence(graph), expected)
    assert scores(graph)["replacement"] == pytest.approx(0.75)
    # into the two latents (0.75 each) nothing from errors, into the output a quarter
    assert scores(graph)["completeness"] == pytest.approx((0.75 * 2 + 0.75) / (0.75 * 2 + 1))


@pytest.mark.parametrize("seed", range(4))
def test_influence_is_the_inverse(seed):
    graph = random_graph(seed=seed)
    A, w = shares(graph.adjacency.double()), graph.weights.double()
    inverse = torch.linalg.inv(torch.eye(len(A)) - A) - torch.eye(len(A))
    torch.testing.assert_close(through(A, w), w @ inverse)
    assert float(w.sum()) == pytest.approx(1.0)


def test_all_influence_starts_at_embeddings_and_errors():
    graph = random_graph(40, seed=2)
    features = graph.of_kind("feature")
    empty = features & ~(graph.adjacency != 0).any(dim=1)
    start = graph.of_kind("embedding") | graph.of_kind("error") | empty
    assert float(influence(graph)[start].sum()) == pytest.approx(1.0)


def test_a_loop_is_an_error():
    with pytest.raises(ValueError, match="loop"):
        through(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0]))


def test_enough_takes_the_fewest():
    values = torch.tensor([1.0, 5.0, 0.0, 4.0])
    assert enough(values, 0.5).tolist() == [False, True, False, False]
    assert enough(values, 0.51).tolist() == [False, True, False, True]
    assert enough(values, 1.0).tolist() == [True, True, False, True]
    for wrong in (0.0, 1.1, -1.0):
        with pytest.raises(ValueError, match="share above 0"):
            enough(values, wrong)


@pytest.mark.parametrize("seed", range(4))
def test_larger_thresholds_keep_more(seed):
    graph = random_graph(40, seed=seed)
    sizes = [
        (len(small.nodes), int((small.adjacency != 0).sum()))
        for small in (pruned(graph, t, e) for t, e in ((0.3, 0.5), (0.6, 0.8), (0.9, 0.98), (1, 1)))
    ]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


@pytest.mark.parametrize("seed", range(4))
def test_pruning_keeps_what_it_says(seed):
    graph = random_graph(40, seed=seed)
    small = pruned(graph, 0.7, 1.0)
    ends = [n for n in graph.nodes if n.kind in ("embedding", "logit")]
    assert [n for n in small.nodes if n.kind in ("embedding", "logit")] == ends
    fixed = small.of_kind("embedding") | small.of_kind("logit")
    gives = (small.adjacency != 0).any(dim=0)
    gets = (small.adjacency != 0).any(dim=1) | ~small.of_kind("feature")
    assert (fixed | (gives & gets)).all()
    number = {n: i for i, n in enumerate(graph.nodes)}
    at = [number[n] for n in small.nodes]
    kept = small.adjacency != 0
    torch.testing.assert_close(small.adjacency[kept], graph.adjacency[at][:, at][kept])


def test_pruning_nothing_changes_nothing_but_what_leads_nowhere():
    graph = random_graph(40, seed=1)
    small = pruned(graph, 1.0, 1.0)
    reach = influence(graph) > 0
    for node, reaches in zip(graph.nodes, reach, strict=True):
        if node.kind == "error":
            assert (node in small.nodes) == bool(reaches)


def test_supernodes_follow_their_nodes():
    from dataclasses import replace

    graph = replace(chain([2.0, -5.0, 3.0]), supernodes={"both": [0, 1], "error": [2]})
    small = graph.kept(torch.tensor([False, True, False, True, True]))
    assert small.supernodes == {"both": [0]}
