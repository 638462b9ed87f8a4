"""The figures of 3.1.7 show their data and leave it alone."""

import numpy as np
import torch

from utils.plots import descent as plots_descent


def test_curves_show_all_losses_and_their_means():
    train, test = torch.rand(4, 3), torch.rand(4, 3)
    before = test.clone()
    figure = plots_descent.descent_curves([3, 5, 8, 100], train, test)
    shown = next(trace for trace in figure.data if trace.name == "test")
    np.testing.assert_allclose(shown.y, test.mean(1).numpy(), rtol=1e-6)
    test.zero_()
    np.testing.assert_allclose(shown.y, before.mean(1).numpy(), rtol=1e-6)


def test_two_geometries_has_a_panel_for_each():
    W, h = [torch.randn(2, 7), torch.randn(2, 7)], [torch.randn(2, 3), torch.randn(2, 500)]
    figure = plots_descent.two_geometries(W, h, ["T = 3", "T = 500"])
    dots = [t for t in figure.data if t.mode == "markers"]
    assert sorted(len(t.x) for t in dots) == [3, 7, 7, 400]
    np.testing.assert_allclose(dots[0].x, W[0][0].numpy(), rtol=1e-6)


def test_strips_hold_every_dimensionality():
    sample, feature = [torch.rand(3), torch.rand(5)], [torch.rand(9), torch.rand(9)]
    figure = plots_descent.dimensionality_strips([3, 5], sample, feature)
    assert [len(t.y) for t in figure.data] == [3, 5, 9, 9]
