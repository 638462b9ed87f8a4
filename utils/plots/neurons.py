"""Figures of section 3.1.3: data in, a plotly figure out. Nothing is shown, no input is changed."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from plotly.subplots import make_subplots
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    HEADING,
    INK,
    N_COLUMNS,
    OKABE_ITO,
    SEQUENTIAL,
    TEMPLATE,
    array,
    headline,
    names,
    panels,
    place,
    plain,
    rounded,
    shades,
)

PURE, MIXED, DEAD = "#D6E9F8", "#FBE3CF", "#EEEEEE"  # backgrounds of a stack plot's neurons
PURE_FROM = 0.9  # monosemantic from this score on, as in the text


def neuron_stacks(
    W: Float[Tensor, "inst hidden feature"],
    bottoms: Float[Tensor, "inst hidden feature"],
    score: Float[Tensor, "inst hidden"],
    titles: Sequence[str] | None = None,
    title: str = "",
) -> go.Figure:
    """A column per neuron; each weight is a rectangle from `bottoms` to `bottoms + W`.

    Colours are features, dark first. The background says what the score of a neuron means:
    monosemantic, polysemantic or (score 0) dead. Neurons keep their order.
    """
    heights, bases, scores = array(W), array(bottoms), array(score)
    n_inst, n_hidden, n_feature = heights.shape
    colors = shades(n_feature)
    fig = panels(names(titles, n_inst), N_COLUMNS, 230)
    reach = 1.08 * float(np.abs(np.stack([bases, bases + heights])).max())
    for i in range(n_inst):
        row, col, lowest, first = place(i, n_inst, N_COLUMNS)
        for k, s in enumerate(scores[i]):
            color = PURE if s >= PURE_FROM else MIXED if s > 0 else DEAD
            band = {"x0": k - 0.47, "x1": k + 0.47, "y0": -reach, "y1": reach, "layer": "below"}
            fig.add_shape(**band, fillcolor=color, line={"width": 0}, row=row, col=col)
        for f in range(n_feature):
            bars = go.Bar(
                x=list(range(n_hidden)),
                y=rounded(heights[i, :, f]),
                base=rounded(bases[i, :, f]),
                marker={"color": colors[f], "line": {"color": "white", "width": 0.5}},
                width=0.6,
                name=f"feature {f}",
                legendgroup=str(f),
                showlegend=i == 0,
                hovertemplate=f"neuron %{{x}}, feature {f}<extra></extra>",
            )
            fig.add_trace(bars, row=row, col=col)
        fig.add_hline(y=0, line={"color": INK, "width": 1}, row=row, col=col)
        ticks = {"tickvals": list(range(n_hidden)), "range": [-0.6, n_hidden - 0.4]}
        fig.update_xaxes(**ticks, title_text="neuron" if lowest else "", row=row, col=col)
        side = {"range": [-reach, reach], "title_text": "weight" if first else ""}
        fig.update_yaxes(**side, showgrid=False, row=row, col=col)
    pure, mixed = (scores >= PURE_FROM).any(), ((scores > 0) & (scores < PURE_FROM)).any()
    kinds = [("monosemantic", PURE, pure), ("polysemantic", MIXED, mixed)]
    kinds += [("dead", DEAD, (scores <= 0).any())]
    for name, color in [(name, color) for name, color, occurs in kinds if occurs]:
        patch = {"color": color, "symbol": "square", "size": 13}
        fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=patch, name=name))
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0.005}
    fig.update_layout(barmode="overlay", legend=legend | {"yanchor": "bottom"}, margin={"b": 120})
    return headline(fig.update_layout(height=fig.layout.height + 60), title)


def score_curves(
    score: Float[Tensor, "frame inst"],
    steps: Int[Tensor, " frame"],
    titles: Sequence[str] | None = None,
    label: str = "mean monosemanticity",
) -> go.Figure:
    """A score along training, one line per instance."""
    values, n_inst = array(score), score.shape[1]
    fig = plain(400, "step", label).update_yaxes(range=[0, 1.03])
    for i, (name, color) in enumerate(zip(names(titles, n_inst), shades(n_inst), strict=True)):
        line = {"color": color, "width": 2.5}
        curve = {"x": steps.tolist(), "y": rounded(values[:, i]), "name": name, "line": line}
        fig.add_trace(go.Scatter(mode="lines", **curve))
    return fig


def weights_in_and_out(
    W1: Float[Tensor, "hidden feature"], W2: Float[Tensor, "feature hidden"], title: str = ""
) -> go.Figure:
    """Both weight matrices with neurons as rows: what a neuron reads, and what it writes."""
    matrices = {"reads (W₁)": array(W1), "writes (W₂, transposed)": array(W2).T}
    limit = max(1.0, max(float(np.abs(z).max()) for z in matrices.values()))
    fig = make_subplots(1, 2, subplot_titles=list(matrices), horizontal_spacing=0.12)
    for col, z in enumerate(matrices.values(), 1):
        text = [[f"{v:.2f}" for v in row] for row in z] if z.size <= 80 else None
        heat = go.Heatmap(z=rounded(z), coloraxis="coloraxis", text=text, texttemplate="%{text}")
        fig.add_trace(heat, row=1, col=col)
        fig.update_xaxes(title_text="feature", dtick=1, showgrid=False, row=1, col=col)
        side = {"autorange": "reversed", "dtick": 1, "showgrid": False}
        fig.update_yaxes(**side, title_text="neuron" if col == 1 else "", row=1, col=col)
    scale = {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit}
    bar = {"colorbar": {"title": {"text": "weight", "side": "top"}, "thickness": 14}}
    height, margin = 150 + 32 * len(array(W1)), {"l": 65, "r": 30, "t": 75, "b": 60}
    fig.update_layout(template=TEMPLATE, coloraxis=scale | bar, height=height, margin=margin)
    fig.update_annotations(font_size=HEADING)
    return headline(fig, title)


def unexplained_bars(
    fraction: Float[Tensor, "inst feature"],
    titles: Sequence[str] | None = None,
    threshold: float = 0.25,
) -> go.Figure:
    """A bar per feature: which fraction of its variance is left; computed features are blue."""
    values = array(fraction)
    n_inst, n_feature = values.shape
    fig = panels(names(titles, n_inst), 2, 150)
    for i, left in enumerate(values):
        row, col, lowest, first = place(i, n_inst, 2)
        color = [OKABE_ITO[0] if v < threshold else "#BDBDBD" for v in left]
        bars = go.Bar(x=list(range(n_feature)), y=rounded(left), marker={"color": color})
        fig.add_trace(bars, row=row, col=col)
        dash = {"line": {"color": INK, "width": 1, "dash": "dash"}}
        fig.add_hline(y=threshold, **dash, row=row, col=col)
        fig.update_xaxes(title_text="feature" if lowest else "", row=row, col=col)
        side = {"range": [0, 1.25], "tickvals": [0, 0.5, 1]}
        fig.update_yaxes(**side, title_text="unexplained" if first else "", row=row, col=col)
    return headline(fig.update_layout(showlegend=False, bargap=0.2), "")


def _edge(x0: float, y0: float, x1: float, y1: float, weight: float, widest: float) -> go.Scatter:
    color = OKABE_ITO[1] if weight > 0 else OKABE_ITO[0]  # as in DIVERGING
    line = {"color": color, "width": 1 + 7 * abs(weight) / widest}
    return go.Scatter(x=[x0, x1], y=[y0, y1], mode="lines", line=line, showlegend=False)


def motif_graph(
    W1: Float[Tensor, "hidden feature"],
    W2: Float[Tensor, "feature hidden"],
    hidden: int | Tensor,
    strong: int | Tensor,
    weak: int | Tensor,
    title: str = "",
) -> go.Figure:
    """The wires between two features and the neurons that matter to them when `strong` is alone.

    Shown are neuron `hidden` and the neuron that pushes the weak output down most, on the side
    of the strong feature on which `hidden` fires. Orange is positive, blue negative.
    """
    k, s, w = int(hidden), int(strong), int(weak)
    reads, writes = array(W1), array(W2)
    fires = np.maximum(np.sign(reads[k, s]) * reads[:, s], 0)
    inhibitor = int(np.argmin(writes[w] * fires))
    spots = {k: 1.0, inhibitor: 0.0}
    fig = go.Figure()
    shown = [(n, y, f, fy) for n, y in spots.items() for f, fy in ((s, 1.0), (w, 0.0))]
    widest = max(float(max(abs(reads[n, f]), abs(writes[f, n]))) for n, _, f, _ in shown)
    for n, y, f, fy in shown:
        sides = ((reads[n, f], 0.0, fy, 1.0, y, 0.26), (writes[f, n], 1.0, y, 2.0, fy, 0.74))
        for weight, x0, y0, x1, y1, at in sides:
            if abs(weight) < 0.05:  # thinner than a hair
                continue
            fig.add_trace(_edge(x0, y0, x1, y1, float(weight), widest))
            spot = {"x": x0 + at * (x1 - x0), "y": y0 + at * (y1 - y0), "showarrow": False}
            box = {"bgcolor": "white", "borderpad": 2, "font": {"size": 13}}
            fig.add_annotation(text=f"{weight:.2f}", **spot, **box)
    nodes = [(0.0, fy, f"x{f}") for f, fy in ((s, 1.0), (w, 0.0))]
    nodes += [(2.0, fy, f"y{f}") for f, fy in ((s, 1.0), (w, 0.0))]
    nodes += [(1.0, y, f"h{n}") for n, y in spots.items()]
    circle = {"size": 44, "color": "white", "line": {"color": INK, "width": 2}}
    xs, ys, labels = zip(*nodes, strict=True)
    dots = {"mode": "markers+text", "marker": circle, "text": labels, "showlegend": False}
    fig.add_trace(go.Scatter(x=xs, y=ys, textfont={"size": 14}, **dots))
    notes = {1.3: ("strong", "shared neuron", "strong"), -0.3: ("weak", "inhibitor", "weak")}
    for y, texts in notes.items():
        for x, text in enumerate(texts):
            fig.add_annotation(x=x, y=y, text=text, showarrow=False)
    fig.update_xaxes(range=[-0.3, 2.3], visible=False).update_yaxes(range=[-0.45, 1.45])
    fig.update_yaxes(visible=False)
    margin = {"l": 20, "r": 20, "t": 60 if title else 20, "b": 20}
    return fig.update_layout(template=TEMPLATE, height=360, title=title, margin=margin)


def push_scatter(
    own: Float[Tensor, " pair"],
    others: Float[Tensor, " pair"],
    control: Float[Tensor, " pair"],
    title: str = "",
) -> go.Figure:
    """What a shared neuron pushes against what all others add, with a control in grey."""
    fig = plain(440, "push of the shared neuron", "sum of all other neurons", title)
    reach = 1.05 * float(array(own).max())
    style = {"color": INK, "width": 1, "dash": "dash"}
    line = {"x": [0, reach], "y": [0, -reach], "mode": "lines", "line": style}
    fig.add_trace(go.Scatter(**line, name="they cancel"))
    series = {
        "random other feature": (control, FAINT, "circle-open"),
        "weak feature": (others, OKABE_ITO[1], "circle"),
    }
    for name, (values, color, symbol) in series.items():
        dots = {"mode": "markers", "marker": {"color": color, "symbol": symbol, "size": 7}}
        points = {"x": rounded(array(own)), "y": rounded(array(values))}
        fig.add_trace(go.Scatter(**points, **dots, name=name))
    return fig.update_xaxes(range=[0, reach])


def sweep_maps(
    maps: dict[str, Tensor],
    probabilities: Float[Tensor, " row"],
    decays: Float[Tensor, " col"],
    title: str = "",
) -> go.Figure:
    """Tables of one number per (probability, decay), side by side, each with its own scale."""
    fig = make_subplots(1, len(maps), subplot_titles=list(maps), horizontal_spacing=0.07)
    rows = [f"{p:g}" for p in array(probabilities).tolist()]
    cols = [f"{d:.2g}" for d in array(decays).tolist()]
    for col, values in enumerate(maps.values(), 1):
        z = array(values)
        text = [[f"{v:.2g}" for v in row] for row in z]
        style = {"colorscale": SEQUENTIAL, "showscale": False, "texttemplate": "%{text}"}
        heat = go.Heatmap(z=rounded(z), x=cols, y=rows, text=text, **style)
        fig.add_trace(heat, row=1, col=col)
        fig.update_xaxes(title_text="decay d", type="category", showgrid=False, row=1, col=col)
        side = {"type": "category", "autorange": "reversed", "showgrid": False}
        label = "feature probability p" if col == 1 else ""
        fig.update_yaxes(**side, title_text=label, row=1, col=col)
    margin = {"l": 75, "r": 30, "t": 80, "b": 60}
    fig.update_layout(template=TEMPLATE, height=420, margin=margin)
    fig.update_annotations(font_size=HEADING)
    return headline(fig, title)
