"""Published models and SAEs, loaded by the real code from a planted cache, the hub refused.

The stand-ins are random and small, except where `sae_lens` fixes a width (Gemma Scope).
"""

import json

import numpy as np
import pytest
import torch

from utils import models
from utils.models import hub
from utils.models.splice import spliced
from utils.models.wheel import ModelUnavailable

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def plant_transformer(folder, tokenizer, kind, **shape):
    """A random model of transformers with every parameter, norms' gains too, away from 0 and 1."""
    import transformers

    cfg = getattr(transformers, f"{kind}Config")(vocab_size=20, **shape)
    classes = {"GPT2": "GPT2LMHeadModel"}
    model = getattr(transformers, classes.get(kind, f"{kind}ForCausalLM"))(cfg)
    gen = torch.Generator().manual_seed(5)
    for value in model.parameters():
        value.data.add_(0.1 * torch.randn(value.shape, generator=gen))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def plant_sae(folder, **config):
    """A random SAE in the layout of `sae_lens`' older releases."""
    from safetensors.torch import save_file

    d_in, d_sae = config["d_in"], config["d_sae"]
    gen = torch.Generator().manual_seed(6)
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,)}
    folder.mkdir(parents=True)
    weights = {name: 0.3 * torch.randn(s, generator=gen) for name, s in shapes.items()}
    save_file(weights, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "dtype": "float32", "prepend_bos": True, **config}
    (folder / "cfg.json").write_text(json.dumps(config))
    return weights


def plant_attention_sae(stand_in, weights):
    """gpt2-small-hook-z-kk's layer 9: a pickled state dictionary with its own configuration."""
    from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

    _, path = get_repo_id_and_folder_name("gpt2-small-hook-z-kk", "blocks.9.hook_z")
    folder = stand_in.plant("ckkissane/attn-saes-gpt2-small-all-layers")
    torch.save(weights, folder / path)
    d_in, d_sae = weights["W_enc"].shape
    config = {"act_size": d_in, "dict_size": d_sae, "act_name": "blocks.9.attn.hook_z"}
    (folder / path.replace(".pt", "_cfg.json")).write_text(json.dumps(config))


@pytest.fixture
def gpt2(stand_in, tokenizer):
    """gpt2-small's name with nine small layers behind it."""
    folder = stand_in.plant("openai-community/gpt2")
    plant_transformer(folder, tokenizer, "GPT2", n_embd=24, n_layer=10, n_head=4, n_positions=32)
    return models.language_model("hub")


def test_gpt2__comes_as_its_saes_knew_it(gpt2, tokens):
    """centred residual stream; the MLP reads what ln2 normalised; values carry no bias"""
    _, cache = gpt2.model.run_with_cache(tokens)
    assert cache["blocks.8.hook_resid_pre"].mean(-1).abs().max() < 1e-5
    normalised = cache["blocks.8.ln2.hook_normalized"]
    torch.testing.assert_close(normalised, cache["blocks.8.mlp.hook_in"], **CLOSE)
    assert cache["blocks.9.attn.hook_z"].shape == (2, 7, 4, 6)
    assert gpt2.model.blocks[9].attn.v.bias.abs().max() < 1e-6


def test_gpt2__residual_sae(gpt2, stand_in, tokens):
    """gpt2-small-res-jb, from sae_lens' directory"""
    folder = stand_in.plant("jbloom/GPT2-Small-SAEs-Reformatted")
    config = {"hook_point": "blocks.8.hook_resid_pre", "hook_point_layer": 8}
    plant_sae(folder / "blocks.8.hook_resid_pre", d_in=24, d_sae=40, **config)
    sae = models.residual_sae(profile="hub")
    assert (sae.kind, sae.layer, sae.n_latents) == ("residual", 8, 40)
    run = spliced(gpt2.model, tokens, sae, "constant")
    torch.testing.assert_close(run.output, gpt2.model(tokens), **CLOSE)


def test_gpt2__attention_sae(gpt2, stand_in, tokens):
    """gpt2-small-hook-z-kk, whose folder is not in sae_lens' format"""
    gen = torch.Generator().manual_seed(7)
    shapes = {"W_enc": (24, 40), "W_dec": (40, 24), "b_enc": (40,), "b_dec": (24,)}
    plant_attention_sae(stand_in, {n: torch.randn(s, generator=gen) for n, s in shapes.items()})
    sae = models.attention_sae(profile="hub")
    assert (sae.kind, sae.hook_in) == ("attention", "blocks.9.attn.hook_z")
    run = spliced(gpt2.model, tokens, sae, "constant")
    torch.testing.assert_close(run.output, gpt2.model(tokens), **CLOSE)


