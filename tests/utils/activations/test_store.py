"""A store gives back what the model computed: every token once, in whatever order it is read."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from utils.activations import StoreConfig, StoreError, index, open_store, write_activations
from utils.activations.write import INDEX, capture, stop_layer
from utils.course import ROOT
from utils.data.corpus import Rows

RESID, MLP_IN = "blocks.1.hook_resid_post", "blocks.1.mlp.hook_in"
MLP_OUT, Z = "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"
SMALL = StoreConfig(hooks=(RESID,), dtype="float32", held_share=0.1, rows_per_shard=7, batch_rows=3)


def sorted_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows in an order of their own, so that two sets of rows can be compared."""
    return x[x[:, 0].argsort()]  # of random numbers no two are equal


def read_all(store, **settings):
    reader = store.reader(batch=16, drop_last=False, **settings)
    items = list(reader)
    if isinstance(items[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*items, strict=True))
    return torch.cat(items)


def clean(model, ids, hook):
    """The oracle: the library's own cache, no early stop."""
    with torch.no_grad():
        return model.run_with_cache(ids)[1][hook]


def test_every_token_is_there_once_and_equals_the_cache(model, ids, tmp_path):
    store = write_activations(model, ids, tmp_path, SMALL)
    truth = clean(model, ids, RESID)[:, 1:].flatten(0, 1)
    found = torch.cat([read_all(store), read_all(store, split="held")])
    torch.testing.assert_close(sorted_rows(found), sorted_rows(truth))
    assert store.n_tokens("train") == 36 * 9 and store.n_tokens("held") == 4 * 9


def test_each_token_knows_its_row_and_position(model, ids, tmp_path):
    store = write_activations(model, ids, tmp_path, SMALL)
    truth = clean(model, ids, RESID)
    for shard in store.shards("train"):
        tensors = store.tensors(shard["file"])
        expected = truth[tensors["row"].long(), tensors["pos"].long()]
        torch.testing.assert_close(tensors[RESID], expected)


def test_padding_and_first_positions_are_left_out(model, ids, tmp_path):
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 6:] = False
    rows = Rows(ids, mask, torch.arange(len(ids)))
    store = write_activations(model, rows, tmp_path, replace(SMALL, skip_first=2, held_share=0))
    positions = torch.cat([store.tensors(s["file"])["pos"] for s in store.shards("train")])
    assert positions.unique().tolist() == [2, 3, 4, 5]
    assert store.n_tokens() == len(positions) == len(ids) * 4


def test_pairs_are_aligned(model, ids, tmp_path):
    cfg = replace(SMALL, hooks=(MLP_IN, MLP_OUT))
    store = write_activations(model, ids, tmp_path, cfg)
    x, y = read_all(store)
    mlp = model.blocks[1].mlp
    with torch.no_grad():
        torch.testing.assert_close(mlp(x[None])[0], y, rtol=1e-5, atol=1e-6)
    only_output = read_all(store, hooks=MLP_OUT)
    assert torch.equal(only_output, y)
    assert torch.equal(read_all(store, hooks=(MLP_OUT, MLP_IN))[1], x)


def test_z_keeps_its_heads(model, ids, tmp_path):
    store = write_activations(model, ids, tmp_path, replace(SMALL, hooks=(Z,)))
    assert store.shape(Z) == (3, 4)
    flat, heads = read_all(store), read_all(store, flat=False)
    assert flat.shape[1:] == (12,) and heads.shape[1:] == (3, 4)
    assert torch.equal(heads.flatten(1), flat)
    shard = store.tensors(store.shards("train")[0]["file"])
    expected = clean(model, ids, Z)[shard["row"].long(), shard["pos"].long()]
    torch.testing.assert_close(shard[Z].unflatten(1, (3, 4)), expected)


@pytest.mark.parametrize(
    ("hooks", "stop"),
    [
        (["blocks.0.hook_resid_pre"], 1),
        ([MLP_IN, "blocks.0.hook_resid_post"], 2),
        (["blocks.2.hook_resid_post"], None),
        (["ln_final.hook_normalized", MLP_IN], None),
        (["hook_embed"], 0),
    ],
)
def test_no_layer_above_the_hook_runs(model, ids, hooks, stop):
    assert stop_layer(model, hooks) == stop
    ran = []
    for layer, block in enumerate(model.blocks):
        block.attn.hook_in.add_hook(lambda v, hook, layer=layer: ran.append(layer))
    try:
        found = capture(model, ids[:2], hooks)
    finally:
        model.reset_hooks()
    assert set(found) == set(hooks)
    assert (ran == []) == (stop == 0)
    assert max(ran, default=-1) < (len(model.blocks) if stop is None else stop)


