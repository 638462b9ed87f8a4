"""The set of transcoders on a small random model: one run over the text, stopped and resumed."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tools.local import stream as streaming
from tools.local.stream import Group, StreamConfig
from tools.local.transcoder_card import Sizes, describe, readme
from tools.local.transcoders import SET, Plan, Shop, chosen_layers, name_of
from tools.saes.cards import read_card
from utils.activations.write import capture
from utils.data.corpus import counted, join
from utils.models.profiles import choose, common_width
from utils.models.sae import entries, load_sae
from utils.sae_metrics import Reconstruction, together
from utils.saes.export import load_coder

CUT = StreamConfig(batch=64, chunk_rows=24, dtype="float16", batch_rows=7, checkpoint_every=2)
PLAN = Plan(latents=40, k=4, lr=5e-3, warmup=10, aux_k=4, n_check=20, stream=CUT)
SMALL = Sizes(scored=20, in_model=6, together=8)


def documents(n, seed, source):
    gen = torch.Generator().manual_seed(seed)
    sizes = torch.randint(11, 60, (n,), generator=gen).tolist()
    return join([(torch.randint(2, 16, (size,), generator=gen), 0) for size in sizes], [source])


@pytest.fixture(autouse=True)
def threads():
    """As many as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shop_at(loaded):
    """A shop of small text."""
    held = {name: documents(20, i, name) for i, name in enumerate(("speeches", "same"))}

    def make(folder: Path, **changes) -> Shop:
        plan = replace(PLAN, **changes)
        text = documents(60, 5, "abc")
        return Shop(loaded, text, held, plan, folder / "cache", folder / "artifacts", 12)

    return make


@pytest.fixture
def shop(shop_at, tmp_path):
    return shop_at(tmp_path)


def weights(shop: Shop, layer: int) -> bytes:
    return next(shop.folder(layer).glob("*.safetensors")).read_bytes()


def test_stream__has_every_token_once_in_batches_of_nearly_one_size(shop):
    stream, seen = shop.stream(), []
    assert stream.n_chunks > 3
    for i in range(stream.n_chunks):
        rows = stream.chunk(i)
        n = int(counted(rows.mask).sum())
        pieces = stream.pieces(i, n)
        assert torch.equal(torch.cat(pieces).sort().values, torch.arange(n))
        assert len(pieces) == stream.n_batches(i) and min(map(len, pieces)) >= min(64, n)
        assert not torch.equal(torch.cat(pieces), torch.arange(n))
        seen += rows.ids.tolist()
    assert seen == shop.rows.ids.tolist()
    assert stream.n_steps() == sum(stream.n_batches(i) for i in range(stream.n_chunks))


def test_stream__gives_what_the_model_computes(shop):
    """In the precision of the memory; hooks of several layers from one run."""
    stream, hooks = shop.stream(), (*shop.hooks(0), *shop.hooks(2))
    rows = stream.chunk(1)
    found, keep = stream.activations(rows, hooks), counted(rows.mask)
    for hook, value in capture(shop.loaded.model, rows.ids, hooks).items():
        torch.testing.assert_close(found[hook], value[keep].half(), rtol=2e-3, atol=2e-3)


def test_train__leaves_transcoders_of_8_bits_that_explain_and_load(shop, capsys):
    shop.train([0, 2])
    said = capsys.readouterr().out
    assert "layers 0 to 2: chunk 1 of" in said and "hours left; layer_00 0." in said
    assert shop.finished(0) and shop.finished(2) and not shop.finished(1)
    found = [(e.kind, e.layer, e.n_latents) for e in entries(shop.artifacts)]
    assert found == [("transcoder", 0, 40), ("transcoder", 2, 40)]
    rows = shop.held_rows("same", 20)
    for layer in (0, 2):
        sae = load_sae(shop.folder(layer))
        assert (sae.hook_in, sae.hook_out) == shop.hooks(layer)
        acts = capture(shop.loaded.model, rows.ids, shop.hooks(layer))
        x, y = (acts[hook][counted(rows.mask)] for hook in shop.hooks(layer))
        metrics, codes = Reconstruction(), sae.encode(x)
        metrics.update(y, sae.decode(codes, x), codes)
        assert metrics.result().explained_variance > 0.3
        assert metrics.result().l0 == pytest.approx(PLAN.k, abs=1)


def test_train__what_8_bits_cost_is_measured_and_little(shop):
    import json

    shop.train([1])
    (costs,) = json.loads((shop.work([1]) / "rounding.json").read_text()).values()
    assert abs(costs["float32"] - costs["int8"]) < 0.005
    assert costs["float32"] != costs["int8"]


