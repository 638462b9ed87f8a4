"""What 3.2.8 is given: runs with faults, their logs, and helpers of its experiments."""

import math
from dataclasses import replace

import pytest
import torch

import part32_interp_with_saes.s8_training_saes as lesson
from tools.local.faults import PLAN
from utils.course import ARTIFACTS
from utils.given import training_demos as demos
from utils.given import training_runs as runs
from utils.models.loaded import Loaded
from utils.models.tiny import load_tiny
from utils.plots.training import CURVES


@pytest.fixture(scope="module")
def story():
    """The story model."""
    model = load_tiny(ARTIFACTS / "tiny_story_4l")
    return Loaded(model, model.tokenizer, "tiny_story_4l")


def test_a_log_comes_back_and_its_settings_are_sealed(tmp_path):
    cfg = runs.with_fault(runs.RunConfig(), "k too small", "no warm-up")
    assert (cfg.k, cfg.warmup) == (1, 0) and replace(cfg, k=12, warmup=100) == runs.RunConfig()
    runs.save_run(tmp_path / "a.jsonl", "two", cfg, [{"step": 1, "l0": 2.5}, {"step": 2, "l0": 1}])
    text = (tmp_path / "a.jsonl").read_text()
    assert "warmup" not in text and "two" not in text
    log = runs.read_run(tmp_path / "a.jsonl")
    assert log.curve("l0").tolist() == [2.5, 1.0] and log.steps.tolist() == [1.0, 2.0]
    assert log.opened()["fault"] == "two" and log.opened()["k"] == 1


def test_the_shipped_runs_are_those_of_the_plan_and_of_the_predictions():
    logs = runs.shipped_runs()
    assert set(logs) == set(PLAN)
    for name, (base, faults) in PLAN.items():
        told = logs[name].opened()
        assert told.pop("fault") == " and ".join(faults)
        assert runs.RunConfig(**told) == runs.with_fault(base, *faults)
        if name.startswith("run_"):
            choice = faults[0] if len(faults) == 1 else "two of these faults"
            assert getattr(lesson, f"predict_{name}") == choice
    ended = [log.steps[-1].item() for log in logs.values()]
    assert set(ended) == {600.0}


def test_a_run_differs_from_its_reference_in_one_thing():
    for name, (base, faults) in PLAN.items():
        cfg, right = runs.with_fault(base, *faults), runs.RunConfig(architecture=base.architecture)
        different = [k for k in vars(cfg) if getattr(cfg, k) != getattr(right, k)]
        assert len(different) == {"run_j": 2}.get(name, int(not name.endswith("reference")))


def test_a_short_run_is_repeatable_and_records_its_curves(story):
    cfg = runs.RunConfig(n_steps=3, latent=32, k=4, warmup=2, layer=1)
    first, again = runs.make_run(story, cfg), runs.make_run(story, cfg)
    assert first == again and [r["step"] for r in first] == [1, 2, 3]
    assert set(first[0]) == {"step", "loss", *CURVES}
    assert all(math.isfinite(float(v)) for r in first for v in r.values())


def test_story_activations_leave_the_first_position_out(story):
    rows = runs.story_rows(3, 20, seed=5)
    x = runs.story_activations(story, rows, "z")
    assert x.shape == (3 * 19, 96) and len(rows) == 3
    a, b = demos.scaled_site(story, "mlp_out", rows, runs.story_rows(2, 20, seed=6))
    assert len(a) == 57 and len(b) == 38
    torch.testing.assert_close(float(a.norm(dim=1).mean()), 96**0.5, rtol=1e-4, atol=0)


def test_buffers_mix_as_the_closed_form_says():
    document = torch.arange(300).repeat_interleave(40)
    given = document, 20, lesson.mix_step, lesson.same_document
    chance = lesson.same_if_independent(torch.bincount(document), 200)
    assert demos.buffered(*given, batch=200) / chance == pytest.approx(300 / 60, rel=0.25)
    state = torch.random.get_rng_state()
    assert demos.library_buffered(*given, batch=200) > 2 * chance
    assert torch.equal(state, torch.random.get_rng_state())


def test_judged_counts_latents_and_error():
    eye, none = torch.eye(3), torch.zeros(3)
    params = {"W_enc": eye, "b_enc": none, "W_dec": eye, "b_dec": none}
    x = torch.tensor([[2.0, 1.0, -1.0], [3.0, 0.5, -2.0]])
    missed, silent, busy = demos.judged(params, x, x, 1)
    spread = (x - x.mean(0)).square().sum()
    assert missed == pytest.approx(float(6.25 / spread))
    assert silent == pytest.approx(2 / 3) and busy == pytest.approx(1 / 3)
    out = demos.topk_output(params, x, 1)
    assert out.tolist() == [[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]]


def test_a_last_stage_leaves_the_first_position_and_its_start_alone(story):
    gen = torch.Generator().manual_seed(0)
    start = lesson.starting_point(torch.zeros(96), 24, 0.1, gen)
    before = {name: value.clone() for name, value in start.items()}
    ids = runs.story_rows(4, 12, seed=7).ids
    hook = story.hook("resid_post", 2)
    done = demos.finetuned(story, start, 4, hook, ids, lesson.equal_parts, 1.0, batch_rows=2)
    assert all(torch.equal(before[name], start[name]) for name in start)
    assert any(not torch.equal(done[name], start[name]) for name in start)


def test_jumprelu_training_records_each_step():
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=gen)
    start = lesson.starting_point(x.mean(0), 16, 0.1, gen) | {
        "log_threshold": torch.full((16,), -3.0)
    }

    def penalty(pre, theta, width):
        return lesson.quadratic_l0(lesson.step_count(pre, theta, width, True), 3.0)

    done, l0 = demos.train_jumprelu(x, start, lesson.jumprelu, penalty, 4, gen)
    assert len(l0) == 4 and not torch.equal(done["W_enc"], start["W_enc"])


def test_records_are_put_together_over_blocks():
    import struct

    def piece(kind, data):
        return struct.pack("<IHB", 0, len(data), kind) + data

    room = demos.BLOCK - demos.HEAD  # what is left of the first block after the file's head
    filler = b"x" * (room - demos.HEAD - demos.HEAD - 5 - 3)
    raw = b"h" * demos.HEAD + piece(1, filler) + piece(2, b"begin")
    raw += bytes(demos.BLOCK - len(raw)) + piece(3, b"-and-")
    raw += piece(4, b"end") + piece(1, b"z")
    assert demos._records(raw) == [filler, b"begin-and-end", b"z"]


def test_spread_is_told_in_a_line():
    said = demos.spread_of(torch.randn(50, 4), lambda rows, n: rows.mean(dim=0))
    assert said.startswith("50 rows") and said.endswith("mean to median 0.00")
