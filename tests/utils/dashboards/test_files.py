"""What is written: the page, the numbers, Neuronpedia's form; tokens are shown as they are."""

import json
import re

import pytest
import torch

from utils.dashboards import Settings, collect, write_data, write_neuronpedia, write_page
from utils.dashboards.data import as_data, short
from utils.dashboards.tokens import texts

from .conftest import Words

SMALL = Settings(n_top=6, before=3, after=2, n_loss=2, batch_rows=8, bins=16)


@pytest.fixture(scope="module", params=["residual", "attention"])
def found(request, models, saes, rows):
    return collect(models("layer norm"), saes(request.param), rows, None, SMALL)


def test_write_data__says_what_was_found(found, tmp_path):
    told = json.loads(write_data(found, tmp_path / "data.json").read_text())
    assert told == json.loads(json.dumps(as_data(found)))
    assert [told["vocab"][i] for i in range(3)] == [Words.words[t] for t in told["ids"][:3]] or all(
        told["vocab"][i].strip() == Words.words[t].strip() for i, t in enumerate(told["ids"])
    )
    for mine, latent in zip(told["latents"], found.latents, strict=True):
        assert mine["density"] == [
            short(x) for x in (latent.density, latent.density_low, latent.density_high)
        ]
        assert sum(mine["histogram"]["counts"]) == latent.n_active
        for e, example in zip(mine["examples"], latent.examples, strict=True):
            assert [told["ids"][t] for t in e["tokens"]] == example.tokens
            assert e["acts"] == pytest.approx(example.activations, rel=1e-3, abs=1e-6)
            assert ("full" in e) == (example.full is not None)
        for i, active, seen, log_p in mine["enriched"]:
            assert 0 < active <= seen and log_p < -1.3 and i < len(told["vocab"])


