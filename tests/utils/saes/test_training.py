"""Runs: schedules, dead latents, outliers, norms, resuming, logs; all of it on small problems."""

import errno
import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from utils.course import ROOT
from utils.files import DiskFull
from utils.saes.aux import Firing
from utils.saes.checkpoint import load_checkpoint, save_checkpoint
from utils.saes.coder import calibrate_cut, encode, init_coder, reconstruct
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.normalise import average_norm_scale
from utils.saes.records import RecordConfig
from utils.saes.train import Trainer, clip, train_coder

KINDS = [(a, "sae") for a in ("relu", "gated", "jumprelu", "topk", "batchtopk", "matryoshka")]
KINDS += [("relu", "transcoder"), ("batchtopk", "skip_transcoder")]
CFG = SAETrainConfig(n_steps=24, lr=3e-3, record_every=4, dead_window=200, n_norm_batches=2)


@pytest.fixture(autouse=True)
def _no_bar(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")


def sae(architecture: str = "topk", kind: str = "sae", **more) -> SAEConfig:
    widths = (16, 48) if architecture == "matryoshka" else ()
    d_out = None if kind == "sae" else 6
    fields = {"k": 4, "sparsity": 0.1, "widths": widths, "d_out": d_out} | more
    return SAEConfig(12, 48, architecture=architecture, kind=kind, **fields)


def coder_of(cfg: SAEConfig):
    return init_coder(cfg, torch.Generator().manual_seed(0))


def rows(n_batches: int = 7, n: int = 32, d: int = 12) -> list[torch.Tensor]:
    gen = torch.Generator().manual_seed(5)
    directions = torch.randn(30, d, generator=gen)
    strengths = torch.rand(n_batches, n, 30, generator=gen)
    return list((strengths * (strengths > 0.9)) @ directions * 3)


def data_for(cfg: SAEConfig):
    batches = rows()
    if cfg.kind == "sae":
        return batches
    out = torch.randn(12, 6, generator=torch.Generator().manual_seed(6))
    return [(x, (x @ out).relu()) for x in batches]


class Reader:
    """A store with a position: yields batches drawn from its own generator."""

    def __init__(self):
        self.gen = torch.Generator().manual_seed(3)

    def __iter__(self):
        while True:
            yield torch.randn(32, 12, generator=self.gen)

    def state_dict(self):
        return {"gen": self.gen.get_state()}

    def load_state_dict(self, state):
        self.gen.set_state(state["gen"])


class Cut(Exception):
    pass


def interrupted(batches, after: int):
    """The batches, and then a crash."""

    class Crashing:
        def __init__(self):
            self.left = after

        def __iter__(self):
            for batch in batches:
                self.left -= 1
                if self.left < 0:
                    raise Cut
                yield batch

    return Crashing()


@pytest.mark.parametrize(("architecture", "kind"), KINDS)
def test_train__resuming_gives_the_same_bits(architecture, kind, tmp_path):
    cfg = sae(architecture, kind, normalise="average_norm")
    train = replace(CFG, checkpoint_every=5, warmup_steps=3, decay_steps=4, schedule="cosine")
    data, log = data_for(cfg), RecordConfig(jsonl=tmp_path / "log.jsonl")
    whole = train_coder(coder_of(cfg), data, train, RecordConfig(jsonl=tmp_path / "whole.jsonl"))
    with pytest.raises(Cut):
        train_coder(coder_of(cfg), interrupted(data, 20), train, log, tmp_path / "run.pt")
    again = train_coder(coder_of(cfg), data, train, log, tmp_path / "run.pt")
    for name, value in whole.coder.params.items():
        assert torch.equal(value, again.coder.params[name]), name
    assert torch.equal(whole.coder.cut, again.coder.cut)
    assert torch.equal(whole.rows_since, again.rows_since)
    assert whole.coder.scale_out == again.coder.scale_out
    assert (tmp_path / "log.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("architecture", "kind"), KINDS)
def test_train__explains_data_made_of_few_directions(architecture, kind):
    cfg = sae(architecture, kind, normalise="average_norm")
    data = data_for(cfg)
    run = train_coder(coder_of(cfg), data, replace(CFG, n_steps=400, lr=1e-2))
    y = torch.cat([pair[1] if isinstance(pair, tuple) else pair for pair in data])
    x = torch.cat([pair[0] if isinstance(pair, tuple) else pair for pair in data])
    unexplained = (reconstruct(run.coder, x) - y).square().sum() / (y - y.mean(0)).square().sum()
    assert unexplained < 0.3


def test_train__resumes_from_a_readers_own_position(tmp_path):
    cfg, train = sae(), replace(CFG, checkpoint_every=8)
    whole = train_coder(coder_of(cfg), Reader(), train)
    trainer = Trainer(coder_of(cfg), Reader(), train)
    trainer.prepare()
    for _ in range(8):
        trainer.step()
    save_checkpoint(tmp_path / "run.pt", trainer.state())
    again = train_coder(coder_of(cfg), Reader(), train, checkpoint=tmp_path / "run.pt")
    assert torch.equal(whole.coder.params["W_dec"], again.coder.params["W_dec"])


def test_checkpoint__of_other_settings_is_refused(tmp_path):
    cfg = sae()
    train_coder(coder_of(cfg), rows(), CFG, checkpoint=tmp_path / "run.pt")
    for changed in (replace(CFG, lr=1e-4), replace(CFG, n_steps=30)):
        with pytest.raises(ValueError, match=r"train\."):
            train_coder(coder_of(cfg), rows(), changed, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"sae\.k"):
        load_checkpoint(tmp_path / "run.pt", sae(k=5), CFG)


def test_checkpoint__a_crash_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    trainer = Trainer(coder_of(sae()), rows(), CFG)
    save_checkpoint(path, trainer.state())
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"run\.pt was not written.*Free some space"):
        save_checkpoint(path, trainer.state())
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("architecture", "kind"), KINDS)
def test_checkpoint__never_holds_nan_and_the_run_goes_on_from_the_last_finite_one(
    architecture, kind, tmp_path
):
    """One bad batch, far from any line of the log; once mended, the same bits as without it."""
    cfg, path = sae(architecture, kind), tmp_path / "run.pt"
    train = replace(CFG, checkpoint_every=5, record_every=24)
    data = data_for(cfg)
    whole = train_coder(coder_of(cfg), data, train)
    bad = data * 4  # seven batches come again and again: the 15th is read for step 13
    x, *more = bad[14] if isinstance(bad[14], tuple) else (bad[14],)
    spoilt = x.clone()
    spoilt[3, 2] = float("nan")
    bad[14] = (spoilt, *more) if more else spoilt
    with pytest.raises(FloatingPointError, match=r"step 13: .* after step 12; .*mend the data"):
        train_coder(coder_of(cfg), bad, train, checkpoint=path)
    state = load_checkpoint(path, cfg, train)
    assert state["n_steps"] == 10
    assert all(value.isfinite().all() for value in state["params"].values())
    again = train_coder(coder_of(cfg), data, train, checkpoint=path)
    for name, value in whole.coder.params.items():
        assert torch.equal(value, again.coder.params[name]), name


