"""Figures of 3.1.7: the double-descent curve, and what stands on polygons on both sides of it."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.plots.style import FAINT, OKABE_ITO, TEMPLATE, array

BLUE, ORANGE, GREEN = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[2]
POINTS_AXIS = {"type": "log", "title": "training points T", "dtick": 1}


def descent_curves(
    n_points: Sequence[int],
    train_losses: Float[Tensor, "T inst"],
    test_losses: Float[Tensor, "T inst"],
) -> go.Figure:
    """Training and test loss against T: one dot per instance, a line through the means."""
    figure = go.Figure()
    for name, losses, colour in (("training", train_losses, BLUE), ("test", test_losses, ORANGE)):
        values = array(losses)
        for column in values.T:
            dots = {"color": colour, "size": 6, "opacity": 0.45}
            figure.add_scatter(x=n_points, y=column, mode="markers", marker=dots, showlegend=False)
        line = {"color": colour, "width": 3, "dash": "solid" if name == "test" else "dot"}
        figure.add_scatter(x=n_points, y=values.mean(1), mode="lines", line=line, name=name)
    figure.add_hline(y=1, line={"color": FAINT, "dash": "dash"}, annotation_text="always 0")
    axes = {
        "xaxis": POINTS_AXIS,
        "yaxis": {"title": "squared error per point", "rangemode": "tozero"},
    }
    return figure.update_layout(
        template=TEMPLATE, height=420, title="Loss against training points", **axes
    )


def _add_vectors(figure: go.Figure, vectors: Tensor, colour: str, row: int, col: int) -> None:
    """Lines from the origin with dots at their ends, in one panel."""
    ends = array(vectors)[:, :400]  # more than a few hundred lines are one blot
    none = np.full(ends.shape[1], np.nan)
    lines = [np.stack([0 * e, e, none], 1).ravel() for e in ends]
    thin = {"color": colour, "width": 1}
    where = {"row": row, "col": col, "showlegend": False, "hoverinfo": "skip"}
    figure.add_scatter(x=lines[0], y=lines[1], mode="lines", line=thin, opacity=0.6, **where)
    dots = {"color": colour, "size": 5}
    figure.add_scatter(x=ends[0], y=ends[1], mode="markers", marker=dots, **where)


def two_geometries(
    features: Sequence[Float[Tensor, "2 feature"]],
    points: Sequence[Float[Tensor, "2 point"]],
    titles: Sequence[str],
) -> go.Figure:
    """Above the columns of W, below the hidden vectors of the points; one column per T."""
    n = len(titles)
    figure = make_subplots(
        rows=2, cols=n, column_titles=list(titles), horizontal_spacing=0.02, vertical_spacing=0.06
    )
    for col, (W, h) in enumerate(zip(features, points, strict=True), 1):
        for row, vectors, colour in ((1, W, BLUE), (2, h, ORANGE)):
            _add_vectors(figure, vectors, colour, row, col)
            reach = 1.15 * max(float(vectors.abs().max()), 1e-3)
            figure.update_xaxes(range=[-reach, reach], visible=False, row=row, col=col)
            anchor = figure.get_subplot(row, col).xaxis.plotly_name.replace("axis", "")
            square = {"scaleanchor": anchor, "visible": False}
            figure.update_yaxes(range=[-reach, reach], row=row, col=col, **square)
    for y, text, colour in ((0.78, "features", BLUE), (0.22, "points", ORANGE)):
        figure.add_annotation(
            x=-0.03, y=y, xref="paper", yref="paper", text=f"<b>{text}</b>", textangle=-90,
            showarrow=False, font={"color": colour, "size": 15},
        )  # fmt: skip
    return figure.update_layout(
        template=TEMPLATE, height=380, margin={"l": 50, "r": 10, "t": 50, "b": 10}
    )


def dimensionality_strips(
    n_points: Sequence[int],
    sample: Sequence[Float[Tensor, " point"]],
    feature: Sequence[Float[Tensor, " feature"]],
) -> go.Figure:
    """Dimensionality of features and (the first 300) points against T, with the pentagon's 2/5."""
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, column_titles=["data points", "features"]
    )
    for col, (values, colour) in enumerate(((sample, ORANGE), (feature, BLUE)), 1):
        for n, D in zip(n_points, values, strict=True):
            shown = array(D)[:300]
            jitter = np.exp(np.linspace(-0.12, 0.12, len(shown)))  # spread sideways, not random
            dots = {"color": colour, "size": 4, "opacity": 0.5}
            figure.add_scatter(
                x=n * jitter, y=shown, mode="markers", marker=dots, showlegend=False, row=1, col=col
            )
        figure.add_hline(
            y=0.4, line={"color": FAINT, "dash": "dash"}, annotation_text="2/5", row=1, col=col
        )
        figure.update_xaxes(**POINTS_AXIS, row=1, col=col)
    figure.update_yaxes(title="dimensionality D", range=[-0.02, 1.02], row=1, col=1)
    return figure.update_layout(template=TEMPLATE, height=420)
