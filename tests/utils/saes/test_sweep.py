"""A grid of SAEs: which there are, equal results however they are trained, resumed, on Ray."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from utils.saes import sweep as module
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.export import load_coder
from utils.saes.on_ray import StacksFailed, run_on_ray
from utils.saes.records import RecordConfig
from utils.saes.sweep import Shuffled, Sweep, pareto, run

TRAIN = SAETrainConfig(60, lr=3e-3, record_every=20, checkpoint_every=20, dead_window=500)
SWEEP = Sweep(
    SAEConfig(10, 24, k=2, sparsity=0.05), TRAIN, architecture=("topk", "relu"),
    k=(2, 4), sparsity=(0.05, 0.2), seeds=(0, 1), batch=32,
)  # fmt: skip


def rows(n=300):
    """Few directions of many are on."""
    gen = torch.Generator().manual_seed(0)
    D = torch.randn(20, 10, generator=gen)
    return ((torch.rand(n, 20, generator=gen) < 0.1) * torch.rand(n, 20, generator=gen)) @ D


def assert_equal(found, wanted):
    """The same SAEs with the same scores."""
    assert [r["name"] for r in found] == [r["name"] for r in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            close = value if isinstance(value, str) else pytest.approx(value, rel=2e-3, abs=2e-3)
            assert one[key] == close, (one["name"], key)


def test_points_are_each_there_once():
    """An architecture ignores the other kind's axis."""
    names = [point.name for point in SWEEP.points()]
    assert names[:3] == ["topk-24-k2-s0", "topk-24-k2-s1", "topk-24-k4-s0"]
    assert names[4:6] == ["relu-24-l0.05-s0", "relu-24-l0.05-s1"] and len(set(names)) == 8
    assert [len(stack) for stack in SWEEP.stacks()] == [4, 4]
    wide = replace(SWEEP, latent=(24, 4096))
    assert [len(stack) for stack in wide.stacks()] == [4, *[1] * 4, 4, *[1] * 4]
    assert [len(s) for s in replace(SWEEP, architecture=("gated",)).stacks()] == [1] * 4


def test_every_row_comes_once_an_epoch():
    """Batches of an epoch have no row twice; another epoch has another order; it can be set."""
    data = torch.arange(70.0)[:, None]
    shuffled = Shuffled(data, 16, seed=3)
    batches = [batch for batch, _ in zip(shuffled, range(8), strict=False)]
    first, second = torch.cat(batches[:4]), torch.cat(batches[4:])
    assert len(first.unique()) == 64 and len(second.unique()) == 64
    assert not torch.equal(first, second)
    again = Shuffled(data, 16, seed=3)
    again.load_state_dict({"n_drawn": 6})
    assert torch.equal(next(iter(again)), batches[6])
    with pytest.raises(ValueError, match="70 rows are fewer than one batch of 71"):
        Shuffled(data, 71)


