"""Figures of 3.2.3: shares of a difference of logits, attribution against ablation, evidence."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import (
    DIVERGING,
    FAINT,
    OKABE_ITO,
    array,
    color_bar,
    escaped,
    panels,
    plain,
    rounded,
)


def _error(values: Tensor) -> dict:
    """A bar for the 95 % interval of a mean."""
    half = 1.96 * values.std(dim=0) / len(values) ** 0.5
    return {"type": "data", "array": rounded(array(half)), "color": FAINT, "thickness": 1.5}


def shares_by_part(shares: Mapping[str, Float[Tensor, " prompt"]]) -> go.Figure:
    """What each block's attention and MLP writes of the difference, mean over prompts."""
    fig = plain(400, "block", "share of the difference (logits)")
    for name, color, pattern in (("attn", OKABE_ITO[0], ""), ("mlp", OKABE_ITO[1], "/")):
        found = {k.split()[1]: v for k, v in shares.items() if k.startswith(f"{name} ")}
        if found:
            word = {"attn": "attention", "mlp": "MLP"}[name]
            fig.add_bar(
                x=list(found), y=[round(float(v.mean()), 3) for v in found.values()], name=word,
                marker={"color": color, "pattern": {"shape": pattern}},
                hovertemplate="block %{x}<br>%{y:.2f}<extra>" + word + "</extra>",
            )  # fmt: skip
    fig.update_layout(barmode="group", legend={"orientation": "h", "y": 1.12}, margin={"t": 50})
    return fig.update_xaxes(type="category")


def heads(
    shares: Float[Tensor, "prompt head"],
    looks: Mapping[str, Float[Tensor, "prompt head"]],
    layer: int,
) -> go.Figure:
    """Left: what each head writes of the difference. Right: where it looks from the end."""
    fig = panels(["writes directly (logits)", "looks at (share of attention)"], 2, 300)
    names = [f"{layer}.{h}" for h in range(shares.shape[1])]
    fig.add_bar(
        x=names, y=rounded(array(shares.mean(dim=0))), error_y=_error(shares), showlegend=False,
        marker_color=OKABE_ITO[6], hovertemplate="head %{x}<br>%{y:.2f}<extra></extra>",
        row=1, col=1,
    )  # fmt: skip
    for i, (place, values) in enumerate(looks.items()):
        fig.add_bar(
            x=names, y=rounded(array(values.mean(dim=0))), name=place,
            marker={"color": OKABE_ITO[i % 8], "pattern": {"shape": ("", "/", "x")[i % 3]}},
            hovertemplate="head %{x}<br>%{y:.2f}<extra>" + place + "</extra>", row=1, col=2,
        )  # fmt: skip
    fig.update_xaxes(type="category", title_text="head")
    fig.update_layout(barmode="group", legend={"orientation": "h", "x": 1, "xanchor": "right"})
    return fig.update_layout(legend={"y": -0.28}, margin={"b": 100})


def against(
    guess: Float[Tensor, " latent"], truth: Float[Tensor, " latent"], x: str, y: str
) -> go.Figure:
    """One point per latent that does anything: an estimate against the measured effect."""
    fig = plain(460, f"effect by {x} (mean over prompts)", f"effect by {y} (mean over prompts)")
    live = ((guess != 0) | (truth != 0)).nonzero()[:, 0]
    a, b = array(guess[live]), array(truth[live])
    far = 1.08 * max(float(abs(a).max()), float(abs(b).max()))
    fig.add_scatter(
        x=[-far, far], y=[-far, far], mode="lines", line={"color": FAINT, "dash": "dot"},
        hoverinfo="skip",
    )  # fmt: skip
    fig.add_scatter(
        x=rounded(a), y=rounded(b), mode="markers", text=[f"latent {i}" for i in live.tolist()],
        marker={"color": OKABE_ITO[0], "size": 7, "opacity": 0.7},
        hovertemplate="%{text}<br>estimate %{x:.3f}, effect %{y:.3f}<extra></extra>",
    )  # fmt: skip
    for i in abs(b).argsort()[::-1][:3].tolist():
        at = {"x": round(float(a[i]), 3), "y": round(float(b[i]), 3), "ax": -25, "ay": -20}
        fig.add_annotation(text=f"{int(live[i])}", arrowcolor=FAINT, arrowhead=0, **at)
    fig.add_hline(y=0, line={"color": FAINT, "width": 1})
    fig.add_vline(x=0, line={"color": FAINT, "width": 1})
    return fig.update_layout(showlegend=False)


def sources(parts: Float[Tensor, "head pos"], words: Sequence[str], title: str = "") -> go.Figure:
    """A pre-activation split by head and by the position that the head looks at."""
    fig = plain(420, "source position", "head", title)
    far = float(parts.abs().max()) or 1.0
    shown = [f"{i} {escaped(word.replace(' ', '·'))}" for i, word in enumerate(words)]
    fig.add_heatmap(
        z=rounded(array(parts)), x=shown, y=[str(h) for h in range(len(parts))],
        zmin=-far, zmax=far,
        colorscale=[list(stop) for stop in DIVERGING], colorbar=color_bar("part"),
        hovertemplate="head %{y}, from %{x}<br>%{z:.2f}<extra></extra>",
    )  # fmt: skip
    fig.update_xaxes(tickangle=-45, automargin=True, title_standoff=25)
    return fig.update_yaxes(type="category")


def evidence(
    table: Mapping[int, tuple[Tensor, Tensor, Tensor]],
    titles: Sequence[str] = (
        *("looks: right minus repeated", "writes: own name against others"),
        "effect of its ablation",
    ),
) -> go.Figure:
    """Three numbers of each head with 95 % intervals: the rule reads their signs."""
    fig = panels(list(titles), 3, 300)
    for i in range(3):
        values = [row[i] for row in table.values()]
        half = [float(1.96 * v.std() / len(v) ** 0.5) for v in values]
        fig.add_scatter(
            x=[str(head) for head in table], y=[round(float(v.mean()), 3) for v in values],
            mode="markers",
            marker={"color": OKABE_ITO[0], "size": 8}, showlegend=False, row=1, col=i + 1,
            error_y={"type": "data", "array": [round(h, 3) for h in half], "color": OKABE_ITO[0]},
            hovertemplate="head %{x}<br>%{y:.2f}<extra></extra>",
        )  # fmt: skip
        fig.add_hline(y=0, line={"color": FAINT, "dash": "dot"}, row=1, col=i + 1)
    return fig.update_xaxes(type="category", title_text="head")


def effects_with_intervals(effects: Mapping[str, Float[Tensor, " prompt"]]) -> go.Figure:
    """Mean effects with 95 % intervals, one line each."""
    fig = plain(120 + 50 * len(effects), "effect: how much the difference falls (logits)", "")
    half = [float(1.96 * v.std() / len(v) ** 0.5) for v in effects.values()]
    fig.add_scatter(
        x=[round(float(v.mean()), 3) for v in effects.values()], y=list(effects), mode="markers",
        marker={"color": OKABE_ITO[0], "size": 10},
        error_x={"type": "data", "array": [round(h, 3) for h in half], "color": OKABE_ITO[0]},
        hovertemplate="%{y}<br>%{x:.2f}<extra></extra>",
    )  # fmt: skip
    fig.add_vline(x=0, line={"color": FAINT, "dash": "dot"})
    return fig.update_yaxes(autorange="reversed", automargin=True)
