"""Figures of 3.2.4: dose and cost, groups of scores side by side, maps of decoder rows, letters."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from utils.plots.style import (
    FAINT,
    MARKS,
    OKABE_ITO,
    array,
    log_axis,
    panels,
    place,
    plain,
    rounded,
    styled,
)


def dose_response(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    clean_cost: float,
    limit: float,
) -> go.Figure:
    """Effect against cost, a line per direction through its doses; right of `limit`: too dear."""
    fig = plain(440, "perplexity of what is written", "change of log P of what the latent reads")
    for name, (doses, effects, costs), color, mark in styled(curves):
        fig.add_scatter(
            x=[round(c, 2) for c in costs], y=[round(e, 3) for e in effects], name=name,
            mode="lines+markers", line={"color": color}, marker={"symbol": mark, "size": 10},
            customdata=list(doses),
            hovertemplate="dose %{customdata:.2f}<br>perplexity %{x}<br>%{y:.2f} nats"
            "<extra>" + name + "</extra>",
        )  # fmt: skip
    for at, text in ((clean_cost, "clean"), (limit, "limit")):
        fig.add_vline(x=at, line={"color": FAINT, "dash": "dot"})
        # not annotation_text: plotly puts it at 10**at on a logarithmic axis
        fig.add_annotation(
            x=math.log10(at), xanchor="left", y=1, yref="paper", text=text, showarrow=False
        )
    every = [c for _, _, costs in curves.values() for c in costs] + [clean_cost, limit]
    fig.update_xaxes(**log_axis(every))
    return fig.update_layout(legend={"orientation": "h", "y": 1.14}, margin={"t": 60})


def groups(
    values: Mapping[str, Float[Tensor, " item"]], y: str, zero: float | None = None
) -> go.Figure:
    """Every value of every group as a point, with the quartiles as a box."""
    fig = plain(420, "", y)
    for name, group, color, _ in styled(values):
        fig.add_box(
            y=rounded(array(group)), name=name, boxpoints="all", jitter=0.5, pointpos=0,
            marker={"color": color, "size": 5, "opacity": 0.6}, line={"color": color, "width": 2},
            fillcolor="rgba(0, 0, 0, 0)", hovertemplate="%{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    if zero is not None:
        fig.add_hline(y=zero, line={"color": FAINT, "dash": "dot"})
    return fig.update_layout(showlegend=False)


def maps(
    points: Mapping[str, Float[Tensor, "point d_out"]],
    group: Int[Tensor, " point"],
    names: Sequence[str],
) -> go.Figure:
    """Several maps of the same points side by side, coloured by group."""
    fig = panels(list(points), min(len(points), 3), 330)
    for i, xy in enumerate(points.values()):
        row, col, _, _ = place(i, len(points), 3)
        for g in reversed(range(len(names))):  # the largest group lies below the others
            name, part = names[g], array(xy[group == g])
            fig.add_scattergl(
                x=rounded(part[:, 0]), y=rounded(part[:, 1]), mode="markers", name=name,
                legendgroup=name, showlegend=i == 0, row=row, col=col,
                marker={
                    "color": OKABE_ITO[g % 8], "symbol": MARKS[g % 5], "size": 4, "opacity": 0.65,
                },
                hoverinfo="skip",
            )  # fmt: skip
    fig.update_xaxes(showticklabels=False, ticks="").update_yaxes(showticklabels=False, ticks="")
    return fig.update_layout(
        legend={"orientation": "h", "y": -0.04, "traceorder": "reversed", "itemsizing": "constant"}
    )


def splitting(
    n_children: Float[Tensor, " latent"], coverage: Float[Tensor, " latent"], names: Sequence[str]
) -> go.Figure:
    """For each latent of the narrow SAE: how many children, and how much they cover."""
    fig = plain(420, "children in the wide SAE", "share of the parent's tokens covered")
    fig.add_scatter(
        x=rounded(array(n_children)), y=rounded(array(coverage)), mode="markers", text=list(names),
        marker={"color": OKABE_ITO[0], "size": 7, "opacity": 0.6},
        hovertemplate="%{text}<br>%{x} children cover %{y:.0%}<extra></extra>",
    )  # fmt: skip
    return fig.update_yaxes(range=[-0.04, 1.04], tickformat=".0%")


def letters(
    names: Sequence[str], cosine: Sequence[float], f1: Sequence[float], silent: Sequence[float]
) -> go.Figure:
    """For each letter: nearest latent's cosine with the probe, best F1, share of holes."""
    fig = plain(400, "first letter", "")
    rows = (("cosine with the probe", cosine), ("F1", f1), ("all main latents silent", silent))
    for (name, values), color, pattern in zip(rows, OKABE_ITO, ("", "/", "x"), strict=False):
        fig.add_bar(
            x=list(names), y=[round(v, 3) for v in values], name=name,
            marker={"color": color, "pattern": {"shape": pattern}},
            hovertemplate="%{x}: %{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.update_layout(barmode="group", legend={"orientation": "h", "y": 1.14}, margin={"t": 50})
    return fig.update_yaxes(range=[0, 1])
