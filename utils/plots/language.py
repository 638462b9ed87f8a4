"""Figures of 3.2.1: latents over a sentence, norms by position, a table of controls."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import FAINT, OKABE_ITO, TEMPLATE, array, color_bar, rounded, styled


def token_latents(
    f: Float[Tensor, "pos latent"], words: Sequence[str], n: int = 24, title: str = ""
) -> go.Figure:
    """A heat map of the n latents with the largest activation in the text; a column per token."""
    strongest = f.amax(dim=0).topk(min(n, f.shape[1])).indices
    where = f[:, strongest].argmax(dim=0)
    rows = strongest[where.argsort(stable=True)]  # in the order of the words
    heat = go.Heatmap(
        z=rounded(array(f[:, rows].T)),
        y=[str(int(i)) for i in rows],
        x=list(range(len(words))),
        colorscale="Blues",
        colorbar=color_bar("activation"),
        customdata=[list(words)] * len(rows),
        hovertemplate="latent %{y}<br>token %{customdata}<br>%{z:.2f}<extra></extra>",
    )
    fig = go.Figure(heat)
    fig.update_layout(
        template=TEMPLATE, height=190 + 18 * len(rows), title=title,
        margin={"l": 75, "r": 30, "t": 60 if title else 30, "b": 110},
    )  # fmt: skip
    fig.update_xaxes(
        tickvals=list(range(len(words))), ticktext=[_shown(w) for w in words], tickangle=-55
    )
    fig.update_yaxes(type="category", autorange="reversed", title_text="latent")
    return fig


def _shown(word: str) -> str:
    """A token as a label: a space stays visible, tags do not become tags."""
    return word.replace(" ", "·").replace("\n", "⏎").replace("<", "&lt;")


def norms_by_position(norms: Mapping[int, Float[Tensor, " pos"]], most: int = 32) -> go.Figure:
    """Relative norms over the first positions, on a logarithmic axis; a line per layer."""
    fig = go.Figure()
    for layer, values, color, _ in styled({str(k): v for k, v in norms.items()}):
        fig.add_scatter(
            x=list(range(min(most, len(values)))), y=rounded(array(values[:most])),
            mode="lines+markers", name=f"after block {layer}", line={"color": color},
            marker={"size": 6},
        )  # fmt: skip
    fig.add_hline(y=1, line={"color": FAINT, "dash": "dot"})
    fig.update_layout(template=TEMPLATE, height=420, margin={"t": 30})
    fig.update_xaxes(title_text="position in the row")
    fig.update_yaxes(title_text="norm, relative to later tokens", type="log")
    return fig


def control_table(table: Sequence[tuple[str, float, float, float, float]]) -> go.Figure:
    """Recovered loss with its interval, a row for each answer; explained variance beside it."""
    names = [f"{name}  (EV {ev:.2f})" for name, ev, *_ in table]
    shares = [row[2] for row in table]
    fig = go.Figure(
        go.Scatter(
            x=shares, y=names, mode="markers+text",
            text=[f"{s:.3f}" for s in shares], textposition="top center",
            marker={"size": 11, "color": OKABE_ITO[0]},
            error_x={
                "type": "data", "symmetric": False,
                "array": [high - s for s, (*_, high) in zip(shares, table, strict=True)],
                "arrayminus": [s - row[3] for s, row in zip(shares, table, strict=True)],
            },
            hovertemplate="%{y}<br>%{x:.4f}<extra></extra>",
        )
    )  # fmt: skip
    fig.add_vline(x=0, line={"color": FAINT, "dash": "dot"})
    fig.add_vline(x=1, line={"color": FAINT, "dash": "dot"})
    fig.update_layout(template=TEMPLATE, height=120 + 60 * len(table), margin={"l": 210, "t": 30})
    fig.update_xaxes(title_text="share of the loss recovered")
    fig.update_yaxes(autorange="reversed")
    return fig