def test_checkpoint__with_weights_that_are_not_finite_is_neither_written_nor_read(tmp_path):
    path, trainer = tmp_path / "run.pt", Trainer(coder_of(sae()), rows(), CFG)
    save_checkpoint(path, trainer.state())
    before = path.read_bytes()
    trainer.coder.params["b_enc"][4] = float("inf")
    with pytest.raises(FloatingPointError, match="b_enc is not finite after step 0"):
        save_checkpoint(path, trainer.state())
    assert path.read_bytes() == before
    torch.save(trainer.state(), path)  # as an older version may have left it
    with pytest.raises(ValueError, match=r"b_enc in .*remove the file"):
        train_coder(coder_of(sae()), rows(), CFG, checkpoint=path)


def test_train__a_run_that_diverges_says_what_to_change(tmp_path):
    cfg = replace(CFG, lr=1e30, clip=None, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"diverged: take a smaller lr \(it is 1e\+30\)"):
        train_coder(coder_of(sae("relu")), rows(), cfg, checkpoint=tmp_path / "run.pt")


def test_train__bad_data_is_named_before_the_first_step():
    with pytest.raises(FloatingPointError, match="2 batches read before step 1"):
        train_coder(coder_of(sae()), [x * float("nan") for x in rows()], CFG)
    with pytest.raises(FloatingPointError, match="only zeros"):
        train_coder(coder_of(sae(normalise="average_norm")), [0 * x for x in rows()], CFG)