def test_write_page__is_one_file_that_asks_for_nothing(found, tmp_path):
    text = write_page(found, tmp_path / "page.html", title="a <b> & c").read_text()
    assert "<title>a &lt;b&gt; &amp; c</title>" in text
    addresses = set(re.findall(r"https?://[^\s\"'`]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "a name space, never fetched"
    assert not re.search(
        r"<(img|iframe|object|embed|audio|video)|@import|url\(|src=",
        text.replace("default-src", ""),
    )
    assert "default-src 'none'" in text and "%%" not in text


def test_write_page__keeps_markup_out_of_the_data(found, tmp_path):
    text = write_page(found, tmp_path / "page.html").read_text()
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    assert "<" not in block
    data = json.loads(block)
    assert data == json.loads(json.dumps(as_data(found)))
    shown = {text.strip() for text in data["vocab"]}
    assert {"<script>", "</script>", "<!--", '"quoted"', "שלום", "a&b"} <= shown
    assert text.count("</script>") == 2, "only the page's own"


FIELDS = {
    *("feature_index", "neuron_alignment_indices", "neuron_alignment_values"),
    *("neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_l1"),
    *("correlated_neurons_pearson", "correlated_features_indices", "correlated_features_l1"),
    *("correlated_features_pearson", "neg_str", "neg_values", "pos_str", "pos_values"),
    *("frac_nonzero", "freq_hist_data_bar_values", "freq_hist_data_bar_heights"),
    *("logits_hist_data_bar_heights", "logits_hist_data_bar_values", "n_prompts_total"),
    *("n_tokens_in_prompt", "dataset", "decoder_weights_dist", "vector", "activations"),
}
OF_ACTIVATION = {"bin_min", "bin_max", "bin_contains", "tokens", "values", "qualifying_token_index"}


def test_write_neuronpedia__has_the_fields_of_the_field(found, tmp_path):
    paths = write_neuronpedia(found, tmp_path, sae_set="ours", dataset="small", batch=5)
    assert [path.name for path in paths] == ["batch-0.json", "batch-1.json", "batch-2.json"]
    features = []
    for path in paths:
        text = path.read_text()
        assert not re.search(r"\d\.\d{6,}", text), "more than five decimals"
        told = json.loads(text)
        assert set(told) == {"model_id", "layer", "sae_set", "sae_id_suffix", "features"}
        assert told["layer"] == int(found.hook_in.split(".")[1]) and told["sae_set"] == "ours"
        features += told["features"]
    assert [f["feature_index"] for f in features] == [latent.index for latent in found.latents]
    dfa = 0
    for f, latent in zip(features, found.latents, strict=True):
        assert set(f) == FIELDS
        assert len(f["neg_str"]) == len(f["neg_values"]) == len(f["pos_str"]) == 10
        assert f["neg_values"] == sorted(f["neg_values"])
        assert len(f["logits_hist_data_bar_heights"]) == 50
        assert len(f["freq_hist_data_bar_values"]) == len(f["freq_hist_data_bar_heights"])
        assert sum(f["freq_hist_data_bar_heights"]) == latent.n_active
        for kind in ("neurons", "features"):
            lengths = {len(f[f"correlated_{kind}_{k}"]) for k in ("indices", "l1", "pearson")}
            assert len(lengths) == 1
        strongest = [a for a in f["activations"] if a["bin_contains"] == -1]
        n = len(latent.groups[0].examples) if latent.groups else 0
        assert len(strongest) == n
        for a in f["activations"]:
            assert set(a) >= OF_ACTIVATION and len(a["tokens"]) == len(a["values"])
            assert a["values"][a["qualifying_token_index"]] > 0
            assert (a["bin_min"] == a["bin_max"] == -1) or 0 < a["bin_contains"] <= 1
            dfa += "dfa_values" in a
    assert (dfa > 0) == (found.kind == "attention")


def test_correlated_cosine__is_that_of_the_activations(models, saes, rows):
    loaded, sae = models("layer norm"), saes()
    latents = collect(loaded, sae, rows, None, SMALL).latents
    _, cache = loaded.model.run_with_cache(rows.ids)
    keep = rows.mask & (rows.ids != 0)
    keep[:, 0] = False
    codes = sae.encode(cache[sae.hook_in])[keep].double()
    unit = torch.nn.functional.normalize(codes, dim=0)
    for latent in latents:
        for p in latent.correlated:
            assert p.cosine == pytest.approx(
                float(unit[:, latent.index] @ unit[:, p.index]), abs=1e-5
            )


class Pieces:
    """A tokenizer with a given alphabet."""

    all_special_ids = (0,)

    def __init__(self, pieces):
        self.pieces = pieces

    def __len__(self):
        return len(self.pieces)

    def convert_ids_to_tokens(self, ids):
        return [self.pieces[i] for i in ids]


def test_texts__write_what_a_token_stands_for():
    of_bytes = Pieces(["<|end|>", "Ġthe", "Ġcat", "Ġ", "Ċ", "Ã©", "Ã", "Ð¶", "Ġä½", "a"])
    found = texts(of_bytes, range(12))
    assert found[0] == "<|end|>" and found[1] == " the" and found[3] == " " and found[4] == "\n"
    assert found[5] == "é" and found[7] == "ж" and found[9] == "a"
    assert found[6] == "⟨c3⟩" and found[8] == "⟨20 e4 bd⟩", "part of a character: its bytes"
    assert found[10] == "⟨10⟩", "a row of the embedding that stands for nothing"
    pieces = Pieces(["<s>", "▁the", "▁cat", "▁sat", "s"])
    assert texts(pieces, range(5)) == {0: "<s>", 1: " the", 2: " cat", 3: " sat", 4: "s"}
    words = Pieces(["<bos>", "the", ",", "<script>"])
    assert texts(words, range(4)) == {0: "<bos>", 1: " the", 2: ",", 3: " <script>"}
    assert texts(None, [5, 2]) == {5: " 5", 2: " 2"}
