"""3.2.1's functions are the library's: latents, reconstructions, and splices into real models."""

from dataclasses import replace

import pytest
import torch

from part32_interp_with_saes import s1_saes_on_a_language_model as s1
from utils.data.corpus import Rows
from utils.models.sae import load_sae
from utils.saes.coder import init_coder
from utils.saes.config import SAEConfig
from utils.saes.export import save_coder

D_IN, LATENT, ROWS = 12, 20, (3, 5)
HOOK = "blocks.1.hook_resid_post"
SIZES = {"d_in": D_IN, "d_sae": LATENT}
BOTH = pytest.mark.parametrize("centred", [True, False])


def rows(*shape: int) -> torch.Tensor:
    """Normal numbers, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def by_hand(sae, x: torch.Tensor, latents) -> tuple[torch.Tensor, torch.Tensor]:
    """(latents, reconstruction) with the section's functions, from the SAE's plain weights."""
    z = s1.sae_preactivations(x, sae.W_enc, sae.b_enc, sae.b_dec, sae.cfg.apply_b_dec_to_input)
    f = latents(z)
    return f, s1.transcoder_output(x, f, sae.W_dec, sae.b_dec, None)


@BOTH
@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu"])
def test_latents_and_reconstruction_are_the_library_s(random_sae, kind, centred):
    """ReLU, TopK and JumpReLU, with b_dec subtracted from the input and without"""
    more = {"k": 4} if kind == "topk" else {}
    sae = random_sae(HOOK, kind=kind, apply_b_dec_to_input=centred, **SIZES, **more)
    rules = {
        "standard": torch.relu,
        "topk": lambda z: s1.topk_latents(z, 4),
        "jumprelu": lambda z: s1.jumprelu_latents(z, sae.threshold),
    }
    x = rows(*ROWS, D_IN)
    f, x_hat = by_hand(sae, x, rules[kind])
    assert (sae.b_dec.abs() > 0.01).any() and 0 < (f > 0).float().mean() < 1
    torch.testing.assert_close(f, sae.encode(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x_hat, sae(x), atol=1e-5, rtol=1e-5)


@BOTH
def test_a_gated_sae_is_the_library_s(random_sae, centred):
    """gate, magnitude and the shared matrix"""
    sae = random_sae(HOOK, kind="gated", apply_b_dec_to_input=centred, **SIZES)
    x = rows(*ROWS, D_IN)
    inside = x - sae.b_dec if centred else x
    f = s1.gated_latents(inside, sae.W_enc, sae.b_gate, sae.r_mag, sae.b_mag)
    torch.testing.assert_close(f, sae.encode(x), atol=1e-5, rtol=1e-5)
    out = s1.transcoder_output(x, f, sae.W_dec, sae.b_dec, None)
    torch.testing.assert_close(out, sae(x), atol=1e-5, rtol=1e-5)


def test_a_batchtopk_sae_is_saved_as_a_jumprelu_one(tmp_path):
    """the folder of a BatchTopK SAE with an input scale, read by hand and by the library"""
    cfg = SAEConfig(D_IN, LATENT, "batchtopk", k=4, normalise="average_norm")
    coder = init_coder(cfg, torch.Generator().manual_seed(3))
    coder.params["b_dec"].copy_(rows(D_IN))
    coder.cut.fill_(0.02)
    coder = replace(coder, scale_in=0.7, scale_out=0.7)
    save_coder(coder, tmp_path, {"hook_name": HOOK})
    sae = load_sae(tmp_path).sae
    x = rows(*ROWS, D_IN)
    f, x_hat = by_hand(sae, x, lambda z: s1.jumprelu_latents(z, sae.threshold))
    assert 0 < (f > 0).float().mean() < 1
    torch.testing.assert_close(f, sae.encode(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x_hat, sae(x), atol=1e-5, rtol=1e-5)


def test_heads_side_by_side_are_the_library_s(random_sae):
    """an SAE at z reads head 0 first"""
    sae = random_sae("blocks.1.attn.hook_z", d_in=12, d_sae=LATENT)
    z = rows(2, 4, 3, 4)  # batch pos head d_head
    mine = s1.through_heads(
        z,
        lambda x: s1.sae_preactivations(
            x, sae.W_enc, sae.b_enc, sae.b_dec, sae.cfg.apply_b_dec_to_input
        ).relu(),
        lambda f: s1.transcoder_output(f[..., :1], f, sae.W_dec, sae.b_dec, None),
    )
    torch.testing.assert_close(mine, sae(z), atol=1e-5, rtol=1e-5)


def test_a_skip_transcoder_is_the_library_s(random_sae):
    """the skip path, by its transpose"""
    sae = random_sae(HOOK, "blocks.1.hook_mlp_out", kind="skip_transcoder", **SIZES, d_out=D_IN)
    x = rows(*ROWS, D_IN)
    z = s1.sae_preactivations(x, sae.W_enc, sae.b_enc, sae.b_dec, False)
    mine = s1.transcoder_output(x, z.relu(), sae.W_dec, sae.b_dec, sae.W_skip)
    torch.testing.assert_close(mine, sae(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(AssertionError):  # what the test is for: the two ways differ
        torch.testing.assert_close(mine - x @ sae.W_skip.T + x @ sae.W_skip, sae(x))


SHAPES = {
    "LayerNorm, biases": {},
    "RMSNorm, gated MLP": {"normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu"},
    "one head, no MLP": {"n_heads": 1, "d_head": 24, "attn_only": True},
}


@pytest.fixture(params=[*SHAPES, "Llama: heads that share keys"])
def any_model(request, make_model, hf_model):
    """Small random models of several shapes."""
    return make_model(**SHAPES[request.param]) if request.param in SHAPES else hf_model


def test_a_splice_with_its_error_term_leaves_the_logits(any_model, tokens, random_sae):
    """with the error term nothing changes, without it much does; the first position stays"""
    sae = random_sae("blocks.0.hook_resid_post", d_in=24, d_sae=LATENT)
    keep = torch.ones_like(tokens, dtype=torch.bool)
    keep[:, 0] = False

    def put(keep_error: bool):
        def hook(value, hook):
            new = s1.splice(value, sae.encode, sae.decode, None, keep_error)
            return s1.only_where(value, new, keep)

        return any_model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.hook_resid_post", hook)])

    clean = any_model(tokens)
    torch.testing.assert_close(put(True), clean, atol=1e-4, rtol=1e-4)
    assert (put(False) - clean).abs().max() > 0.1
    torch.testing.assert_close(put(False)[:, 0], clean[:, 0], atol=1e-4, rtol=1e-4)


def test_losses_and_shares_are_utils_s(any_model, tokens, random_sae):
    """loss and divergence by row add up to what `in_model` measures; identity 1, anchor 0"""
    from utils.models.sae import Sae
    from utils.sae_metrics import in_model

    hook = "blocks.0.hook_resid_post"
    sae = Sae(random_sae(hook, d_in=24, d_sae=LATENT), hook, hook, 24, LATENT)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[0, -2:] = False
    kept = mask.clone()
    kept[:, 0] = False
    found = in_model(any_model, Rows(tokens, mask, torch.arange(len(tokens))), sae, anchor="zero")
    from utils.given.in_model import measure

    answers = {
        "identity": lambda v: v,
        "zeros": torch.zeros_like,
        "SAE": lambda v: sae.decode(sae.encode(v), v),
    }
    costs = measure(any_model, tokens, kept, hook, answers, s1.loss_per_row, s1.kl_per_row)
    total = {name: float(c.loss.sum() / c.count.sum()) for name, c in costs.items()}
    assert total["SAE"] == pytest.approx(found.loss_sae, rel=1e-4)
    clean, zeros = total["clean"], total["zeros"]
    shares = [s1.share_recovered(clean, total[name], zeros) for name in ("identity", "zeros")]
    assert shares == pytest.approx([1.0, 0.0], abs=1e-6)
    ours = s1.share_recovered(clean, total["SAE"], zeros)
    assert ours == pytest.approx(found.loss_recovered, rel=1e-3, abs=1e-4)
