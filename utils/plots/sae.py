"""Figures of 3.1.5: latents of SAEs beside the true features. Data in, a plotly figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    INK,
    N_COLUMNS,
    OKABE_ITO,
    add_film_controls,
    array,
    color_bar,
    headline,
    names,
    panels,
    place,
    rounded,
    rounded_log,
)

STATES = ("alive", "dead", "just resampled")  # the codes 0, 1, 2
LOOKS: tuple[dict, ...] = (
    {"color": OKABE_ITO[0], "size": 9, "symbol": "circle", "line": {"width": 0}},
    {"color": FAINT, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
    {"color": "#E6001F", "size": 12, "symbol": "circle", "line": {"width": 0}},
)


def _spokes(tips: list) -> dict:
    """Lines from the origin to each tip, as one trace: None lifts the pen."""
    xs = [v for x, _ in tips for v in (0, x, None)]
    ys = [v for _, y in tips for v in (0, y, None)]
    return {"x": xs or [None], "y": ys or [None]}  # an empty trace would leave the legend


def _by_state(tips: list, codes: list) -> list[dict]:
    """The moving data of one panel: the spokes and points of each state, one trace a state."""
    groups = [
        [tip for tip, code in zip(tips, codes, strict=True) if code == k]
        for k in range(len(STATES))
    ]
    return [_spokes(group) for group in groups]


def latents_in_plane(
    W: Float[Tensor, "inst 2 feature"],
    W_dec: Float[Tensor, "inst latent 2"],
    status: Int[Tensor, "inst latent"],
    titles: Sequence[str] | None = None,
    title: str = "",
    n_columns: int = N_COLUMNS,
    legend_of: Int[Tensor, "..."] | None = None,
) -> go.Figure:
    """True features as grey arrows, decoder rows as dots: alive, dead (rings), just resampled.

    The legend names the states that occur, here or in `legend_of` (a film's later frames).
    """
    occur = set((status if legend_of is None else legend_of).unique().tolist())
    features, latents = rounded(array(W.mT)), rounded(array(W_dec))
    n_inst, reach = len(features), 1.15 * max(1.0, float(W.norm(dim=1).max()))
    fig = panels(names(titles, n_inst), n_columns, 170)
    for i, (true, rows, codes) in enumerate(zip(features, latents, status.tolist(), strict=True)):
        row, col, _, _ = place(i, n_inst, n_columns)
        thick = {"color": "#CFCFCF", "width": 6}
        legend = {"showlegend": i == 0, "legendgroup": "feature", "name": "true feature"}
        grey = go.Scatter(**_spokes(true), mode="lines", line=thick, hoverinfo="skip", **legend)
        fig.add_trace(grey, row=row, col=col)
        states = zip(STATES, LOOKS, _by_state(rows, codes), strict=True)
        for code, (name, look, data) in enumerate(states):
            n_points = len(data["x"]) // 3
            sizes = [0, look["size"], 0] * max(n_points, W_dec.shape[1])
            dots = go.Scatter(
                **data,
                mode="lines+markers",
                marker=look | {"size": sizes, "opacity": 1},
                line={"color": look["color"], "width": 1.5},
                name=name,
                legendgroup=name,
                showlegend=i == 0 and code in occur,
                hovertemplate="(%{x:.2f}, %{y:.2f})<extra>" + name + "</extra>",
            )
            fig.add_trace(dots, row=row, col=col)
        bare = {"range": [-reach, reach], "showticklabels": False, "ticks": "", "showgrid": False}
        fig.update_xaxes(**bare, showline=False, constrain="domain", row=row, col=col)
        square = {"scaleanchor": fig.data[-1].xaxis, "constrain": "domain", "showline": False}
        fig.update_yaxes(**bare, **square, row=row, col=col)
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0.005}
    legend |= {"yanchor": "bottom", "itemsizing": "constant", "traceorder": "normal"}
    return headline(fig.update_layout(legend=legend), title)


def resampling_animation(
    W: Float[Tensor, "inst 2 feature"],
    frames: Float[Tensor, "frame inst latent 2"],
    status: Int[Tensor, "frame inst latent"],
    steps: Sequence[int],
    complete: Sequence[int],
    title: str = "",
) -> go.Figure:
    """Decoder rows frame by frame, with play, pause and slider; `complete` counts done instances.

    At rest it shows the last frame.
    """
    fig = latents_in_plane(W, frames[-1], status[-1], title=title, legend_of=status)
    n_inst = len(W)
    moving = [i for i in range(4 * n_inst) if i % 4]  # every fourth trace is the true features
    labels = [f"{s} · complete: {c} of {n_inst}" for s, c in zip(steps, complete, strict=True)]
    fig.frames = [
        go.Frame(
            name=label,
            data=[d for t, c in zip(tips, codes, strict=True) for d in _by_state(t, c)],
            traces=moving,
        )
        for label, tips, codes in zip(labels, rounded(array(frames)), status.tolist(), strict=True)
    ]
    return add_film_controls(fig, labels, "step ")


def curves(
    lines: Mapping[str, tuple[Tensor, Tensor]],
    x_title: str,
    y_title: str,
    points: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    diagonal: bool = False,
    title: str = "",
) -> go.Figure:
    """Named lines; `points` of the same name share the colour; `diagonal` draws y = x dotted."""
    fig = panels([""], 1, 380)
    colors = dict(zip(lines, [OKABE_ITO[i % 8] for i in range(len(lines))], strict=True))
    if diagonal:
        ends = [float(min(x.min() for x, _ in lines.values()))]
        ends.append(float(max(x.max() for x, _ in lines.values())))
        dotted = {"color": INK, "width": 1, "dash": "dot"}
        fig.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=dotted, name="y = x"))
    for name, (x, y) in lines.items():
        line = {"color": colors[name], "width": 2.5}
        data = {"x": rounded(array(x)), "y": rounded(array(y))}
        fig.add_trace(go.Scatter(**data, mode="lines", line=line, name=name))
    for name, (x, y) in (points or {}).items():
        marker = {"color": colors.get(name, INK), "size": 8, "symbol": "circle-open"}
        data = {"x": rounded(array(x)), "y": rounded(array(y))}
        dots = go.Scatter(**data, mode="markers", marker=marker, name=name, showlegend=False)
        fig.add_trace(dots)
    ticks = sorted({v for x, _ in lines.values() for v in x.tolist()})
    few = {"tickvals": ticks} if len(ticks) <= 7 else {}
    fig.update_xaxes(title_text=x_title, **few)
    fig.update_yaxes(title_text=y_title)
    return headline(fig, title)


def comparison(
    table: Mapping[str, Float[Tensor, "setting 3"]],
    n_best: float | None = None,
    title: str = "",
) -> go.Figure:
    """Left L0 against variance unexplained, right L0 against recovery; one line a variant.

    The columns are L0, fraction of variance unexplained, share of features recovered. `n_best`
    marks the true L0 of the data by a dotted line.
    """
    fig = panels(["variance unexplained", "features recovered"], 2, 400)
    symbols = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "hexagon")
    for k, (name, rows) in enumerate(table.items()):
        values = array(rows)[np.argsort(array(rows)[:, 0], kind="stable")]
        for column in (1, 2):
            dots = go.Scatter(
                x=rounded_log(values[:, 0]),
                y=rounded_log(values[:, column]),
                mode="lines+markers",
                line={"color": OKABE_ITO[k % 8], "width": 2},
                marker={"size": 9, "symbol": symbols[k % 8]},
                name=name,
                legendgroup=name,
                showlegend=column == 1,
            )
            fig.add_trace(dots, row=1, col=column)
    powers = {"type": "log", "tickformat": "~g"}
    fig.update_xaxes(title_text="L0", tickvals=[0.25, 0.5, 1, 2, 4, 8, 16], **powers)
    steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    fig.update_yaxes(title_text="fraction unexplained", tickvals=steps, **powers, row=1, col=1)
    fig.update_yaxes(title_text="share recovered", range=[-0.02, 1.05], row=1, col=2)
    if n_best is not None:
        fig.add_vline(n_best, line={"color": INK, "width": 1, "dash": "dot"})
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0.01}
    fig.update_layout(legend=legend | {"yanchor": "bottom"}, margin={"b": 120})
    return headline(fig.update_layout(height=fig.layout.height + 60), title)


def cosine_maps(
    cosines: Mapping[str, Float[Tensor, "feature latent"]], title: str = ""
) -> go.Figure:
    """Cosine of every feature (down) with every latent (across), a panel for each name."""
    fig = panels(list(cosines), len(cosines), 380)
    for k, values in enumerate(cosines.values()):
        heat = go.Heatmap(
            z=rounded(array(values)),
            coloraxis="coloraxis",
            hovertemplate="feature %{y}, latent %{x}: %{z:.2f}<extra></extra>",
        )
        fig.add_trace(heat, row=1, col=k + 1)
        fig.update_xaxes(showgrid=False, constrain="domain", title_text="latent", row=1, col=k + 1)
        down = {"showgrid": False, "autorange": "reversed", "scaleanchor": fig.data[-1].xaxis}
        text = "feature" if k == 0 else ""
        fig.update_yaxes(**down, constrain="domain", title_text=text, row=1, col=k + 1)
    scale = {"colorscale": DIVERGING, "cmin": -1, "cmax": 1, "colorbar": color_bar("cosine")}
    return headline(fig.update_layout(coloraxis=scale), title)
