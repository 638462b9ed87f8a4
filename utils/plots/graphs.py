"""Figures of 3.2.7: rows, paths, graphs, and what interventions did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import (
    FAINT,
    OKABE_ITO,
    SEQUENTIAL,
    array,
    color_bar,
    escaped,
    panels,
    plain,
    rounded,
)

if TYPE_CHECKING:
    from utils.graphs.graph import Graph, Node

PLUS, MINUS = OKABE_ITO[0], OKABE_ITO[1]
MOST_EDGES = 400  # drawn in one picture, the largest ones
CALLED = {"feature": "latent", "logit": "output"}
MARKS = {"feature": "circle", "error": "diamond-open", "embedding": "square", "logit": "star"}


def bars(named: Sequence[tuple[str, float]], title: str) -> go.Figure:
    """One horizontal bar for each name, the first on top; the sign is a colour and a direction."""
    fig = plain(110 + 26 * len(named), "contribution", "", title)
    names = [escaped(name) for name, _ in named]
    values = [round(value, 3) for _, value in named]
    fig.add_bar(
        x=values, y=names, orientation="h",
        marker_color=[PLUS if value > 0 else MINUS for value in values],
        hovertemplate="%{y}<br>%{x:.3f}<extra></extra>",
    )  # fmt: skip
    fig.add_vline(x=0, line={"color": FAINT, "width": 1})
    fig.update_layout(margin={"l": 220})
    return fig.update_yaxes(autorange="reversed", ticks="")


def steps(by_kind: Mapping[str, Sequence[float]], title: str) -> go.Figure:
    """Influence of each kind of node by the number of edges to the output."""
    fig = plain(380, "edges between a node and the output", "influence", title)
    for (kind, values), color, shape in zip(
        by_kind.items(), cycle(OKABE_ITO), cycle(("", "/", "x", ".")), strict=False
    ):
        fig.add_bar(
            x=list(range(1, len(values) + 1)), y=[round(v, 4) for v in values], name=kind,
            marker={"color": color, "pattern": {"shape": shape}},
            hovertemplate="%{x} edges<br>%{y:.3f}<extra>" + kind + "</extra>",
        )  # fmt: skip
    fig.update_layout(barmode="group", legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    return fig.update_layout(margin={"t": 90}).update_xaxes(dtick=1)


def spots_of(nodes: Sequence["Node"]) -> list[tuple[float, float]]:
    """Where nodes are drawn: position across, layer up, those at one place side by side."""
    crowd = Counter((node.layer, node.pos) for node in nodes)
    seen: Counter[tuple[int, int]] = Counter()
    found = []
    for node in nodes:
        place = (node.layer, node.pos)
        row, column = divmod(seen[place], 5)
        seen[place] += 1
        wide = min(crowd[place] - 5 * row, 5)
        found.append((node.pos + 0.17 * (column - (wide - 1) / 2), node.layer + 0.16 * row))
    return found


def graph_picture(graph: "Graph", title: str) -> go.Figure:
    """Words across, layers up; an edge's colour is its sign, its width its size."""
    spots = spots_of(graph.nodes)
    levels = graph.n_layers + 2
    fig = plain(min(1100, 190 + 75 * levels), "", "layer", title)
    A = graph.adjacency
    top = A.abs().flatten().topk(min(MOST_EDGES, int((A != 0).sum()))).indices.tolist()
    largest = float(A.abs().max()) or 1.0
    for sign, color, name in ((1, PLUS, "raises"), (-1, MINUS, "lowers")):
        for low, high, width in ((0.0, 0.1, 0.6), (0.1, 0.4, 1.6), (0.4, 1.01, 3.2)):
            x: list[float | None] = []
            y: list[float | None] = []
            for t, s in (divmod(k, len(A)) for k in top):
                size = sign * float(A[t, s]) / largest
                if low < size <= high:
                    x += [spots[s][0], spots[t][0], None]
                    y += [spots[s][1], spots[t][1], None]
            fig.add_scatter(
                x=x or [None], y=y or [None], mode="lines", name=name, hoverinfo="skip",
                showlegend=width > 3,
                line={"color": color, "width": width, "dash": "solid" if sign > 0 else "dot"},
                opacity=0.55, legendgroup=name,
            )  # fmt: skip
    for kind, mark in MARKS.items():
        here = [i for i, node in enumerate(graph.nodes) if node.kind == kind]
        fig.add_scatter(
            x=[round(spots[i][0], 3) for i in here], y=[round(spots[i][1], 3) for i in here],
            mode="markers", name=CALLED.get(kind, kind),
            marker={"symbol": mark, "size": 9, "color": OKABE_ITO[2]},
            text=[escaped(told(graph.nodes[i], graph.strings)) for i in here],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    ticks = [-1, *range(0, graph.n_layers, 1 if levels < 12 else 5), graph.n_layers]
    labels = ["words", *(str(t) for t in ticks[1:-1]), "output"]
    fig.update_yaxes(tickvals=ticks, ticktext=labels, range=[-1.5, graph.n_layers + 0.7])
    strings = [escaped(s.strip() or "⏎") for s in graph.strings]
    fig.update_xaxes(tickvals=list(range(len(strings))), ticktext=strings, tickangle=-35)
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom"}
    return fig.update_layout(legend=legend, margin={"t": 100, "b": 90})


def told(node: "Node", strings: Sequence[str]) -> str:
    """A node in a few words."""
    where = f"at {strings[node.pos].strip()!r} ({node.pos})"
    if node.kind == "feature":
        return f"layer {node.layer}, latent {node.number} {where}: {node.activation:.2f}"
    return (
        f"error of layer {node.layer} {where}" if node.kind == "error" else f"{node.kind} {where}"
    )


def pairs_of_bars(
    table: Sequence[tuple[str, float, float]], names: tuple[str, str], y: str
) -> go.Figure:
    """Two bars for every position, side by side."""
    fig = plain(400, "position and word", y)
    labels = [f"{i + 1} {escaped(row[0])}" for i, row in enumerate(table)]
    for i, shape in ((0, ""), (1, "/")):
        fig.add_bar(
            x=labels, y=[round((row[1], row[2])[i], 4) for row in table], name=names[i],
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": shape}},
            hovertemplate="%{x}<br>%{y:.3f}<extra>" + names[i] + "</extra>",
        )  # fmt: skip
    fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, margin={"b": 80})
    return fig.update_xaxes(tickangle=-35)


