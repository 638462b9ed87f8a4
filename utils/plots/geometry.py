"""Figures of section 3.1.4: data in, a plotly figure out. Nothing is shown, no input is changed."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int
from plotly.subplots import make_subplots
from scipy.spatial import ConvexHull
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    HEADING,
    INK,
    OKABE_ITO,
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

# one colour per polytope, the same in every figure; what is not a named polytope is grey
POLYTOPE_COLORS = {
    "single": INK,
    "digon": "#0072B2",
    "triangle": "#CC79A7",
    "tetrahedron": "#E69F00",
    "pentagon": "#D55E00",
    "square antiprism": "#009E73",
    "cube": "#56B4E9",
    "hexagon": "#F0E442",
    "13 lines in 12": "#882255",
    "other": "#BDBDBD",
}
LABEL_GAP = 0.045  # of two dimensionalities whose labels do not touch
STICKY = ("single", "digon", "triangle", "tetrahedron", "pentagon", "square antiprism")
# where the eye sits that sees solids: no two corners of the shapes fall on one point
TILT = np.array([[0.94, -0.34, 0.0], [0.11, 0.31, 0.94]])


def _color(name: str, index: int) -> str:
    return POLYTOPE_COLORS.get(name, OKABE_ITO[index % len(OKABE_ITO)])


def _sparsity_axis(fig: go.Figure) -> go.Figure:
    """A logarithmic axis of 1 / p with plain numbers."""
    ticks = {"tickvals": [1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30], "type": "log"}
    return fig.update_xaxes(**ticks, title_text="1 / p   (dense → sparse)")


def hull_edges(corners: Float[Tensor, "d k"]) -> list[tuple[int, int]]:
    """Pairs of corners joined by an edge of the convex hull, for one to three dimensions."""
    points = array(corners).T
    d, k = corners.shape
    if d == 1:
        return [(i, j) for i in range(k) for j in range(i)]
    hull = ConvexHull(points)
    faces: dict[frozenset[int], list[np.ndarray]] = {}
    for simplex, plane in zip(hull.simplices, hull.equations, strict=True):
        for i in range(d):
            # in the plane a facet is the edge; in space each triangle has three sides
            side = simplex if d == 2 else np.delete(simplex, i)
            faces.setdefault(frozenset(int(v) for v in side), []).append(plane)
    return [
        (min(edge), max(edge))
        for edge, planes in faces.items()
        if d == 2 or not np.allclose(planes[0], planes[1], atol=1e-4)  # a face cut in two
    ]


def polytope_gallery(polytopes: Mapping[str, Float[Tensor, "d k"]], title: str = "") -> go.Figure:
    """Each polytope's corners as arrows from the centre, with its edges; solids are tilted."""
    titles = [f"{name}<br>D = {Fraction(*V.shape)}" for name, V in polytopes.items()]
    fig = panels(titles, 4, 215, head=90)
    for index, (name, V) in enumerate(polytopes.items()):
        row, col, *_ = place(index, len(titles), 4)
        corners = array(V)
        flat = np.zeros((2, V.shape[1]))
        if len(corners) == 3:
            flat = TILT @ corners
        else:
            flat[: len(corners)] = corners
        xs, ys = rounded(flat)
        edges = [
            v for i, j in hull_edges(V) for v in ((xs[i], ys[i]), (xs[j], ys[j]), (None, None))
        ]
        arrows = [v for x, y in zip(xs, ys, strict=True) for v in ((0, 0), (x, y), (None, None))]
        color = _color(name, index)
        for points, line in ((edges, {"color": FAINT, "width": 1}), (arrows, {"color": color})):
            x, y = zip(*points, strict=True) if points else ((), ())
            lines = go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")
            fig.add_trace(lines, row=row, col=col)
        dots = {"color": color, "size": 9}
        fig.add_trace(go.Scatter(x=xs, y=ys, mode="markers", marker=dots), row=row, col=col)
        hidden = {"range": [-1.2, 1.2], "visible": False}
        fig.update_xaxes(**hidden, row=row, col=col)
        fig.update_yaxes(**hidden, scaleanchor=fig.data[-1].xaxis, row=row, col=col)
    return headline(fig.update_layout(showlegend=False), title)


