"""Figures and film of 3.1.5 and 3.1.6, by their data."""

import json
import re

import numpy as np
import torch

from utils.plots import sae as plots
from utils.plots.film import film_page, save_film

FRAME, INST, LATENT, FEATURE = 6, 3, 4, 5


def rand(*size):
    return torch.rand(size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def film():
    """A film in which every latent moves at every frame, with all three states in each."""
    status = torch.arange(FRAME * INST * LATENT).reshape(FRAME, INST, LATENT) % 3
    steps, complete = list(range(50, 350, 50)), [0, 0, 1, 1, 2, 3]
    return rand(INST, 2, FEATURE), rand(FRAME, INST, LATENT, 2), status, steps, complete


def tips(traces):
    """Tips of spokes: one list of points for each trace (every third vertex is a gap)."""
    return [list(zip(t["x"][1::3], t["y"][1::3], strict=True)) for t in traces if t["x"][0] == 0]


def points(values, status, code):
    """The decoder rows of one state in one panel, as pairs."""
    return [tuple(v) for v, s in zip(values.tolist(), status.tolist(), strict=True) if s == code]


def test_latents_in_plane__draws_each_latent_in_its_state():
    """Panel i shows W_dec[i], each latent in the trace of its state; just resampled is red."""
    W, frames, status, _, _ = film()
    fig = plots.latents_in_plane(W, frames[0], status[0])
    assert len(fig.data) == 4 * INST
    for i in range(INST):
        for code in range(3):
            trace = fig.data[4 * i + 1 + code]
            expected = points(frames[0, i], status[0, i], code)
            drawn = [] if not expected else tips([trace])[0]
            np.testing.assert_allclose(drawn, expected, atol=6e-4)
    red = fig.data[3].marker.color
    r, g, b = (int(red[k : k + 2], 16) for k in (1, 3, 5))
    assert r > 200 and g < 50 and b < 50
    assert fig.data[3].name == "just resampled"


def test_resampling_animation__shows_another_snapshot_in_every_frame():
    """Frame k shows frames[k], no two frames are equal, and at rest the figure shows the last."""
    W, frames, status, steps, complete = film()
    fig = plots.resampling_animation(W, frames, status, steps, complete)
    assert len(fig.frames) == FRAME
    texts = [frame.to_plotly_json()["data"] for frame in fig.frames]
    assert len({json.dumps(t, default=list) for t in texts}) == FRAME
    for k, frame in enumerate(fig.frames):
        drawn = sorted(p for t in tips(frame.data) for p in t)
        expected = sorted(map(tuple, frames[k].reshape(-1, 2).tolist()))
        np.testing.assert_allclose(drawn, expected, atol=6e-4)
        assert list(frame.traces) == [i for i in range(4 * INST) if i % 4]
    assert fig.frames[-1].name == f"300 · complete: 3 of {INST}"
    moving = [t for i, t in enumerate(fig.data) if i % 4]
    assert sorted(p for t in tips(moving) for p in t) == sorted(
        p for t in tips(fig.frames[-1].data) for p in t
    )
    assert [b.label.split()[-1] for b in fig.layout.updatemenus[0].buttons] == ["play", "pause"]
    assert fig.layout.sliders[0].active == FRAME - 1


def test_resampling_animation__does_not_alias_its_data():
    """Changing the tensors afterwards changes no frame."""
    W, frames, status, steps, complete = film()
    fig = plots.resampling_animation(W, frames, status, steps, complete)
    before = fig.to_json()
    frames.zero_(), W.zero_(), status.zero_()
    assert fig.to_json() == before


def test_resampling_animation__of_eighty_frames_is_small():
    """Sixteen instances, five latents, eighty frames: about a megabyte."""
    frames, status = rand(80, 16, 5, 2), torch.zeros(80, 16, 5, dtype=torch.long)
    fig = plots.resampling_animation(rand(16, 2, 5), frames, status, range(80), [0] * 80)
    assert len(fig.to_json()) < 1_500_000


def test_film_page__holds_every_frame_and_needs_no_network(tmp_path):
    """The page's data are the snapshots, all different; it is small and loads nothing."""
    W, frames, status, steps, complete = film()
    path = save_film(tmp_path / "film.html", W, frames, status, steps, complete)
    text = path.read_text(encoding="utf-8")
    data = json.loads(re.search(r"const film = (\{.*\});", text)[1])
    np.testing.assert_allclose(data["frames"], frames, atol=6e-4)
    np.testing.assert_allclose(data["features"], W.mT, atol=6e-4)
    assert len({json.dumps(f) for f in data["frames"]}) == FRAME
    assert data["status"] == status.tolist()
    assert (data["steps"], data["complete"]) == (steps, complete)
    assert not re.search(r"https?:|src=|href=|import|fetch|%[A-Z]+%", text)
    assert "#E6001F" in text and "just resampled" in text


def test_film_page__of_eighty_frames_is_small():
    """Below 300 KB."""
    frames, status = rand(80, 16, 5, 2), torch.zeros(80, 16, 5, dtype=torch.long)
    page = film_page(rand(16, 2, 5), frames, status, range(80), [0] * 80)
    assert len(page.encode()) < 300_000


def test_curves__draws_lines_points_and_the_diagonal():
    """Lines by name, points in the colour of their line, y = x dotted across."""
    x = torch.linspace(0, 2, 5)
    lines = {"a": (x, x**2), "b": (x, 1 - x)}
    fig = plots.curves(lines, "m", "out", {"b": (x[:2], x[:2])}, diagonal=True)
    diagonal, a, b, dots = fig.data
    assert tuple(diagonal.x) == tuple(diagonal.y) == (0, 2)
    np.testing.assert_allclose(a.y, x**2, atol=6e-4)
    assert dots.marker.color == b.line.color != a.line.color
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("m", "out")


def test_comparison__sorts_each_variant_by_l0():
    """Each variant is one line per panel, from small L0 to large, with a colour of its own."""
    rows = torch.tensor([[2.0, 0.1, 0.5], [0.5, 0.4, 0.9], [1.0, 0.2, 1.0]])
    fig = plots.comparison({"one": rows, "two": rows / 2}, 1.0)
    left, right = fig.data[0], fig.data[1]
    assert left.name == right.name == "one" and left.line.color == right.line.color
    np.testing.assert_allclose(left.x, [0.5, 1, 2])
    np.testing.assert_allclose(left.y, [0.4, 0.2, 0.1], atol=6e-4)
    np.testing.assert_allclose(right.y, [0.9, 1, 0.5], atol=6e-4)
    assert fig.data[2].line.color != left.line.color


def test_cosine_maps__has_a_panel_for_each_name():
    """Features down, latents across, one scale from -1 to 1."""
    fig = plots.cosine_maps({"plain": rand(3, 4), "nested": rand(3, 4)})
    np.testing.assert_allclose(fig.data[0].z, rand(3, 4), atol=6e-4)
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-1, 1)
