"""Published state dictionaries against the library's own readers of them."""

import pytest
import torch

from utils.models.statedict import build


@pytest.fixture(scope="module")
def hooked():
    """A random HookedTransformer, the deprecated class that these files were written for."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    def make(**changes):
        shape = {"d_model": 24, "d_head": 6, "n_heads": 4, "n_layers": 2, "n_ctx": 16}
        shape |= {"d_vocab": 20, "d_mlp": 40, "act_fn": "gelu", "normalization_type": "LN"}
        cfg = HookedTransformerConfig(**{**shape, **changes}, device="cpu")
        model = HookedTransformer(cfg)
        gen = torch.Generator().manual_seed(3)
        for value in model.parameters():
            value.data.copy_(0.3 * torch.randn(value.shape, generator=gen))
        return model, {**shape, **changes}

    return make


@pytest.mark.parametrize("positions", ["standard", "shortformer"])
@pytest.mark.parametrize("attn_only", [True, False])
@torch.no_grad()
def test_build__matches_hooked_transformer(hooked, tokens, positions, attn_only):
    """logits, z and queries are those of HookedTransformer, also after hooks are reset"""
    reference, config = hooked(attn_only=attn_only, positional_embedding_type=positions)
    config |= {"shortformer_pos": positions == "shortformer", "act_fn": config["act_fn"]}
    model = build(config, reference.state_dict())
    model.reset_hooks()
    logits, cache = model.run_with_cache(tokens)
    wanted, theirs = reference.run_with_cache(tokens)
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
    for name in ("blocks.1.attn.hook_z", "blocks.1.attn.hook_q", "blocks.0.hook_resid_post"):
        torch.testing.assert_close(cache[name], theirs[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lost", ["unembed.W_U", "blocks.1.attn.W_O"])
def test_build__a_matrix_that_is_missing_is_an_error(hooked, lost):
    """only biases may be left out; zeros in place of a matrix would go unseen"""
    reference, config = hooked()
    weights = reference.state_dict()
    del weights[lost]
    with pytest.raises(RuntimeError, match="Missing key"):
        build(config, weights)


@torch.no_grad()
def test_build__matches_the_reader_of_mingpt(hooked, tokens):
    """minGPT's names and layouts, as Othello-GPT is published"""
    from transformer_lens.pretrained.weight_conversions import convert_mingpt_weights

    reference, config = hooked()
    gen = torch.Generator().manual_seed(4)
    shapes = {"tok_emb.weight": (20, 24), "pos_emb": (1, 16, 24), "head.weight": (20, 24)}
    shapes |= {"ln_f.weight": (24,), "ln_f.bias": (24,)}
    for i in (f"blocks.{layer}." for layer in range(2)):
        for norm in ("ln1", "ln2"):
            shapes |= {f"{i}{norm}.weight": (24,), f"{i}{norm}.bias": (24,)}
        for part in ("query", "key", "value", "proj"):
            shapes |= {f"{i}attn.{part}.weight": (24, 24), f"{i}attn.{part}.bias": (24,)}
        shapes |= {f"{i}mlp.0.weight": (40, 24), f"{i}mlp.0.bias": (40,)}
        shapes |= {f"{i}mlp.2.weight": (24, 40), f"{i}mlp.2.bias": (24,), f"{i}attn.mask": (1,)}
    weights = {name: 0.3 * torch.randn(shape, generator=gen) for name, shape in shapes.items()}
    reference.load_state_dict(convert_mingpt_weights(weights, reference.cfg), strict=False)
    reference.unembed.b_U.zero_()
    model = build({**config, "normalization": "LN"}, weights)
    torch.testing.assert_close(model(tokens), reference(tokens), rtol=1e-4, atol=1e-5)
