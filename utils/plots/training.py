"""Figures of 3.2.8: curves of runs, norms, heads. Data in, a plotly figure out."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Bool, Float
from torch import Tensor

from utils.given.training_runs import RunLog
from utils.plots.style import (
    FAINT,
    INK,
    OKABE_ITO,
    array,
    headline,
    log_axis,
    panels,
    plain,
    rounded,
    rounded_log,
)

CURVES = {  # a log's metric: its panel's title, whether its axis is logarithmic
    "unexplained": ("unexplained (batch)", True),
    "held_out": ("held_out (the right rows)", True),
    "l0": ("l0", True),
    "silent": ("silent", False),
    "mse": ("mse", True),
    "gradient": ("gradient", True),
}
SYMBOLS = ("circle", "square", "diamond", "cross")


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_title: str,
    y_title: str,
    log: bool = False,
    target: float | None = None,
    title: str = "",
) -> go.Figure:
    """Named curves; `log` makes both axes logarithmic; `target` is a dotted line."""
    fig = plain(400, x_title, y_title, title)
    for n, (name, (x, y)) in enumerate(curves.items()):
        few = len(x) < 20
        shown = [None if log and v <= 0 else round(float(v), 5) for v in y]  # no logarithm: a gap
        fig.add_scatter(
            x=list(x), y=shown, name=name,
            mode="lines+markers" if few else "lines",
            line={"color": OKABE_ITO[n % 8], "width": 2},
            marker={"symbol": SYMBOLS[n % 4], "size": 8},
        )  # fmt: skip
    if target is not None:
        fig.add_hline(target, line={"color": INK, "width": 1, "dash": "dot"})
        at = math.log10(target) if log else target  # a line takes the number, a text the exponent
        fig.add_annotation(
            x=0, xref="paper", xanchor="left", y=at, yanchor="bottom", text="target",
            showarrow=False,
        )  # fmt: skip
    if log:
        fig.update_xaxes(**_log([v for x, _ in curves.values() for v in x]))
        fig.update_yaxes(**_log([v for _, y in curves.values() for v in y]))
    return fig.update_layout(showlegend=True)


def _log(values: Sequence[float]) -> dict:
    """A logarithmic axis; its ticks are left to plotly where 1, 2, 5 would be too many."""
    positive = [v for v in values if v > 0]
    axis = log_axis(positive)
    return axis if len(axis.get("tickvals", ())) <= 9 else {"type": "log", "dtick": 1}


def beside_reference(run: RunLog, reference: RunLog, name: str) -> go.Figure:
    """The curves of a run, and those of the healthy run of its architecture, dotted."""
    fig = panels([title for title, _ in CURVES.values()], 3, 190)
    looks = ((reference, "reference", INK, "dot"), (run, name, OKABE_ITO[1], "solid"))
    for i, (metric, (_, is_log)) in enumerate(CURVES.items()):
        row, col = divmod(i, 3)
        for log, label, color, dash in looks:
            fig.add_scatter(
                x=log.steps.tolist(), y=[float(f"{v:.4g}") for v in log.curve(metric).tolist()],
                mode="lines", line={"color": color, "width": 2.2, "dash": dash}, name=label,
                legendgroup=label, showlegend=i == 0, row=row + 1, col=col + 1,
            )  # fmt: skip
        fig.update_xaxes(type="log", tickvals=[1, 10, 100, 600], row=row + 1, col=col + 1)
        if is_log:
            fig.update_yaxes(type="log", dtick=1, exponentformat="power", row=row + 1, col=col + 1)
        else:
            fig.update_yaxes(range=[-0.03, 1.03], row=row + 1, col=col + 1)
        if row:
            fig.update_xaxes(title_text="step", row=row + 1, col=col + 1)
    for col in (1, 2, 3):  # room for the tick labels between the panels
        left = 0.355 * (col - 1)
        fig.update_xaxes(domain=[left, left + 0.285], col=col)
        for note in fig.layout.annotations[col - 1 :: 3]:
            note.x = left + 0.1425
    architecture = "TopK" if run.architecture == "topk" else "ReLU with L1"
    return headline(fig, f"{name} ({architecture})")


def norms(length: Float[Tensor, " row"], is_first: Bool[Tensor, " row"]) -> go.Figure:
    """The norm of every row in order, first tokens apart."""
    fig = plain(380, "row", "norm")
    for n, (name, some) in enumerate((("other tokens", ~is_first), ("first tokens", is_first))):
        at = some.nonzero().flatten().tolist()
        fig.add_scatter(
            x=at, y=rounded_log(array(length[some])), mode="markers", name=name,
            marker={"color": OKABE_ITO[n % 8], "size": (4, 9)[n], "symbol": SYMBOLS[2 * n]},
        )  # fmt: skip
    return fig.update_yaxes(**_log(length.tolist()))


def heads(variance: Float[Tensor, " head"], unexplained: Float[Tensor, " head"]) -> go.Figure:
    """Each head by its share of the variance and by what an SAE leaves of its own."""
    fig = plain(380, "share of the variance of z", "unexplained in the head")
    labels = [f"head {h}" for h in range(len(variance))]
    fig.add_scatter(
        x=rounded(array(variance)), y=rounded(array(unexplained)), mode="markers+text",
        text=labels, textposition="top center", marker={"color": OKABE_ITO[0], "size": 10},
        cliponaxis=False,
    )  # fmt: skip
    even = 1 / len(variance)
    fig.add_vline(even, line={"color": FAINT, "width": 1, "dash": "dot"})
    return fig.update_yaxes(rangemode="tozero")