def test_gpt2__transcoder(gpt2, stand_in, tokens):
    """an SAE that only says where it reads becomes a transcoder, and subtracts no output bias"""
    folder = stand_in.plant("callummcdougall/arena-demos-transcoder")
    name = "gpt2-small-layer-8-mlp-transcoder-folded-b_dec_out"
    config = {"d_in": 24, "d_sae": 40, "hook_name": "blocks.8.ln2.hook_normalized"}
    w = plant_sae(folder / name, apply_b_dec_to_input=True, **config)
    [sae] = models.transcoders(profile="hub")
    assert (sae.kind, sae.hook_out) == ("transcoder", "blocks.8.hook_mlp_out")
    run = spliced(gpt2.model, tokens, sae, names=[sae.hook_in, sae.hook_out], skip_first=0)
    latents = (run.cache[sae.hook_in] @ w["W_enc"] + w["b_enc"]).relu()
    wanted = latents @ w["W_dec"] + w["b_dec"]
    torch.testing.assert_close(run.cache[sae.hook_out], wanted, **CLOSE)


def plant_gemma(stand_in, tokenizer):
    """Gemma Scope at its own width, one thin layer, few latents that are not silent."""
    thin = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    thin |= {"num_hidden_layers": 1, "hidden_size": 2304, "intermediate_size": 8}
    plant_transformer(stand_in.plant("google/gemma-2-2b"), tokenizer, "Gemma2", **thin)
    places = {
        "google/gemma-scope-2b-pt-res": "layer_0/width_16k/average_l0_105",
        "google/gemma-scope-2b-pt-transcoders": "layer_0/width_16k/average_l0_76",
    }
    for repo, path in places.items():
        folder = stand_in.plant(repo) / path
        folder.mkdir(parents=True)
        shapes = {"W_enc": (2304, 16384), "W_dec": (16384, 2304), "b_enc": 16384, "b_dec": 2304}
        zeros = {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}
        zeros["W_dec"][5], zeros["b_enc"][5] = 0.5, 2  # one latent, always on
        zeros["threshold"] = np.ones(16384, np.float16)
        np.savez_compressed(folder / "params.npz", **zeros)


def test_gemma__residual_and_transcoder(stand_in, tokenizer, tokens):
    """Gemma Scope's transcoder reads before the norm's gain"""
    plant_gemma(stand_in, tokenizer)
    lm = models.language_model("hub", "gemma-2-2b")
    residual = models.residual_sae(0, "hub", "gemma-2-2b")
    [transcoder] = models.transcoders([0], "hub", "gemma-2-2b")
    assert residual.hook_in == "blocks.0.hook_resid_post"
    assert (transcoder.hook_in, transcoder.hook_out) == (
        "blocks.0.ln2.hook_normalized",
        "blocks.0.hook_mlp_out",
    )
    run = spliced(
        lm.model, tokens, [transcoder, residual], names=[transcoder.hook_out], skip_first=0
    )
    assert (run.cache[transcoder.hook_out] == 1).all()  # 2 × 0.5: written after the last norm
    run = spliced(lm.model, tokens, [transcoder, residual], "constant")
    torch.testing.assert_close(run.output, lm.model(tokens), **CLOSE)
    _, cache = lm.model.run_with_cache(tokens)
    mid, out = cache["blocks.0.hook_resid_mid"], cache["blocks.0.hook_mlp_out"]
    torch.testing.assert_close(mid + out, cache["blocks.0.hook_resid_post"], **CLOSE)


def test_gemma__attribution_graph(stand_in, tokenizer, tokens):
    """Gemma Scope's transcoders through the same code: every row adds up"""
    from utils.graphs import attribute, freeze

    plant_gemma(stand_in, tokenizer)
    lm = models.language_model("hub", "gemma-2-2b")
    saes = models.transcoders([0], "hub", "gemma-2-2b")
    graph = attribute(freeze(lm, tokens[0], saes), saes)
    latents = [node for node in graph.nodes if node.kind == "feature"]
    assert {node.pos for node in latents} == set(range(1, 7))
    assert latents and graph.gap() < 1e-4


