"""Figures of 3.2.8, by their data."""

import json

import pytest
import torch

from utils.given.training_runs import RunLog
from utils.plots import training as plots


def log(factor):
    """A log of three records."""
    records = [{"step": s, **dict.fromkeys(plots.CURVES, factor / s)} for s in (1, 2, 600)]
    return RunLog("topk", "", records)


def test_lines_have_names_points_and_a_target():
    fig = plots.lines({"a": ([1, 10], [0.5, 0.2]), "b": ([1, 10], [1.0, 3.0])}, "x", "y", True, 2.0)
    assert [trace.name for trace in fig.data] == ["a", "b"]
    assert list(fig.data[0].y) == [0.5, 0.2] and fig.data[0].mode == "lines+markers"
    assert fig.layout.xaxis.type == fig.layout.yaxis.type == "log"
    assert fig.layout.shapes[0].y0 == 2.0
    assert fig.layout.xaxis.title.text == "x" and fig.layout.yaxis.title.text == "y"


def test_a_run_is_drawn_beside_its_reference_in_every_panel():
    fig = plots.beside_reference(log(2.0), log(1.0), "run_x")
    assert len(fig.data) == 2 * len(plots.CURVES)
    assert sum(bool(trace.showlegend) for trace in fig.data) == 2
    assert list(fig.data[1].y)[:2] == [2.0, 1.0] and fig.data[0].line.dash == "dot"
    assert "TopK" in fig.layout.title.text


def test_norms_and_heads_keep_their_numbers():
    fig = plots.norms(torch.tensor([900.0, 1.0, 2.0]), torch.tensor([True, False, False]))
    assert list(fig.data[1].x) == [0] and list(fig.data[0].y) == [1.0, 2.0]
    heads = plots.heads(torch.tensor([0.25, 0.75]), torch.tensor([0.2, 0.1]))
    assert list(heads.data[0].text) == ["head 0", "head 1"]
    assert list(heads.data[0].x) == [0.25, 0.75]


@pytest.mark.parametrize(
    "fig",
    [
        plots.lines({"a": ([1, 2], [0.1, 0.2])}, "x", "y"),
        plots.norms(torch.ones(2), torch.tensor([True, False])),
        plots.heads(torch.ones(2), torch.ones(2)),
    ],
)
def test_axes_have_titles_and_the_figure_fits_a_page(fig):
    assert fig.layout.xaxis.title.text and fig.layout.yaxis.title.text
    assert len(json.dumps(fig.to_dict(), default=list)) < 50_000
