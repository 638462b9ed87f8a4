"""Figures of 3.2.10, by their data."""

import torch

from utils.plots import evaluation as plots


def rand(*size):
    return torch.rand(size, generator=torch.Generator().manual_seed(0))


def test_groups_of_scores_have_a_line_for_nothing():
    fig = plots.gains({"a": rand(5), "b": rand(4)})
    assert [len(box.y) for box in fig.data] == [5, 4] and fig.layout.shapes[0].y0 == 0
    assert plots.explained_by({"a": rand(5)}).layout.shapes[0].y0 == 0.5


def test_rows_in_features_are_heatmaps_on_one_scale():
    fig = plots.made_of({"k = 2": rand(3, 4), "k = 4": rand(3, 4)})
    assert [len(trace.z) for trace in fig.data] == [3, 3]
    assert {(trace.zmin, trace.zmax) for trace in fig.data} == {(-1, 1)}


def test_taus_have_their_intervals():
    fig = plots.taus({"made": {"x": (0.5, 0.25, 0.75)}, "stories": {"x": (0.0, -0.5, 0.25)}})
    assert [trace.name for trace in fig.data] == ["made", "stories"]
    assert list(fig.data[0].error_x.array) == [0.25]
    assert list(fig.data[1].error_x.arrayminus) == [0.5]


def test_proxies_have_a_panel_each():
    fig = plots.proxies({"a": rand(6), "b": rand(6)}, rand(6), ["sae"] * 6)
    assert [len(trace.x) for trace in fig.data] == [6, 6]


def test_right_l0_has_three_panels_and_a_line_per_world():
    rows = {"explained": [0.1, 0.2], "cosine": [0.5, 0.6], "overlap": [0.2, 0.1]}
    fig = plots.right_l0((1, 3), {"one": rows, "two": rows})
    assert len(fig.data) == 6 and list(fig.data[0].x) == [1, 3]
    assert len(fig.layout.shapes) == 3
