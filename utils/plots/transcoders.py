"""Figures of 3.2.6: costs with intervals, shares, weights against words, scores in groups."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    INK,
    OKABE_ITO,
    array,
    color_bar,
    escaped,
    panels,
    plain,
    rounded,
)

Interval = tuple[float, float, float]  # value, lower and upper end
SHAPES = ("", "/", "x", ".", "+", "-")


def costs(spans: Mapping[str, Interval], y: str) -> go.Figure:
    """A bar with its interval for every entry."""
    fig = plain(400, "", y)
    arms = {
        "type": "data", "symmetric": False, "thickness": 1.5, "color": INK,
        "array": [round(high - v, 5) for v, _, high in spans.values()],
        "arrayminus": [round(v - low, 5) for v, low, _ in spans.values()],
    }  # fmt: skip
    fig.add_bar(
        x=list(spans), y=[round(v, 5) for v, _, _ in spans.values()], error_y=arms,
        marker_color=OKABE_ITO[0], hovertemplate="%{x}<br>%{y:.4f}<extra></extra>",
    )  # fmt: skip
    return fig.add_hline(y=0, line={"color": FAINT, "width": 1})


def stacked(shares: Mapping[str, Sequence[float]], names: Sequence[str], y: str) -> go.Figure:
    """A bar of shares for every entry, one colour for each part."""
    fig = plain(400, "", y)
    for i, name in enumerate(names):
        fig.add_bar(
            x=list(shares), y=[round(float(row[i]), 4) for row in shares.values()], name=name,
            marker={
                "color": OKABE_ITO[i % 8], "pattern": {"shape": SHAPES[i % len(SHAPES)]},
                "line": {"color": OKABE_ITO[i % 8], "width": 1},  # where a hatched bar ends
            },
            hovertemplate="%{x}<br>%{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.update_layout(barmode="relative", margin={"t": 60})
    return fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def stacked_signed(sums: Mapping[str, Mapping[str, float]], y: str) -> go.Figure:
    """Contributions by kind, upwards and downwards from 0, one bar for every entry."""
    kinds = list(next(iter(sums.values())))
    rows = {name: [found[kind] for kind in kinds] for name, found in sums.items()}
    fig = stacked(rows, kinds, y)
    return fig.add_hline(y=0, line={"color": INK, "width": 1.5})


def clouds(pairs: Mapping[str, Float[Tensor, "pair two_k"]], x: str, y: str) -> go.Figure:
    """Points in panels side by side, on the same axes."""
    fig = panels(list(pairs), len(pairs), 320)
    for i, values in enumerate(pairs.values()):
        points = array(values)
        fig.add_scattergl(
            x=rounded(points[:, 0]), y=rounded(points[:, 1]), mode="markers", row=1, col=i + 1,
            marker={"color": OKABE_ITO[i % 8], "size": 4, "opacity": 0.5},
            hovertemplate="%{x:.2f}, %{y:.2f}<extra></extra>",
        )  # fmt: skip
    far = [float(max(v[:, k].abs().max() for v in pairs.values())) * 1.05 for k in (0, 1)]
    fig.update_xaxes(title_text=x, range=[-far[0], far[0]])
    fig.update_yaxes(range=[-far[1], far[1]]).update_yaxes(title_text=y, col=1)
    return fig.update_layout(showlegend=False)


def boxes(groups: Mapping[str, Mapping[str, Float[Tensor, " item"]]], y: str) -> go.Figure:
    """Quartiles of every group, a colour for each way; the dotted line is chance."""
    fig = plain(430, "", y)
    for i, name in enumerate(next(iter(groups.values()))):
        x = [group for group, ways in groups.items() for _ in ways[name]]
        values = [v for ways in groups.values() for v in rounded(array(ways[name]))]
        fig.add_box(
            x=x, y=values, name=name, boxpoints="outliers",
            marker={"color": OKABE_ITO[i % 8], "size": 3},
            line={"color": OKABE_ITO[i % 8], "width": 2}, fillcolor="rgba(0, 0, 0, 0)",
            hovertemplate="%{x}: %{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_hline(y=0.5, line={"color": FAINT, "dash": "dot"})
    fig.update_layout(boxmode="group", margin={"t": 60})
    return fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def grid(
    table: Float[Tensor, "head pos"], rows: Sequence[str], words: Sequence[str], label: str
) -> go.Figure:
    """A heat map of signed numbers, rows by words; 0 is white."""
    fig = plain(150 + 36 * len(rows), "", "")
    far = float(table.abs().max()) or 1.0
    places = [f"{i} {escaped(word)}" for i, word in enumerate(words)]
    fig.add_heatmap(
        z=rounded(array(table)), x=places, y=list(rows), zmin=-far, zmax=far,
        colorscale=[list(stop) for stop in DIVERGING], colorbar=color_bar(label),
        hovertemplate="%{y}, %{x}<br>%{z:.2f}<extra></extra>",
    )  # fmt: skip
    fig.update_layout(margin={"l": 90, "b": 90}).update_xaxes(tickangle=-40)
    return fig.update_yaxes(autorange="reversed")
