"""3.2.3's identities on small random models: what is written adds up, and what runs on agrees.

Native models with LayerNorm (and biases everywhere) and with RMSNorm, and a Llama with shared keys.
"""

import pytest
import torch

from part32_interp_with_saes.s3_finding_latents import (
    ablation_effects,
    completeness_gap,
    head_shares,
    integrated_gradients,
    latent_gradients,
    latent_shares,
    name_difference,
    patch_estimate,
    preactivation_by_head,
    preactivation_by_source,
    readout_direction,
    without_latents,
)
from utils.given.indirect_objects import Prompts, parts_of, read_out_constant
from utils.given.latent_data import final_read_out
from utils.given.rest_of_model import SaeAt, metric_at
from utils.models.loaded import Loaded
from utils.models.sae import as_sae

KINDS = ("layer norm", "rms", "shared", "llama")


@pytest.fixture(params=KINDS)
def loaded(request, make_model, hf_model):
    """A random model behind the bridge, as a section gets it."""
    kind = request.param
    if kind == "llama":
        return Loaded(hf_model, hf_model.tokenizer, "llama")
    changes = {
        "layer norm": {"normalization_type": "LN", "n_key_value_heads": None},
        "rms": {"normalization_type": "RMS", "final_rms": True},
        "shared": {"n_heads": 4, "n_key_value_heads": 2, "positional_embedding_type": "rotary"},
    }[kind]
    if kind == "shared":
        changes |= {"rotary_dim": 6}
    model = make_model(**{k: v for k, v in changes.items() if v is not None})
    return Loaded(model, model.tokenizer, kind)


@pytest.fixture
def prompts():
    """Five prompts of seven random tokens, each with two names."""
    gen = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, 20, (5, 7), generator=gen)
    io, s = tokens[:, 2], (tokens[:, 2] + 3) % 20
    at = [torch.full((5,), i) for i in (2, 1, 4)]
    return Prompts(tokens, io, s, *at, torch.ones(5, dtype=torch.bool), torch.zeros(5).long())


@pytest.fixture
def sae(loaded, random_sae):
    """A random SAE on the heads' outputs of block 1, on the library's own side."""
    cfg = loaded.model.cfg
    made = random_sae("blocks.1.attn.hook_z", d_in=cfg.n_heads * cfg.d_head, d_sae=11)
    return as_sae(made)


def direction_of(loaded, prompts, parts):
    """The direction of the difference, and the read-out."""
    gain, W_U, _, subtracts_mean = final_read_out(loaded)
    return readout_direction(W_U, gain, parts.scale, prompts.io, prompts.s, subtracts_mean)


def test_all_components_and_constants_add_up_to_the_difference(loaded, prompts):
    parts = parts_of(loaded, prompts.tokens, batch=2)
    direction = direction_of(loaded, prompts, parts)
    shares = [(write * direction).sum(dim=1) for write in parts.writes.values()]
    constant = read_out_constant(loaded)
    total = sum(shares) + constant[prompts.io] - constant[prompts.s]
    difference = name_difference(parts.logits, prompts.io, prompts.s)
    off = (total - difference).abs().max() / difference.abs().max()
    assert float(off) < 1e-4


def test_latents_bias_and_error_are_what_the_heads_write(loaded, prompts, sae):
    parts, here = parts_of(loaded, prompts.tokens), SaeAt(loaded, prompts, sae, prompts.end_at)
    direction = direction_of(loaded, prompts, parts)
    W_O = here.W_O
    written = (rows @ W_O.flatten(0, 1) for rows in (here.W_dec, here.b_dec, here.error))
    latents, bias, error = latent_shares(here.f, *written, direction)
    by_head = head_shares(parts.z[:, 1], W_O, direction)
    torch.testing.assert_close(latents.sum(1) + bias + error, by_head.sum(1), rtol=1e-4, atol=1e-4)


