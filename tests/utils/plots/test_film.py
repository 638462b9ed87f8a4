"""docs/resampling.html, the film of 3.1.5: made by its notebook's demo with `web_page` set."""

import json
import re

import torch

from utils.course import ROOT
from utils.plots.film import film_page

PAGE = (ROOT / "docs" / "resampling.html").read_text(encoding="utf-8")
DATA = json.loads(re.search(r"const film = (\{.*?\});\n", PAGE)[1])


def test_it_needs_no_network():
    assert "http" not in PAGE and "src=" not in PAGE and "@import" not in PAGE
    assert len(PAGE) < 300_000


def test_it_is_the_page_that_save_film_writes_today():
    """A change of the player must reach the copy: run 3.1.5's demo with `web_page` set."""
    features = torch.tensor(DATA["features"], dtype=torch.float64)  # inst feature 2
    frames = torch.tensor(DATA["frames"], dtype=torch.float64)
    status = torch.tensor(DATA["status"])
    assert film_page(features.mT, frames, status, DATA["steps"], DATA["complete"]) == PAGE


def test_it_begins_incomplete_and_ends_with_five_of_five_in_every_instance():
    """Each of the 16 pentagons has one latent within 8° of each of its features at the end."""
    features = torch.tensor(DATA["features"])  # inst feature 2
    frames = torch.tensor(DATA["frames"])  # frame inst latent 2
    unit = features / features.norm(dim=-1, keepdim=True)
    cosine = torch.einsum("ifk,nilk->nifl", unit, frames)
    covered = (cosine > 0.99).any(dim=-1).all(dim=-1).sum(dim=-1)  # instances, for each frame
    assert unit.shape == (16, 5, 2)
    assert covered[0] == 0 and covered[-1] == 16
    assert DATA["complete"][-1] == 16


def test_latents_are_red_in_some_frames_and_no_two_frames_are_the_same():
    status = torch.tensor(DATA["status"])
    assert (status == 2).any(dim=(1, 2)).sum() >= 3  # just resampled
    assert not (status[-1] == 2).any() and not (status[-1] == 1).any()  # at the end all live
    assert len({json.dumps(frame) for frame in DATA["frames"]}) == len(DATA["frames"])
