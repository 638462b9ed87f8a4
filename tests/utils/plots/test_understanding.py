"""Figures of 3.2.4, by their data."""

import json

import pytest
import torch

from utils.plots import understanding as plots


def rand(*size):
    return torch.rand(size, generator=torch.Generator().manual_seed(0))


def test_a_dose_response_has_a_line_per_direction_and_a_limit():
    curves = {"row": ((0.1, 0.2), [0.5, 1.0], [10.0, 20.0]), "chance": ((0.1,), [0.1], [12.0])}
    fig = plots.dose_response(curves, 8.0, 24.0)
    assert [trace.name for trace in fig.data] == ["row", "chance"]
    assert list(fig.data[0].x) == [10.0, 20.0] and list(fig.data[0].y) == [0.5, 1.0]
    assert list(fig.data[0].customdata) == [0.1, 0.2]
    assert [note.text for note in fig.layout.annotations] == ["clean", "limit"]
    assert len({trace.marker.symbol for trace in fig.data}) == 2


def test_groups_show_every_value():
    fig = plots.groups({"a": rand(5), "b": rand(3)}, "score", 0.5)
    assert [len(box.y) for box in fig.data] == [5, 3]
    assert all(box.boxpoints == "all" for box in fig.data)
    assert fig.layout.shapes[0].y0 == 0.5


def test_maps_draw_every_group_once_per_map_and_the_first_one_on_top():
    group = torch.tensor([0, 1, 1, 2])
    fig = plots.maps({"x": rand(4, 2), "y": rand(4, 2)}, group, ["a", "b", "c"])
    assert [trace.name for trace in fig.data] == ["c", "b", "a"] * 2
    assert [len(trace.x) for trace in fig.data] == [1, 2, 1] * 2
    assert sum(bool(trace.showlegend) for trace in fig.data) == 3


def test_splitting_and_letters_keep_their_numbers():
    fig = plots.splitting(torch.tensor([2.0, 0.0]), torch.tensor([0.8, 0.0]), ["l 1", "l 2"])
    assert list(fig.data[0].x) == [2.0, 0.0] and list(fig.data[0].text) == ["l 1", "l 2"]
    bars = plots.letters(["a", "b"], [0.8, 0.7], [0.5, 0.4], [0.0, 0.1])
    assert [list(bar.y) for bar in bars.data] == [[0.8, 0.7], [0.5, 0.4], [0.0, 0.1]]


@pytest.mark.parametrize(
    "fig",
    [
        plots.dose_response({"a": ((0.1,), [0.1], [2.0])}, 1.0, 3.0),
        plots.splitting(torch.ones(2), torch.ones(2), ["a", "b"]),
        plots.letters(["a"], [0.1], [0.2], [0.3]),
    ],
)
def test_axes_have_titles_and_the_figure_fits_a_page(fig):
    assert fig.layout.xaxis.title.text
    assert len(json.dumps(fig.to_dict(), default=list)) < 50_000