def test_stories__model_and_sae(stand_in, tokenizer, tokens):
    """tiny-stories-1L-21M with its writing weights centred, as its SAE was trained"""
    folder = stand_in.plant("roneneldan/TinyStories-1Layer-21M")
    shape = {"hidden_size": 24, "num_layers": 1, "num_heads": 4, "max_position_embeddings": 32}
    plant_transformer(
        folder, tokenizer, "GPTNeo", **shape, attention_types=[[["global"], 1]], window_size=8
    )
    repo = stand_in.plant("callummcdougall/arena-demos-tinystories")
    hook = "blocks.0.hook_mlp_out"
    plant_sae(repo / hook, d_in=24, d_sae=40, hook_name=hook)
    story, sae = models.story_model("hub"), models.sae_of("story", "mlp", profile="hub")
    run = spliced(story.model, tokens, sae, "constant", names=[hook])
    torch.testing.assert_close(run.output, story.model(tokens), **CLOSE)
    assert run.cache[hook].mean(-1).abs().max() < 1e-5


@pytest.mark.parametrize("shortformer", [True, False])
def test_attention_only__model_and_sae(stand_in, tokenizer, tokens, shortformer):
    """attn-only-2l-demo with its SAE, and attn-only-2l, from plain state dictionaries"""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    positions = "shortformer" if shortformer else "standard"
    shape = {"d_model": 24, "d_head": 6, "n_heads": 4, "n_layers": 2, "n_ctx": 16, "d_vocab": 20}
    shape |= {"attn_only": True, "act_fn": None}
    cfg = HookedTransformerConfig(**shape, positional_embedding_type=positions, device="cpu")
    reference = HookedTransformer(cfg)
    name = "attn-only-2l-demo" if shortformer else "attn-only-2l"
    folder = stand_in.plant(hub.published(name).hub_id)
    torch.save(reference.state_dict(), folder / "model_final.pth")
    words = {"tokenizer_name": tokenizer.name_or_path}
    config = {**shape, "d_mlp": 96, "normalization": "LN", "shortformer_pos": shortformer, **words}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = models.attention_only_model("hub", name)
    torch.testing.assert_close(loaded.model(tokens), reference(tokens), **CLOSE)
    assert loaded.model.to_tokens("the cat").tolist() == [[0, 2, 3]]
    if shortformer:
        repo = stand_in.plant("callummcdougall/arena-demos-attn2l")
        sae_id = "blocks.0.attn.hook_z-v2"
        plant_sae(repo / sae_id, d_in=24, d_sae=40, hook_name="blocks.0.attn.hook_z")
        sae = models.sae_of("attention_only", "attention", profile="hub")
        run = spliced(loaded.model, tokens, sae, "constant")
        torch.testing.assert_close(run.output, reference(tokens), **CLOSE)


