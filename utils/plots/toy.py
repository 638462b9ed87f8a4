"""Figures of the course: data in, a plotly figure out. Nothing is shown, no input is changed."""

import os
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from jaxtyping import Float, Int
from plotly.colors import sample_colorscale
from torch import Tensor

from utils.plots.phase import PHASES, phase_diagram
from utils.plots.style import (
    DIVERGING,
    FAINT,
    N_COLUMNS,
    OKABE_ITO,
    SEQUENTIAL,
    TEMPLATE,
    WIDTH,
    add_film_controls,
    array,
    color_bar,
    headline,
    names,
    panels,
    place,
    rounded,
    shades,
)

__all__ = [
    "PHASES",
    "feature_arrows",
    "feature_arrows_animation",
    "gram_heatmaps",
    "norms_and_interference",
    "phase_diagram",
    "training_curves",
    "use_notebook_renderer",
]


def use_notebook_renderer() -> None:
    """Make `fig.show()` and a cell's last line draw in JupyterLab and VS Code with no network.

    The figure travels as data (`application/vnd.plotly.v1+json`) and the front end draws it: no
    copy of plotly.js enters a notebook. Colab draws otherwise and keeps plotly's own choice.
    `COURSE_STATIC=1` puts a PNG beside the data, for readers that run no scripts; it needs
    kaleido and a Chromium on the PATH or named by `BROWSER_PATH`.
    """
    if "COLAB_RELEASE_TAG" in os.environ or "COLAB_NOTEBOOK_ID" in os.environ:
        return
    if os.environ.get("COURSE_STATIC") != "1":
        pio.renderers.default = "plotly_mimetype"
        return
    import kaleido  # only for those who make static pictures

    pio.renderers.default = "plotly_mimetype+png"
    pio.renderers["png"].width = WIDTH
    pio.renderers["png"].scale = 1  # 40 to 100 KB a figure, four times that at 2
    pio.defaults.headers = None  # for map tiles only, and a running server warns about it
    kaleido.start_sync_server(mathjax=False, silence_warnings=True)  # its MathJax is on a CDN


def _feature_colors(n_feature: int, colors: Tensor | None) -> list[str]:
    """One colour per feature: by value where there are values, else by feature."""
    if colors is None:
        return [OKABE_ITO[i % 8] for i in range(n_feature)] if n_feature <= 8 else shades(n_feature)
    values = array(colors)
    share = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    return sample_colorscale(SEQUENTIAL, (0.88 * (1 - share)).tolist())  # the largest is darkest


def _ends(x: float, y: float) -> dict:
    """The moving part of one arrow: from the origin to its tip."""
    return {"x": [0, x], "y": [0, y]}


def _arrow(x: float, y: float, feature: int, color: str) -> go.Scatter:
    """A line from the origin with a dot at its tip."""
    return go.Scatter(
        **_ends(x, y),
        mode="lines+markers",
        line={"color": color, "width": 3},
        marker={"color": color, "size": [0, 10], "opacity": 1, "line": {"width": 0}},
        name=f"feature {feature}",
        legendgroup=str(feature),
        hovertemplate=f"feature {feature}: (%{{x:.2f}}, %{{y:.2f}})<extra></extra>",
    )


def _color_bar(colors: Float[Tensor, " feature"], label: str) -> go.Scatter:
    """An empty trace that carries the colour bar of `_feature_colors`."""
    scale = sample_colorscale(SEQUENTIAL, np.linspace(0.88, 0, 32).tolist())
    low, high = float(colors.min()), float(colors.max())
    marker = {"color": [low], "cmin": low, "cmax": high, "colorscale": scale}
    marker["colorbar"] = color_bar(label)
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False)


def feature_arrows(
    W: Float[Tensor, "inst 2 feature"],
    titles: Sequence[str] | None = None,
    colors: Float[Tensor, " feature"] | None = None,
    color_label: str = "importance",
    title: str = "",
) -> go.Figure:
    """Each column of W as an arrow from the origin, one panel per instance, with the unit circle.

    `colors` are numbers (importances, say) for a colour bar; without them each feature has its own.
    """
    tips = rounded(array(W))
    n_inst, n_feature = len(tips), W.shape[2]
    palette = _feature_colors(n_feature, colors)
    reach = 1.12 * max(1.05, float(np.abs(array(W)).max()))
    fig = panels(names(titles, n_inst), N_COLUMNS, 225)
    for i, (xs, ys) in enumerate(tips):
        row, col, lowest, first = place(i, n_inst, N_COLUMNS)
        for f in range(n_feature):
            arrow = _arrow(xs[f], ys[f], f, palette[f])
            arrow.showlegend = i == 0 and colors is None
            fig.add_trace(arrow, row=row, col=col)
        circle = {"type": "circle", "x0": -1, "y0": -1, "x1": 1, "y1": 1, "layer": "below"}
        fig.add_shape(**circle, line={"color": FAINT, "width": 1, "dash": "dot"}, row=row, col=col)
        axis = {"range": [-reach, reach], "tickvals": [-1, 0, 1], "constrain": "domain"}
        fig.update_xaxes(**axis, title_text="hidden 0" if lowest else "", row=row, col=col)
        axis["scaleanchor"] = fig.data[-1].xaxis
        fig.update_yaxes(**axis, title_text="hidden 1" if first else "", row=row, col=col)
    if colors is not None:
        fig.add_trace(_color_bar(colors, color_label), row=1, col=1)
    else:
        legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container"}
        fig.update_layout(legend=legend | {"y": 0.005, "yanchor": "bottom"}, margin={"b": 90})
        fig.update_layout(height=fig.layout.height + 30)
    return headline(fig, title)


