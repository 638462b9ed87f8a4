"""Figures of 3.2.10: what latents add, rows in features, scores beside controls, proxies, L0."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    OKABE_ITO,
    array,
    panels,
    place,
    plain,
    rounded,
    styled,
)
from utils.plots.understanding import groups


def gains(values: Mapping[str, Float[Tensor, " item"]]) -> go.Figure:
    """What latents add to a quiver of probes, per task and regime."""
    named = {name.replace(", ", "<br>"): value for name, value in values.items()}
    fig = groups(named, "test AUC with minus without (points)", 0.0)
    return fig.update_xaxes(tickangle=0).update_layout(margin={"b": 70})


def explained_by(values: Mapping[str, Float[Tensor, " item"]]) -> go.Figure:
    """Held-out scores of sentences, per latent; 0.5 says nothing."""
    return groups(values, "balanced accuracy of the best sentence", 0.5)


def made_of(tables: Mapping[str, Float[Tensor, "latent feature"]]) -> go.Figure:
    """Decoder rows as mixtures of features, one panel per SAE."""
    fig = panels(list(tables), len(tables), 360)
    for i, table in enumerate(tables.values()):
        row, col, _, first = place(i, len(tables), len(tables))
        fig.add_heatmap(
            z=rounded(array(table)), zmin=-1, zmax=1, colorscale=[list(c) for c in DIVERGING],
            showscale=i == 0, row=row, col=col, colorbar={"title": "coefficient", "thickness": 14},
            hovertemplate="latent %{y}, feature %{x}: %{z:.2f}<extra></extra>",
        )  # fmt: skip
        fig.update_xaxes(title_text="feature (parents: 0, 4, 8, …)", row=row, col=col)
        fig.update_yaxes(
            autorange="reversed", title_text="latent" if first else "", row=row, col=col
        )
    return fig


def taus(found: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> go.Figure:
    """Kendall's tau of each proxy with the truth, with its interval; a colour per grid."""
    fig = plain(430, "Kendall's tau with the truth", "")
    for grid, rows, color, mark in styled(found):
        middle, low, high = zip(*rows.values(), strict=True)
        fig.add_scatter(
            x=[round(v, 3) for v in middle], y=list(rows), name=grid, mode="markers",
            marker={"color": color, "size": 11, "symbol": mark},
            error_x={
                "type": "data", "symmetric": False, "color": color,
                "array": [round(h - m, 3) for m, h in zip(middle, high, strict=True)],
                "arrayminus": [round(m - w, 3) for m, w in zip(middle, low, strict=True)],
            },
            hovertemplate="%{y}: %{x:.2f}<extra>" + grid + "</extra>",
        )  # fmt: skip
    fig.add_vline(x=0, line={"color": FAINT, "dash": "dot"})
    fig.update_layout(legend={"orientation": "h", "y": 1.12}, margin={"t": 50, "l": 170})
    return fig.update_xaxes(range=[-1.05, 1.05])


def proxies(
    values: Mapping[str, Float[Tensor, " item"]],
    truth: Float[Tensor, " item"],
    names: Sequence[str],
) -> go.Figure:
    """One panel per proxy: every SAE's proxy against its truth."""
    fig = panels(list(values), 3, 260, head=20)
    for i, (name, column) in enumerate(values.items()):
        row, col, _, first = place(i, len(values), 3)
        fig.add_scatter(
            x=rounded(array(column)), y=rounded(array(truth)), mode="markers", text=list(names),
            marker={"color": OKABE_ITO[0], "size": 8, "opacity": 0.75}, showlegend=False,
            hovertemplate="%{text}<br>" + name + " %{x:.2f}, truth %{y:.2f}<extra></extra>",
            row=row, col=col,
        )  # fmt: skip
        fig.update_xaxes(title_text=name, row=row, col=col)
        if first:
            fig.update_yaxes(title_text="truth", row=row, col=col)
    return fig.update_annotations(text="")


def right_l0(
    ks: Sequence[int], curves: Mapping[str, Mapping[str, Sequence[float]]], true: float = 3
) -> go.Figure:
    """By k and world: variance explained, cosine with the truth, overlap of the decoder's rows."""
    titles = {
        "explained": "variance explained", "cosine": "cosine with the truth",
        "overlap": "overlap of decoder rows",
    }  # fmt: skip
    fig = panels(list(titles.values()), 3, 330)
    for i, key in enumerate(titles):
        for kind, rows, color, mark in styled(curves):
            fig.add_scatter(
                x=list(ks), y=[round(v, 4) for v in rows[key]], mode="lines+markers", name=kind,
                legendgroup=kind, showlegend=i == 0, line={"color": color},
                marker={"symbol": mark, "size": 8}, row=1, col=i + 1,
                hovertemplate="k = %{x}: %{y:.3f}<extra>" + kind + "</extra>",
            )  # fmt: skip
        fig.add_vline(x=true, line={"color": FAINT, "dash": "dot"}, row=1, col=i + 1)
    fig.update_xaxes(title_text="k")
    return fig.update_layout(legend={"orientation": "h", "y": -0.16})
