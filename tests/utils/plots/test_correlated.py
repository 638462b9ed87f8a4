"""The figures of 3.1.2 hold the data they were given, and nothing else."""

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from torch import Tensor

from utils.plots import correlated as plots_correlated
from utils.testing import generator, unchanged


def rand(*size: int) -> Tensor:
    return torch.rand(size, generator=generator(0))


def inputs() -> dict[str, tuple[Callable[..., go.Figure], tuple[Tensor, ...]]]:
    """Every figure with fresh tensors for it."""

    def histograms(one: Tensor, two: Tensor) -> go.Figure:
        return plots_correlated.cosine_histograms({"one": one, "two": two}, "title")

    def matrices(gram: Tensor) -> go.Figure:
        return plots_correlated.grouped_matrices(gram, {"a": 4, "b": 2}, ["x", "y"][: len(gram)])

    def table(share: Tensor) -> go.Figure:
        return plots_correlated.share_table(share, [2, 3], [0.1, 0.5, 1.0])

    codes = torch.tensor([[0, 1, 2], [3, 4, 1]])
    return {
        "arrows": (plots_correlated.pair_arrows, (rand(5, 2, 6) - 0.5,)),
        "histograms": (histograms, (2 * rand(30) - 1, 2 * rand(8) - 1)),
        "matrices": (matrices, (rand(2, 6, 6) - 0.5,)),
        "one matrix": (matrices, (rand(1, 6, 6) - 0.5,)),
        "map": (plots_correlated.arrangement_map, (codes, rand(3).sort().values, rand(2))),
        "table": (table, (rand(2, 3),)),
    }


@pytest.mark.parametrize("name", inputs())
def test_figures_leave_their_inputs_alone_and_do_not_alias_them(name):
    draw, tensors = inputs()[name]
    with unchanged(*tensors):
        fig = draw(*tensors)
    before = fig.to_json()
    for tensor in tensors:
        tensor.zero_()
    assert isinstance(fig, go.Figure)
    assert fig.to_json() == before


def test_arrows_end_where_the_weights_point():
    W = rand(2, 2, 4) - 0.5
    fig = plots_correlated.pair_arrows(W)
    tips = [(a.x[1], a.y[1]) for a in fig.data]
    assert np.allclose(tips, W.mT.reshape(-1, 2), atol=1e-3)
    assert [a.line.dash for a in fig.data[:4]] == ["solid", "dot"] * 2
    assert fig.data[0].line.color == fig.data[1].line.color != fig.data[2].line.color


def test_arrows_on_top_of_each_other_share_a_label():
    W = torch.tensor([[[1.0, 0.99, -1.0], [0.0, 0.02, 0.0]]])
    labels = [a.text[1] for a in plots_correlated.pair_arrows(W).data]
    assert labels == ["", "0, 1", "2"]


def test_histograms_are_shares_with_the_clear_cases_in_the_middle_of_a_bin():
    cosines = torch.tensor([-1.0, -1.0, 0.0, 1.0])
    [bars] = plots_correlated.cosine_histograms({"all": cosines}).data
    found = {round(x, 2): y for x, y in zip(bars.x, bars.y, strict=True) if y > 0}
    assert found == {-1.0: 0.5, 0.0: 0.25, 1.0: 0.25}


def test_map_and_table_keep_their_orientation():
    codes = torch.tensor([[0, 1, 2], [3, 4, 1]])
    fig = plots_correlated.arrangement_map(codes, torch.tensor([0.1, 0.2, 0.3]), rand(2))
    assert np.array_equal(fig.data[0].z, codes)
    assert fig.data[0].text[1][0] == "same direction"
    share = rand(2, 3)
    table = plots_correlated.share_table(share, [2, 3], [0.1, 0.5, 1.0])
    assert np.allclose(table.data[0].z, share, atol=1e-3)
    assert list(table.data[0].y) == ["2", "3"]


def test_groups_are_separated_by_lines():
    fig = plots_correlated.grouped_matrices(rand(1, 6, 6), {"a": 1, "b": 2, "c": 3})
    places = sorted({s.x0 for s in fig.layout.shapes if s.x0 == s.x1})
    assert places == [0.5, 2.5]