def test_train__layers_do_not_depend_on_their_company_or_on_threads(shop_at, tmp_path):
    together, alone = (shop_at(tmp_path / name, n_rows=60) for name in "ab")
    together.train([0, 1, 2], threads=2)
    for layer in (0, 2):
        alone.train([layer])
        assert weights(alone, layer) == weights(together, layer)


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_train__goes_on_where_it_was_stopped(shop_at, tmp_path, monkeypatch, stop):
    """Killed in a chunk; the same bytes in the end, and no chunk before the checkpoint again."""
    whole, parts = shop_at(tmp_path / "a"), shop_at(tmp_path / "b")
    whole.train([1, 2])
    load, loaded_chunks = Group.load, []

    def counting(self, i):
        loaded_chunks.append(i)
        if i == stop and loaded_chunks.count(i) == 1 and not monkeypatched_once:
            monkeypatched_once.append(1)
            raise KeyboardInterrupt
        return load(self, i)

    monkeypatched_once: list[int] = []
    monkeypatch.setattr(Group, "load", counting)
    with pytest.raises(KeyboardInterrupt):
        parts.train([1, 2])
    assert not parts.finished(1)
    loaded_chunks.clear()
    parts.train([1, 2])
    last = stop // 2 * 2  # a checkpoint every two chunks
    begin = [0, 0] if last == 0 else [last]
    assert loaded_chunks[: len(begin)] == begin
    for layer in (1, 2):
        assert weights(parts, layer) == weights(whole, layer)
    logs = [shop.work([1, 2]) / f"{name_of(1)}.jsonl" for shop in (parts, whole)]
    assert logs[0].read_text() == logs[1].read_text()


def test_train__a_finished_run_only_measures_its_threshold_again(shop, monkeypatch):
    shop.train([1])
    before = weights(shop, 1)
    monkeypatch.setattr(Group, "steps", lambda *_: pytest.fail("it trained again"))
    shop.train([1])
    assert weights(shop, 1) == before


def test_train__never_writes_a_checkpoint_that_is_not_finite(shop, monkeypatch):
    """NaN in the fourth chunk: the checkpoint after the second stays, and is gone on from."""
    real, left = streaming.capture_shard, [3]

    def spoilt(*arguments):
        found = real(*arguments)
        left[0] -= 1
        if left[0] == -2:  # prepare loads the first chunk once more
            found[shop.hooks(1)[1]][7, 3] = float("nan")
        return found

    monkeypatch.setattr(streaming, "capture_shard", spoilt)
    with pytest.raises(FloatingPointError, match=r"layer_01: step \d+: .*mend the data"):
        shop.train([1])
    saved = torch.load(shop.work([1]) / "checkpoint.pt", weights_only=True)
    assert saved["next_chunk"] == 2
    state = saved["trainers"][name_of(1)]
    assert all(value.isfinite().all() for value in state["params"].values())
    monkeypatch.setattr(streaming, "capture_shard", real)
    shop.train([1])
    assert shop.finished(1)


def test_train__another_plan_or_text_is_not_this_one(shop, shop_at, tmp_path):
    shop.train([1])
    for changed in (shop_at(tmp_path, k=5), shop_at(tmp_path, n_rows=50)):
        assert not changed.finished(1)
        assert changed.work([1]) != shop.work([1])
    same = shop_at(tmp_path, stream=replace(CUT, batch_rows=3, checkpoint_every=1))
    assert same.finished(1)


def test_restore__refuses_other_layers_and_other_settings(shop, tmp_path):
    stream, cfg = shop.stream(), PLAN.train(shop.stream().n_steps())
    from utils.saes.coder import init_coder

    def group(names, **changes):
        coder = init_coder(PLAN.sae(24), torch.Generator().manual_seed(0))
        return Group(stream, {n: (coder, shop.hooks(1)) for n in names}, replace(cfg, **changes))

    one = group(["a"])
    one.save(tmp_path / "c.pt")
    with pytest.raises(ValueError, match="other layers"):
        group(["a", "b"]).restore(tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"train\.lr"):
        group(["a"], lr=1e-4).restore(tmp_path / "c.pt")
    assert group(["a"]).restore(tmp_path / "c.pt")


def test_card__says_what_each_layer_and_all_of_them_do(shop):
    assert describe(shop, []) is None
    shop.train([0, 1, 2])
    card = describe(shop, [0, 1, 2], SMALL)
    assert card == read_card(shop.artifacts / SET)
    page = (shop.artifacts / SET / "README.md").read_text()
    assert page == readme(card) and "All 3 in the model at once" in page
    assert [one["layer"] for one in card["per_layer"]] == [0, 1, 2]
    assert card["tokens"] == int(counted(shop.rows.mask).sum())
    saes = [load_sae(shop.folder(layer)) for layer in range(3)]
    again = together(shop.loaded.model, shop.held_rows("speeches", SMALL.together), saes)
    assert card["together"]["loss_sae"] == pytest.approx(again.loss_sae, abs=1e-4)
    assert card["cost"]["cpu_seconds"] + 1 > 0 and card["bytes"] < 3 * 8000
    assert set(card["rounding"]) == {name_of(layer) for layer in range(3)}
    assert card["plan"] == asdict(PLAN)
    assert describe(shop, [0, 1, 2], SMALL) == card  # it is not measured again
    found = [e for e in entries(shop.artifacts) if e.kind == "transcoder"]
    width = common_width(found, [0, 1, 2])
    assert width == 40 and choose(found, shop.artifacts, "transcoder", 2, width).layer == 2


def test_plan__fits_the_model_and_the_budget():
    plan, d = Plan(), 576
    cfg = plan.sae(d)
    assert 30 * (2 * cfg.latent * d + d * d) < 60e6
    train = plan.train(2000)
    assert (train.n_steps, train.warmup_steps, train.decay_steps) == (2000, 100, 500)
    assert load_coder and plan.train(5).warmup_steps == 0


def test_layers__are_read_as_people_write_them():
    assert chosen_layers("", 3) == [0, 1, 2]
    assert chosen_layers("3-5,9,4", 30) == [3, 4, 5, 9]
    with pytest.raises(Exception, match="layers 0 to 29, not 30"):
        chosen_layers("28-30", 30)
