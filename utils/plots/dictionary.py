"""Figures of 3.1.8 and 3.1.9: data in, a plotly figure out. Nothing is shown or changed."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    INK,
    OKABE_ITO,
    array,
    headline,
    log_axis,
    panels,
    place,
    rounded,
    rounded_log,
)
from utils.plots.toy import feature_arrows

Values = Sequence[float] | Tensor
Curve = tuple[Values, Values]  # x, y
DASHES = ("dash", "dot", "dashdot")
LEGEND = {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0.01}


def _list(values: Values) -> list[float]:
    """Plain numbers, so that a figure never aliases a tensor."""
    return rounded_log(array(values)) if isinstance(values, Tensor) else [float(v) for v in values]


def data_portrait(
    probability: Float[Tensor, " feature"],
    active: Float[Tensor, "batch feature"],
    gram: Float[Tensor, "feature feature"],
    group: Float[Tensor, " feature"],
) -> go.Figure:
    """Frequencies on log axes, and two maps: correlations of activity, cosines of directions.

    In the maps features are ordered by group, the diagonal is left out, colours end at +-0.4.
    """
    titles = ["how often", "correlation of activity", "cosine of directions"]
    fig = panels(titles, 3, 300)
    ranks = list(range(1, len(probability) + 1))
    line = {"color": INK, "width": 2}
    asked = go.Scatter(x=ranks, y=_list(probability), mode="lines", line=line, name="asked for")
    dots = {"color": OKABE_ITO[1], "size": 7}
    share = _list(active.mean(0))
    seen = go.Scatter(x=ranks, y=share, mode="markers", marker=dots, name="measured")
    fig.add_traces([asked, seen], rows=[1, 1], cols=[1, 1])
    fig.update_xaxes(**log_axis(ranks), title_text="rank i", row=1, col=1)
    fig.update_yaxes(**log_axis(share), title_text="probability", row=1, col=1)
    order = torch.argsort(group, stable=True)
    itself = torch.eye(len(order), dtype=torch.bool, device=order.device)
    for col, table in [(2, torch.corrcoef(active.T)), (3, gram)]:
        z = rounded(array(table[order][:, order].masked_fill(itself, torch.nan)))
        fig.add_trace(go.Heatmap(z=z, coloraxis="coloraxis"), row=1, col=col)
        plain = {"showgrid": False, "constrain": "domain"}
        fig.update_xaxes(**plain, title_text="feature, by topic", row=1, col=col)
        square = {"scaleanchor": fig.data[-1].xaxis, "autorange": "reversed"}
        fig.update_yaxes(**plain, **square, row=1, col=col)
    scale = {"colorscale": DIVERGING, "cmin": -0.4, "cmax": 0.4, "colorbar": {"thickness": 14}}
    return headline(fig.update_layout(coloraxis=scale, legend=LEGEND, margin={"b": 90}), "")


def bars(
    table: Mapping[str, Mapping[str, Mapping[str, float]]],
    x_label: str,
    limit: float,
) -> go.Figure:
    """Horizontal bars: panel -> group -> bar -> value."""
    n_rows = sum(len(groups) for groups in table.values()) / len(table)
    n_bars = max(len(row) for groups in table.values() for row in groups.values())
    height = int(n_rows * (20 + 17 * n_bars)) + 10
    fig = panels(list(table), len(table), height)
    colors = dict(zip(_bar_names(table), cycle(OKABE_ITO), strict=False))
    for i, groups in enumerate(table.values()):
        row, col, _, first = place(i, len(table), len(table))
        for name, color in colors.items():
            values = [groups[g].get(name) for g in groups]
            text = ["" if v is None else f"{v:.2f}".removesuffix(".00") for v in values]
            style = {"marker": {"color": color, "line": {"width": 0}}, "orientation": "h"}
            words = {"text": text, "textposition": "outside", "cliponaxis": False}
            bar = go.Bar(x=values, y=list(groups), name=name, showlegend=i == 0, **style, **words)
            fig.add_trace(bar, row=row, col=col)
        fig.update_xaxes(range=[0, 1.12 * limit], title_text=x_label, row=row, col=col)
        show = {"showticklabels": first, "autorange": "reversed", "ticks": ""}
        fig.update_yaxes(**show, showgrid=False, row=row, col=col)
    fig.update_layout(legend=LEGEND | {"traceorder": "normal"}, bargap=0.25)
    fig.update_layout(margin={"l": 190, "r": 30, "b": 95})
    fig.update_layout(height=fig.layout.height + 40, showlegend=len(colors) > 1)
    return headline(fig, "")


def _bar_names(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The names of all bars, in the order of their first appearance."""
    return list(
        dict.fromkeys(b for groups in table.values() for row in groups.values() for b in row)
    )


def score_bars(table: Mapping[str, Mapping[str, float]], n_feature: int) -> go.Figure:
    """The three scores of each dictionary, and beside them how many features it recovered."""
    shown = {
        f"{name}<br>{row['recovered']:.0f} of {n_feature} found": {
            k: v for k, v in row.items() if k != "recovered"
        }
        for name, row in table.items()
    }
    return bars({"": shown}, "cosine", 1.0)


def count_bars(table: Mapping[str, Mapping[str, float]], n_feature: int) -> go.Figure:
    """Recovered features: panel -> method -> count."""
    grouped = {
        panel: {name: {"recovered": float(count)} for name, count in counts.items()}
        for panel, counts in table.items()
    }
    return bars(grouped, f"true features recovered (of {n_feature})", n_feature)


