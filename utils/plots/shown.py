"""Pictures for `shows`: a learner's function and the course's on the same inputs, side by side.

Each takes both functions and returns one figure. It raises where the learner's returns something
that cannot be drawn; then there is no picture, and the verdict says what is wrong.
"""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from utils.plots.geometry import TILT
from utils.plots.neurons import neuron_stacks
from utils.plots.style import FAINT, OKABE_ITO, array, headline, panels, rounded

BOTH = ("yours", "the course's")
Function = Callable[..., Any]


def results(theirs: Function, right: Function, *inputs: Any) -> tuple[Tensor, Tensor]:
    """What both functions return; ValueError where the learner's is of another kind or shape."""
    copies = [i.clone() if isinstance(i, Tensor) else i for i in inputs]
    mine, wanted = theirs(*copies), right(*inputs)
    if not isinstance(mine, Tensor) or mine.shape != wanted.shape:
        raise ValueError("there is nothing to draw")
    return mine.detach().to(wanted.dtype), wanted


def _shapes(pairs: Sequence[tuple[Tensor, Tensor]], labels: Sequence[str]) -> go.Figure:
    """Closed polygons (2, k) with dots at their corners, numbered at the first; equal axes."""
    fig = panels(list(BOTH), 2, 330)
    for number, (pair, label) in enumerate(zip(pairs, labels, strict=True)):
        color = OKABE_ITO[number % 8]
        for col, corners in enumerate(pair, 1):
            x, y = rounded(array(torch.cat([corners, corners[:, :1]], dim=1)))
            dots = {"color": color, "size": [12, *[7] * (len(x) - 1)]}
            fig.add_scatter(
                x=x, y=y, mode="lines+markers", line={"color": color, "width": 1.5}, marker=dots,
                name=label, legendgroup=label, showlegend=col == 1, row=1, col=col,
            )  # fmt: skip
    for col in (1, 2):
        axis = {"range": [-1.25, 1.25], "tickvals": [-1, 0, 1], "constrain": "domain"}
        fig.update_xaxes(**axis, row=1, col=col)
        anchor = fig.get_subplot(1, col).xaxis.plotly_name.replace("axis", "")
        fig.update_yaxes(**axis, scaleanchor=anchor, row=1, col=col)
        circle = {"type": "circle", "x0": -1, "y0": -1, "x1": 1, "y1": 1, "layer": "below"}
        fig.add_shape(**circle, line={"color": FAINT, "width": 1, "dash": "dot"}, row=1, col=col)
    return headline(fig, "")


def polygons(theirs: Function, right: Function) -> go.Figure:
    """Three, five and eight corners; the large dot is corner 0."""
    pairs = [results(theirs, right, k) for k in (3, 5, 8)]
    return _shapes(pairs, ["k = 3", "k = 5", "k = 8"])


def antiprism(theirs: Function, right: Function) -> go.Figure:
    """The two squares of a solid with eight corners, seen from the side a little above."""
    tilt = torch.tensor(TILT, dtype=torch.float32)
    mine, wanted = (tilt @ corners for corners in results(theirs, right, 4))
    return _shapes([(mine[:, :4], wanted[:, :4]), (mine[:, 4:], wanted[:, 4:])], ["upper", "lower"])


def dimensionalities(theirs: Function, right: Function) -> go.Figure:
    """D of every feature of four shapes in dimensions of their own, one of them not of length 1."""

    def polygon(k: int, length: float = 1.0) -> Tensor:
        angle = 2 * torch.pi * torch.arange(k) / k
        return length * torch.stack([angle.cos(), angle.sin()])

    shapes = {
        "alone": torch.ones(1, 1),
        "digon": torch.tensor([[1.0, -1.0]]),
        "triangle, of length 0.7": polygon(3, 0.7),
        "pentagon": polygon(5),
    }
    W = torch.block_diag(*shapes.values())[None]
    both = results(theirs, right, W)
    fig = panels(list(BOTH), 2, 260)
    for col, values in enumerate(both, 1):
        begin = 0
        for number, (name, shape) in enumerate(shapes.items()):
            end = begin + shape.shape[1]
            fig.add_bar(
                x=list(range(begin, end)), y=rounded(array(values[0, begin:end])), name=name,
                marker={"color": OKABE_ITO[number]}, legendgroup=name, showlegend=col == 1,
                row=1, col=col,
            )  # fmt: skip
            begin = end
        fig.update_xaxes(title_text="feature", row=1, col=col)
    top = 1.1 * max(1.0, *(float(v.nan_to_num(0, 0, 0).max()) for v in both))
    fig.update_yaxes(range=[0, top], title_text="D", row=1, col=1)
    return headline(fig.update_yaxes(range=[0, top], row=1, col=2), "")


def stacks(theirs: Function, right: Function) -> go.Figure:
    """The stack plot of three neurons, drawn from each function's bottoms."""
    W = torch.tensor([[[0.9, -0.4, 0.0], [0.5, 0.6, -0.3], [-0.5, 0.4, -0.3]]])
    mine, wanted = results(theirs, right, W)
    gain = W.relu().square()
    score = gain.amax(dim=-1) / gain.sum(dim=-1)
    twice = torch.cat([W, W])
    return neuron_stacks(twice, torch.cat([mine, wanted]), torch.cat([score, score]), BOTH)
