"""The figures of 3.1.3 show their data, in their order, and leave it alone."""

import numpy as np
import pytest
import torch

from utils.plots import neurons as plots


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


W1, W2 = weights(2, 4, 5), weights(2, 5, 4)
CALLS = {
    "stacks": lambda W, V: plots.neuron_stacks(W, 0.1 * W, W.abs().amax(-1) / W.abs().sum(-1)),
    "curves": lambda W, V: plots.score_curves(W[0].sigmoid(), torch.arange(4)),
    "in and out": lambda W, V: plots.weights_in_and_out(W[0], V[0], "a title"),
    "bars": lambda W, V: plots.unexplained_bars(W[:, 0].abs()),
    "motif": lambda W, V: plots.motif_graph(W[0], V[0], 1, torch.tensor(2), 3),
    "pushes": lambda W, V: plots.push_scatter(W[0, 0].abs(), W[0, 1], W[0, 2]),
    "maps": lambda W, V: plots.sweep_maps({"a": W[0], "b": V[0].T}, W[0, :, 0], W[0, 0]),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_figure_permutes_changes_or_aliases_its_weights(name):
    W, V = W1.clone(), W2.clone()
    figure = CALLS[name](W, V)
    assert torch.equal(W, W1) and torch.equal(V, W2)
    before = figure.to_json()
    W.mul_(-3)
    V.zero_()
    assert figure.to_json() == before, "the figure shows live weights"


def test_stacks_keep_the_order_of_neurons_and_features():
    figure = plots.neuron_stacks(W1, 2 * W1, torch.ones(2, 4))
    bars = [t for t in figure.data if t.type == "bar"]
    assert len(bars) == 2 * 5
    for i in range(2):
        for f in range(5):
            bar = bars[5 * i + f]
            assert list(bar.x) == [0, 1, 2, 3]
            np.testing.assert_allclose(bar.y, W1[i, :, f].numpy(), atol=1e-3)
            np.testing.assert_allclose(bar.base, 2 * W1[i, :, f].numpy(), atol=1e-3)


def test_stack_backgrounds_say_what_the_score_means():
    score = torch.tensor([[1.0, 0.9, 0.89, 0.0]])
    figure = plots.neuron_stacks(W1[:1], W1[:1], score)
    colors = [s.fillcolor for s in figure.layout.shapes if s.fillcolor]
    assert colors == [plots.PURE, plots.PURE, plots.MIXED, plots.DEAD]


def test_weights_in_and_out_have_neurons_as_rows():
    figure = plots.weights_in_and_out(W1[0], W2[0])
    np.testing.assert_allclose(figure.data[0].z, W1[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(figure.data[1].z, W2[0].T.numpy(), atol=1e-3)


def test_the_motif_graph_finds_the_inhibitor():
    reads = torch.tensor([[2.0, -0.5, 0.0], [-1.0, 0.0, 1.0], [1.5, 0.0, 1.0]])
    writes = torch.tensor([[0.5, 0.0, 0.0], [2.0, -9.0, -3.0], [0.0, 1.0, 1.0]])
    figure = plots.motif_graph(reads, writes, 0, 0, 1)
    text = {a.text for a in figure.layout.annotations}
    assert {"2.00", "-0.50", "0.50", "1.50", "-3.00"} <= text  # neuron 2; neuron 1 does not fire
    assert "-9.00" not in text
    assert "h2" in figure.data[-1].text


def test_bars_mark_the_computed_features():
    figure = plots.unexplained_bars(torch.tensor([[0.1, 0.25, 0.9]]))
    colors = list(figure.data[0].marker.color)
    assert colors[0] != colors[1] == colors[2]
