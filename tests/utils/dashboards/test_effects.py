"""What a latent writes and what its removal costs, against formulas by hand."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn.functional import cross_entropy, one_hot

from utils.dashboards import Settings, collect
from utils.dashboards.weights import ReadOut, encoder, logit_weights, read_out, to_residual

from .conftest import HOOKS, MODELS

SMALL = Settings(n_top=4, before=3, after=2, n_loss=3, batch_rows=8, bins=16)
CLOSE = {"rtol": 1e-3, "atol": 2e-5}  # float32, differences of losses of about 3 nats


def measured(found):
    """Every latent and example with effects."""
    return [(latent, e) for latent in found.latents for e in latent.examples if e.full is not None]


def losses(logits, ids, e):
    """The next token's loss at the tokens shown, NaN where there is none."""
    found = []
    for pos in range(e.start, e.start + len(e.tokens)):
        if pos + 1 < len(ids):
            found.append(float(cross_entropy(logits[pos].float(), ids[pos + 1])))
        else:
            found.append(float("nan"))
    return torch.tensor(found)


def numbers(values):
    return torch.tensor([float("nan") if v is None else v for v in values])


def removed(loaded, sae, cache, latent, e):
    """What the latent writes to the hook at the tokens shown, by the decoder row."""
    x = sae.flatten(cache[sae.hook_in][0])
    out = torch.zeros(len(x), sae.sae.W_dec.shape[1])
    part = slice(e.start, e.start + len(e.tokens))
    out[part] = sae.encode(x)[part, latent.index, None] * sae.sae.W_dec[latent.index]
    return out


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", HOOKS)
def test_full__is_the_model_run_without_the_latent(models, saes, rows, name, kind):
    """by hand: subtract activation × decoder row at the hook, run on, compare losses"""
    loaded, sae = models(name), saes(kind)
    found = measured(collect(loaded, sae, rows, [0, 5, 7], SMALL))
    assert len(found) >= 4
    for latent, e in found:
        ids = rows.ids[e.row][rows.mask[e.row]]
        clean, cache = loaded.model.run_with_cache(ids[None])
        out = removed(loaded, sae, cache, latent, e)

        def subtract(value, hook, out=out):
            return value - out.view(value.shape)

        other = loaded.model.run_with_hooks(ids[None], fwd_hooks=[(sae.hook_out, subtract)])
        wanted = losses(other[0], ids, e) - losses(clean[0], ids, e)
        torch.testing.assert_close(numbers(e.full), wanted, equal_nan=True, **CLOSE)
    assert any(max(abs(v or 0) for v in e.full) > 0.01 for _, e in found)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", HOOKS)
def test_direct__is_the_last_residual_without_the_latent_at_the_same_scale(
    models, saes, rows, name, kind
):
    """by hand: unnormalised residual − what is written, by the scale of the clean run"""
    loaded, sae = models(name), saes(kind)
    model = loaded.model
    W_O = model.W_O[1].flatten(0, 1)
    for latent, e in measured(collect(loaded, sae, rows, [0, 5, 7], SMALL)):
        ids = rows.ids[e.row][rows.mask[e.row]]
        clean, cache = model.run_with_cache(ids[None])
        out = removed(loaded, sae, cache, latent, e)
        out = out @ W_O if kind == "attention" else out
        resid = cache["blocks.1.hook_resid_post"][0] - out
        if name == "no norm":
            normed = resid
        else:
            resid = resid - resid.mean(-1, keepdim=True) if name == "layer norm" else resid
            weights = dict(model.ln_final.named_parameters())
            gain = next(v for k, v in weights.items() if k.endswith("weight"))
            bias = next((v for k, v in weights.items() if k.endswith("bias")), 0.0)
            normed = resid / cache["ln_final.hook_scale"][0] * gain + bias
        rest = clean[0] - cache["unembed.hook_in"][0] @ model.W_U  # the unembedding's bias
        logits = normed @ model.W_U + rest
        wanted = losses(logits, ids, e) - losses(clean[0], ids, e)
        torch.testing.assert_close(numbers(e.direct), wanted, equal_nan=True, **CLOSE)


