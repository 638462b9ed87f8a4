"""Figures of 3.2.2, by their data."""

import json

import pytest
import torch

from utils.plots import dashboard as plots


def rand(*size):
    return torch.rand(size, generator=torch.Generator().manual_seed(0))


def test_a_density_histogram_says_how_many_are_dead():
    fig = plots.density_histogram(-4 * rand(30), 7)
    assert len(fig.data[0].x) == 30
    assert "30 live latents; 7 were never active" in fig.layout.title.text


def test_activation_bars_stand_between_their_edges():
    counts, edges = torch.tensor([5, 0, 2]), torch.tensor([0.0, 1.0, 2.0, 3.0])
    bar = plots.activation_bars(counts, edges, "latent 3").data[0]
    assert list(bar.y) == [5, 0, 2] and list(bar.x) == [0.5, 1.5, 2.5]
    assert all(0.9 < width < 1 for width in bar.width)


def test_lines_over_intervals_differ_in_more_than_their_colour():
    lines = {"one": [0.1, 0.2, 0.9], "all": [0.3, 0.2, 0.1]}
    fig = plots.shares_by_interval(lines, ["low", "middle", "high"], "share")
    assert [trace.name for trace in fig.data] == ["one", "all"]
    assert list(fig.data[0].y) == [0.1, 0.2, 0.9]
    assert len({trace.marker.symbol for trace in fig.data}) == 2


def test_a_logit_histogram_counts_every_token_and_names_some():
    weights = rand(500) - 0.5
    fig = plots.logit_histogram(weights, {"·a": float(weights.max()), "<b>": 0.0}, "latent 3")
    heights = [h for h in fig.data[0].y if h is not None]
    assert sum(heights) == 500 and len(fig.data[0].y) == 80
    assert [note.text for note in fig.layout.annotations] == ["·a", "&lt;b&gt;"]


@pytest.mark.parametrize("draw", ["effects", "two_similarities"])
def test_a_scatter_has_a_point_for_each_example(draw):
    x, y = rand(2, 9) - 0.5
    names = {"names": [f"latent {i}" for i in range(9)]} if draw == "effects" else {}
    points = getattr(plots, draw)(x, y, **names).data[-1]
    assert len(points.x) == len(points.y) == 9
    torch.testing.assert_close(torch.tensor(points.x), x, atol=1e-3, rtol=0)


def test_shares_of_variance_have_a_bar_per_group_with_a_pattern_of_its_own():
    table = [("3", [0.1, 0.6, 0.2]), ("5", [0.4, 0.3, 0.2])]
    fig = plots.explained_by(table, ["position", "token", "control"])
    assert [list(bar.y) for bar in fig.data] == [[0.1, 0.4], [0.6, 0.3], [0.2, 0.2]]
    assert len({bar.marker.pattern.shape for bar in fig.data}) == 3
    assert len(json.dumps(fig.to_dict(), default=str)) < 200_000
