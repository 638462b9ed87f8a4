"""One pass: whatever the batches, wherever it stops, the numbers are those of all data at once."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from utils.dashboards import DashboardError, Settings, collect
from utils.dashboards.data import as_data, as_json
from utils.data.corpus import Rows
from utils.models.loaded import HookInert, HookMissing, Loaded
from utils.models.sae import Sae

from .conftest import BOS, HOOKS, MODELS, N_POS, VOCABULARY, Coder, Words

module = importlib.import_module("utils.dashboards.collect")  # the name is the function's, too
SMALL = Settings(n_top=5, before=2, after=1, n_loss=2, batch_rows=4, bins=16)


def codes_of(loaded, sae, rows):
    """All activations at once, and which tokens count."""
    _, cache = loaded.model.run_with_cache(rows.ids)
    keep = rows.mask & (rows.ids != BOS)
    keep[:, 0] = False
    return sae.encode(sae.flatten(cache[sae.hook_in])) * keep[..., None], keep


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", HOOKS)
def test_collect__counts_what_all_codes_at_once_say(models, saes, rows, name, kind):
    loaded, sae = models(name), saes(kind)
    chosen = [3, 0, 12]
    found = collect(loaded, sae, rows, chosen, SMALL)
    codes, keep = codes_of(loaded, sae, rows)
    assert found.n_tokens == int(keep.sum()) and found.kind == sae.kind
    assert [latent.index for latent in found.latents] == chosen
    flat = codes[keep]
    with np.errstate(invalid="ignore"):  # a dead one has none
        r = np.corrcoef(flat.double().numpy().T)
    n_alive = 0
    for latent in found.latents:
        mine = codes[..., latent.index]
        on = mine[mine > 0]
        assert latent.n_active == len(on) == sum(latent.histogram)
        assert latent.n_rows == int((mine > 0).any(dim=1).sum())
        assert latent.density == pytest.approx(len(on) / found.n_tokens)
        if latent.is_dead:
            continue
        n_alive += 1
        assert latent.density_low < latent.density <= latent.density_high
        assert latent.largest == pytest.approx(float(on.max()), rel=1e-5)
        assert latent.mean == pytest.approx(float(on.mean()), rel=1e-4)
        assert latent.std == pytest.approx(float(on.std(correction=0)), rel=1e-3)
        wanted = np.histogram(
            on.numpy(), len(latent.histogram), (0, len(latent.histogram) * latent.bin_width)
        )[0]
        assert np.abs(wanted - latent.histogram).sum() <= 2  # rounding at an edge
        for partner in latent.correlated:
            assert partner.value == pytest.approx(r[latent.index, partner.index], abs=1e-4)
        others = [i for i in range(sae.n_latents) if i != latent.index and r[latent.index, i] > 0]
        best = sorted(others, key=lambda i: -r[latent.index, i])[: len(latent.correlated)]
        assert [partner.index for partner in latent.correlated] == best
        W = torch.nn.functional.normalize(sae.sae.W_dec, dim=1)
        for partner in latent.cosine:
            assert partner.value == pytest.approx(
                float(W[latent.index] @ W[partner.index]), abs=1e-5
            )
    assert n_alive >= 2


@pytest.mark.parametrize("partners", ["all", "chosen"])
def test_collect__does_not_depend_on_how_the_text_is_cut(case, partners):
    runs = [
        as_data(
            collect(
                case.loaded,
                case.sae,
                case.rows,
                [1, 5, 6, 9],
                replace(SMALL, batch_rows=size, partners=partners),
            )
        )["latents"]
        for size in (1, 7, 25)
    ]
    for other in runs[1:]:
        for one, two in zip(runs[0], other, strict=True):
            places = [[(e["row"], e["pos"]) for e in latent["examples"]] for latent in (one, two)]
            assert places[0] == places[1]
            assert one["groups"] == two["groups"] or _close(one["groups"], two["groups"])
            for key in ("density", "largest", "mean", "std", "correlated", "enriched", "inputs"):
                assert _close(one[key], two[key]), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_collect__all_latents_in_any_order_are_the_same_latents(case, dtype):
    """whatever the SAE's dtype, and whether all partners are counted or those that were chosen"""

    class Casts(Coder):
        def encode(self, x):
            return super().encode(x.to(self.W_enc.dtype))

        def decode(self, latents):
            return super().decode(latents.to(self.W_enc.dtype))

    backwards = list(reversed(range(case.sae.n_latents)))
    coder = Casts(case.sae.d_in, case.sae.d_in, case.sae.n_latents, seed=1).to(dtype)
    sae = replace(case.sae, sae=coder.requires_grad_(False))
    every, some = (
        as_data(collect(case.loaded, sae, case.rows, backwards, replace(SMALL, partners=partners)))
        for partners in ("all", "chosen")
    )
    assert [latent["index"] for latent in some["latents"]] == backwards
    for one, two in zip(every["latents"], some["latents"], strict=True):
        assert one["n_active"] == two["n_active"] and one["histogram"] == two["histogram"]
        assert one["examples"] == two["examples"]
    if dtype != torch.bfloat16:
        active = codes_of(case.loaded, sae, case.rows)[0].gt(0).sum(dim=(0, 1))
        assert [latent["n_active"] for latent in some["latents"]] == active[backwards].tolist()


