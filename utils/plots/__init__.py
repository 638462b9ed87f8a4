"""Figures of the course: data in, a plotly figure out. Nothing is shown, no input is changed.

The figures of toy models are here; a section's own are in modules such as `utils.plots.geometry`.
"""

from utils.plots.phase import PHASES, phase_diagram
from utils.plots.toy import (
    feature_arrows,
    feature_arrows_animation,
    gram_heatmaps,
    norms_and_interference,
    training_curves,
    use_notebook_renderer,
)

__all__ = [
    "PHASES",
    "feature_arrows",
    "feature_arrows_animation",
    "gram_heatmaps",
    "norms_and_interference",
    "phase_diagram",
    "training_curves",
    "use_notebook_renderer",
]
