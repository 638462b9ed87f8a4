"""Figures of 3.2.6."""

import torch

from utils.plots import transcoders as plots


def test_costs_have_their_intervals():
    fig = plots.costs({"a": (1.0, 0.5, 2.0), "b": (-1.0, -1.5, 0.0)}, "nats")
    assert fig.data[0].y == (1.0, -1.0)
    assert fig.data[0].error_y.array == (1.0, 1.0) and fig.data[0].error_y.arrayminus == (0.5, 0.5)


def test_shares_are_stacked_in_order_and_signs_kept():
    fig = plots.stacked({"x": [0.5, -0.1], "y": [0.7, 0.3]}, ("p", "q"), "share")
    assert [t.name for t in fig.data] == ["p", "q"] and fig.data[1].y == (-0.1, 0.3)
    fig = plots.stacked_signed({"x": {"p": 1.0, "q": -2.0}}, "sum")
    assert fig.data[1].y == (-2.0,) and fig.layout.barmode == "relative"


def test_clouds_share_their_axes():
    fig = plots.clouds(
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[-3.0, 0.5]])}, "x", "y"
    )
    assert fig.layout.xaxis.range == fig.layout.xaxis2.range
    assert fig.layout.xaxis.range[1] > 3 and fig.layout.yaxis.range[1] > 2


def test_every_value_of_every_group_is_in_its_box():
    groups = {"g": {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([0.3])},
              "h": {"a": torch.tensor([0.4]), "b": torch.tensor([0.5, 0.6])}}  # fmt: skip
    fig = plots.boxes(groups, "AUC")
    assert list(fig.data[0].x) == ["g", "g", "h"] and list(fig.data[1].y) == [0.3, 0.5, 0.6]


def test_grid_is_white_at_zero_and_words_may_repeat():
    fig = plots.grid(torch.tensor([[1.0, -2.0]]), ["head 0"], ["<s>", "<s>"], "c")
    assert fig.data[0].zmin == -2 and fig.data[0].zmax == 2
    assert len(set(fig.data[0].x)) == 2