def lines(
    table: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    y_label: str,
    log_x: bool = False,
    levels: Mapping[str, float] | None = None,
) -> go.Figure:
    """Curves: panel -> name -> (x, y); `levels` are dashed horizontal lines in every panel."""
    fig = panels(list(table), 2, 330)
    names = list(dict.fromkeys(name for curves in table.values() for name in curves))
    for i, curves in enumerate(table.values()):
        row, col, lowest, first = place(i, len(table), 2)
        reach = [x for xs, _ in curves.values() for x in _list(xs)]
        for name, (xs, ys) in curves.items():
            color = OKABE_ITO[names.index(name) % 8]
            style = {"line": {"color": color, "width": 2.5}, "marker": {"color": color, "size": 7}}
            few = len(xs) <= 30  # with more points, markers would hide the line
            mode = "lines+markers" if few else "lines"
            curve = go.Scatter(x=_list(xs), y=_list(ys), mode=mode, name=name, **style)
            fig.add_trace(curve.update(showlegend=i == 0, legendgroup=name), row=row, col=col)
        for dash, (name, level) in zip(DASHES, (levels or {}).items(), strict=False):
            line = {"color": INK, "width": 1.5, "dash": dash}
            flat = {"x": [min(reach), max(reach)], "y": [level, level], "mode": "lines"}
            fig.add_trace(
                go.Scatter(**flat, line=line, name=name, showlegend=i == 0), row=row, col=col
            )
        kind = log_axis(reach) if log_x else {}
        fig.update_xaxes(**kind, title_text=x_label if lowest else "", row=row, col=col)
        fig.update_yaxes(title_text=y_label if first else "", row=row, col=col)
    if len(table) > 1:
        fig.update_yaxes(matches="y")
    return headline(fig.update_layout(legend=LEGEND, margin={"b": 100}), "")


def plane_dictionaries(D: Float[Tensor, "inst latent 2"], titles: Sequence[str]) -> go.Figure:
    """The rows of each dictionary as arrows in the plane, over the square where the data live."""
    fig = feature_arrows(D.mT, titles)
    fig.for_each_trace(
        lambda t: t.update(
            name=t.name.replace("feature", "latent"),
            hovertemplate=(t.hovertemplate or "").replace("feature", "latent"),
        )
    )
    fig.for_each_xaxis(lambda a: a.update(title_text="feature 1" if a.title.text else ""))
    fig.for_each_yaxis(lambda a: a.update(title_text="feature 2" if a.title.text else ""))
    for i in range(len(D)):
        row, col, *_ = place(i, len(D), 4)
        square = {"type": "rect", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "layer": "below"}
        fig.add_shape(**square, fillcolor="#F0E9D8", line={"width": 0}, row=row, col=col)
    return fig


def similarity_scatter(
    table: Mapping[str, tuple[Tensor, Tensor]], x_label: str, y_label: str, threshold: float = 0.9
) -> go.Figure:
    """A point per latent: panel -> (x, y), with lines at the threshold on both axes."""
    fig = panels(list(table), 3, 300)
    for i, (x, y) in enumerate(table.values()):
        row, col, _, first = place(i, len(table), 3)
        colors = [OKABE_ITO[0] if v > threshold else OKABE_ITO[1] for v in _list(y)]
        marker = {"color": colors, "size": 8, "opacity": 0.75, "line": {"width": 0}}
        dots = go.Scatter(x=_list(x), y=_list(y), mode="markers", marker=marker, showlegend=False)
        fig.add_trace(dots, row=row, col=col)
        line = {"color": FAINT, "width": 1, "dash": "dash"}
        fig.add_hline(threshold, line=line, row=row, col=col)
        fig.add_vline(threshold, line=line, row=row, col=col)
        fig.update_xaxes(range=[0.3, 1.03], title_text=x_label, row=row, col=col)
        fig.update_yaxes(range=[0.3, 1.03], title_text=y_label if first else "", row=row, col=col)
    return headline(fig, "")


def fingerprints(table: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """One panel per measure, one bar per dictionary, the same order in all panels."""
    measures = list(next(iter(table.values())))
    fig = panels([m.replace(" ", "<br>", 1) for m in measures], len(measures), 40 * len(table))
    for i, measure in enumerate(measures):
        values = np.array([row[measure] for row in table.values()])
        words = [
            f"{v:g}"
            if v == int(v)
            else f"{v:.3f}"
            if abs(v) < 0.1
            else f"{v:.2f}"
            if abs(v) < 10
            else f"{v:.1f}"
            for v in values
        ]
        marker = {"color": OKABE_ITO[i % 8], "line": {"width": 0}}
        style: dict[str, Any] = {"orientation": "h", "marker": marker, "showlegend": False}
        text = {"text": words, "textposition": "outside", "cliponaxis": False}
        bar = go.Bar(x=np.abs(values).tolist(), y=list(table), **style, **text)
        fig.add_trace(bar, row=1, col=i + 1)
        fig.update_xaxes(
            range=[0, 1.5 * np.abs(values).max()], showticklabels=False, ticks="", col=i + 1
        )
        fig.update_yaxes(
            autorange="reversed", showticklabels=i == 0, ticks="", showgrid=False, col=i + 1
        )
    fig.update_layout(margin={"l": 230, "t": 90}, bargap=0.3, height=fig.layout.height + 20)
    return headline(fig, "")


__all__ = [
    "bars",
    "count_bars",
    "data_portrait",
    "fingerprints",
    "lines",
    "plane_dictionaries",
    "score_bars",
    "similarity_scatter",
]
