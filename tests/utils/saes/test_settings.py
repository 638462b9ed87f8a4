"""What surrounds a run: schedules, conversions, refusals, data feeds, logs and W&B."""

import json
from dataclasses import replace

import pytest
import torch

from utils.saes.coder import init_coder
from utils.saes.config import SAEConfig, SAETrainConfig, l1_coefficient
from utils.saes.feed import Feed
from utils.saes.records import RecordConfig, read_records
from utils.saes.schedules import active_latents, learning_rate, sparsity_weight
from utils.saes.train import train_coder

CFG = SAETrainConfig(n_steps=24, lr=3e-3, record_every=4, dead_window=200, n_norm_batches=2)


@pytest.fixture(autouse=True)
def _no_bar(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")


def sae(architecture: str = "topk") -> SAEConfig:
    return SAEConfig(12, 48, architecture=architecture, k=4, sparsity=0.1)


def coder_of(cfg: SAEConfig):
    return init_coder(cfg, torch.Generator().manual_seed(0))


def rows(n_batches: int = 7, d: int = 12) -> list[torch.Tensor]:
    return list(torch.randn(n_batches, 32, d, generator=torch.Generator().manual_seed(5)))


def test_schedules__have_the_values_written_down():
    cfg = SAETrainConfig(n_steps=100, lr=2.0, warmup_steps=10, decay_steps=20)
    assert [learning_rate(cfg, s) for s in (0, 4, 9, 50, 80, 90, 99)] == [
        pytest.approx(v) for v in (0.2, 1.0, 2.0, 2.0, 2.0, 1.0, 0.1)
    ]
    linear = replace(cfg, schedule="linear", decay_steps=0)
    cosine = replace(cfg, schedule="cosine", decay_steps=0)
    assert learning_rate(linear, 55) == pytest.approx(1.0)
    assert learning_rate(cosine, 55) == pytest.approx(1.0)
    assert learning_rate(cosine, 10) == pytest.approx(2.0)
    risen = SAETrainConfig(n_steps=100, sparsity_warmup=50, k_start=24)
    assert [sparsity_weight(sae(), risen, s) for s in (0, 25, 50, 99)] == [
        pytest.approx(v) for v in (0.0, 0.05, 0.1, 0.1)
    ]
    assert [active_latents(sae(), risen, s) for s in (0, 25, 50, 99)] == [24, 14, 4, 4]
    assert active_latents(sae(), replace(risen, k_start=None), 0) == 4


def test_l1_coefficient__carries_over_from_a_mean():
    gen = torch.Generator().manual_seed(0)
    error, penalty = torch.rand(8, generator=gen), 3.0
    theirs = error.mean() + 0.01 * penalty
    ours = error.sum() + l1_coefficient(0.01, 8) * penalty
    torch.testing.assert_close(ours, 8 * theirs)
    assert l1_coefficient(5.0, 8, mse="sum") == 5.0
    assert l1_coefficient(5.0, 8, mse="sum", input_scale=2.0) == 10.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"k": 0}, "k = 0 must be at least 1"),
        ({"k": -3}, "k = -3 must be at least 1"),
        ({"k": 49}, "k = 49 is more than there are latents: 48"),
        ({"k": 1.5}, "k is a whole number, not 1.5"),
        ({"k": True}, "k is a whole number, not True"),
        ({"k": None}, "k is a whole number, not None"),
        ({"latent": 48.0}, "latent is a whole number"),
        ({"d_in": 0}, "d_in = 0 must be at least 1"),
        ({"sparsity": -0.1}, "sparsity = -0.1 must be 0 or more"),
        ({"sparsity": float("nan")}, "sparsity = nan must be finite"),
        ({"sparsity": "1"}, "sparsity is a number, not '1'"),
        ({"bandwidth": 0.0}, "bandwidth = 0.0 must be above 0"),
        ({"threshold": -1.0}, "threshold = -1.0 must be 0 or more"),
        ({"decoder_init_norm": 0}, "decoder_init_norm = 0 must be above 0"),
        ({"architecture": "top_k"}, "architecture is one of relu, .*not 'top_k'"),
        ({"kind": "crosscoder"}, "kind is one of sae, .*not 'crosscoder'"),
        ({"normalise": "layer_norm"}, "normalise is one of none, .*not 'layer_norm'"),
        ({"decoder_norm": "one"}, "decoder_norm is one of free, unit, not 'one'"),
        ({"widths": (16, 48)}, "widths belong to"),
        ({"architecture": "matryoshka", "widths": (16, 40)}, "must increase from above 0 to 48"),
        ({"architecture": "matryoshka", "widths": (1.5, 48)}, "widths are whole numbers"),
        ({"kind": "transcoder", "normalise": "constant_norm"}, "no way back for a transcoder"),
        ({"d_out": 7}, "an SAE predicts its input"),
        ({"heads": 5}, "5 heads do not divide"),
    ],
)
def test_config__refuses_what_makes_no_sense(wrong, says):
    with pytest.raises(ValueError, match=says):
        replace(SAEConfig(12, 48, k=4), **wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_steps": 0}, "n_steps = 0 must be at least 1"),
        ({"n_steps": 2.5}, "n_steps is a whole number"),
        ({"lr": 0.0}, "lr = 0.0 must be above 0"),
        ({"lr": float("inf")}, "lr = inf must be finite"),
        ({"clip": -1.0}, "clip = -1.0 must be above 0"),
        ({"beta2": 1.0}, "must be below 1"),
        ({"aux_coefficient": -1.0}, "aux_coefficient = -1.0 must be 0 or more"),
        ({"aux_k": 0}, "aux_k = 0 must be at least 1"),
        ({"k_start": 1.5}, "k_start is a whole number"),
        ({"dead_window": 0}, "dead_window = 0 must be at least 1"),
        ({"record_every": 0}, "record_every = 0 must be at least 1"),
        ({"checkpoint_every": -5}, "checkpoint_every = -5 must be at least 0"),
        ({"schedule": "step"}, "schedule is one of constant, linear, cosine, not 'step'"),
        ({"warmup_steps": 20, "decay_steps": 10}, "= 20 and decay_steps = 10 overlap in 24 steps"),
    ],
)
def test_train_config__refuses_what_makes_no_sense(wrong, says):
    with pytest.raises(ValueError, match=says):
        replace(CFG, **wrong)


