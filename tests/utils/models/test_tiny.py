"""Models of the course's own: written, read, and found by their role."""

import json

import pytest
import torch

from utils import models
from utils.models.sae import entries
from utils.models.tiny import ModelMissing, load_tiny, save_tiny

ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4, "d_head": 8}
SHAPES = {
    "plain": {},
    "llama": {"normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu", **ROTARY},
    "attention only": {"attn_only": True, "normalization_type": None},
    "no tokenizer": {"tokenizer": None},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_save_tiny__comes_back_as_it_was(make_model, tokens, tmp_path, shape):
    """in float32 the loaded model gives the same numbers, whatever its shape"""
    model = make_model(**SHAPES[shape])
    save_tiny(model, model.tokenizer, tmp_path, torch.float32)
    before = torch.random.get_rng_state()
    loaded = load_tiny(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(loaded(tokens), model(tokens), rtol=0, atol=1e-6)
    assert not any(p.requires_grad for p in loaded.parameters())
    if model.tokenizer is not None:
        assert loaded.to_tokens("the cat sat").tolist() == [[0, 2, 3, 4]]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)])
def test_save_tiny__halves_stay_close(model, tokens, tmp_path, dtype, close):
    """half precision on disk costs little; in memory it is float32 again"""
    save_tiny(model, model.tokenizer, tmp_path, dtype)
    loaded = load_tiny(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(tokens), model(tokens), rtol=0, atol=close)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 2.2 * sum(p.numel() for p in model.state_dict().values()) + 20_000


def test_save_tiny__keeps_cards_and_leaves_no_parts(model, tmp_path):
    """saving again replaces the model and touches nothing else"""
    (tmp_path / "card.md").write_text("a card")
    save_tiny(model, None, tmp_path)
    save_tiny(model, None, tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"card.md", "config.json", "model.safetensors"}


def test_save_tiny__refuses_what_would_go_wrong_in_silence(make_model, tmp_path):
    """no BOS token, weights beyond the precision"""

    class NoBos:
        bos_token_id = None

    with pytest.raises(ValueError, match="no BOS token"):
        save_tiny(make_model(), NoBos(), tmp_path)
    large = make_model()
    large.embed.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"embed.weight: not finite in torch.float16"):
        save_tiny(large, None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_load_tiny__says_what_is_missing_or_does_not_fit(model, tmp_path):
    """an absent model names the cure, a mixed-up one the file"""
    with pytest.raises(ModelMissing, match="make artifacts"):
        load_tiny(tmp_path)
    save_tiny(model, None, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "d_mlp": 41}))
    with pytest.raises(ValueError, match="does not fit config"):
        load_tiny(tmp_path)


@pytest.fixture
def shelf(make_model, random_sae, tmp_path, monkeypatch):
    """An artifacts/ folder with a four-layer model and SAEs of several kinds and widths."""
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path))
    model = make_model()
    home = tmp_path / "tiny_story_4l"
    save_tiny(model, model.tokenizer, home, torch.float32)
    save_tiny(model, None, tmp_path / "tiny_othello")
    hook = "blocks.{}.hook_resid_post"
    for layer, width in ((0, 30), (1, 30), (1, 60), (2, 30)):
        sae = random_sae(hook.format(layer), d_in=24, d_sae=width)
        sae.save_model(home / "sae" / f"residual_{layer}_{width}")
    random_sae("blocks.1.attn.hook_z", d_in=18, d_sae=30).save_model(home / "sae" / "z")
    sizes = {"d_in": 24, "d_out": 24, "d_sae": 30}
    mlp = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out", "skip_transcoder")
    random_sae(*mlp, **sizes).save_model(home / "sae" / "tc")
    return home


def test_entries__sorts_saes_by_kind_layer_and_width(shelf):
    """folders are read by what their configuration says, not by their names"""
    found = [(entry.kind, entry.layer, entry.n_latents) for entry in entries(shelf)]
    residual = [("residual", layer, width) for layer, width in ((0, 30), (1, 30), (1, 60), (2, 30))]
    assert found == [("attention", 1, 30), *residual, ("transcoder", 1, 30)]


def test_choose__takes_one_width_for_several_layers_where_it_can(tmp_path):
    """a set of transcoders is of one width; one layer alone gives its widest"""
    from utils.models.profiles import choose, common_width
    from utils.models.sae import Entry

    sizes = [(0, 30), (1, 30), (1, 60), (2, 30), (3, 30)]
    found = [Entry(tmp_path, "transcoder", layer, width) for layer, width in sizes]
    assert common_width(found, [0, 1, 2]) == 30
    assert common_width(found, [1]) is None and common_width(found, [None]) is None
    assert common_width(found, [1, 7]) is None

    def chosen(layer=None, width=None):
        entry = choose(found, tmp_path, "transcoder", layer, width)
        return entry.layer, entry.n_latents

    assert chosen() == (1, 60) and chosen(1) == (1, 60) and chosen(1, 30) == (1, 30)
    assert chosen(width=30) == (2, 30)
    with pytest.raises(ModelMissing, match="has no transcoder SAE for layer 7"):
        chosen(7)
    with pytest.raises(ModelMissing, match="with 31 latents"):
        chosen(width=31)


def test_roles__give_model_and_saes_of_the_tiny_profile(shelf, tokens):
    """what a section asks for arrives, in float32, with its hooks"""
    lm = models.language_model("tiny")
    assert (lm.name, lm.n_layers) == ("tiny_story_4l", 3)
    assert lm.tokenizer.bos_token == "<bos>"
    assert lm.hook("z", -1) == "blocks.2.attn.hook_z"
    assert models.othello_model("tiny").tokenizer is None
    sae = models.residual_sae(profile="tiny")  # the middle layer, the widest
    assert (sae.layer, sae.n_latents, sae.kind) == (1, 60, "residual")
    assert models.residual_sae(1, "tiny", width=30).n_latents == 30
    assert models.attention_sae(profile="tiny").hook_in == "blocks.1.attn.hook_z"
    [transcoder] = models.transcoders(profile="tiny")
    assert transcoder.hook_out == "blocks.1.hook_mlp_out"
    with pytest.raises(ModelMissing, match="layer 1 with 30 latents, layer 1 with 60 latents"):
        models.residual_sae(1, "tiny", width=7)
    with pytest.raises(ModelMissing, match="make artifacts"):
        models.story_model("tiny")
    with pytest.raises(ModelMissing, match="make artifacts"):
        models.sae_of("story", "mlp", profile="tiny")