def _close(one, two):
    """Equal up to rounding, in nested lists and dictionaries."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_close(one[k], two[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(_close, one, two))
    return one == two if isinstance(one, str) else one == pytest.approx(two, rel=2e-3, abs=1e-4)


def test_collect__shows_the_strongest_places_no_two_from_one(case):
    """greedy over all activations at once; windows of one latent never overlap"""
    found = collect(case.loaded, case.sae, case.rows, None, SMALL)
    codes, _ = codes_of(case.loaded, case.sae, case.rows)
    for latent in found.latents:
        mine = codes[..., latent.index]
        places = sorted(mine.nonzero().tolist(), key=lambda p: -float(mine[tuple(p)]))
        taken = []
        for row, pos in places:
            if all(row != r or abs(pos - p) >= SMALL.width for r, p in taken):
                taken.append((row, pos))
        strongest = [e for g in latent.groups if g.kind == "strongest" for e in g.examples]
        shown = [(latent.examples[i].row, latent.examples[i].pos) for i in strongest]
        assert shown == taken[: SMALL.n_top]


def test_collect__windows_stay_in_their_document_and_tell_every_activation(case):
    found = collect(case.loaded, case.sae, case.rows, None, SMALL)
    codes, keep = codes_of(case.loaded, case.sae, case.rows)
    n_groups = 0
    for latent in found.latents:
        covered = torch.zeros(case.rows.ids.shape, dtype=torch.int64)
        for e in latent.examples:
            end = e.start + len(e.tokens)
            assert e.tokens == case.rows.ids[e.row, e.start : end].tolist()
            assert keep[e.row, e.start : end].all(), "padding, a first token or BOS is shown"
            mine = codes[e.row, e.start : end, latent.index]
            torch.testing.assert_close(torch.tensor(e.activations), mine, rtol=1e-4, atol=1e-5)
            assert e.activations[e.pos - e.start] > 0
            covered[e.row, e.start : end] += 1
            cut_left = e.start > e.pos - SMALL.before
            assert not cut_left or not keep[e.row, e.start - 1], (
                "the window is shorter than it may be"
            )
        assert covered.max() <= 1, "two windows overlap"
        for g in latent.groups:
            n_groups += 1
            at = [latent.examples[i] for i in g.examples]
            assert all(g.low <= e.activations[e.pos - e.start] <= g.high for e in at)
            if g.kind != "strongest":
                inside = (codes[..., latent.index] >= g.low) & (codes[..., latent.index] < g.high)
                inside &= codes[..., latent.index] > 0
                assert abs(int(inside.sum()) - g.n) <= 1
        for kind in ("interval", "quantile"):
            assert sum(g.n for g in latent.groups if g.kind == kind) == latent.n_active
    assert n_groups > 60


def test_collect__draws_examples_of_a_group_uniformly(models, rows):
    """over many latents that fire alike, each token of an interval is drawn equally often"""

    class Same:
        def encode(self, x):
            u = torch.arange(1, x.shape[-2] + 1).float().expand(x.shape[:-1])
            return u[..., None].expand(*u.shape, 400).contiguous()

        def decode(self, latents):
            return torch.zeros(*latents.shape[:-1], 24)

    hook = "blocks.0.hook_resid_post"
    sae = Sae(Same(), hook, hook, 24, 400)
    cfg = Settings(n_top=1, before=0, after=0, n_loss=0, n_intervals=1, per_group=1, bins=16)
    found = collect(models("no norm"), sae, rows, None, cfg)
    counts = np.zeros(N_POS)
    for latent in found.latents:
        [group] = [g for g in latent.groups if g.kind == "interval"]
        counts[latent.examples[group.examples[0]].pos] += 1
    keep = rows.mask & (rows.ids != BOS)
    keep[:, 0] = False
    wanted = keep.sum(dim=0).numpy() / int(keep.sum()) * 400
    assert counts[0] == 0
    chi = (((counts - wanted) ** 2)[1:] / wanted[1:]).sum()
    assert chi < 60, "χ² with 17 degrees of freedom: above 60 once in a million"


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["residual", "attention"])
def test_collect__goes_on_where_it_stopped(models, saes, rows, tmp_path, monkeypatch, after, kind):
    """in the text or among the effects: the result is that of one run, to the last digit"""
    case = (models("grouped queries, RMS norm"), saes(kind), rows, [2, 3, 11, 7], SMALL)
    monkeypatch.setattr(module, "LOGITS", 2 * N_POS * VOCABULARY)  # two examples at a time
    wanted = as_json(collect(*case))
    path, done = tmp_path / "run.safetensors", []

    def failing(function):
        def run(*args, **options):
            if len(done) == after:
                raise Stop
            done.append(1)
            return function(*args, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(module, "capture", failing(module.capture))
        patch.setattr(module.Meter, "__call__", failing(module.Meter.__call__))
        with pytest.raises(Stop):
            collect(*case, checkpoint=path, checkpoint_seconds=0)
        assert path.exists() == bool(after)
    assert as_json(collect(*case, checkpoint=path)) == wanted
    with monkeypatch.context() as patch:  # a finished run reads nothing again
        patch.setattr(module, "capture", failing(module.capture))
        done[:] = [1] * after
        assert as_json(collect(*case, checkpoint=path)) == wanted


def test_collect__refuses_the_checkpoint_of_another_run(case, models, saes, tmp_path):
    path = tmp_path / "run.safetensors"
    one = (case.loaded, case.sae, case.rows, [1, 2], SMALL)
    collect(*one, checkpoint=path)
    others = {
        "the model": (models("no norm"), *one[1:]),
        "the SAE": (one[0], saes(seed=5), *one[2:]),
        "the text": (*one[:2], case.rows[:20], *one[3:]),
        "the latents": (*one[:3], [1, 3], SMALL),
        "n_top \\(5, now 6\\)": (*one[:4], replace(SMALL, n_top=6)),
    }
    for what, other in others.items():
        with pytest.raises(
            DashboardError, match=f"different are: {what}.*Delete .*run.safetensors"
        ):
            collect(*other, checkpoint=path)
    collect(*one[:4], replace(SMALL, batch_rows=9), checkpoint=path)  # changes nothing
    path.write_bytes(b"something else")
    with pytest.raises(DashboardError, match="is no checkpoint"):
        collect(*one, checkpoint=path)


def test_collect__says_what_is_wrong(case, saes, rows):
    loaded, sae = case.loaded, case.sae
    bad = Sae(sae.sae, "blocks.0.hook_residpost", "blocks.0.hook_residpost", 24, 13)
    with pytest.raises(HookMissing, match="hook_resid_post"):
        collect(loaded, bad, rows)
    inert = Sae(sae.sae, "blocks.0.hook_resid_mid", "blocks.0.hook_resid_mid", 24, 13)
    with pytest.raises(HookInert):
        collect(loaded, inert, rows)
    with pytest.raises(DashboardError, match="no latent 13: this SAE has latents 0 to 12"):
        collect(loaded, sae, rows, [3, 13])
    with pytest.raises(DashboardError, match="twice"):
        collect(loaded, sae, rows, [3, 3])
    with pytest.raises(DashboardError, match="no latents are asked for"):
        collect(loaded, sae, rows, [])
    for none in (rows[:0], Rows(rows.ids, torch.zeros_like(rows.mask), rows.document)):
        with pytest.raises(DashboardError, match="the text is empty"):
            collect(loaded, sae, none)
    wrong = rows.ids.clone()
    wrong[3, 3] = VOCABULARY
    with pytest.raises(DashboardError, match=f"token {VOCABULARY}.*own tokenizer"):
        collect(loaded, sae, Rows(wrong, rows.mask, rows.document))

    class Large(Words):
        def __len__(self):
            return VOCABULARY + 1

    with pytest.raises(DashboardError, match="belongs to another model"):
        collect(Loaded(loaded.model, Large(), "small"), sae, rows)
    narrow = Sae(sae.sae, sae.hook_in, sae.hook_out, 20, 13)
    with pytest.raises(ValueError, match="made for another model or another hook"):
        collect(loaded, narrow, rows)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"bins": 12}, "power of two"), ({"n_loss": 99}, "n_top"), ({"before": -1}, "at least 0")],
)
def test_settings__refuse_what_cannot_be(change, says):
    with pytest.raises(DashboardError, match=says):
        Settings(**change)


def test_collect__says_that_a_latent_is_dead(models, saes, rows):
    found = collect(models("layer norm"), saes(bias=-1e6), rows, [0, 4], SMALL)
    for latent in found.latents:
        assert latent.is_dead and latent.density == latent.density_low == 0
        assert 0 < latent.density_high < 0.02
        assert not latent.examples and not latent.groups and not latent.correlated
        assert latent.logits is not None, "what it would write is known all the same"
    json.loads(as_json(found))


def test_collect__memory_does_not_grow_with_the_text(case):
    """twice the text, the same state; only pairs of latent and token may be more"""
    sizes = []

    class Spy(module.State):
        def update(self, batch):
            super().update(batch)
            state = {k: v for k, v in self.tensors().items() if not k.startswith("tokens.")}
            sizes.append(sum(v.numel() for v in state.values()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "State", Spy)
        collect(case.loaded, case.sae, case.rows, [1, 2], SMALL)
    assert len(set(sizes)) == 1 and len(sizes) > 5
