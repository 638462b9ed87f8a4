"""Many coders at once end where each would have ended alone."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from utils.saes.coder import init_coder
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.records import RecordConfig, read_records
from utils.saes.stack import STACKABLE, Stack, train_stack
from utils.saes.train import train_coder

TRAIN = SAETrainConfig(
    n_steps=40, lr=3e-3, warmup_steps=5, decay_steps=10, record_every=10, dead_window=300,
    sparsity_warmup=12, k_start=9, n_norm_batches=2,
)  # fmt: skip
DIFFERENT = ({"k": 2, "sparsity": 0.02}, {"k": 5, "sparsity": 0.3}, {"k": 3, "sparsity": 0.1})


def rows(width=12, n=7, seed=0):
    """Batches with a mean, and directions of which few are on."""
    gen = torch.Generator().manual_seed(seed)
    D, mean = torch.randn(30, width, generator=gen), torch.randn(width, generator=gen)
    on = (torch.rand(n, 64, 30, generator=gen) < 0.1) * torch.rand(n, 64, 30, generator=gen)
    return [batch @ D + mean for batch in on]


def coders(cfg):
    """Three that differ in what a stack may hold apart, from seeds of their own."""
    configs = [replace(cfg, **fields) for fields in DIFFERENT]
    return [init_coder(c, torch.Generator().manual_seed(i)) for i, c in enumerate(configs)]


def assert_close(mine, alone):
    """Weights, thresholds, logs and counters agree up to rounding."""
    for name, value in alone.coder.params.items():
        assert torch.allclose(mine.coder.params[name], value, atol=2e-4), name
    assert torch.equal(mine.rows_since, alone.rows_since)
    assert torch.allclose(mine.coder.cut, alone.coder.cut, atol=1e-3)
    for here, there in zip(mine.records, alone.records, strict=True):
        assert here.keys() == there.keys()
        for name, value in there.items():
            assert here[name] == pytest.approx(value, rel=2e-3, abs=1e-3), name


@pytest.mark.filterwarnings("ignore:after")
@pytest.mark.parametrize("norm", ["free", "unit"])
@pytest.mark.parametrize("architecture", STACKABLE)
def test_each_is_what_it_would_be_alone(architecture, norm):
    """Clipping, warm-ups, dead latents' loss, thresholds: nothing leaks between coders."""
    cfg = SAEConfig(12, 40, architecture=architecture, decoder_norm=norm, normalise="average_norm")
    start, data = coders(replace(cfg, bandwidth=0.5, threshold=0.3)), rows()
    together = train_stack(start, data, TRAIN)
    for mine, coder in zip(together, start, strict=True):
        assert_close(mine, train_coder(coder, data, TRAIN))
    first, second = (run.coder.params["encoder"] for run in together[:2])
    assert not torch.allclose(first, second, atol=0.01)


def test_the_dead_are_revived_as_alone():
    """With a window of few rows the auxiliary loss acts, in some coders more than in others."""
    cfg, data = SAEConfig(12, 60, k=2), rows()
    train = replace(TRAIN, dead_window=64, k_start=None, sparsity_warmup=0)
    together = train_stack(coders(cfg), data, train)
    for mine, coder in zip(together, coders(cfg), strict=True):
        assert_close(mine, train_coder(coder, data, train))
    without = train_stack(coders(cfg), data, replace(train, aux_coefficient=0.0))
    pair = together[0].coder.params["encoder"], without[0].coder.params["encoder"]
    assert not torch.allclose(*pair, atol=1e-3)


@pytest.mark.filterwarnings("ignore:after")
def test_skip_transcoders_stack_too():
    """Two widths, a skip path, no centring."""
    cfg = SAEConfig(12, 40, kind="skip_transcoder", d_out=7)
    data = [(x, x[:, :7].relu()) for x in rows()]
    together = train_stack(coders(cfg), data, TRAIN)
    for mine, coder in zip(together, coders(cfg), strict=True):
        assert_close(mine, train_coder(coder, data, TRAIN))