def dimensions_curve(
    sparsity: Float[Tensor, " inst"], per_feature: Float[Tensor, " inst"], title: str = ""
) -> go.Figure:
    """Dimensions per feature over 1 / p, with lines at 1 and 1/2."""
    fig = plain(380, "1 / p", "m / ‖W‖²", title)
    for level, name in ((1, "1: a dimension each"), (0.5, "1/2: antipodal pairs")):
        line = {"color": FAINT, "width": 1, "dash": "dash"}
        style = {"annotation_text": name, "annotation_position": "top right", "line": line}
        fig.add_hline(y=level, **style, annotation_font_size=12)
    line, marker = {"color": OKABE_ITO[0], "width": 2}, {"size": 8}
    curve = {"x": rounded(array(sparsity)), "y": rounded(array(per_feature))}
    fig.add_trace(go.Scatter(**curve, mode="lines+markers", line=line, marker=marker))
    top = 1.15 * max(1.0, float(per_feature.max()))
    fig.update_yaxes(range=[0, top])
    return _sparsity_axis(fig)


def dimensionality_strip(
    D: Float[Tensor, "inst feature"],
    kept: Bool[Tensor, "inst feature"],
    sparsity: Float[Tensor, " inst"],
    fractions: Float[Tensor, " fraction"],
    title: str = "",
) -> go.Figure:
    """Each represented feature's D as a dot over its model's 1 / p, with lines at the fractions."""
    values, mask, where = array(D), array(kept).astype(bool), array(sparsity)
    fig = plain(560, "1 / p", "dimensionality D", title)
    beside = 0.0  # the last label at the edge; one that would touch it stands further out
    for fraction in sorted(fractions.tolist()):
        line = {"color": FAINT, "width": 1, "dash": "dash"}
        text = str(Fraction(fraction).limit_denominator(20))
        shift = 34 if fraction - beside < LABEL_GAP else 0
        beside = beside if shift else fraction
        at = {"annotation_position": "right", "annotation_xshift": shift}
        fig.add_hline(y=fraction, line=line, annotation_text=text, **at)
    xs, ys = [], []
    step = np.log(where[-1] / where[0]) / max(len(where) - 1, 1)
    for x, row, keep in zip(where, values, mask, strict=True):
        dots = np.sort(row[keep])
        # side by side in order of D, so that equal values show as a short line, not as one dot
        xs += rounded(x * np.exp(step * np.linspace(-0.33, 0.33, max(len(dots), 1))))[: len(dots)]
        ys += rounded(dots)
    marker = {"size": 5, "opacity": 0.6, "color": OKABE_ITO[0]}
    fig.add_trace(go.Scatter(x=xs, y=ys, mode="markers", marker=marker, name="feature"))
    fig.update_yaxes(range=[0, 1.05])
    return _sparsity_axis(fig.update_layout(margin={"r": 80}))


def census_bars(
    census: Sequence[Mapping[str, int]], probability: Float[Tensor, " inst"], title: str = ""
) -> go.Figure:
    """Groups of each name as stacked bars, one bar per model."""
    fig = plain(420, "p", "number of groups", title)
    labels = [f"{p:.3f}".rstrip("0").rstrip(".") for p in probability.tolist()]
    places = list(range(len(labels)))  # labels may repeat after rounding, places do not
    found = [n for n in POLYTOPE_COLORS if any(n in counts for counts in census)]
    found += sorted({n for counts in census for n in counts} - set(found))
    for index, name in enumerate(found):
        heights = [counts.get(name, 0) for counts in census]
        color = {"color": _color(name, index)}
        fig.add_trace(go.Bar(x=places, y=heights, name=name, marker=color))
    fig.update_xaxes(tickvals=places, ticktext=labels, title_text="p   (dense → sparse)")
    return fig.update_layout(barmode="stack", bargap=0.2)