def test_held_out_documents_share_no_row_with_training(model, ids, tmp_path):
    document = torch.arange(len(ids)) // 4  # ten documents of four rows
    rows = Rows(ids, torch.ones_like(ids, dtype=torch.bool), document)
    store = write_activations(model, rows, tmp_path, replace(SMALL, held_share=0.2))
    held = store.index["held_rows"]
    assert len(held) == 8 and len(document[held].unique()) == 2
    for split, inside in (("train", False), ("held", True)):
        for shard in store.shards(split):
            rows_there = store.tensors(shard["file"])["row"].unique().tolist()
            assert all((row in held) == inside for row in rows_there)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(model, ids, tmp_path, dtype):
    store = write_activations(model, ids, tmp_path, replace(SMALL, dtype=dtype))
    shard = store.tensors(store.shards("train")[0]["file"])
    expected = clean(model, ids, RESID)[shard["row"].long(), shard["pos"].long()]
    assert shard[RESID].dtype == getattr(torch, dtype)
    torch.testing.assert_close(shard[RESID], expected.to(shard[RESID].dtype), rtol=0.02, atol=1e-3)
    assert next(iter(store.reader(batch=8))).dtype == torch.float32


def test_overflow_in_fp16_is_an_error(model, ids, tmp_path):
    hook = model.blocks[1].hook_out
    hook.add_hook(lambda v, hook: v * 1e6)
    try:
        with pytest.raises(StoreError, match="bfloat16"):
            write_activations(model, ids, tmp_path, replace(SMALL, dtype="float16"))
    finally:
        model.reset_hooks()


# ------------------------------------------------------------------------------- stopped, continued


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*") if not p.name.startswith(".")}


def test_a_second_run_writes_only_what_is_missing(model, ids, tmp_path):
    write_activations(model, ids, tmp_path / "a", SMALL)
    write_activations(model, ids, tmp_path / "b", SMALL)
    victim = tmp_path / "b" / "train-00002.safetensors"
    victim.unlink()
    (tmp_path / "b" / ".train-00002.safetensors.x.part").write_bytes(b"half")
    with pytest.raises(StoreError, match="lacks 1 of"):
        open_store(tmp_path / "b")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b").glob("*.safetensors")}
    write_activations(model, ids, tmp_path / "b", replace(SMALL, batch_rows=5))
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b").glob("*.safetensors")}
    assert {name for name in after if after[name] != before.get(name)} == {victim.name}
    assert files_of(tmp_path / "a").keys() == files_of(tmp_path / "b").keys()
    assert not list((tmp_path / "b").glob(".*.part"))
    torch.testing.assert_close(*(read_all(open_store(tmp_path / s)) for s in "ab"))


KILLED = """
import os, signal, sys, torch
sys.path[:0] = [".", "tests/utils/activations"]
from pathlib import Path
from conftest import random_model, VOCAB
from test_store import SMALL
from utils import files
from utils.activations import write_activations

left, real = int(sys.argv[2]), files.write

def write(path, data):
    global left
    left -= 1
    if left < 0:  # in the middle of a file
        path.with_name(f".{path.name}.abc.part").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, data)

files.write = write
ids = torch.randint(VOCAB, (40, 10), generator=torch.Generator().manual_seed(1))
write_activations(random_model(), ids, Path(sys.argv[1]), SMALL)
"""


def test_killed_within_a_shard_it_continues(model, make_model, ids, tmp_path):
    n_files = 2
    env = {**os.environ, "COURSE_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "b"), str(n_files)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(files_of(tmp_path / "b")) == n_files
    with pytest.raises(StoreError):
        open_store(tmp_path / "b")
    again = write_activations(make_model(0), ids, tmp_path / "b", SMALL)
    whole = write_activations(model, ids, tmp_path / "a", SMALL)
    assert files_of(tmp_path / "a").keys() == files_of(tmp_path / "b").keys()
    torch.testing.assert_close(read_all(again), read_all(whole))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hooks": (MLP_OUT,)}, "hooks"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"skip_first": 3}, "skip_first"),
        ({"seed": 5}, "seed"),
    ],
)
def test_another_configuration_is_refused(model, ids, tmp_path, change, says):
    write_activations(model, ids, tmp_path, SMALL)
    before = files_of(tmp_path)
    with pytest.raises(StoreError, match=says):
        write_activations(model, ids, tmp_path, replace(SMALL, **change))
    assert files_of(tmp_path) == before