def feature_arrows_animation(
    frames_W: Float[Tensor, "frame inst 2 feature"],
    steps: Int[Tensor, " frame"],
    titles: Sequence[str] | None = None,
    colors: Float[Tensor, " feature"] | None = None,
    color_label: str = "importance",
    title: str = "",
) -> go.Figure:
    """The arrows at each snapshot, with play, pause and a slider; at rest it shows the last."""
    fig = feature_arrows(frames_W[-1], titles, colors, color_label, title)
    # the longest arrow may be in an earlier frame
    reach = 1.12 * max(1.05, float(frames_W.detach().abs().max()))
    fig.update_xaxes(range=[-reach, reach]).update_yaxes(range=[-reach, reach])
    labels = [str(step) for step in steps.tolist()]
    n_arrows = frames_W.shape[1] * frames_W.shape[3]
    fig.frames = [
        go.Frame(
            name=label,
            data=[_ends(x, y) for xs, ys in tips for x, y in zip(xs, ys, strict=True)],
            traces=list(range(n_arrows)),
        )
        for label, tips in zip(labels, rounded(array(frames_W)), strict=True)
    ]
    return add_film_controls(fig, labels, "after step ")


def norms_and_interference(
    norms: Float[Tensor, "inst feature"],
    interference: Float[Tensor, "inst feature"],
    titles: Sequence[str] | None = None,
    title: str = "",
) -> go.Figure:
    """A bar per feature: its height is the norm, its colour the interference (TMS's stack plot)."""
    heights, colors = array(norms), array(interference)
    n_inst, n_feature = heights.shape
    fig = panels(names(titles, n_inst), 1, 120)
    top = 1.1 * max(1.0, float(heights.max()))
    for i in range(n_inst):
        bars = go.Bar(
            x=list(range(n_feature)),
            y=rounded(heights[i]),
            marker={"color": rounded(colors[i]), "coloraxis": "coloraxis", "line": {"width": 0}},
            hovertemplate="feature %{x}: norm %{y:.2f}, interference %{marker.color:.2f}"
            "<extra></extra>",
        )
        fig.add_trace(bars, row=i + 1, col=1)
        fig.update_yaxes(range=[0, top], tickvals=[0, 1], title_text="‖Wᵢ‖", row=i + 1, col=1)
    fig.update_xaxes(range=[-0.7, n_feature - 0.3], ticks="", showticklabels=False)
    lowest = {"ticks": "outside", "showticklabels": True, "title_text": "feature"}
    fig.update_xaxes(**lowest, row=n_inst, col=1)
    visible = colors[heights > 0.1]  # the colour of an invisible bar must not stretch the scale
    scale = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": max([1.0, *visible.tolist()])}
    fig.update_layout(
        coloraxis=scale | {"colorbar": color_bar("interference")}, showlegend=False, bargap=0.15
    )
    return headline(fig, title)


def gram_heatmaps(
    gram: Float[Tensor, "inst feature feature"],
    titles: Sequence[str] | None = None,
    title: str = "",
) -> go.Figure:
    """W^T W of every instance, on one colour scale that is white at 0 and symmetric about it."""
    values = array(gram)
    n_inst = len(values)
    fig = panels(names(titles, n_inst), N_COLUMNS, 225)
    for i, z in enumerate(values):
        row, col, lowest, first = place(i, n_inst, N_COLUMNS)
        heat = go.Heatmap(
            z=rounded(z),
            coloraxis="coloraxis",
            hovertemplate="features %{y}, %{x}: %{z:.2f}<extra></extra>",
        )
        fig.add_trace(heat, row=row, col=col)
        off = {"showgrid": False, "constrain": "domain"}
        fig.update_xaxes(**off, title_text="feature" if lowest else "", row=row, col=col)
        square = {"scaleanchor": fig.data[-1].xaxis, "autorange": "reversed"}
        fig.update_yaxes(**off, **square, title_text="feature" if first else "", row=row, col=col)
    limit = max(1.0, float(np.abs(values).max()))
    scale = {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit}
    fig.update_layout(coloraxis=scale | {"colorbar": color_bar("WᵀW", "top")})
    return headline(fig, title)


def training_curves(
    losses: Float[Tensor, "record inst"],
    steps: Int[Tensor, " record"],
    titles: Sequence[str] | None = None,
    title: str = "",
) -> go.Figure:
    """Loss against steps, one line per instance, logarithmic loss axis."""
    values, n_inst = array(losses), losses.shape[1]
    fig = go.Figure()
    for i, (name, color) in enumerate(zip(names(titles, n_inst), shades(n_inst), strict=True)):
        line = {"color": color, "width": 2}
        fig.add_trace(go.Scatter(x=steps.tolist(), y=values[:, i], name=name, line=line))
    fig.update_xaxes(title_text="step")
    fig.update_yaxes(title_text="loss", type="log", dtick=1)
    margin = {"l": 80, "r": 30, "t": 60, "b": 60}
    fig.update_layout(template=TEMPLATE, height=420, margin=margin)
    return fig.update_layout(title_text=title)