def test_train__leaves_the_given_coder_alone():
    coder = coder_of(sae())
    before = {name: value.clone() for name, value in coder.params.items()}
    train_coder(coder, rows(), CFG)
    for name, value in before.items():
        assert torch.equal(value, coder.params[name])


def test_train__adam_and_clipping_are_torchs():
    cfg = sae("relu")
    trainer = Trainer(coder_of(cfg), rows(), replace(CFG, mean_bias=False))
    params = [value.clone().requires_grad_() for value in trainer.coder.params.values()]
    optimiser = torch.optim.Adam(params, lr=CFG.lr)
    for x in rows()[:4]:
        named = dict(zip(trainer.coder.params, params, strict=True))
        x_c = x - named["b_dec"]
        a = (x_c @ named["encoder"].T + named["b_enc"]).relu()
        loss = (a @ named["W_dec"] + named["b_dec"] - x).square().sum(1).mean()
        loss = loss + 0.1 * (a * named["W_dec"].norm(dim=1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        trainer.step()
    for mine, theirs in zip(trainer.coder.params.values(), params, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["batchtopk", "gated", "jumprelu"])
def test_train__transcoder_begins_with_pre_activations_of_mean_zero(architecture):
    gen = torch.Generator().manual_seed(3)
    pairs = [tuple(5 + torch.randn(64, n, generator=gen) for n in (12, 7)) for _ in range(6)]
    cfg = replace(sae(architecture), d_in=12, kind="transcoder", d_out=7, normalise="average_norm")
    trainer = Trainer(coder_of(cfg), pairs, replace(CFG, n_norm_batches=6))
    trainer.prepare()
    x, y = (torch.cat(side) for side in zip(*pairs, strict=True))
    coder = trainer.coder
    biases = [value for name, value in coder.params.items() if name in ("b_enc", "b_gate", "b_mag")]
    for bias in biases:
        pre = x * coder.scale_in @ coder.params["encoder"].T + bias
        assert pre.std(0).min() > 1e-3
        torch.testing.assert_close(pre.mean(0), torch.zeros_like(bias), atol=1e-5, rtol=0)
    assert len(biases) == (2 if architecture == "gated" else 1)
    torch.testing.assert_close(coder.params["b_dec"], y.mean(0) * coder.scale_out)


def test_clip__leaves_short_gradients_alone():
    grads = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    assert clip(grads, 5.1) == 5 == clip(grads, None)
    assert grads["a"].item() == 3.0
    clip(grads, 1.0)
    torch.testing.assert_close(grads["b"], torch.tensor([0.8]))


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_unit_decoder__keeps_norms_at_one(architecture):
    cfg = sae(architecture, decoder_norm="unit")
    norms = train_coder(coder_of(cfg), rows(), CFG).coder.params["W_dec"].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(48))


def test_jumprelu__thresholds_stay_at_or_above_zero():
    run = train_coder(coder_of(sae("jumprelu", threshold=0.0)), rows(), replace(CFG, lr=0.1))
    assert run.coder.params["threshold"].min() >= 0


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
def test_batch_topk__the_saved_threshold_keeps_k_per_row(architecture):
    run = train_coder(coder_of(sae(architecture)), rows(), CFG)
    l0 = torch.cat([encode(run.coder, x) for x in rows()]).gt(0).sum(1).float().mean()
    assert 3.5 < l0 < 4.5
    cut = calibrate_cut(run.coder, rows())
    l0 = torch.cat([encode(run.coder, x) for x in rows()]).gt(0).sum(1).float().mean()
    torch.testing.assert_close(l0, torch.tensor(4.0))
    assert cut > 0
    calibrate_cut(run.coder, rows(), 3)
    l0 = torch.cat([encode(run.coder, x) for x in rows()]).gt(0).sum(1).float().mean()
    torch.testing.assert_close(l0, torch.tensor(3.0))


@pytest.mark.parametrize("factor", [1.0, 2.0, 20.0])
@pytest.mark.parametrize("by_latent", [False, True])
def test_calibrate__keeps_k_per_row_of_batches_that_are_not_mixed(factor, by_latent):
    """Ten batches, the first larger by a factor: its scores may be all that are kept."""
    coder = init_coder(SAEConfig(12, 256, "batchtopk", k=8), torch.Generator().manual_seed(0))
    if by_latent:  # as after a distance of predictions was folded back
        coder = replace(coder, cut=torch.rand(256, dtype=torch.float64) + 0.5)
    batches = [x * (factor if i == 0 else 1) for i, x in enumerate(rows(10, 64))]
    for k in (None, 3):
        calibrate_cut(coder, batches, k)
        l0 = torch.cat([encode(coder, x) for x in batches]).gt(0).sum(1).double().mean()
        assert float(l0) == pytest.approx(k or 8, abs=0.01)


def test_calibrate__has_no_threshold_where_fewer_are_positive():
    coder = init_coder(SAEConfig(12, 48, "batchtopk", k=40), torch.Generator().manual_seed(0))
    assert float(calibrate_cut(coder, rows())) == 0


def test_calibrate__refuses_what_gives_no_threshold():
    coder = coder_of(sae("batchtopk"))
    for batches, k in ((rows(), 0), (rows(), 49), (rows(), 1.5), ([], 4)):
        with pytest.raises(ValueError, match="no threshold gives"):
            calibrate_cut(coder, batches, k)
    with pytest.raises(FloatingPointError, match="the rows for the threshold"):
        calibrate_cut(coder, [rows()[0] * float("nan")])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("architecture", "kind"), KINDS)