def test_othello__model_and_sae(stand_in):
    """Othello-GPT in minGPT's names, without a tokenizer; its SAE sits behind the nonlinearity"""
    folder = stand_in.plant("Baidicoot/Othello-GPT-Transformer-Lens")
    gen = torch.Generator().manual_seed(4)
    shapes = {"tok_emb.weight": (61, 24), "pos_emb": (1, 59, 24), "head.weight": (61, 24)}
    shapes |= {"ln_f.weight": (24,), "ln_f.bias": (24,)}
    for i in (f"blocks.{layer}." for layer in range(6)):
        for norm in ("ln1", "ln2"):
            shapes |= {f"{i}{norm}.weight": (24,), f"{i}{norm}.bias": (24,)}
        for part in ("query", "key", "value", "proj"):
            shapes |= {f"{i}attn.{part}.weight": (24, 24), f"{i}attn.{part}.bias": (24,)}
        shapes |= {f"{i}mlp.0.weight": (48, 24), f"{i}mlp.0.bias": (48,)}
        shapes |= {f"{i}mlp.2.weight": (24, 48), f"{i}mlp.2.bias": (24,)}
    torch.save({n: torch.randn(s, generator=gen) for n, s in shapes.items()}, folder / "final.pth")
    config = {"d_model": 24, "d_head": 6, "n_heads": 4, "n_layers": 6, "n_ctx": 59, "d_mlp": 48}
    config |= {"d_vocab": 61, "act_fn": "gelu", "attn_only": False, "normalization": "LN"}
    (folder / "config.json").write_text(json.dumps(config))
    repo = stand_in.plant("callummcdougall/arena-demos-othellogpt")
    hook = "blocks.5.mlp.hook_post"
    plant_sae(repo / f"{hook}-v1", d_in=48, d_sae=90, hook_name=hook)
    loaded = models.othello_model("hub")
    sae = models.sae_of("othello", "mlp", profile="hub")
    games = torch.randint(0, 61, (2, 9), generator=gen)
    run = spliced(loaded.model, games, sae, "constant")
    torch.testing.assert_close(run.output, loaded.model(games), **CLOSE)
    assert loaded.tokenizer is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda: models.language_model("hub"),
        lambda: models.language_model("hub", "gemma-2-2b"),
        lambda: models.story_model("hub"),
        lambda: models.attention_only_model("hub"),
        lambda: models.othello_model("hub"),
        lambda: models.residual_sae(profile="hub"),
        lambda: models.attention_sae(profile="hub"),
        lambda: models.transcoders(profile="hub"),
        lambda: models.transcoders([1], "hub", "gemma-2-2b"),
    ],
)
def test_hub__without_network_and_cache_says_what_to_do(stand_in, ask):
    """the message names what is missing, the cause, and the profile that needs no hub"""
    with pytest.raises(ModelUnavailable, match="could not be downloaded") as caught:
        ask()
    assert "With a network, run the same again" in str(caught.value)
    assert "COURSE_PROFILE=local" in str(caught.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_hub__a_licence_that_is_to_be_accepted_is_named(wrapped):
    """also where transformers makes another error of it"""
    import httpx
    from huggingface_hub.errors import GatedRepoError

    answer = httpx.Response(401, request=httpx.Request("GET", "x:"))
    gated = GatedRepoError("gated", response=answer)
    with pytest.raises(ModelUnavailable, match="hf auth login"):
        with hub.from_hub("google/gemma-2-2b"):
            if wrapped:
                raise OSError("You are trying to access a gated repo.") from gated
            raise gated


def test_hub__refuses_what_is_not_published():
    """an unknown model, kind or layer names what there is"""
    with pytest.raises(ValueError, match="profile hub has no 'gpt5'; it has gpt2-small"):
        hub.load("gpt5")
    with pytest.raises(ValueError, match="no attention SAE is published for attn-only-2l"):
        hub.load_sae("attn-only-2l", "attention")
    with pytest.raises(ValueError, match="has no SAE layer_99/width_16k/…"):
        hub.load_sae("gemma-2-2b", "transcoder", 99)


def test_smollm2__original_from_the_hub(stand_in, tokenizer, tokens, monkeypatch):
    """who prefers the hub gets the original weights from there"""
    from utils.models import smollm2

    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"intermediate_size": 40, "max_position_embeddings": 32}
    model = plant_transformer(stand_in.plant(smollm2.HUB_ID), tokenizer, "Llama", **shape)
    monkeypatch.setenv("COURSE_SMOLLM2", "hub")
    loaded = models.language_model("local")
    torch.testing.assert_close(loaded.model(tokens), model(tokens).logits, **CLOSE)


@pytest.mark.parametrize("module", ["s1_saes_on_a_language_model", "s2_a_dashboard_piece_by_piece"])
def test_part_32__demos_run_on_what_the_hub_has(stand_in, tokenizer, monkeypatch, capsys, module):
    """COURSE_PROFILE=hub: a section from top to bottom on a planted cache"""
    import runpy

    folder = stand_in.plant("openai-community/gpt2")
    shape = {"n_embd": 24, "n_layer": 10, "n_head": 4, "n_positions": 128}
    plant_transformer(folder, tokenizer, "GPT2", **shape)
    folder = stand_in.plant("jbloom/GPT2-Small-SAEs-Reformatted")
    config = {"hook_point": "blocks.8.hook_resid_pre", "hook_point_layer": 8}
    plant_sae(folder / "blocks.8.hook_resid_pre", d_in=24, d_sae=400, **config)
    monkeypatch.setenv("COURSE_PROFILE", "hub")
    names = runpy.run_module(f"part32_interp_with_saes.{module}", run_name="__main__")
    said = capsys.readouterr().out
    assert "profile hub: gpt2-small, 10 layers" in said
    if "measured" in names:  # of a random model nothing is known but this
        assert names["measured"]["identity"].kl.abs().max() < 1e-3
