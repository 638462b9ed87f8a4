"""The phase diagram: which of three things a trained model does with a feature."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from utils.plots.style import DARK, ON_LIGHT, TEMPLATE, array, log_axis

PHASES = {"not represented": "#D9D9D9", "own dimension": "#56B4E9", "superposed": "#F2B84B"}


def _edges(centres: np.ndarray) -> np.ndarray:
    """Cell borders on a logarithmic axis: half-way between neighbours in the logarithm."""
    logs = np.log(centres)
    inner = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - inner[0]], inner, [2 * logs[-1] - inner[-1]]]))


def _axis(edges: np.ndarray) -> dict:
    """A logarithmic axis over the cells."""
    ends = {"range": np.log10(edges[[0, -1]]).tolist(), "showgrid": False}
    return log_axis(edges.tolist()) | ends


def phase_diagram(
    phase: Int[Tensor, "row col"],
    x: Float[Tensor, " col"],
    y: Float[Tensor, " row"],
    boundaries: dict[str, tuple[Tensor, Tensor]] | None = None,
    x_label: str = "feature probability p",
    y_label: str = "relative importance r",
    title: str = "",
) -> go.Figure:
    """Codes 0 not represented, 1 own dimension, 2 superposed; rows follow y, columns follow x.

    Both axes are logarithmic. `boundaries` (name -> x, y) are drawn as lines over the cells; nan
    breaks a line.
    """
    x_edges, y_edges = _edges(array(x)), _edges(array(y))
    colors = list(PHASES.values())
    steps = [(k / 3, colors[c]) for c in range(3) for k in (c, c + 1)]
    z = array(phase).astype(int).tolist()
    fig = go.Figure(
        go.Heatmap(
            z=z, x=x_edges, y=y_edges, colorscale=steps, zmin=-0.5, zmax=2.5, showscale=False
        )
    )
    found = set(array(phase).astype(int).ravel().tolist())
    for name, color in [item for code, item in enumerate(PHASES.items()) if code in found]:
        square = {
            "color": color,
            "symbol": "square",
            "size": 15,
            "line": {"color": DARK, "width": 1},
        }
        fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=square, name=name))
    for k, (name, (line_x, line_y)) in enumerate((boundaries or {}).items()):
        style = {"color": DARK, "width": 3, "dash": ("solid", "dash", "dot", "dashdot")[k % 4]}
        curve = {"x": array(line_x), "y": array(line_y), "name": name, "line": style}
        fig.add_trace(go.Scatter(mode="lines", **curve))
    fig.update_xaxes(**_axis(x_edges), title_text=x_label)
    fig.update_yaxes(**_axis(y_edges), title_text=y_label)
    fig.update_layout(template=TEMPLATE, height=540, margin={"l": 80, "r": 30, "t": 60, "b": 70})
    return fig.update_layout(title_text=title, legend=ON_LIGHT)