def test_direct_and_full__agree_where_the_read_out_is_linear(models, saes, rows):
    """last residual, no norm: nothing else is there. With a norm they differ"""
    for name in ("no norm", "layer norm"):
        found = measured(collect(models(name), saes("last residual"), rows, [0, 5], SMALL))
        apart = [(numbers(e.direct) - numbers(e.full)).nan_to_num().abs().max() for _, e in found]
        assert (max(apart) < 1e-4) == (name == "no norm")


def test_effects__are_unknown_where_there_is_no_next_token(models, saes, rows):
    found = measured(collect(models("layer norm"), saes(), rows, None, SMALL))
    ends = 0
    for _, e in found:
        last = e.start + len(e.tokens) == int(rows.mask[e.row].sum())
        assert (e.full[-1] is None) == (e.direct[-1] is None) == last
        assert None not in e.full[:-1]
        ends += last
    assert 0 < ends < len(found)


@pytest.mark.parametrize("name", ["layer norm", "grouped queries, RMS norm"])
def test_sources__add_up_to_the_pre_activation(models, saes, rows, name):
    """over source positions, and over heads: what is left of the activation is the bias"""
    loaded, sae = models(name), saes("attention")
    found = measured(collect(loaded, sae, rows, None, SMALL))
    assert len(found) > 10
    for latent, e in found:
        at = e.pos - e.start
        assert all(v is None for v in e.sources[at + 1 :]), "a token reads from its future"
        total = sum(v for v in e.sources if v is not None) + e.outside
        wanted = e.activations[at] - float(sae.sae.b_enc[latent.index])
        assert total == pytest.approx(wanted, abs=1e-4)
        assert sum(e.heads) == pytest.approx(wanted, abs=1e-4)
        assert len(latent.heads) == 4 and sum(latent.heads) == pytest.approx(1)


