"""The film of 3.1.5 as one small web page: a canvas and a few lines of script, no network."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from utils import files
from utils.plots.style import FRAME_MS, array, rounded

PAGE = Path(__file__).with_suffix(".html")  # with %TITLE%, %DATA% and %MS% to fill in


def film_page(
    W: Float[Tensor, "inst 2 feature"],
    frames: Float[Tensor, "frame inst latent 2"],
    status: Int[Tensor, "frame inst latent"],
    steps: Sequence[int],
    complete: Sequence[int],
    title: str = "Sparse autoencoders learn five features in two dimensions",
) -> str:
    """The page's text: every frame's decoder rows, their states, and a player."""
    data = {
        "features": rounded(array(W.mT)),
        "frames": rounded(array(frames)),
        "status": status.tolist(),
        "steps": list(steps),
        "complete": list(complete),
    }
    text = (
        PAGE.read_text(encoding="utf-8")
        .replace("%TITLE%", html.escape(title))
        .replace("%MS%", str(FRAME_MS))
    )
    return text.replace("%DATA%", json.dumps(data, separators=(",", ":")))


def save_film(
    path: str | Path,
    W: Float[Tensor, "inst 2 feature"],
    frames: Float[Tensor, "frame inst latent 2"],
    status: Int[Tensor, "frame inst latent"],
    steps: Sequence[int],
    complete: Sequence[int],
) -> Path:
    """Write the page; any browser plays it, without network."""
    files.write(Path(path), film_page(W, frames, status, steps, complete))
    return Path(path)
