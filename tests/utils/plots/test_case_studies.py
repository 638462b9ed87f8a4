"""Figures of 3.2.9, by their data."""

import torch

from utils.plots import case_studies as plots


def test_scores_by_label_are_in_the_order_of_the_first_rival():
    scores = {"latents": torch.tensor([0.2, 0.9, 0.5]), "random": torch.tensor([0.1, 0.3, 0.6])}
    fig = plots.scores_by_label(["a", "b", "c"], scores)
    assert [trace.name for trace in fig.data] == ["latents", "random"]
    assert list(fig.data[0].x) == ["b", "c", "a"]
    assert list(fig.data[1].y) == [0.3, 0.6, 0.1]
    assert len({trace.marker.symbol for trace in fig.data}) == 2


def test_bars_here_and_there_keep_their_numbers():
    fig = plots.here_and_there({"family": (0.5, 0.04), "as frequent": (0.2, 0.4)})
    assert list(fig.data[0].y) == [0.5, 0.2] and list(fig.data[1].y) == [0.04, 0.4]


def test_a_law_has_its_runs_its_promise_and_what_was_found():
    fig = plots.law([100, 1000], [0.5, 0.2], 0.03, 0.1, 100_000)
    assert list(fig.data[0].x) == [100, 1000]
    assert [trace.y[0] for trace in fig.data[1:]] == [0.03, 0.1]
    assert fig.layout.xaxis.type == fig.layout.yaxis.type == "log"


def test_boards_and_flips_have_a_trace_for_each_name():
    fig = plots.boards_drawn({"latents": torch.rand(5), "probe": torch.rand(4)})
    assert [len(box.y) for box in fig.data] == [5, 4]
    fig = plots.flips([1, 2], {"the square": [2.0, 1.0], "another": [2.1, 2.2]}, 2.05)
    assert list(fig.data[0].y) == [2.0, 1.0]
    assert fig.layout.shapes[0].y0 == 2.05
