"""Figures hold the data they were given, and nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
import torch
from torch import Tensor

from utils import plots
from utils.testing import generator, unchanged

INST, FEATURE, FRAME = 6, 5, 4


def rand(*size: int) -> Tensor:
    return torch.rand(size, generator=generator(0))


def inputs() -> dict[str, tuple[Callable[..., go.Figure], tuple[Tensor, ...]]]:
    """Every figure with fresh data for it."""
    codes = (3 * rand(4, 7)).long()
    x, y = torch.logspace(-2, 0, 7), torch.logspace(-1, 1, 4)
    return {
        "arrows": (plots.feature_arrows, (rand(INST, 2, FEATURE),)),
        "animation": (
            plots.feature_arrows_animation,
            (rand(FRAME, INST, 2, FEATURE), torch.arange(FRAME)),
        ),
        "norms": (plots.norms_and_interference, (rand(INST, FEATURE), rand(INST, FEATURE))),
        "gram": (plots.gram_heatmaps, (rand(INST, FEATURE, FEATURE) - 0.5,)),
        "phase": (plots.phase_diagram, (codes, x, y)),
        "curves": (plots.training_curves, (rand(9, INST), torch.arange(9))),
    }


def tips(data: list, n_inst: int = INST, n_feature: int = FEATURE) -> np.ndarray:
    """Ends of the arrows as "inst 2 feature"."""
    ends = [(trace["x"][1], trace["y"][1]) for trace in data[: n_inst * n_feature]]
    return np.array(ends).reshape(n_inst, n_feature, 2).swapaxes(1, 2)


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


@pytest.mark.parametrize("name", inputs())
def test_every_figure__travels_as_small_json(name):
    """JSON and back gives the same figure; plotly.js is not inside; text is 12 px or larger."""
    draw, data = inputs()[name]
    fig = draw(*data, title="A title")
    text = fig.to_json()
    assert json.loads(pio.from_json(text).to_json()) == json.loads(text)
    assert len(text) < 100_000
    assert "<script" not in text
    assert fig.layout.width is None and fig.layout.height  # as wide as its column
    assert fig.layout.title.text == "A title"

    def sizes(node: object) -> list[float]:
        if isinstance(node, list):
            return [size for child in node for size in sizes(child)]
        if not isinstance(node, dict):
            return []
        own = [node["font"]["size"]] if "size" in node.get("font", {}) else []
        return own + [size for child in node.values() for size in sizes(child)]

    assert min(sizes(json.loads(text)["layout"])) >= 12


@pytest.mark.parametrize("name", inputs())
def test_every_figure__accepts_any_layout_and_gradients(name):
    """Non-contiguous tensors and tensors with a gradient are drawn the same."""
    draw, data = inputs()[name]
    plain = draw(*data).to_json()
    odd = [t.mT.contiguous().mT if t.ndim > 1 else t for t in data]
    odd = [t.requires_grad_() if t.is_floating_point() else t for t in odd]
    assert draw(*odd).to_json() == plain


def test_feature_arrows__draws_each_column():
    """Panel i, arrow f ends at W[i, :, f]; each panel has its title and its unit circle."""
    W = rand(INST, 2, FEATURE) - 0.5
    titles = [f"p = {i}" for i in range(INST)]
    fig = plots.feature_arrows(W, titles)
    np.testing.assert_allclose(tips(fig.data), W, atol=6e-4)
    assert [note.text for note in fig.layout.annotations] == titles
    assert len(fig.layout.shapes) == INST
    assert [trace.name for trace in fig.data if trace.showlegend] == [
        f"feature {f}" for f in range(FEATURE)
    ]


def test_feature_arrows__colors_follow_the_numbers():
    """Equal numbers share a colour, and the bar spans the numbers."""
    fig = plots.feature_arrows(rand(2, 2, 3), colors=torch.tensor([1.0, 0.25, 1.0]))
    first, second, third = (trace.line.color for trace in fig.data[:3])
    assert first == third != second
    assert (fig.data[-1].marker.cmin, fig.data[-1].marker.cmax) == (0.25, 1.0)


@pytest.mark.parametrize("n_feature", [1, 8, 13])
def test_feature_arrows__gives_every_feature_its_colour(n_feature):
    """No two features look the same, however many there are."""
    fig = plots.feature_arrows(rand(1, 2, n_feature))
    assert len({trace.line.color for trace in fig.data}) == n_feature


def test_titles__must_match_the_panels():
    """A wrong number of titles is an error that says both numbers."""
    with pytest.raises(ValueError, match="2 titles for 6 panels"):
        plots.gram_heatmaps(rand(6, 3, 3), ["a", "b"])


def test_feature_arrows_animation__moves_through_the_frames():
    """Frame k shows frames_W[k] under the name of its step; at rest the figure shows the last."""
    frames_W, steps = rand(FRAME, INST, 2, FEATURE) - 0.5, torch.tensor([0, 10, 50, 200])
    fig = plots.feature_arrows_animation(frames_W, steps)
    np.testing.assert_allclose(tips(fig.data), frames_W[-1], atol=6e-4)
    for frame, W in zip(fig.frames, frames_W, strict=True):
        np.testing.assert_allclose(tips(frame.data), W, atol=6e-4)
        assert list(frame.traces) == list(range(INST * FEATURE))
    assert [frame.name for frame in fig.frames] == ["0", "10", "50", "200"]
    slider = fig.layout.sliders[0]
    assert [tuple(step.args[0]) for step in slider.steps] == [("0",), ("10",), ("50",), ("200",)]
    assert slider.active == FRAME - 1
    assert [button.label.split()[-1] for button in fig.layout.updatemenus[0].buttons] == [
        *("play", "pause"),
    ]


def test_feature_arrows_animation__of_forty_frames_is_small():
    """Eight instances, five features, forty frames: less than a megabyte."""
    fig = plots.feature_arrows_animation(rand(40, 8, 2, 5), torch.arange(40))
    assert len(fig.to_json()) < 1_000_000


def test_norms_and_interference__has_a_row_per_instance():
    """Heights are the norms, colours the interference, on one common scale."""
    norms, interference = rand(3, 7), 2 * rand(3, 7)
    fig = plots.norms_and_interference(norms, interference)
    np.testing.assert_allclose([bar.y for bar in fig.data], norms, atol=6e-4)
    np.testing.assert_allclose([bar.marker.color for bar in fig.data], interference, atol=6e-4)
    assert {bar.marker.coloraxis for bar in fig.data} == {"coloraxis"}
    assert fig.layout.coloraxis.cmin == 0


def test_gram_heatmaps__are_white_at_zero():
    """The cells are the matrix, row 0 on top, and the colour scale is symmetric."""
    gram = 3 * (rand(2, 4, 4) - 0.7)
    fig = plots.gram_heatmaps(gram)
    np.testing.assert_allclose([heat.z for heat in fig.data], gram, atol=6e-4)
    scale = fig.layout.coloraxis
    assert scale.cmin == -scale.cmax == pytest.approx(-float(gram.abs().max()))
    assert fig.layout.yaxis.autorange == "reversed"


def test_phase_diagram__puts_cells_between_logarithmic_edges():
    """Codes are the cells; edges are half-way between centres in the logarithm."""
    phase = torch.tensor([[0, 1, 2], [2, 2, 0]])
    x, y = torch.tensor([0.01, 0.1, 1.0]), torch.tensor([0.5, 2.0])
    line = (torch.tensor([0.01, 1.0]), torch.tensor([1.0, 2.0]))
    fig = plots.phase_diagram(phase, x, y, {"theory": line})
    heat = fig.data[0]
    assert np.array_equal(heat.z, phase)
    np.testing.assert_allclose(heat.x, 10.0 ** np.array([-2.5, -1.5, -0.5, 0.5]), rtol=1e-5)
    np.testing.assert_allclose(heat.y, [0.25, 1, 4], rtol=1e-5)
    assert [trace.name for trace in fig.data[1:]] == [*plots.PHASES, "theory"]
    np.testing.assert_allclose(fig.data[-1].y, [1, 2])


def test_phase_diagram__colours_are_those_of_the_legend():
    """The colour that code c gets in the heat map is the one beside its name."""
    fig = plots.phase_diagram(torch.tensor([[0, 1], [2, 0]]), *torch.tensor([[0.1, 1.0]] * 2))
    heat, keys = fig.data[0], fig.data[1:4]
    for code, key in enumerate(keys):
        share = (code - heat.zmin) / (heat.zmax - heat.zmin)
        below = [color for at, color in heat.colorscale if at <= share]
        assert below[-1].lower() == key.marker.color.lower()


def test_training_curves__has_a_line_per_instance():
    """Lines are the columns of the losses, against the steps, on a logarithmic axis."""
    losses, steps = rand(9, 3), 100 * torch.arange(9)
    fig = plots.training_curves(losses, steps, ["a", "b", "c"])
    np.testing.assert_allclose(np.array([line.y for line in fig.data]).T, losses, rtol=1e-6)
    assert all(list(line.x) == steps.tolist() for line in fig.data)
    assert [line.name for line in fig.data] == ["a", "b", "c"]
    assert fig.layout.yaxis.type == "log"


def renderer(**environment: str) -> str:
    """The default renderer that a fresh process ends up with."""
    code = (
        "import plotly.io as pio; pio.renderers.default = 'json'; from utils import plots;"
        "plots.use_notebook_renderer(); print(pio.renderers.default)"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COLAB_", "COURSE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_use_notebook_renderer__never_embeds_a_library():
    """Figures travel as data in Jupyter; Colab keeps its own way."""
    assert renderer() == "plotly_mimetype"
    assert renderer(COLAB_RELEASE_TAG="release") == "json"
