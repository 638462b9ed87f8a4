"""Figures of section 3.1.2: pairs of features, their directions, who shares with whom."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from utils.plots.style import (
    DARK,
    DIVERGING,
    FAINT,
    N_COLUMNS,
    OKABE_ITO,
    ON_LIGHT,
    SEQUENTIAL,
    TEMPLATE,
    array,
    color_bar,
    headline,
    names,
    panels,
    place,
    rounded,
)

ARRANGEMENTS = ("missing", "opposite", "orthogonal", "same direction", "in between")
ARRANGEMENT_COLORS = ("#D9D9D9", "#E69F00", "#56B4E9", "#009E73", "#F0E442")
TIES = (  # of the losses c, p and 1 - 3c/4, for p up to 1/2: name, p, c, dash
    ("tie: opposite = orthogonal", [0.0, 4 / 7], [0.0, 4 / 7], "solid"),
    ("tie: orthogonal = sum", [0.25, 4 / 7], [1.0, 4 / 7], "dash"),
)


def _labels(tips: np.ndarray, near: float = 0.15) -> list[str]:
    """A number beside each tip; tips on top of each other share one label, at the last of them."""
    n, gap = tips.shape[1], np.linalg.norm(tips[:, :, None] - tips[:, None], axis=0)
    groups = [[j for j in range(n) if gap[i, j] < near] for i in range(n)]
    return [", ".join(map(str, group)) if i == group[-1] else "" for i, group in enumerate(groups)]


def _arrow(x: float, y: float, feature: int, label: str) -> go.Scatter:
    """One feature: the colour says which pair, the line (solid, dotted) which of the two."""
    color = OKABE_ITO[feature // 2 % 8]
    return go.Scatter(
        x=[0, x],
        y=[0, y],
        mode="lines+markers+text",
        line={"color": color, "width": 3, "dash": "dot" if feature % 2 else "solid"},
        marker={"color": color, "size": [0, 9], "symbol": "circle"},
        text=["", label],
        textposition=f"{'top' if y >= 0 else 'bottom'} {'right' if x >= 0 else 'left'}",
        textfont={"color": color, "size": 13},
        name=f"pair {feature // 2}",
        legendgroup=str(feature // 2),
        hovertemplate=f"feature {feature}: (%{{x:.2f}}, %{{y:.2f}})<extra></extra>",
    )


def pair_arrows(
    W: Float[Tensor, "inst 2 feature"], titles: Sequence[str] | None = None, title: str = ""
) -> go.Figure:
    """Each column of W as an arrow, one panel per instance; partners share a colour."""
    tips, n_inst = rounded(array(W)), len(W)
    reach = 1.25 * max(1.05, float(np.abs(array(W)).max()))
    n_wide = min(n_inst, N_COLUMNS)
    fig = panels(names(titles, n_inst), n_wide, 235 if n_wide < N_COLUMNS else 185)
    for i, (xs, ys) in enumerate(tips):
        row, col, lowest, first = place(i, n_inst, N_COLUMNS)
        labels = _labels(np.array([xs, ys]))
        for f, (x, y, label) in enumerate(zip(xs, ys, labels, strict=True)):
            arrow = _arrow(x, y, f, label).update(showlegend=i == 0 and f % 2 == 0)
            fig.add_trace(arrow, row=row, col=col)
        circle = {"type": "circle", "x0": -1, "y0": -1, "x1": 1, "y1": 1, "layer": "below"}
        fig.add_shape(**circle, line={"color": FAINT, "width": 1, "dash": "dot"}, row=row, col=col)
        axis = {"range": [-reach, reach], "tickvals": [-1, 0, 1]}
        fig.update_xaxes(**axis, title_text="hidden 0" if lowest else "", row=row, col=col)
        square = {"scaleanchor": fig.data[-1].xaxis, "constrain": "domain"}
        fig.update_yaxes(**axis, **square, title_text="hidden 1" if first else "", row=row, col=col)
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0.005}
    fig.update_layout(legend=legend | {"yanchor": "bottom"}, margin={"b": 90})
    fig.update_layout(height=fig.layout.height + 30)
    return headline(fig, title)


def cosine_histograms(
    cosines: Mapping[str, Float[Tensor, " pair"]], title: str = "", n_bins: int = 41
) -> go.Figure:
    """One histogram of cosines in [-1, 1] for each name, as shares, below each other.

    `n_bins` is odd, so that -1, 0 and 1 are centres of bins.
    """
    fig = panels(list(cosines), 1, 105)
    half = 1 / (n_bins - 1)
    edges = np.linspace(-1 - half, 1 + half, n_bins + 1)
    for row, (name, values) in enumerate(cosines.items(), start=1):
        counts, _ = np.histogram(array(values).clip(-1, 1), edges)
        bars = go.Bar(
            x=rounded((edges[1:] + edges[:-1]) / 2),
            y=rounded(counts / max(counts.sum(), 1)),
            marker={"color": OKABE_ITO[(row - 1) % 8], "line": {"width": 0}},
            hovertemplate=f"{name}: cosine about %{{x:.2f}}, share %{{y:.2f}}<extra></extra>",
        )
        fig.add_trace(bars, row=row, col=1)
        fig.update_yaxes(range=[0, 1.05], tickvals=[0, 0.5, 1], title_text="share", row=row, col=1)
    fig.update_xaxes(range=[-1.04, 1.04], tickvals=[-1, -0.5, 0, 0.5, 1])
    fig.update_xaxes(title_text="cosine of the two directions of a pair", row=len(cosines), col=1)
    fig.update_layout(showlegend=False, bargap=0.05)
    return headline(fig, title)


def grouped_matrices(
    matrices: Float[Tensor, "inst feature feature"],
    groups: Mapping[str, int],
    titles: Sequence[str] | None = None,
    label: str = "WᵀW",
    title: str = "",
) -> go.Figure:
    """Heat maps over features, with lines between the groups (name -> number of features)."""
    values = array(matrices)
    n_inst = len(values)
    ends = np.cumsum(list(groups.values()))
    middles = (ends - np.array(list(groups.values())) / 2 - 0.5).tolist()
    fig = panels(names(titles, n_inst), min(n_inst, 3), 330 if n_inst > 1 else 380)
    for i, z in enumerate(values):
        row, col, _, first = place(i, n_inst, min(n_inst, 3))
        hover = "features %{y}, %{x}: %{z:.2f}<extra></extra>"
        heat = go.Heatmap(z=rounded(z), coloraxis="coloraxis", hovertemplate=hover)
        fig.add_trace(heat, row=row, col=col)
        for end in ends[:-1].tolist():
            line = {"line": {"color": DARK, "width": 1.5}, "row": row, "col": col}
            fig.add_vline(x=end - 0.5, **line)
            fig.add_hline(y=end - 0.5, **line)
        off = {"showgrid": False, "constrain": "domain", "ticktext": list(groups), "ticks": ""}
        fig.update_xaxes(**off, tickvals=middles, row=row, col=col)
        square = {"scaleanchor": fig.data[-1].xaxis, "autorange": "reversed", "tickangle": -90}
        fig.update_yaxes(**off, **square, tickvals=middles, showticklabels=first, row=row, col=col)
    limit = max(1.0, float(np.abs(values).max()))
    scale = {
        "colorscale": DIVERGING,
        "cmin": -limit,
        "cmax": limit,
        "colorbar": color_bar(label, "top"),
    }
    fig.update_layout(coloraxis=scale)
    return headline(fig, title)


def arrangement_map(
    codes: Int[Tensor, "row col"],
    x: Float[Tensor, " col"],
    y: Float[Tensor, " row"],
    title: str = "two pairs in two dimensions: how partners are arranged",
) -> go.Figure:
    """A cell for each (p, c) with the colour of its code, rows following y; theory as lines."""
    n_codes, colors = len(ARRANGEMENTS), ARRANGEMENT_COLORS
    steps = [(k / n_codes, colors[c]) for c in range(n_codes) for k in (c, c + 1)]
    z = array(codes).astype(int)
    grid = {"x": rounded(array(x)), "y": rounded(array(y)), "xgap": 1, "ygap": 1}
    cells = {"zmin": -0.5, "zmax": n_codes - 0.5, "colorscale": steps, "showscale": False}
    words = [[ARRANGEMENTS[code] for code in line] for line in z]
    hover = "p = %{x:.2f}, c = %{y:.2f}: %{text}<extra></extra>"
    fig = go.Figure(go.Heatmap(z=z.tolist(), **grid, **cells, text=words, hovertemplate=hover))
    for code, (name, color) in enumerate(zip(ARRANGEMENTS, colors, strict=True)):
        if (z == code).any():
            square = {"color": color, "symbol": "square", "size": 15}
            square["line"] = {"color": DARK, "width": 1}
            fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=square, name=name))
    for name, line_x, line_y, dash in TIES:
        style = {"color": DARK, "width": 3, "dash": dash}
        fig.add_trace(go.Scatter(x=line_x, y=line_y, mode="lines", line=style, name=name))
    for axis, values in (("xaxis", array(x)), ("yaxis", array(y))):
        half = float(values[1] - values[0]) / 2
        ends = [float(values[0]) - half, float(values[-1]) + half]
        fig.update_layout({axis: {"range": ends, "showgrid": False}})
    fig.update_xaxes(title="p: how often a feature is on")
    fig.update_yaxes(title="c: how often its partner is on too")
    fig.update_layout(template=TEMPLATE, height=520, title=title, legend=ON_LIGHT)
    return fig.update_layout(margin={"l": 80, "r": 30, "t": 60, "b": 70})


def share_table(
    share: Float[Tensor, "row col"],
    dims: Sequence[int],
    together: Sequence[float],
    title: str = "share of pairs that collapsed to their sum",
) -> go.Figure:
    """A heat map with its numbers written in: dimensions down, togetherness to the right."""
    z = rounded(array(share))
    fig = go.Figure(
        go.Heatmap(
            z=z,
            x=[f"{c:g}" for c in together],
            y=[str(d) for d in dims],
            coloraxis="coloraxis",
            text=[[f"{v:.2f}" for v in line] for line in z],
            texttemplate="%{text}",
            hovertemplate="%{y} dimensions, c = %{x}: %{z:.2f}<extra></extra>",
        )
    )
    fig.update_xaxes(title="c: how often the partner is on too", type="category", showgrid=False)
    fig.update_yaxes(title="dimensions", type="category", showgrid=False)
    scale = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 1, "colorbar": color_bar("share", "top")}
    fig.update_layout(template=TEMPLATE, coloraxis=scale, height=430, title=title)
    return fig.update_layout(margin={"l": 80, "r": 30, "t": 60, "b": 70})
