"""What all figures share: palette, template, grids of panels, tensors to arrays."""

import html
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, TypeVar

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots
from torch import Tensor

# Okabe & Ito (2008): distinct for every common form of colour vision; yellow last, faint on white
OKABE_ITO = (
    *("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#767676", "#F0E442"),
)  # its black is grey here: on a dark page black would not be seen
SEQUENTIAL = "Viridis"
DIVERGING = (
    (0.0, "#0B4F8A"),
    (0.25, "#6BAED6"),
    (0.5, "#F7F7F7"),
    (0.75, "#FDAE6B"),
    (1.0, "#B34700"),
)
T = TypeVar("T")
# Figures have no background of their own: these greys are read on white and on black alike
INK, GRID, FAINT = "#767676", "rgba(128, 128, 128, 0.22)", "#9A9A9A"
DARK = "#222222"  # for what is drawn on light cells
ON_LIGHT = {"bgcolor": "#F4F4F4", "font": {"color": DARK}}  # a legend that names dark lines
MARKS = ("circle", "diamond", "square", "x", "triangle-up")
WIDTH = 900  # of static pictures, in pixels; elsewhere a figure is as wide as its column
N_COLUMNS = 4  # of a grid of panels
FRAME_MS = 90  # 40 frames: less than four seconds
HEADING = 14  # font size of panel titles

_AXIS = {
    "gridcolor": GRID,
    "zeroline": False,
    "linecolor": FAINT,
    "showline": True,
    "ticks": "outside",
    "tickcolor": FAINT,
    "title": {"standoff": 8, "font": {"size": 14}},
    "exponentformat": "power",
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        "title": {"font": {"size": 17}, "x": 0.5, "xanchor": "center"},
        "colorway": OKABE_ITO,
        "autosize": True,
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "hoverlabel": {"font": {"size": 13}},
        "legend": {"font": {"size": 13}},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def array(values: Tensor) -> np.ndarray:
    """A float32 copy on the CPU: figures neither alias nor outgrow their data."""
    return values.detach().cpu().to(torch.float32).numpy().copy()


def rounded(values: np.ndarray) -> list:
    """Nested lists with three decimals: on a linear axis of a few units a thousandth is below a
    pixel, and JSON stays small.
    """
    return np.round(values.astype(np.float64), 3).tolist()


def rounded_log(values: np.ndarray) -> list[float]:
    """Four digits, for a logarithmic axis, on which small values are as far apart as large ones."""
    return [float(f"{value:.4g}") for value in values.tolist()]


def styled(table: Mapping[str, T]) -> Iterator[tuple[str, T, str, str]]:
    """Each name and value with a colour and a mark; where they end, they begin again."""
    for i, (name, value) in enumerate(table.items()):
        yield name, value, OKABE_ITO[i % len(OKABE_ITO)], MARKS[i % len(MARKS)]


def escaped(word: str) -> str:
    """A word as plotly shows it: no markup; of quotation marks it does not know the HTML names."""
    return html.escape(word, quote=False)


def color_bar(label: str, side: str = "right") -> dict:
    """A slim colour bar with its label beside it, or on `top`."""
    return {"title": {"text": label, "side": side, "font": {"size": 14}}, "thickness": 14}


def names(titles: Sequence[str] | None, count: int, word: str = "instance") -> list[str]:
    """The given titles, or `instance 0`, `instance 1`, …"""
    if titles is None:
        return [f"{word} {i}" for i in range(count)]
    if len(titles) != count:
        raise ValueError(f"{len(titles)} titles for {count} panels")
    return [str(title) for title in titles]


def shades(count: int) -> list[str]:
    """`count` ordered colours, dark first; the palest yellows are left out."""
    return sample_colorscale(SEQUENTIAL, np.linspace(0, 0.88, max(count, 2)).tolist())[:count]


def plain(height: int, x: str, y: str, title: str = "") -> go.Figure:
    """An empty figure with the course's template and axis titles."""
    margin = {"l": 75, "r": 30, "t": 60 if title else 30, "b": 60}
    fig = go.Figure().update_layout(template=TEMPLATE, height=height, title=title, margin=margin)
    return fig.update_xaxes(title_text=x).update_yaxes(title_text=y)


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with readable ticks: 1, 2, 5 times powers of ten."""
    low, high = float(min(values)), float(max(values))
    ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
    inside = [t for t in ticks if 0.99 * low <= t <= 1.01 * high]
    if len(inside) < 2:  # plotly finds some between
        return {"type": "log"}
    return {"type": "log", "tickvals": inside, "ticktext": [f"{t:g}" for t in inside]}


def panels(titles: Sequence[str], n_columns: int, panel_height: int, head: int = 70) -> go.Figure:
    """A grid of panels with the course's template, `panel_height` pixels each."""
    n_columns = min(n_columns, len(titles))
    n_rows = ceil(len(titles) / n_columns)
    height = head + 60 + n_rows * panel_height
    fig = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=list(titles),
        horizontal_spacing=0.06 if n_columns > 1 else 0,
        vertical_spacing=min(0.9 / n_rows, 50 / (n_rows * panel_height)) if n_rows > 1 else 0,
    )
    margin = {"l": 65, "r": 30, "t": head, "b": 60}
    fig.update_layout(template=TEMPLATE, height=height, margin=margin)
    fig.update_annotations(font_size=HEADING)
    return fig


def place(index: int, count: int, n_columns: int) -> tuple[int, int, bool, bool]:
    """Row and column (from 1) of a panel; whether it is lowest in its column, first in its row."""
    n_columns = min(n_columns, count)
    row, col = divmod(index, n_columns)
    return row + 1, col + 1, index + n_columns >= count, col == 0


def headline(fig: go.Figure, title: str) -> go.Figure:
    """Set the title; without one, take back the room that it would have had."""
    if title:
        return fig.update_layout(title={"text": title, "y": 0.985, "yanchor": "top"})
    return fig.update_layout(height=fig.layout.height - 30, margin={"t": fig.layout.margin.t - 30})


def add_film_controls(fig: go.Figure, labels: list[str], prefix: str) -> go.Figure:
    """Play, pause and a slider above the panels, where they are seen without scrolling."""
    at_once = {"mode": "immediate", "transition": {"duration": 0}}
    play = at_once | {"frame": {"duration": FRAME_MS, "redraw": False}, "fromcurrent": False}
    still = at_once | {"frame": {"duration": 0, "redraw": False}}
    buttons = [
        {"label": "▶ play", "method": "animate", "args": [None, play]},
        {"label": "❚❚ pause", "method": "animate", "args": [[None], still]},
    ]
    room, above = 75, {"y": 1, "yanchor": "bottom"}
    slider = {
        "active": len(labels) - 1,
        "currentvalue": {"prefix": prefix, "xanchor": "right", "font": {"size": 14}},
        "steps": [{"label": s, "method": "animate", "args": [[s], still]} for s in labels],
        **{"x": 0.3, "len": 0.7, "pad": {"b": 12}, "tickcolor": FAINT},
        **{"font": {"size": 12, "color": "rgba(0,0,0,0)"}},  # the current value says the step
    }
    menu = {"type": "buttons", "direction": "right", "showactive": False, "buttons": buttons}
    menu |= {"x": 0, "xanchor": "left", "pad": {"b": 42}}
    top = fig.layout.margin.t + room
    fig.update_layout(updatemenus=[menu | above], sliders=[slider | above], margin={"t": top})
    return fig.update_layout(height=fig.layout.height + room)
