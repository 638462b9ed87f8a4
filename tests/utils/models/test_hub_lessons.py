"""COURSE_PROFILE=hub: the lessons on language models, from top to bottom, on a planted cache.

Model and SAEs are random and thin; a random SAE is active as rarely as a trained one only
because its biases say so. Nothing is known of what comes out, but everything must run.
"""

import runpy

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.utils.models.test_hub import plant_attention_sae, plant_sae
from utils import models

WIDTH, LATENTS, LAYERS = 24, 160, 10
DENSITY = 0.005  # of a random SAE's latents


def plant_gpt2(stand_in, words):
    """gpt2-small's name with thin layers, and a tokenizer that knows names and capitals."""
    import transformers

    folder = stand_in.plant("openai-community/gpt2")
    shape = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 256}
    cfg = transformers.GPT2Config(vocab_size=len(words), **shape, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(cfg).save_pretrained(folder)
    words.save_pretrained(folder)


def rarely_active(weights, x):
    """Encoder biases with which a share of `DENSITY` of the activations is above 0."""
    pre = (x - weights["b_dec"]) @ weights["W_enc"]
    weights["b_enc"] = -pre.quantile(1 - DENSITY, dim=0)
    return weights


def plant_saes(stand_in):
    """A residual and an attention SAE, and a transcoder for every layer."""
    from utils.given.in_model import sample_rows

    loaded = models.language_model("hub")
    sites = ["blocks.8.hook_resid_pre", "blocks.9.attn.hook_z"]
    sites += [f"blocks.{i}.ln2.hook_normalized" for i in range(LAYERS)]
    rows = sample_rows(loaded, 40, 0)
    _, cache = loaded.model.run_with_cache(rows.ids, names_filter=sites)
    seen = {name: cache[name].flatten(2).flatten(0, 1) for name in sites}
    shape = {"d_in": WIDTH, "d_sae": LATENTS}

    residual, transcoders = (
        stand_in.plant(repo)
        for repo in ("jbloom/GPT2-Small-SAEs-Reformatted", "callummcdougall/arena-demos-transcoder")
    )
    planted = [(residual / sites[0], sites[0], {"hook_point": sites[0], "hook_point_layer": 8})]
    for i, hook in enumerate(sites[2:]):
        folder = transcoders / f"gpt2-small-layer-{i}-mlp-transcoder-folded-b_dec_out"
        planted.append((folder, hook, {"hook_name": hook, "apply_b_dec_to_input": True}))
    for folder, hook, config in planted:
        plant_sae(folder, **shape, **config)
        file = folder / "sae_weights.safetensors"
        save_file(rarely_active(load_file(file), seen[hook]), file)

    gen = torch.Generator().manual_seed(7)
    sizes = {"W_enc": (WIDTH, LATENTS), "W_dec": (LATENTS, WIDTH), "b_dec": (WIDTH,)}
    weights = {n: 0.3 * torch.randn(s, generator=gen) for n, s in sizes.items()}
    plant_attention_sae(stand_in, rarely_active(weights, seen[sites[1]]))


@pytest.fixture
def planted(stand_in, monkeypatch):
    """The hub's cache with all that the lessons ask for."""
    plant_gpt2(stand_in, models.language_model("local").tokenizer)
    plant_saes(stand_in)
    monkeypatch.setenv("COURSE_PROFILE", "hub")


# Those whose experiments follow the profile. 3.2.5 stays on the small models; 3.2.8 and 3.2.10 look
# at the hub's model in a cell or two.
LESSONS = [
    "s3_finding_latents",
    "s4_understanding_latents",
    "s6_transcoders",
    "s7_attribution_graphs",
    "s9_four_case_studies",
]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_demos_run_on_what_the_hub_has(planted, capsys, lesson):
    """every demo ends well, and says when it works on the hub's model"""
    runpy.run_module(f"part32_interp_with_saes.{lesson}", run_name="__main__")
    assert "profile hub: gpt2-small, 10 layers" in capsys.readouterr().out


def test_dashboard__of_a_release(planted, tmp_path):
    """`make dashboard SAE=RELEASE:ID`: a page about an SAE of sae_lens' directory"""
    from tools import dashboard

    pair = dashboard.find("gpt2-small-res-jb:blocks.8.hook_resid_pre", None, None, None)
    page = tmp_path / "page.html"
    found = dashboard.run(pair, "0-2", 4, page, 1, fresh=True)
    [written] = dashboard.write(found, page, data=False, neuronpedia=False)
    assert found.latents[1].index == 1
    assert "gpt2-small" in written.read_text()
