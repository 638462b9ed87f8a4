"""Figures of 3.2.5: circuits of latents, and how well they stand for the model."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import FAINT, INK, MARKS, OKABE_ITO, TEMPLATE, plain

Interval = tuple[float, float, float]  # value, lower and upper end


def _bars_of(found: Sequence[Interval]) -> dict:
    """Error bars with two unequal arms."""
    return {
        "type": "data", "symmetric": False, "thickness": 1.5,
        "array": [round(high - v, 4) for v, _, high in found],
        "arrayminus": [round(v - low, 4) for v, low, _ in found],
    }  # fmt: skip


def agreement(found: Mapping[str, Sequence[Interval]], ways: Sequence[str], y: str) -> go.Figure:
    """A group of bars for each way, one bar for each entry of `found`."""
    fig = plain(430, "gradient that predicts", y)
    for i, (name, values) in enumerate(found.items()):
        fig.add_bar(
            x=list(ways), y=[round(v, 3) for v, _, _ in values], name=name,
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": ("", "/", "x")[i % 3]}},
            error_y=_bars_of(values) | {"color": INK},
            hovertemplate="%{x}<br>%{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_hline(y=0, line={"color": FAINT, "width": 1})
    fig.update_layout(barmode="group", legend={"orientation": "h", "y": 1.14}, margin={"t": 60})
    return fig


def by_position(
    shares: Mapping[str, Float[Tensor, " pos"]], words: Sequence[str], y: str, title: str = ""
) -> go.Figure:
    """Attribution at each position of prompts of one form; a group of bars per entry."""
    fig = plain(400, "position in the prompt", y, title)
    for i, (name, values) in enumerate(shares.items()):
        fig.add_bar(
            x=list(range(len(values))), y=[round(v, 3) for v in values.tolist()], name=name,
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": ("", "/", "x", ".")[i % 4]}},
            hovertemplate="%{x}<br>%{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_hline(y=0, line={"color": FAINT, "width": 1})
    fig.update_xaxes(tickvals=list(range(len(words))), ticktext=list(words), tickangle=-50)
    top = 110 if title else 60
    return fig.update_layout(
        legend={"orientation": "h", "y": 1.16}, margin={"t": top, "b": 100}, showlegend=True
    )


def size_curves(sizes: Sequence[int], curves: Mapping[str, Sequence[Interval]]) -> go.Figure:
    """Faithfulness against the number of nodes, with intervals; a line for each entry."""
    fig = plain(430, "nodes in the circuit", "faithfulness")
    dashes = ("solid", "dash", "dot", "dashdot")
    for i, (name, values) in enumerate(curves.items()):
        fig.add_scatter(
            x=list(sizes), y=[round(v, 3) for v, _, _ in values], name=name, mode="lines+markers",
            line={"color": OKABE_ITO[i % 8], "dash": dashes[i % 4]},
            marker={"symbol": MARKS[i % 5], "size": 9}, error_y=_bars_of(values),
            hovertemplate="%{x} nodes<br>%{y:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    for level in (0, 1):
        fig.add_hline(y=level, line={"color": FAINT, "width": 1, "dash": "dot"})
    fig.update_xaxes(type="log", tickvals=list(sizes), ticktext=[str(n) for n in sizes])
    return fig.update_layout(legend={"orientation": "h", "y": 1.16}, margin={"t": 60})


def circuit_map(
    nodes: Sequence[tuple[int, int, str, float]],
    edges: Sequence[tuple[int, int, float]],
    words: Sequence[str],
    sites: Sequence[str],
) -> go.Figure:
    """Nodes (site, position, label, score) at their place, edges (node, node, score) between."""
    fig = go.Figure()
    crowd: dict[tuple[int, int], int] = {}
    spots = []
    for site, pos, _, _ in nodes:
        nth = crowd.get((site, pos), 0)
        crowd[site, pos] = nth + 1
        spots.append((pos + 0.22 * ((nth % 3) - 1), site + 0.15 * (nth // 3)))
    most = max((abs(score) for *_, score in edges), default=1.0)
    for a, b, score in edges:
        fig.add_scatter(
            x=[spots[a][0], spots[b][0]], y=[spots[a][1], spots[b][1]], mode="lines",
            line={"color": OKABE_ITO[score > 0], "width": round(0.5 + 4 * abs(score) / most, 2)},
            opacity=0.6, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    big = max(abs(score) for *_, score in nodes)
    for up, name, mark in ((False, "score below 0", "circle"), (True, "score above 0", "diamond")):
        some = [i for i, node in enumerate(nodes) if (node[3] > 0) == up]
        fig.add_scatter(
            x=[round(spots[i][0], 2) for i in some], y=[round(spots[i][1], 2) for i in some],
            mode="markers", name=name,
            marker={
                "color": OKABE_ITO[up], "symbol": mark, "line": {"color": INK, "width": 1},
                "size": [round(9 + 14 * (abs(nodes[i][3]) / big) ** 0.5, 1) for i in some],
            },
            text=[f"{nodes[i][2]}<br>score {nodes[i][3]:.2f}" for i in some],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    fig.update_layout(
        template=TEMPLATE, height=150 + 110 * len(sites), margin={"l": 130, "r": 30, "t": 60},
        legend={"orientation": "h", "y": 1.14},
    )  # fmt: skip
    fig.update_xaxes(
        tickvals=list(range(len(words))), ticktext=list(words), tickangle=-50,
        range=[-0.6, len(words) - 0.4], title_text="position in the prompt",
    )  # fmt: skip
    return fig.update_yaxes(
        tickvals=list(range(len(sites))), ticktext=list(sites), range=[-0.3, len(sites) - 0.3]
    )


def label_dots(groups: Mapping[str, Sequence[float]], x: str, chance: float = 0.5) -> go.Figure:
    """Every latent as a dot, a row for each group; the dotted line is chance.

    What stands after the colon of a group's name decides colour and mark.
    """
    fig = plain(120 + 62 * len(groups), x, "")
    kinds = list(dict.fromkeys(name.split(": ")[-1] for name in groups))
    for name, values in groups.items():
        i = kinds.index(name.split(": ")[-1])
        fig.add_scatter(
            x=[round(v, 3) for v in values], y=[name] * len(values), mode="markers", name=name,
            marker={"color": OKABE_ITO[i % 8], "symbol": MARKS[i % 5], "size": 10, "opacity": 0.7},
            hovertemplate="%{x:.2f}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_vline(x=chance, line={"color": FAINT, "dash": "dot"})
    return fig.update_layout(showlegend=False, margin={"l": 190}).update_yaxes(autorange="reversed")


def accuracies(found: Mapping[str, Interval], x: str) -> go.Figure:
    """An accuracy with its interval for every way of doing it."""
    fig = plain(120 + 46 * len(found), x, "")
    values = list(found.values())
    fig.add_scatter(
        x=[round(v, 3) for v, _, _ in values], y=list(found), mode="markers+text",
        text=[f"{v:.0%}" for v, _, _ in values], textposition="top center",
        marker={"color": OKABE_ITO[0], "size": 11}, error_x=_bars_of(values),
        hovertemplate="%{y}<br>%{x:.1%}<extra></extra>",
    )  # fmt: skip
    fig.update_layout(showlegend=False, margin={"l": 250, "t": 40})
    return fig.update_xaxes(tickformat=".0%").update_yaxes(autorange="reversed")