def test_other_tokens_and_another_model_are_refused(model, make_model, ids, tmp_path):
    write_activations(model, ids, tmp_path, SMALL)
    with pytest.raises(StoreError, match="tokens"):
        write_activations(model, ids.flip(0), tmp_path, SMALL)
    with pytest.raises(StoreError, match="model"):
        write_activations(make_model(3), ids, tmp_path, SMALL)


def test_shards_without_an_index_are_nobodys(model, make_model, ids, tmp_path):
    """they may be another model's: they are neither taken nor written over"""
    write_activations(model, ids, tmp_path, SMALL)
    (tmp_path / INDEX).unlink()
    before = files_of(tmp_path)
    with pytest.raises(StoreError, match="nobody knows"):
        write_activations(make_model(3), ids, tmp_path, SMALL)
    assert files_of(tmp_path) == before


def test_a_full_disk_is_explained_and_finished_shards_are_kept(model, ids, tmp_path, monkeypatch):
    real, n = os.fsync, 0

    def full(fd):
        nonlocal n
        n += 1
        if n > 3:
            raise OSError(errno.ENOSPC, "no space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"disk is full.*GB"):
        write_activations(model, ids, tmp_path, SMALL)
    assert len(files_of(tmp_path)) == 3 and not list(tmp_path.glob(".*.part"))
    monkeypatch.undo()
    assert write_activations(model, ids, tmp_path, SMALL).n_tokens() == 36 * 9


def test_too_little_space_is_told_before_the_first_shard(model, ids, tmp_path, monkeypatch):
    nearly_full = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(index.shutil, "disk_usage", lambda _: nearly_full)
    with pytest.raises(StoreError, match="disk is full"):
        write_activations(model, ids, tmp_path, SMALL)
    assert list(files_of(tmp_path)) == ["index.json"]


def test_no_store_and_a_wrong_hook_are_explained(model, ids, tmp_path):
    from utils.models.loaded import HookMissing

    with pytest.raises(StoreError, match="holds no activations"):
        open_store(tmp_path)
    with pytest.raises(HookMissing, match="near it"):
        hooks = ("blocks.1.hook_resid_pots",)
        write_activations(model, ids, tmp_path, replace(SMALL, hooks=hooks))
    with pytest.raises(StoreError, match="no vector per token"):
        hooks = ("blocks.1.attn.hook_pattern",)
        write_activations(model, ids, tmp_path / "p", replace(SMALL, hooks=hooks))
    store = write_activations(model, ids, tmp_path / "s", SMALL)
    with pytest.raises(StoreError, match="the store has"):
        store.reader(hooks=MLP_OUT)
    assert json.loads((tmp_path / "s" / "index.json").read_text())["version"] == 1


def test_memory_does_not_grow_with_the_store(model, tmp_path, monkeypatch):
    """Bytes of live tensors at every shard's end, for a store and one four times as large."""
    import gc

    from utils import files

    peaks: list[int] = []
    real = files.write

    def measured(path, data):
        storages = [t.untyped_storage() for t in gc.get_objects() if type(t) is torch.Tensor]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
        peaks[-1] = max(peaks[-1], sum(sizes.values()))
        real(path, data)

    monkeypatch.setattr(files, "write", measured)
    for n in (28, 112):
        ids = torch.randint(29, (n, 10))
        gc.collect()
        peaks.append(0)
        write_activations(model, ids, tmp_path / str(n), SMALL)
    shard = 7 * 9 * (12 * 4 + 6)  # one shard's numbers
    tokens = (112 - 28) * 10 * (8 + 1 + 1 + 8 + 8)  # ids, masks, places: not activations
    assert 3 * shard < 84 * 9 * 12 * 4 - tokens, "the test could not see a leak"
    assert peaks[1] - peaks[0] < shard + tokens


def test_bfloat16_computes_the_same_up_to_its_precision(model, ids, tmp_path):
    hooks = (RESID, MLP_OUT, Z)
    exact = replace(SMALL, hooks=hooks, held_share=0)
    fast = replace(exact, compute="bfloat16")
    stores = [write_activations(model, ids, tmp_path / c.compute, c) for c in (exact, fast)]
    for hook in hooks:
        a, b = (torch.cat([s.tensors(p["file"])[hook] for p in s.shards("train")]) for s in stores)
        error = float((a - b).norm() / a.norm())
        assert 1e-5 < error < 0.02, hook  # a step of bfloat16 is 2^-8 of a number
    with pytest.raises(StoreError, match=r"compute \(bfloat16, now float32\)"):
        write_activations(model, ids, tmp_path / "bfloat16", exact)