@pytest.mark.filterwarnings("ignore:after")
def test_goes_on_from_a_checkpoint_exactly(tmp_path):
    """A run cut off in the middle ends bit for bit like one that was not."""
    cfg, path = SAEConfig(12, 40, architecture="batchtopk"), tmp_path / "checkpoint.pt"
    logs = [RecordConfig(jsonl=tmp_path / f"{i}.jsonl") for i in range(3)]
    train = replace(TRAIN, checkpoint_every=15)
    whole = train_stack(coders(cfg), rows(), train)

    class Killed(Exception):
        pass

    class Stops(list):
        n = 0

        def __iter__(self):
            for x in super().__iter__():
                Stops.n += 1
                if Stops.n == 38:
                    raise Killed
                yield x

    with pytest.raises(Killed):
        train_stack(coders(cfg), Stops(rows()), train, logs, path)
    resumed = train_stack(coders(cfg), rows(), train, logs, path)
    for one, other in zip(resumed, whole, strict=True):
        for name, value in other.coder.params.items():
            assert torch.equal(one.coder.params[name], value)
        assert torch.equal(one.coder.cut, other.coder.cut)
    steps = [r["step"] for r in read_records(logs[1].jsonl)]
    assert steps == [10, 20, 30, 40] and all(a < b for a, b in pairwise(steps))
    with pytest.raises(ValueError, match=r"sae\.k"):
        Stack(coders(replace(cfg))[::-1], rows(), train).load(path)
    with pytest.raises(ValueError, match="stack of 3 coders, not of 2"):
        Stack(coders(cfg)[:2], rows(), train).load(path)


@pytest.mark.filterwarnings("ignore:after")
def test_batches_in_which_nothing_is_active_leave_the_threshold_alone(tmp_path):
    starts = coders(SAEConfig(12, 24, "batchtopk", k=2))
    for coder in starts:
        coder.params["b_enc"].fill_(-1e3)
    logs = [RecordConfig(tmp_path / f"{i}.jsonl") for i in range(len(starts))]
    cfg = SAETrainConfig(n_steps=4, record_every=1, mean_bias=False)
    train_stack(starts, rows(), cfg, logs)
    for log in logs:
        assert "NaN" not in log.jsonl.read_text() and "Infinity" not in log.jsonl.read_text()


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_bfloat16_is_stacked_too(architecture):
    starts = [c.to("cpu", torch.bfloat16) for c in coders(SAEConfig(12, 24, architecture, k=2))]
    batches = [batch.bfloat16() for batch in rows()]
    for one in train_stack(starts, batches, replace(TRAIN, n_steps=20)):
        assert one.coder.params["W_dec"].dtype == torch.bfloat16
        assert all(value.isfinite().all() for value in one.coder.params.values())


def test_what_cannot_be_stacked_is_said():
    """Sizes and architectures must be equal, and some architectures have no stacked form."""
    one = init_coder(SAEConfig(12, 40), torch.Generator())
    two = init_coder(SAEConfig(12, 41), torch.Generator())
    with pytest.raises(ValueError, match="differ in latent"):
        Stack([one, two], rows(), TRAIN)
    gated = init_coder(SAEConfig(12, 40, architecture="gated"), torch.Generator())
    with pytest.raises(ValueError, match="not gated: use train_coder"):
        Stack([gated], rows(), TRAIN)
    with pytest.raises(ValueError, match="at least one"):
        Stack([], rows(), TRAIN)


def test_one_bad_coder_is_named():
    """A coder that diverges stops the stack before its weights are spoiled."""
    start = coders(SAEConfig(12, 40, architecture="relu"))
    start[1].params["b_dec"].fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="step 1: the loss is"):
        train_stack(start, rows(), replace(TRAIN, mean_bias=False))