def test_sources__are_those_of_attention_by_hand(models, saes, rows):
    loaded, sae = models("grouped queries, RMS norm"), saes("attention")
    for latent, e in measured(collect(loaded, sae, rows, [1, 5], SMALL)):
        _, cache = loaded.model.run_with_cache(rows.ids[e.row][None])
        pattern, v = (cache[f"blocks.1.attn.hook_{k}"][0] for k in ("pattern", "v"))
        w = sae.sae.W_enc[:, latent.index].view(4, 6)
        for i, value in enumerate(e.sources):
            s = e.start + i
            if value is not None:
                by_head = [pattern[h, e.pos, s] * (v[s, h // 2] @ w[h]) for h in range(4)]
                assert value == pytest.approx(float(sum(by_head)), abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_read_out__is_the_norm_at_its_own_scale(models, name):
    """gain and centring, measured from outside, give the model's own logits"""
    model = models(name).model
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    read = read_out(model)
    assert read.scaled == (name != "no norm") and read.centred == (name == "layer norm")
    centred = x - x.mean(-1, keepdim=True) if read.centred else x
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() if read.scaled else 1.0
    wanted = (model.ln_final(x[None])[0] if read.scaled else x) @ model.W_U
    offset = model.ln_final(torch.zeros(1, 1, 24))[0, 0] @ model.W_U if read.scaled else 0.0
    torch.testing.assert_close(read(x) / scale + offset, wanted, rtol=1e-3, atol=1e-4)


def test_read_out__knows_a_soft_cap():
    read = ReadOut(torch.ones(3), False, False, torch.eye(3), soft_cap=30.0)
    raw, by = torch.tensor([10.0, -5, 40]), torch.tensor([1.0, 2, -3])
    capped = 30 * torch.tanh(raw / 30)
    torch.testing.assert_close(read.moved(capped, by), 30 * torch.tanh((raw + by) / 30))


def test_logit_weights__against_numpy(models, seed):
    read = read_out(models("layer norm").model)
    vectors = torch.randn(7, 24, generator=torch.Generator().manual_seed(seed))
    found = logit_weights(read, vectors, 4, bins=9, at_once=3)
    weights = ((vectors - vectors.mean(1, keepdim=True)) * read.gain @ read.W_U).double().numpy()
    weights -= weights.mean(axis=1, keepdims=True)
    for mine, row in zip(found, weights, strict=True):
        order = row.argsort()
        assert [t for t, _ in mine.top] == order[::-1][:4].tolist()
        assert [t for t, _ in mine.bottom] == order[:4].tolist()
        assert [v for _, v in mine.top] == pytest.approx(row[order[::-1][:4]].tolist(), rel=1e-3)
        assert mine.kurtosis == pytest.approx(scipy.stats.kurtosis(row), abs=1e-3)
        assert mine.skew == pytest.approx(scipy.stats.skew(row), abs=1e-3)
        assert mine.std == pytest.approx(row.std(), rel=1e-4)
        assert np.abs(np.histogram(row, 9)[0] - mine.counts).sum() <= 2
        assert sum(mine.counts) == len(row)


def test_to_residual__maps_what_is_written(models):
    model = models("layer norm").model
    z = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    wanted = torch.einsum("bhd,hdm->bm", z, model.W_O[1])
    out = to_residual(model, "blocks.1.attn.hook_z")
    torch.testing.assert_close(out(z), wanted)
    torch.testing.assert_close(out(z.flatten(1)), wanted)
    x = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_residual(model, "blocks.0.mlp.hook_post")(x), x @ model.W_out[0])
    assert to_residual(model, "blocks.0.mlp.hook_in") is None


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk"])
def test_encoder__of_some_latents_is_that_of_all(kind):
    """with sae_lens' own classes: only the columns asked for, or all where latents compete"""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    from utils.models.sae import as_sae

    sae_class, cfg_class = get_sae_class(kind)
    hook = "blocks.0.hook_resid_post"
    more = {"k": 4} if kind == "topk" else {}
    sae = as_sae(
        sae_class(cfg_class(d_in=24, d_sae=20, metadata=SAEMetadata(hook_name=hook), **more))
    )
    gen = torch.Generator().manual_seed(0)
    for value in sae.sae.parameters():
        value.data.copy_(0.3 * torch.randn(value.shape, generator=gen))
    x, latents = torch.randn(50, 24, generator=gen), torch.tensor([3, 19, 0])
    torch.testing.assert_close(encoder(sae, latents)(x), sae.encode(x)[:, latents])
    assert (sae.encode(x)[:, latents] > 0).any()


def test_collect__does_without_logits_where_nothing_reaches_the_stream(models, saes, rows):
    """an SAE at the MLP's input: no direct path, the full effect all the same"""
    from utils.models.sae import Sae

    sae = Sae(saes().sae, "blocks.1.mlp.hook_in", "blocks.1.mlp.hook_in", 24, 13)
    found = collect(models("layer norm"), sae, rows, [0, 1, 2, 5], SMALL)
    assert all(latent.logits is None for latent in found.latents)
    assert all(e.direct is None for _, e in measured(found)) and measured(found)


def test_collect__takes_a_coder_without_weights_to_look_at(models, rows):
    """only encode and decode: decoder rows are read off unit codes"""
    from utils.models.sae import Sae

    class Plain:
        def encode(self, x):
            return x.relu()

        def decode(self, latents):
            return latents * 2 + 1

    hook = "blocks.0.hook_resid_post"
    [latent] = collect(
        models("layer norm"), Sae(Plain(), hook, hook, 24, 24), rows, [3], SMALL
    ).latents
    unit = one_hot(torch.tensor([3]), 24).float() * 2
    assert latent.logits == logit_weights(read_out(models("layer norm").model), unit, 10)[0]
    assert latent.outputs_aligned[0].index == 3 and latent.outputs_l1 == 2