def predicted_measured(
    predicted: Float[Tensor, " item"], measured: Mapping[str, Float[Tensor, " item"]]
) -> go.Figure:
    """Measured over predicted effects, a panel for each kind of run; the diagonal is agreement."""
    fig = panels(list(measured), len(measured), 400)
    far = 1.08 * float(max(predicted.abs().max(), *(v.abs().max() for v in measured.values())))
    for i, (name, values) in enumerate(measured.items()):
        at = {"row": 1, "col": i + 1}
        line = {"color": FAINT, "dash": "dot"}
        fig.add_scatter(
            x=[-far, far], y=[-far, far], mode="lines", line=line, hoverinfo="skip", **at
        )
        fig.add_scatter(
            x=rounded(array(predicted)), y=rounded(array(values)), mode="markers",
            marker={"color": OKABE_ITO[i % 8], "size": 7, "opacity": 0.65,
                    "symbol": ("circle", "diamond")[i % 2]},
            hovertemplate="predicted %{x:.2f}, measured %{y:.2f}<extra>" + name + "</extra>", **at,
        )  # fmt: skip
    fig.update_xaxes(title_text="predicted change of the difference", range=[-far, far])
    fig.update_yaxes(title_text="measured change", range=[-far, far], col=1)
    fig.update_yaxes(range=[-far, far])
    return fig.update_layout(showlegend=False)


def swapped(means: Mapping[str, Sequence[float]]) -> go.Figure:
    """Probability of the things of the old and of the new scene after each swap."""
    fig = plain(400, "latents swapped at", "probability of the six things")
    for i, (name, shape) in enumerate((("old scene", ""), ("new scene", "/"))):
        fig.add_bar(
            x=list(means), y=[round(pair[i], 4) for pair in means.values()], name=name,
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": shape}},
            hovertemplate="%{x}<br>%{y:.1%}<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    fig.update_layout(margin={"b": 130}, height=440).update_xaxes(tickangle=-25, automargin=True)
    return fig.update_yaxes(tickformat=".0%")


def by_word(
    table: Sequence[Sequence[float]], questions: Sequence[str], words: Sequence[str]
) -> go.Figure:
    """Share of the influence that begins at each word, a row for each question."""
    fig = plain(300, "word", "question")
    width = len(words)
    cells = [[round(v, 3) for v in row] + [None] * (width - len(row)) for row in table]
    text = [["" if v is None else f"{v:.0%}" for v in row] for row in cells]
    fig.add_heatmap(
        z=cells, x=list(words), y=list(questions), text=text, texttemplate="%{text}",
        colorscale=SEQUENTIAL, zmin=0, colorbar=color_bar("share of the influence"),
        hovertemplate="%{y}: %{x}<br>%{z:.1%}<extra></extra>",
    )  # fmt: skip
    fig.update_layout(margin={"l": 90, "b": 90})
    return fig.update_xaxes(tickangle=-35).update_yaxes(autorange="reversed")
