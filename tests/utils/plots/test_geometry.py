"""The figures of 3.1.4 hold the data they were given, and nothing else."""

import math
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from torch import Tensor

from utils.plots import geometry as plots_geometry
from utils.testing import generator, unchanged

INST, FEATURE, FRAME = 4, 5, 9


def rand(*size: int) -> Tensor:
    return torch.rand(size, generator=generator(0))


def polygon(k: int) -> Tensor:
    angle = 2 * math.pi * torch.arange(k) / k
    return torch.stack([angle.cos(), angle.sin()])


def cube() -> Tensor:
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).T / math.sqrt(3)


def inputs() -> dict[str, tuple[Callable[..., go.Figure], tuple[Tensor, ...]]]:
    """Every figure with fresh tensors for it."""
    p, kept = torch.logspace(0, -1, INST), rand(INST, FEATURE) > 0.3
    census = [{"digon": 2}, {"pentagon": 1, "other": 3}, {}, {"digon": 1}]

    def gallery(*vectors: Tensor) -> go.Figure:
        return plots_geometry.polytope_gallery({f"shape {len(V)}": V for V in vectors})

    def bars(p: Tensor) -> go.Figure:
        return plots_geometry.census_bars(census, p)

    def payoffs(p: Tensor, a: Tensor, b: Tensor) -> go.Figure:
        return plots_geometry.payoff_curves(p, {"digon": a, "new": b})

    def strip(D: Tensor, sparsity: Tensor, fractions: Tensor) -> go.Figure:
        return plots_geometry.dimensionality_strip(D, kept, sparsity, fractions)

    paths = (rand(FRAME, INST, FEATURE), rand(FRAME, INST), 100 * torch.arange(1, FRAME + 1))
    return {
        "gallery": (gallery, (torch.ones(1, 1), polygon(5), cube())),
        "curve": (plots_geometry.dimensions_curve, (1 / p, rand(INST))),
        "strip": (strip, (rand(INST, FEATURE), 1 / p, torch.tensor([1.0, 0.5]))),
        "bars": (bars, (p,)),
        "gram": (plots_geometry.sorted_gram, (rand(FEATURE, FEATURE) - 0.5,)),
        "jumps": (plots_geometry.jumps, paths),
        "payoffs": (payoffs, (p, rand(INST), rand(INST))),
    }


@pytest.mark.parametrize("name", inputs())
def test_every_figure__is_a_copy_of_its_data(name):
    """Inputs stay as they were; changing them afterwards leaves the figure alone."""
    draw, data = inputs()[name]
    with unchanged(*data):
        fig = draw(*data)
    before = fig.to_json()
    for tensor in data:
        tensor.add_(1)
    assert fig.to_json() == before


@pytest.mark.parametrize(
    ("corners", "edges"),
    [(torch.tensor([[1.0, -1.0]]), 1), (polygon(5), 5), (cube(), 12)],
)
def test_hull_edges__of_digon_pentagon_and_cube(corners, edges):
    """A digon has one edge, a pentagon five, a cube twelve (no diagonals of its faces)."""
    assert len(plots_geometry.hull_edges(corners)) == edges


def test_dimensionality_strip__shows_every_kept_feature_once():
    """One dot for each represented feature, at its D, and none for the others."""
    D, kept = rand(INST, FEATURE), rand(INST, FEATURE) > 0.4
    sparsity = torch.logspace(0, 1, INST)
    fig = plots_geometry.dimensionality_strip(D, kept, sparsity, torch.tensor([0.5]))
    dots = next(trace for trace in fig.data if trace.mode == "markers")
    assert len(dots.x) == len(dots.y) == int(kept.sum())
    assert np.allclose(sorted(dots.y), sorted(D[kept].tolist()), atol=1e-3)


def test_census_bars__add_up():
    """The bars hold every count, grey "other" included."""
    census = [{"digon": 2, "other": 1}, {"pentagon": 4}]
    fig = plots_geometry.census_bars(census, torch.tensor([0.5, 0.25]))
    assert {bar.name: list(bar.y) for bar in fig.data} == {
        "digon": [2, 0],
        "pentagon": [0, 4],
        "other": [1, 0],
    }


def test_jumps__has_a_line_for_each_feature_and_each_loss():
    """D of every feature above, the loss below, for every instance."""
    D, loss = rand(FRAME, INST, FEATURE), rand(FRAME, INST)
    fig = plots_geometry.jumps(D, loss, torch.arange(1, FRAME + 1))
    assert len(fig.data) == INST * (FEATURE + 1)
    assert np.allclose(fig.data[FEATURE].y, loss[:, 0].numpy(), atol=1e-6)
    assert np.allclose(fig.data[1].y, D[:, 0, 1].numpy(), atol=1e-3)