def sorted_gram(gram: Float[Tensor, "feature feature"], title: str = "") -> go.Figure:
    """One Gram matrix, in the order given, on a colour scale that is white at 0."""
    limit = max(1.0, float(gram.abs().max()))
    bar = {"title": {"text": "WᵀW", "side": "top"}, "thickness": 14}
    scale = {"colorscale": DIVERGING, "zmin": -limit, "zmax": limit, "colorbar": bar}
    fig = plain(620, "feature, sorted by group", "feature, sorted by group", title)
    text = "features %{y}, %{x}: %{z:.2f}<extra></extra>"
    fig.add_trace(go.Heatmap(z=rounded(array(gram)), **scale, hovertemplate=text))
    fig.update_xaxes(showgrid=False, constrain="domain")
    square = {"scaleanchor": "x", "autorange": "reversed", "constrain": "domain"}
    return fig.update_yaxes(showgrid=False, **square)


def jumps(
    D: Float[Tensor, "frame inst feature"],
    loss: Float[Tensor, "frame inst"],
    steps: Int[Tensor, " frame"],
    titles: Sequence[str] | None = None,
    title: str = "",
) -> go.Figure:
    """Dimensionality of every feature over the steps, and the loss below it; a column per model."""
    n_inst, n_feature = D.shape[1:]
    fig = make_subplots(
        rows=2,
        cols=n_inst,
        subplot_titles=names(titles, n_inst),
        row_heights=[0.66, 0.34],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.06,
    )
    fig.update_annotations(font_size=HEADING)
    palette = OKABE_ITO if n_feature <= len(OKABE_ITO) else shades(n_feature)
    x = steps.tolist()
    for i in range(n_inst):
        for f in range(n_feature):
            style = {"line": {"color": palette[f], "width": 2}, "name": f"feature {f}"}
            y = rounded(array(D[:, i, f]))
            curve = go.Scatter(x=x, y=y, **style, legendgroup=str(f), showlegend=i == 0)
            fig.add_trace(curve, row=1, col=i + 1)
        line = {"color": INK, "width": 2}
        y = np.round(array(loss[:, i]).astype(float), 6).tolist()
        fig.add_trace(go.Scatter(x=x, y=y, line=line, showlegend=False), row=2, col=i + 1)
    ticks = [s for s in (1, 10, 100, 1000, 2000, 4000, 8000) if x[0] <= s <= x[-1]]
    fig.update_xaxes(type="log", tickvals=ticks)
    fig.update_xaxes(title_text="step", row=2)
    levels = {"tickvals": [0, 0.4, 0.5, 1], "ticktext": ["0", "2/5", "1/2", "1"]}
    fig.update_yaxes(**levels, range=[-0.03, 1.05], row=1)
    fig.update_yaxes(title_text="D", row=1, col=1)
    fig.update_yaxes(title_text="loss", range=[0, 1.1 * float(loss.max())], row=2, col=1)
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.16}
    margin = {"l": 75, "r": 30, "t": 60, "b": 70}
    fig.update_layout(template=TEMPLATE, height=520, legend=legend, margin=margin)
    return fig.update_layout(title=title)


def payoff_curves(
    probability: Float[Tensor, " inst"],
    payoffs: Mapping[str, Float[Tensor, " inst"]],
    title: str = "",
) -> go.Figure:
    """Payoff per dimension over 1 / p, one line per polytope."""
    fig = plain(480, "1 / p", "features saved per dimension", title)
    x = rounded(1 / array(probability))
    for index, (name, values) in enumerate(payoffs.items()):
        line = {"color": _color(name, index), "width": 2.5}
        line["dash"] = "dash" if name not in STICKY else "solid"
        fig.add_trace(go.Scatter(x=x, y=rounded(array(values)), name=name, line=line))
    return _sparsity_axis(fig)