def test_coder__takes_other_precisions_and_any_number_of_axes(architecture, kind, dtype):
    """The float32 coder with the same rounded weights is the oracle."""
    cfg = sae(architecture, kind)
    coder = init_coder(cfg, torch.Generator().manual_seed(0)).to("cpu", dtype)
    x = torch.stack(rows(3)).to(dtype)  # (3, 32, 12)
    if architecture in ("batchtopk", "matryoshka"):
        calibrate_cut(coder, list(x))
    exact = coder.to("cpu", torch.float64)
    codes, out = encode(coder, x), reconstruct(coder, x)
    assert codes.dtype == out.dtype == dtype
    assert codes.shape == (3, 32, 48) and out.shape == (3, 32, cfg.d_target)
    if architecture == "topk":
        assert codes.gt(0).sum(dim=-1).max() == 4
    for one, row in (
        (codes, encode(coder, x[1, 2][None])),
        (out, reconstruct(coder, x[1, 2][None])),
    ):
        torch.testing.assert_close(one[1, 2], row[0])
    step = torch.finfo(dtype).eps
    wanted = reconstruct(exact, x.double())
    # where a score is near the edge, rounding may choose another latent: few rows
    far = (out.double() - wanted).norm(dim=-1) > 20 * step * x.double().norm(dim=-1) + 1e-6
    assert far.double().mean() < 0.15


@pytest.mark.parametrize("architecture", ["relu", "topk", "batchtopk"])
def test_train__counts_in_bfloat16_are_counts(architecture):
    """512 rows a batch: a count kept in bfloat16 would stop at 256."""
    coder = init_coder(sae(architecture), torch.Generator().manual_seed(0), dtype=torch.bfloat16)
    coder.params["b_enc"][3] = 100.0  # active everywhere, beyond all others
    data = [x.bfloat16() for x in rows(4, 512)]
    trainer = Trainer(coder, data, replace(CFG, mean_bias=False))
    batch, step = trainer.step()
    assert step.fired[3] == 512
    if architecture == "batchtopk":
        assert float(step.fired.sum()) == 4 * 512
    assert trainer.metrics(batch, step)["l0"] == float(step.fired.double().sum()) / 512


def test_batch_topk__running_threshold_is_a_mean_after_few_steps():
    trainer = Trainer(coder_of(sae("batchtopk")), rows(), CFG)
    trainer.prepare()
    edges = [float(trainer.step()[1].edge) for _ in range(5)]
    torch.testing.assert_close(float(trainer.coder.cut), sum(edges) / 5)


def test_firing__dead_are_those_silent_for_the_window():
    firing = Firing(torch.zeros(3, dtype=torch.int64))
    on, off = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    firing.update(on, 10)
    assert not firing.dead(11).any()
    firing.update(off, 10)
    assert firing.rows_since.tolist() == [0, 10, 20]
    assert firing.dead(20).tolist() == [False, False, True]
    assert firing.dead(10).tolist() == [False, True, True]
    firing.update(torch.tensor([0.0, 0.0, 5.0]), 10)
    assert firing.dead(20).tolist() == [False, True, False]


