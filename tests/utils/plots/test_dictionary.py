"""The figures of 3.1.8 and 3.1.9 hold the data they were given, and nothing else."""

import numpy as np
import pytest
import torch

from utils.plots import dictionary as plots
from utils.testing import generator, unchanged

N = 6


def rand(*size: int) -> torch.Tensor:
    return torch.rand(size, generator=generator(0))


CALLS = {
    "portrait": lambda a, b: plots.data_portrait(a[0], (a > 0.3).float() + b, a, torch.arange(N)),
    "lines": lambda a, b: plots.lines({"": {"one": (a[0], b[0])}}, "x", "y", log_x=True),
    "plane": lambda a, b: plots.plane_dictionaries(torch.stack([a[:, :2], b[:, :2]]), ["p", "q"]),
    "scatter": lambda a, b: plots.similarity_scatter({"one": (a[0], b[0])}, "x", "y"),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_figure_changes_or_aliases_its_data(name):
    """Inputs stay as they were; changing them afterwards leaves the figure alone."""
    a, b = rand(N, N) + 0.1, rand(N, N).flip(0) + 0.1
    with unchanged(a, b):
        figure = CALLS[name](a, b)
    before = figure.to_json()
    a.mul_(-3)
    b.zero_()
    assert figure.to_json() == before, "the figure shows live data"


def test_data_portrait__orders_features_by_group_and_leaves_the_diagonal_out():
    """Two groups in turn: the map has the even features first."""
    gram, group = rand(N, N), torch.arange(N) % 2
    figure = plots.data_portrait(rand(N), rand(20, N), gram, group)
    drawn = np.array(figure.data[-1].z, dtype=float)
    order = torch.argsort(group, stable=True)
    assert np.isnan(drawn.diagonal()).all()
    assert np.isclose(drawn[0, 1], gram[order[0], order[1]].item(), atol=1e-3)
    assert np.isclose(drawn[2, 4], gram[order[2], order[4]].item(), atol=1e-3)


def test_score_bars__has_a_bar_for_each_score_and_the_count_in_the_label():
    """The count of recovered features is in the name, not among the bars."""
    row = {"truth to latents": 0.5, "one to one": 0.25, "recovered": 7.0}
    figure = plots.score_bars({"mine": row}, 40)
    assert {bar.name: list(bar.x) for bar in figure.data} == {
        "truth to latents": [0.5],
        "one to one": [0.25],
    }
    assert "7 of 40" in figure.data[0].y[0]


def test_count_bars__keep_their_panels():
    """Every panel has its own counts, in the order of the table."""
    table = {"first": {"SAE": 3, "ICA": 1}, "second": {"SAE": 2, "ICA": 0}}
    figure = plots.count_bars(table, 40)
    assert [list(bar.x) for bar in figure.data] == [[3, 1], [2, 0]]


def test_lines__draw_levels_over_the_whole_width():
    """A level is a flat line from the first to the last x."""
    figure = plots.lines({"": {"one": ([1, 3], [5, 4])}}, "x", "y", levels={"bound": 4.5})
    assert list(figure.data[1].x) == [1, 3] and list(figure.data[1].y) == [4.5, 4.5]


def test_similarity_scatter__colors_by_the_threshold_on_y():
    """Two latents above the threshold share one color, the third has another."""
    y = torch.tensor([0.95, 0.5, 0.92])
    figure = plots.similarity_scatter({"one": (y, y)}, "x", "y")
    colors = figure.data[0].marker.color
    assert colors[0] == colors[2] != colors[1]


def test_fingerprints__say_the_sign_that_the_bar_hides():
    """A bar has the size of a negative value, its text the value."""
    table = {"one": {"cosine": -0.5}, "two": {"cosine": -1.0}}
    figure = plots.fingerprints(table)
    assert list(figure.data[0].x) == [0.5, 1.0] and list(figure.data[0].text) == ["-0.50", "-1"]