def test_the_rest_of_the_model_gives_the_models_own_differences(loaded, prompts, sae):
    logits = loaded.model(prompts.tokens)[:, -1]
    want = name_difference(logits, prompts.io, prompts.s)
    for at in (prompts.end_at, prompts.s2_at):
        here = SaeAt(loaded, prompts, sae, at)
        torch.testing.assert_close(here.clean, want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(here.with_latents(here.f), want, rtol=1e-4, atol=1e-4)


def test_preactivations_add_up_by_head_and_by_source(loaded, prompts, sae):
    here = SaeAt(loaded, prompts, sae, prompts.end_at)
    W_enc, b_enc = sae.sae.W_enc, sae.sae.b_enc
    z = here.x.unflatten(1, (len(here.W_O), -1))
    centred = bool(sae.sae.cfg.apply_b_dec_to_input)
    parts, constant = preactivation_by_head(z, W_enc, b_enc, here.b_dec, centred)
    rebuilt = (parts.sum(dim=1) + constant).relu()
    torch.testing.assert_close(rebuilt, here.f, rtol=1e-4, atol=1e-4)
    pattern, v = here.pattern_and_values
    for latent in (0, 7):
        by_source = preactivation_by_source(pattern, v, W_enc[:, latent])
        torch.testing.assert_close(by_source.sum(dim=2), parts[:, :, latent], rtol=1e-4, atol=1e-4)


def test_integrated_gradients_are_complete_and_a_small_step_is_linear(loaded, prompts, sae):
    here = SaeAt(loaded, prompts, sae, prompts.end_at)
    zero = torch.zeros_like(here.f)
    whole = integrated_gradients(here.f, zero, here.with_latents, 100)
    with torch.no_grad():
        gap = completeness_gap(whole, here.f, zero, here.with_latents)
        change = here.with_latents(zero) - here.clean
    assert float(gap.abs().max()) < 0.02 * float(change.abs().max()) + 1e-3
    slope, gaps = latent_gradients(here.f, here.with_latents), []
    for size in (0.1, 0.05):
        near = here.f * (1 - size)
        with torch.no_grad():
            moved = here.with_latents(near) - here.clean
        gaps.append(float((patch_estimate(here.f, near, slope).sum(1) - moved).norm()))
    assert gaps[1] < 0.35 * gaps[0]  # second order: a quarter


def test_ablations_one_by_one_are_those_of_the_spliced_model(loaded, prompts, sae):
    here = SaeAt(loaded, prompts, sae, prompts.end_at)
    with torch.no_grad():
        effects = ablation_effects(here.x, here.f, here.W_dec, here.metric, 7)
        for latent in (1, 5):
            cut = without_latents(
                here.x, here.f, here.W_dec, torch.tensor([latent]), torch.zeros(1)
            )
            want = here.clean - here.metric(cut, here.everyone)
            torch.testing.assert_close(effects[:, latent], want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("hook", ["blocks.0.attn.hook_z", "blocks.0.hook_resid_post"])
def test_the_blocks_written_out_are_the_models(hf_model, prompts, hook):
    """SmolLM2's shortcut against the model from its start, on a random Llama."""
    own, whole = (Loaded(hf_model, hf_model.tokenizer, n) for n in ("SmolLM2-like", "llama"))
    gen, at = torch.Generator().manual_seed(4), torch.tensor([2, 6, 3, 3, 5])
    x, short = metric_at(own, prompts, hook, at)
    y, long = metric_at(whole, prompts, hook, at)
    torch.testing.assert_close(x, y)
    who = torch.tensor([4, 0, 0, 2, 1, 3, 3])
    edited = (x[who] + torch.randn(7, x.shape[1], generator=gen)).requires_grad_()
    torch.testing.assert_close(short(edited, who), long(edited, who), rtol=1e-4, atol=1e-4)
    slopes = [torch.autograd.grad(m(edited, who).sum(), edited)[0] for m in (short, long)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4)
