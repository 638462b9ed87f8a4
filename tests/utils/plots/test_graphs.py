"""Figures of 3.2.7."""

import torch

from utils.graphs.graph import Graph, Node
from utils.plots import graphs as plots


def small() -> Graph:
    """A word, an error, two latents at one place, an output."""
    nodes = [Node("feature", 0, 1, 3, 2.0), Node("feature", 0, 1, 4, 1.0), Node("error", 0, 1, -1)]
    nodes += [Node("embedding", -1, 1, 7), Node("logit", 1, 1, 3, 1.0, "<b>")]
    A = torch.zeros(5, 5)
    A[0, 3], A[1, 3], A[4, 0], A[4, 1], A[4, 2] = 1.0, 1.0, 3.0, -2.0, 0.5
    zero = torch.zeros(5)
    return Graph(torch.tensor([0, 7]), ["<s>", "a"], nodes, A, zero, zero, zero, 2, 1)


def test_nodes_at_one_place_stand_side_by_side_around_it():
    spots = plots.spots_of(small().nodes)
    assert len(set(spots)) == 5
    here = [x for x, _ in spots[:3]]
    assert abs(sum(here) / 3 - 1) < 1e-9 and spots[3] == (1, -1)


def test_a_graph_says_which_edges_raise_and_lower():
    fig = plots.graph_picture(small(), "title")
    shown = [t.name for t in fig.data if t.showlegend is not False]
    assert shown == ["raises", "lowers", "latent", "error", "embedding", "output"]
    assert fig.layout.xaxis.ticktext[0] == "&lt;s&gt;"


def test_bars_keep_their_order_and_sign():
    fig = plots.bars([("a <b>", 1.0), ("c", -2.0)], "title")
    assert fig.data[0].y == ("a &lt;b&gt;", "c") and fig.data[0].x == (1.0, -2.0)
    assert fig.data[0].marker.color[0] != fig.data[0].marker.color[1]


def test_every_effect_has_a_point():
    values = torch.tensor([1.0, -2.0, 0.5])
    fig = plots.predicted_measured(values, {"one": values, "two": 2 * values})
    assert [len(t.x) for t in fig.data if t.mode == "markers"] == [3, 3]


def test_tables_become_bars_and_cells():
    assert len(plots.steps({"a": [1.0, 0.5], "b": [0.0, 0.2]}, "t").data) == 2
    assert plots.pairs_of_bars([("x", 1.0, 2.0)], ("p", "q"), "y").data[1].y == (2.0,)
    assert plots.swapped({"here": [0.4, 0.1]}).data[1].y == (0.1,)
    fig = plots.by_word([[0.5, 0.5], [1.0]], ["one", "two"], ["a", "b"])
    assert fig.data[0].z[1] == (1.0, None) or list(fig.data[0].z[1]) == [1.0, None]