def test_stacks_or_one_by_one_is_the_same(tmp_path):
    """Results, SAEs on disk, logs."""
    together = run(SWEEP, rows(), rows(77), tmp_path / "a")
    alone = run(replace(SWEEP, together=1), rows(), rows(77), tmp_path / "b")
    assert_equal(together, alone)
    assert together[0]["l0"] == pytest.approx(2, abs=0.2) and together[0]["k"] == 2
    assert together[-1]["l0"] < together[-3]["l0"]  # a larger penalty
    saved = load_coder(tmp_path / "a" / "relu-24-l0.2-s1")
    other = load_coder(tmp_path / "b" / "relu-24-l0.2-s1")
    assert torch.allclose(saved.params["W_dec"], other.params["W_dec"], atol=1e-3)
    log = (tmp_path / "a" / "topk-24-k4-s1" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [20, 40, 60]
    assert json.loads((tmp_path / "a" / "results.json").read_text()) == together


def test_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """Finished stacks are read, the broken one goes on from its checkpoint."""
    wanted, steps = run(SWEEP, rows(), rows(77), tmp_path / "whole"), []

    class Breaks(Shuffled):
        def __iter__(self):
            for i, batch in enumerate(super().__iter__()):
                steps.append(i)
                if len(steps) == 130:  # in the second stack
                    raise KeyboardInterrupt
                yield batch

    monkeypatch.setattr(module, "Shuffled", Breaks)
    with pytest.raises(KeyboardInterrupt):
        run(SWEEP, rows(), rows(77), tmp_path / "cut")
    n = len(steps)
    assert run(SWEEP, rows(), rows(77), tmp_path / "cut") == wanted
    assert len(steps) - n < 60  # of 60 and 10 to prepare: it did not begin anew
    with pytest.raises(ValueError, match="other settings"):
        run(replace(SWEEP, k=(3,)), rows(), rows(77), tmp_path / "cut")


def test_other_data_is_another_sweep(tmp_path):
    """whatever the dtype of the rows"""
    small = replace(SWEEP, architecture=("topk",), k=(2,), seeds=(0,))
    small = replace(small, train=replace(small.train, n_steps=3))
    run(small, rows(), rows(77), tmp_path)
    for data, held in ((2 * rows(), rows(77)), (rows(), 2 * rows(77))):
        with pytest.raises(ValueError, match="settings or data"):
            run(small, data, held, tmp_path)
    with pytest.raises(ValueError, match="no row is held out"):
        run(small, rows(), rows(77)[:0], tmp_path / "b")
    assert module.digest(rows().bfloat16()) != module.digest(2 * rows().bfloat16())


def test_stacks_of_another_size_go_on_too(tmp_path):
    """as one does where memory was too small"""
    small = replace(SWEEP, architecture=("topk",), k=(2, 4), seeds=(0,))
    one = run(replace(small, together=1), rows(), rows(77), tmp_path)
    assert_equal(run(replace(small, together=2), rows(), rows(77), tmp_path), one)


def test_matryoshka_is_swept_in_width():
    """its nested widths grow with it"""
    points = replace(SWEEP, architecture=("matryoshka", "topk"), latent=(24, 48), k=(2,)).points()
    widths = {(p.cfg.architecture, p.cfg.latent): p.cfg.widths for p in points}
    assert widths["matryoshka", 24] == (6, 12, 24) and widths["matryoshka", 48] == (12, 24, 48)
    assert widths["topk", 24] == ()


def test_pareto_front():
    """On the front is what no other beats on both."""
    cells = [("a", 2, 0.5), ("b", 3, 0.4), ("c", 3, 0.7), ("d", 9, 0.7), ("e", 10, 0.8)]
    results = [{"name": n, "l0": x, "explained_variance": y} for n, x, y in cells]
    assert pareto(results) == ["a", "c", "e"]


# ------------------------------------------------------------------------------------------- Ray
@pytest.fixture(scope="module")
def ray_here():
    """A local Ray of two workers."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


LONG = replace(SWEEP, train=replace(TRAIN, n_steps=1500, checkpoint_every=50))


def killed_once(marker, folder, point):
    """Records of a worker that is shot as soon as it has written a checkpoint, the first time."""

    def shoot():
        while not list(folder.glob("relu*.checkpoint.pt")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGKILL)

    if point.name.startswith("relu") and not marker.exists():
        marker.write_text(str(os.getpid()))
        threading.Thread(target=shoot, daemon=True).start()
    place = folder / point.name
    return RecordConfig(place / "log.jsonl", "sweep", wandb_folder=place)  # offline


def always_broken(point):
    """Records that cannot be made."""
    raise OSError("no room")


@pytest.mark.slow
def test_ray_makes_good_a_worker_that_dies(ray_here, tmp_path):
    """Shot with SIGKILL in the middle of a stack, it is replaced, and results are equal."""
    wanted = run(LONG, rows(), rows(77), tmp_path / "here")
    marker, folder = tmp_path / "shot", tmp_path / "there"
    found = run_on_ray(LONG, rows(), rows(77), folder, partial(killed_once, marker, folder))
    assert marker.exists()
    assert_equal(found, wanted)
    log = (folder / "relu-24-l0.2-s1" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(20, 1501, 20))
    for point in LONG.points():  # each has a run of its own; who was shot has a second one
        runs = list(folder.glob(f"{point.name}/wandb/offline-run-*/*.wandb"))
        assert max(file.stat().st_size for file in runs) > 2000, point.name


@pytest.mark.slow
def test_ray_says_what_fails_for_good(ray_here, tmp_path):
    """After all retries the reason is told."""
    with pytest.raises(StacksFailed, match=r"2 of 2 stacks failed 1 times; the first: .*no room"):
        run_on_ray(SWEEP, rows(), rows(77), tmp_path, always_broken, retries=0)


DRIVER = """
import sys
from pathlib import Path
import tests.utils.saes.test_sweep as t
t.run_on_ray(t.LONG, t.rows(), t.rows(77), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_ray_goes_on_after_its_driver_was_killed(tmp_path):
    """A new driver takes the finished stacks and goes on with the others' checkpoints."""
    pytest.importorskip("ray")
    folder = tmp_path / "there"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(folder.glob("*.checkpoint.pt")) and time.monotonic() < deadline:
        assert driver.poll() is None
        time.sleep(0.01)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (folder / "results.json").exists()
    again = [sys.executable, "-c", DRIVER, str(folder)]
    subprocess.run(again, check=True, timeout=600)
    found = json.loads((folder / "results.json").read_text())
    assert_equal(found, run(LONG, rows(), rows(77), tmp_path / "here"))
