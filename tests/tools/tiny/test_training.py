"""A training run is decided by its recipe: where it is stopped and resumed makes no difference."""

import json
from dataclasses import replace

import pytest
import torch

from tools.tiny.recipes import TASKS, mixed_rows, next_word, story_rows
from tools.tiny.train import Recipe, learning_rate, train
from utils.data.sequences import repeated_sequences

SHAPE = {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 16}
CONFIG = {**TASKS["tiny_story_1l"]().recipe.config, **SHAPE}
RECIPE = Recipe("test", CONFIG, n_steps=10, batch=4, warmup=3, record_every=2)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")


def same_weights(first, second):
    return all(torch.equal(a, second.state_dict()[name]) for name, a in first.state_dict().items())


def test_train__stopped_and_resumed_gives_the_same_weights_and_log(tmp_path):
    whole, one = train(RECIPE, story_rows, next_word, tmp_path / "whole")
    train(RECIPE, story_rows, next_word, tmp_path / "parts", stop_at=4)
    parts, two = train(RECIPE, story_rows, next_word, tmp_path / "parts")
    assert same_weights(whole, parts)
    without_time = [[{**line, "cpu_seconds": 0} for line in p.log] for p in (one, two)]
    # the part that was stopped has one line more: its last step
    assert [line for line in without_time[1] if line["step"] != 3] == without_time[0]
    lines = (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2, 3, 4, 6, 8, 9]


def test_train__another_seed_gives_other_weights(tmp_path):
    first, _ = train(RECIPE, story_rows, next_word, tmp_path / "a", stop_at=2)
    second, _ = train(replace(RECIPE, seed=1), story_rows, next_word, tmp_path / "b", stop_at=2)
    assert not same_weights(first, second)


def test_train__a_run_may_be_made_longer_only_before_its_rate_falls(tmp_path):
    train(RECIPE, story_rows, next_word, tmp_path, stop_at=6)
    longer = replace(RECIPE, n_steps=12)
    train(longer, story_rows, next_word, tmp_path, stop_at=11)
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(RECIPE, n_steps=40), story_rows, next_word, tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(longer, lr=1.0), story_rows, next_word, tmp_path)


def test_learning_rate__rises_stays_falls():
    rates = [learning_rate(RECIPE, step) / RECIPE.lr for step in range(10)]
    torch.testing.assert_close(rates, [1 / 3, 2 / 3, *[1.0] * 6, 2 / 3, 1 / 3])


def test_train__a_damaged_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    train(RECIPE, story_rows, next_word, tmp_path, stop_at=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full_disk(state, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        train(RECIPE, story_rows, next_word, tmp_path, stop_at=4)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_repeated_sequences__repeat_with_their_period():
    gen = torch.Generator().manual_seed(0)
    rows = repeated_sequences(50, 40, 300, gen, period=(5, 9))
    assert (rows[:, 0] == 0).all() and (rows[:, 1:] >= 2).all() and (rows < 300).all()
    periods = [
        next(p for p in range(1, 40) if torch.equal(row[1 + p :], row[1:-p])) for row in rows
    ]
    assert set(periods) == {5, 6, 7, 8}
    twice = repeated_sequences(3, 41, 300, gen)
    assert torch.equal(twice[:, 1:21], twice[:, 21:])


def test_mixed_rows__one_third_are_stories():
    rows = mixed_rows(9, torch.Generator().manual_seed(0))
    alone = story_rows(9, torch.Generator().manual_seed(0))
    assert rows.shape == alone.shape
    is_story = [(row[1:] < 2).any().item() or row[1:].unique().numel() > 48 for row in rows]
    assert is_story[3:].count(True) == 0