def test_feed__starts_again_and_names_a_wrong_width():
    data = rows(3)
    feed = Feed(data, sae(), torch.device("cpu"))
    drawn = [next(feed)[0] for _ in range(7)]
    assert torch.equal(drawn[6], data[0])
    with pytest.raises(ValueError, match=r"\(batch, 12\)"):
        next(Feed(rows(d=9), sae(), torch.device("cpu")))
    spent = Feed(iter(data), sae(), torch.device("cpu"))
    with pytest.raises(ValueError, match="after 3 batches"):
        [next(spent) for _ in range(4)]


def test_train__stops_when_the_loss_is_not_finite():
    data = [x * float("nan") for x in rows()]
    with pytest.raises(FloatingPointError, match="step 1: the loss is nan"):
        train_coder(coder_of(sae("relu")), data, replace(CFG, mean_bias=False))


def test_log__is_plain_json_and_survives_a_cut_line(tmp_path):
    path = tmp_path / "logs" / "run.jsonl"
    run = train_coder(coder_of(sae()), rows(), CFG, RecordConfig(jsonl=path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == run.records == read_records(path)
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 24]
    assert {"rows", "loss", "mse", "explained_variance", "l0", "dead", "lr"} <= lines[-1].keys()
    assert lines[-1]["l0"] == 4
    with path.open("a") as file:
        file.write('{"step": 2')
    assert read_records(path) == lines


def test_wandb__writes_an_offline_run_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    import socket

    def refuse(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"a connection to {address}")
        return connect(self, address)

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", refuse)
    where = RecordConfig(wandb_project="course", wandb_folder=tmp_path)
    train_coder(coder_of(sae()), rows(), CFG, where)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
