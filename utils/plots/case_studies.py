"""Figures of 3.2.9: scores by label, losses here and there, a law, boards, discs that turn."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import FAINT, OKABE_ITO, array, log_axis, plain, rounded, styled


def scores_by_label(
    names: Sequence[str], scores: Mapping[str, Float[Tensor, " predicate"]]
) -> go.Figure:
    """A column of marks for each label, one for each rival, ordered by the first rival's score."""
    order = next(iter(scores.values())).argsort(descending=True).tolist()
    fig = plain(430, "label", "F1 on the other half")
    for rival, values, color, mark in styled(scores):
        fig.add_scatter(
            x=[names[i] for i in order], y=rounded(array(values[order])), name=rival,
            mode="markers", marker={"color": color, "symbol": mark, "size": 10},
            hovertemplate="%{x}<br>F1 %{y:.2f}<extra>" + rival + "</extra>",
        )  # fmt: skip
    fig.update_layout(legend={"orientation": "h", "y": 1.14}, margin={"t": 60})
    return fig.update_yaxes(range=[-0.03, 1.04])


def here_and_there(effects: Mapping[str, tuple[float, float]]) -> go.Figure:
    """Two bars for what each set of latents costs when removed: repeated tokens, and others."""
    fig = plain(400, "removed", "added loss (nats)")
    for i, kind in enumerate(("repeated tokens", "other tokens")):
        fig.add_bar(
            x=list(effects), y=[round(pair[i], 3) for pair in effects.values()], name=kind,
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": ("", "/")[i]}},
            hovertemplate="%{x}<br>%{y:.2f} nats<extra>" + kind + "</extra>",
        )  # fmt: skip
    return fig.update_layout(legend={"orientation": "h", "y": 1.12}, margin={"t": 50})


def law(
    tokens: Sequence[int], left: Sequence[float], promise: float, found: float, more: int
) -> go.Figure:
    """Unexplained variance against tokens, both logarithmic; what a power law promises."""
    fig = plain(400, "tokens trained on", "unexplained variance")
    fig.add_scatter(
        x=list(tokens), y=[round(u, 4) for u in left], name="short runs", mode="lines+markers",
        line={"color": OKABE_ITO[0]}, marker={"size": 10},
    )  # fmt: skip
    for name, value, color, mark in (
        ("promised by the law", promise, OKABE_ITO[3], "x"),
        ("found: the shipped SAE", found, OKABE_ITO[1], "diamond"),
    ):
        fig.add_scatter(
            x=[more], y=[round(value, 4)], name=name, mode="markers",
            marker={"color": color, "symbol": mark, "size": 13},
        )  # fmt: skip
    fig.add_shape(
        type="line", x0=tokens[-1], y0=left[-1], x1=more, y1=promise,
        line={"color": FAINT, "dash": "dot"},
    )  # fmt: skip
    fig.update_xaxes(**log_axis([*tokens, more]) | {"tickformat": "~s", "tickvals": _decades(more)})
    fig.update_xaxes(ticktext=[f"{t:,}" for t in _decades(more)])
    fig.update_yaxes(**log_axis([*left, promise, found]))
    return fig.update_layout(legend={"orientation": "h", "y": 1.14}, margin={"t": 60})


def _decades(most: int) -> list[int]:
    """Powers of ten from 100 to the first beyond `most`."""
    found = [100]
    while found[-1] < most:
        found.append(10 * found[-1])
    return found


def boards_drawn(scores: Mapping[str, Float[Tensor, " item"]]) -> go.Figure:
    """The score of each game's boards, a box for each source of rules."""
    fig = plain(400, "", "F1 of the boards drawn (mean of a game)")
    for name, values, color, _ in styled(scores):
        fig.add_box(
            y=rounded(array(values)), name=name, boxpoints=False, marker_color=color,
            hovertemplate="%{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    return fig.update_layout(showlegend=False).update_yaxes(range=[-0.03, 1.04])


def flips(counts: Sequence[int], lines: Mapping[str, Sequence[float]], before: float) -> go.Figure:
    """Wrong moves by the new board against the number of latents that are changed."""
    fig = plain(420, "latents changed", "wrong moves by the new board")
    for name, values, color, mark in styled(lines):
        fig.add_scatter(
            x=list(counts), y=[round(v, 3) for v in values], name=name, mode="lines+markers",
            line={"color": color}, marker={"symbol": mark, "size": 10},
            hovertemplate="%{x} latents<br>%{y:.2f} wrong moves<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_hline(y=before, line={"color": FAINT, "dash": "dot"}, annotation_text="nothing changed")
    fig.update_xaxes(type="log", tickvals=list(counts), ticktext=[str(c) for c in counts])
    fig.update_layout(legend={"orientation": "h", "y": 1.14}, margin={"t": 60})
    return fig.update_yaxes(rangemode="tozero")
