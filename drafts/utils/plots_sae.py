"""Figures of 3.1.5: latents of SAEs beside the true features. Data in, a plotly figure out."""

from collections.abc import Sequence

import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from utils.plots_style import FAINT, INK, OKABE_ITO, array, headline, names, panels, place, rounded

FRAME_MS = 90  # 80 frames: about seven seconds
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
    n_columns: int = 4,
) -> go.Figure:
    """True features as grey arrows, decoder rows as dots: alive, dead (rings), just resampled."""
    features, latents = rounded(array(W.mT)), rounded(array(W_dec))
    n_inst, reach = len(features), 1.15 * max(1.0, float(W.norm(dim=1).max()))
    fig = panels(names(titles, n_inst), n_columns, 170)
    for i, (true, rows, codes) in enumerate(zip(features, latents, status.tolist(), strict=True)):
        row, col, _, _ = place(i, n_inst, n_columns)
        thick = {"color": "#CFCFCF", "width": 6}
        legend = {"showlegend": i == 0, "legendgroup": "feature", "name": "true feature"}
        grey = go.Scatter(**_spokes(true), mode="lines", line=thick, hoverinfo="skip", **legend)
        fig.add_trace(grey, row=row, col=col)
        for name, look, data in zip(STATES, LOOKS, _by_state(rows, codes), strict=True):
            n_points = len(data["x"]) // 3
            sizes = [0, look["size"], 0] * max(n_points, W_dec.shape[1])
            dots = go.Scatter(
                **data,
                mode="lines+markers",
                marker=look | {"size": sizes, "opacity": 1},
                line={"color": look["color"], "width": 1.5},
                name=name,
                legendgroup=name,
                showlegend=i == 0,
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
    fig = latents_in_plane(W, frames[-1], status[-1], title=title)
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
    at_once = {"mode": "immediate", "transition": {"duration": 0}}
    play = at_once | {"frame": {"duration": FRAME_MS, "redraw": False}, "fromcurrent": False}
    still = at_once | {"frame": {"duration": 0, "redraw": False}}
    buttons = [
        {"label": "▶ play", "method": "animate", "args": [None, play]},
        {"label": "❚❚ pause", "method": "animate", "args": [[None], still]},
    ]
    slider = {
        "active": len(labels) - 1,
        "currentvalue": {"prefix": "step ", "font": {"size": 13, "color": INK}},
        "steps": [{"label": s, "method": "animate", "args": [[s], still]} for s in labels],
        **{"x": 0.22, "len": 0.78, "y": 0, "yanchor": "top", "pad": {"t": 25}, "tickcolor": FAINT},
        **{"font": {"size": 12, "color": "rgba(0,0,0,0)"}},  # the current value says the step
    }
    menu = {"type": "buttons", "direction": "right", "showactive": False, "buttons": buttons}
    menu |= {"x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 40}}
    fig.update_layout(updatemenus=[menu], sliders=[slider], margin={"b": 150})
    return fig.update_layout(height=fig.layout.height + 90)
