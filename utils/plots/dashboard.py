"""Figures of 3.2.2: the pieces of a latent's page, each a function of plain numbers."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from utils.plots.style import FAINT, OKABE_ITO, array, escaped, plain, rounded, styled


def density_histogram(logs: Float[Tensor, " chosen"], n_dead: int, n_bins: int = 50) -> go.Figure:
    """How many latents have which density, on a logarithmic axis; dead ones are said, not drawn."""
    title = f"{len(logs):,} live latents; {n_dead:,} were never active"
    fig = plain(360, "density (share of tokens)", "latents", title)
    fig.add_histogram(
        x=rounded(array(logs)), nbinsx=n_bins, marker_color=OKABE_ITO[0],
        hovertemplate="log10 of the density %{x}<br>%{y} latents<extra></extra>",
    )  # fmt: skip
    ticks = list(range(-6, 1))
    labels = ["1 in a million", "1e-5", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"]
    return fig.update_xaxes(tickvals=ticks, ticktext=labels)


def activation_bars(
    counts: Int[Tensor, " bin"], edges: Float[Tensor, " edge"], title: str = ""
) -> go.Figure:
    """A histogram that is already counted, as bars between its edges."""
    low, high = array(edges[:-1]), array(edges[1:])
    fig = plain(330, "activation", "tokens", title)
    fig.add_bar(
        x=rounded((low + high) / 2), y=counts.tolist(), width=rounded(0.94 * (high - low)),
        marker_color=OKABE_ITO[0], customdata=list(zip(rounded(low), rounded(high), strict=True)),
        hovertemplate="%{customdata[0]:.2f} to %{customdata[1]:.2f}<br>%{y} tokens<extra></extra>",
    )  # fmt: skip
    return fig


def shares_by_interval(
    shares: Mapping[str, Sequence[float]], labels: Sequence[str], y: str
) -> go.Figure:
    """A line for each entry of `shares`, over intervals from weak to strong."""
    fig = plain(380, "interval of the activation, weakest first", y)
    for name, values, color, mark in styled(shares):
        fig.add_scatter(
            x=list(labels), y=[round(v, 3) for v in values], name=name, mode="lines+markers",
            line={"color": color}, marker={"symbol": mark, "size": 10},
            hovertemplate="%{x}<br>%{y:.0%}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.update_layout(legend={"orientation": "h", "y": 1.12}, margin={"t": 50})
    return fig.update_yaxes(range=[-0.04, 1.04], tickformat=".0%")


def logit_histogram(
    weights: Float[Tensor, " vocab"], named: Mapping[str, float], title: str = ""
) -> go.Figure:
    """The logit weights of all tokens; the tokens in `named` are marked at their weight."""
    fig = plain(380, "logit weight", "tokens", title)
    # counted here: 49,152 numbers in a notebook would be half a megabyte
    values, bins = weights.detach().cpu().float(), 80
    low, high = float(values.min()), float(values.max())
    width = (high - low) / bins
    fig.add_bar(
        x=[round(low + (i + 0.5) * width, 4) for i in range(bins)],
        y=[float(h) or None for h in values.histc(bins, low, high)], width=0.94 * width,
        marker_color=OKABE_ITO[0], hovertemplate="%{x:.3f}<br>%{y} tokens<extra></extra>",
    )  # fmt: skip
    for i, (token, weight) in enumerate(named.items()):
        side = "right" if weight < (low + high) / 2 else "left"  # outwards: no stem runs through it
        fig.add_annotation(
            x=round(weight, 4), y=0, yref="y", text=escaped(token), showarrow=True, arrowhead=0,
            arrowcolor=FAINT, ax=0, ay=-30 - 26 * (i % 4), textangle=0, xanchor=side,
        )  # fmt: skip
    room = 0.14 * (high - low)
    return fig.update_yaxes(type="log").update_xaxes(range=[low - room, high + room])


def effects(
    direct: Float[Tensor, " item"], full: Float[Tensor, " item"], names: Sequence[str]
) -> go.Figure:
    """The loss's change by both paths, a point per example; the diagonal is agreement."""
    fig = plain(460, "change of the loss, direct path (nats)", "change of the loss, full (nats)")
    both = array(direct), array(full)
    far = 1.05 * max(float(abs(both[0]).max()), float(abs(both[1]).max()))
    fig.add_scatter(
        x=[-far, far], y=[-far, far], mode="lines", line={"color": FAINT, "dash": "dot"},
        hoverinfo="skip",
    )  # fmt: skip
    fig.add_scatter(
        x=rounded(both[0]), y=rounded(both[1]), mode="markers", text=list(names),
        marker={"color": OKABE_ITO[0], "size": 8, "opacity": 0.75},
        hovertemplate="%{text}<br>direct %{x:.3f}, full %{y:.3f}<extra></extra>",
    )  # fmt: skip
    fig.add_hline(y=0, line={"color": FAINT, "width": 1})
    fig.add_vline(x=0, line={"color": FAINT, "width": 1})
    return fig.update_layout(showlegend=False)


def two_similarities(
    cosine: Float[Tensor, " pair"],
    correlation: Float[Tensor, " pair"],
    partners_in: Sequence[str] = ("",),
) -> go.Figure:
    """Cosine of the decoder rows against correlation of the activations, a point per pair.

    The pairs are as many equal groups, one after the other, as `partners_in` has names.
    """
    fig = plain(440, "cosine of the decoder rows", "correlation of the activations")
    n = len(partners_in)
    parts = zip(partners_in, cosine.chunk(n), correlation.chunk(n), strict=True)
    for i, (name, x, y) in enumerate(parts):
        fig.add_scatter(
            x=rounded(array(x)), y=rounded(array(y)), mode="markers", name=name,
            marker={
                "color": OKABE_ITO[i % 8], "symbol": ("circle", "x")[i % 2],
                "size": 5, "opacity": 0.5,
            },
            hovertemplate="cosine %{x:.2f}, correlation %{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.update_layout(showlegend=n > 1, legend_title_text="partners in")
    fig.add_hline(y=0, line={"color": FAINT, "width": 1})
    return fig.add_vline(x=0, line={"color": FAINT, "width": 1})


def explained_by(table: Sequence[tuple[str, Sequence[float]]], groups: Sequence[str]) -> go.Figure:
    """For each latent, the share of its variance that each grouping of the tokens explains."""
    fig = plain(400, "latent", "share of the variance")
    patterns = ("", "/", "x", ".")
    for i, group in enumerate(groups):
        fig.add_bar(
            x=[name for name, _ in table], y=[round(v[i], 3) for _, v in table], name=group,
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": patterns[i % 4]}},
            hovertemplate="latent %{x}<br>%{y:.2f}<extra>" + group + "</extra>",
        )  # fmt: skip
    fig.update_layout(barmode="group", legend={"orientation": "h", "y": 1.12}, margin={"t": 50})
    return fig.update_xaxes(type="category").update_yaxes(range=[0, 1])
