"""Figures of sweeps: many SAEs at once."""

from typing import Any

import plotly.graph_objects as go

from utils.plots.style import FAINT, OKABE_ITO, plain

SHAPES = ("circle", "diamond", "square", "cross", "triangle-up", "star")


def frontier(results: list[dict[str, Any]], title: str) -> go.Figure:
    """L0 against explained variance: architecture by shape and colour, the Pareto front a line."""
    from utils.saes.sweep import pareto

    fig = plain(460, "L0: active latents per token", "explained variance", title)
    kinds = list(dict.fromkeys((r["architecture"], r["latent"]) for r in results))
    for i, (architecture, latent) in enumerate(kinds):
        mine = [r for r in results if (r["architecture"], r["latent"]) == (architecture, latent)]
        fig.add_scatter(
            x=[round(r["l0"], 3) for r in mine],
            y=[round(r["explained_variance"], 4) for r in mine],
            text=[f"{r['name']}<br>dead {r['dead']:.1%}" for r in mine],
            mode="markers", name=f"{architecture}, {latent} latents",
            marker={
                "size": 10, "color": OKABE_ITO[i % len(OKABE_ITO)],
                "symbol": SHAPES[i % len(SHAPES)],
            },
            hovertemplate="%{text}<br>L0 %{x:.1f}, explained %{y:.3f}<extra></extra>",
        )  # fmt: skip
    named = {r["name"]: r for r in results}
    front = [named[name] for name in pareto(results)]
    fig.add_scatter(
        x=[r["l0"] for r in front], y=[r["explained_variance"] for r in front],
        mode="lines", name="Pareto front", line={"color": FAINT, "dash": "dot"}, hoverinfo="skip",
    )  # fmt: skip
    fig.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    return fig.update_layout(margin={"t": 100 + 12 * len(kinds)}).update_xaxes(type="log")
