"""The film of 3.1.5 as one small web page: a canvas and a few lines of script, no network."""

import json
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from utils.plots.style import array, rounded

FRAME_MS = 90
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%TITLE%</title>
<style>
body { font: 15px Helvetica, Arial, sans-serif; color: #333; max-width: 760px; margin: 20px auto; }
canvas { width: 100%; }
button { font-size: 15px; }
input { width: 60%; vertical-align: middle; }
.dot { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin: 0 4px 0 18px; }
</style></head><body>
<h1 style="font-size: 20px">%TITLE%</h1>
<p><span class="dot" style="background: #cfcfcf"></span>true feature
<span class="dot" style="background: #0072B2"></span>alive
<span class="dot" style="border: 2px solid #bbb"></span>dead
<span class="dot" style="background: #E6001F"></span>just resampled</p>
<canvas id="film" width="1520" height="10"></canvas>
<p><button id="play">pause</button> <input id="seek" type="range" min="0" value="0">
<span id="label"></span></p>
<script>
const film = %DATA%;
const canvas = document.getElementById("film"), pen = canvas.getContext("2d");
const seek = document.getElementById("seek"), play = document.getElementById("play");
const columns = 4, cell = canvas.width / columns, n = film.features.length;
canvas.height = Math.ceil(n / columns) * cell;
seek.max = film.frames.length - 1;
const reach = 1.15 * Math.max(1, ...film.features.flat().map(v => Math.hypot(v[0], v[1])));
let now = 0, running = true;
function arrow(i, v, color, width, dot, ring) {
  const x0 = (i % columns + 0.5) * cell, y0 = (Math.floor(i / columns) + 0.5) * cell;
  const x = x0 + v[0] / reach * cell / 2, y = y0 - v[1] / reach * cell / 2;
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = width;
  pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x, y); pen.stroke();
  if (dot) {
    pen.lineWidth = 4;
    pen.beginPath(); pen.arc(x, y, dot, 0, 7);
    if (ring) { pen.fillStyle = "white"; pen.fill(); pen.stroke(); } else pen.fill();
  }
}
function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < n; i++) {
    film.features[i].forEach(v => arrow(i, v, "#cfcfcf", 12, 0, false));
    film.frames[now][i].forEach((v, l) => {
      const state = film.status[now][i][l];
      arrow(i, v, ["#0072B2", "#bbb", "#E6001F"][state], 3, [9, 9, 13][state], state === 1);
    });
  }
  seek.value = now;
  document.getElementById("label").textContent =
    `step ${film.steps[now]} · complete: ${film.complete[now]} of ${n}`;
}
seek.oninput = () => {
  now = Number(seek.value); running = false; play.textContent = "play"; draw();
};
play.onclick = () => {
  running = !running;
  if (running && now === film.frames.length - 1) now = 0;
  play.textContent = running ? "pause" : "play";
};
setInterval(() => {
  if (!running) return;
  if (now < film.frames.length - 1) { now += 1; draw(); }
  else { running = false; play.textContent = "play"; }
}, %MS%);
draw();
</script></body></html>
"""


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
    text = PAGE.replace("%TITLE%", title).replace("%MS%", str(FRAME_MS))
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
    path = Path(path)
    path.write_text(film_page(W, frames, status, steps, complete), encoding="utf-8")
    return path