def test_dead_latents__are_unknown_before_the_window_and_come_back_after_it():
    cfg = sae(k=2)
    coder = coder_of(cfg)
    coder.params["b_enc"][:40] = -2.0  # these never fire
    train = replace(CFG, n_steps=300, record_every=1, dead_window=320, lr=1e-2)
    dead = {}
    for weight in (0.0, 1.0):
        run = train_coder(coder, rows(), replace(train, aux_coefficient=weight))
        assert [r["dead"] for r in run.records[:9]] == [None] * 9
        assert run.records[9]["dead"] >= 40
        dead[weight] = run.records[-1]["dead"]
    assert dead[0.0] >= 35
    assert dead[1.0] < dead[0.0] - 15


def test_dead_latents__a_run_shorter_than_the_window_says_so():
    with pytest.warns(UserWarning, match="dead_window is 1,000 rows"):
        train_coder(coder_of(sae()), rows(), replace(CFG, dead_window=1000))


def test_outliers__a_batch_of_nothing_else_is_passed_over():
    """and a stream of nothing else is an error that names the cure"""
    far = [b + 1000 for b in rows(1)]
    cfg = SAETrainConfig(6, outlier_factor=3.0, n_norm_batches=3)
    run = train_coder(coder_of(sae()), [*rows(5), *far, *rows(5)], cfg)
    assert all(value.isfinite().all() for value in run.coder.params.values())
    with pytest.raises(ValueError, match="raise outlier_factor"):
        train_coder(coder_of(sae()), itertools.chain(rows(5), itertools.repeat(far[0])), cfg)


def test_coder__no_rows_have_no_latents():
    coder, none = coder_of(sae()), rows(1)[0][:0]
    assert encode(coder, none).shape == (0, coder.cfg.latent)
    assert reconstruct(coder, none).shape == (0, 12)


def test_coder__a_copy_shares_nothing():
    coder = coder_of(sae("batchtopk"))
    calibrate_cut(coder.to("cpu"), rows(), 2)
    assert not coder.cut.any()
    assert coder.to("cpu").params["W_dec"].data_ptr() != coder.params["W_dec"].data_ptr()


def test_outliers__are_left_out_of_scales_and_training():
    batches = [x + 1 for x in rows()]
    for x in batches:
        x[0] = 1e4
    cfg = sae(normalise="average_norm")
    trainer = Trainer(coder_of(cfg), batches, replace(CFG, outlier_factor=10.0))
    trainer.prepare()
    clean = torch.cat([x[1:] for x in batches[:2]])
    torch.testing.assert_close(trainer.coder.scale_in, average_norm_scale(clean))
    torch.testing.assert_close(
        trainer.coder.params["b_dec"], clean.mean(0) * trainer.coder.scale_in
    )
    assert len(trainer.batch().x) == 31


@pytest.mark.parametrize("normalise", ["average_norm", "constant_norm"])
def test_normalisation__outputs_are_in_raw_units(normalise):
    cfg = sae(normalise=normalise)
    train = replace(CFG, n_steps=300, lr=1e-2)
    for size in (1e-3, 1e3):
        data = [(x + 0.5) * size for x in rows()]
        run = train_coder(coder_of(cfg), data, train)
        x = data[0]
        error = (reconstruct(run.coder, x) - x).square().sum() / (x - x.mean(0)).square().sum()
        assert error < 0.4


OFFLINE = """
import atexit, socket, sys
from pathlib import Path
asked = []
atexit.register(lambda: print("asked:", asked))
real = socket.getaddrinfo
def look_up(host, *more, **options):
    if host not in ("localhost", "127.0.0.1"):
        asked.append(host)
        raise OSError("no network")
    return real(host, *more, **options)
socket.getaddrinfo = look_up
from utils.saes.records import RecordConfig, Recorder
recorder = Recorder(RecordConfig(None, "p", "offline", Path(sys.argv[1])), {}, 0)
recorder.write({"step": 1, "loss": 1.0})
recorder.close()
"""


def test_wandb__offline_reaches_for_no_network(tmp_path):
    """nor for a report of its use, when the process ends"""
    pytest.importorskip("wandb")
    settings = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)],
        cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "asked: []" in done.stdout, done.stdout + done.stderr
    assert list(tmp_path.rglob("offline-run*"))
