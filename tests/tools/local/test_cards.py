"""Every SAE of the language model does what its card says, measured again on a few rows."""

import json
from dataclasses import replace

import pytest

from tools.local import names
from tools.local.evaluate import BARS, spliced_differences, spliced_in
from tools.local.pair import FOLDER as PAIR
from tools.local.pipeline import NAMES_FILE, SAMPLE_FILE, sample_rows
from tools.local.recipes import LAYER, recipes
from tools.local.text import shuffled
from tools.local.transcoder_card import readme as set_page
from tools.local.transcoders import SET
from tools.saes.cards import read_card, readme, verdicts
from tools.saes.examples import N_LATENTS
from tools.saes.recipe import plain
from utils.activations.write import capture
from utils.course import ROOT
from utils.data.corpus import corpus_sample
from utils.models import ioi, transcoders
from utils.models.sae import load_sae
from utils.sae_metrics import in_model

FOLDER = ROOT / "artifacts" / "smollm2"
TOLERANCE = {"explained_variance": 2e-3, "l0": 0.1, "loss_recovered": 5e-3, "kl_recovered": 5e-3}
ATTENTION_LAYER = 23  # what names.json must say, see the first test
NAMES = [recipe.name for recipe in recipes(ATTENTION_LAYER)]


@pytest.fixture(params=NAMES)
def card(request):
    file = FOLDER / request.param / "card.json"
    if not file.exists():
        pytest.skip(f"not trained yet: python -m tools.local train {request.param}")
    return json.loads(file.read_text())


def few(asked):
    """Every sixth prompt."""
    return asked[::6]


def test_names__one_attention_layer_moves_them(local):
    table = json.loads((FOLDER / NAMES_FILE).read_text())
    assert table["layer"] == ATTENTION_LAYER
    parts = sum(table["attention"]) + sum(table["mlp"]) + table["embedding"]
    assert parts == pytest.approx(table["logit_difference"], abs=0.01)
    share = table["attention"][table["layer"]] / table["logit_difference"]
    assert share > 0.5
    again = names.contributions(local, few(names.asked()))
    assert again.layer == table["layer"]
    assert again.attention[again.layer] == pytest.approx(max(table["attention"]), rel=0.25)


def test_card__its_metrics_hold_on_the_rows_that_ship(card, local):
    sae = load_sae(FOLDER / card["name"])
    rows = sample_rows(FOLDER / SAMPLE_FILE, local.tokenizer)
    again, said = spliced_in(local, sae, rows, scores=True), card["metrics"]["sample"]
    assert again["n_predictions"] == said["n_predictions"] > 500
    for metric, tolerance in TOLERANCE.items():
        assert again[metric] == pytest.approx(said[metric], abs=tolerance), metric


def test_cards__say_the_clean_logit_difference(local):
    clean = float(ioi.logit_differences(local, names.asked()).mean())
    for file in FOLDER.glob("*/card.json"):
        if file.parent.name in (SET, PAIR):
            continue
        said = json.loads(file.read_text())["metrics"]["indirect"]
        assert said["clean"] == pytest.approx(clean, rel=0.005)


def test_card__keeps_the_logit_difference_that_it_says(card, local):
    again = spliced_differences(local, load_sae(FOLDER / card["name"]), names.asked())
    said = card["metrics"]["indirect"]
    assert said["spliced"] == pytest.approx(float(again.mean()), rel=0.015)
    assert said["kept"] == pytest.approx(said["spliced"] / said["clean"], abs=2e-5)  # rounded


def test_card__its_examples_are_what_the_latents_fire_on(card, local):
    sae, shown = load_sae(FOLDER / card["name"]), card["examples"]["latents"]
    rows = shuffled(corpus_sample(), local.tokenizer)
    assert len(shown) == N_LATENTS
    for latent in shown:
        context = latent["contexts"][0]
        ids = rows.ids[context["row"]][None]
        (acts,) = sae.encode(capture(local.model, ids, [sae.hook_in])[sae.hook_in])
        act = float(acts[context["pos"], latent["latent"]])
        assert act == pytest.approx(context["activation"], rel=0.02, abs=0.01)
        assert local.tokenizer.decode(ids[0, context["pos"]]).strip() in context["text"][1] + "\n"


def test_card__says_what_made_it(card):
    (recipe,) = [r for r in recipes(ATTENTION_LAYER) if r.name == card["name"]]
    expected = replace(recipe, epochs=card["epochs"]) if "NOT FINAL" in card["data"] else recipe
    assert card["recipe"] == plain(expected), "train it again: python -m tools.local train"
    assert card["name"] in card["command"] and card["licence"].startswith("MIT")
    folder = FOLDER / card["name"]
    assert (folder / "README.md").read_text() == readme(card), "stale: measure mends it"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == card["n_steps"]
    sae = load_sae(folder)
    assert (sae.hook_in, sae.hook_out) == (card["hook_in"], card["hook_out"])
    assert sae.layer in (LAYER, ATTENTION_LAYER) and sae.n_latents == card["latents"]


def test_card__misses_no_bar_once_it_is_final(card):
    assert card["bars"] == verdicts(BARS, card["metrics"])
    if "NOT FINAL" in card["data"]:
        pytest.skip(f"{card['name']} saw {card['tokens']} tokens so far: python -m tools.local")
    assert [b["metric"] for b in card["bars"] if not b["met"]] == []


def test_weights__are_small_together():
    files = list(FOLDER.rglob("*.safetensors"))
    of_the_set = [file for file in files if SET in file.parts]
    assert sum(file.stat().st_size for file in files if file not in of_the_set) <= 32e6
    assert sum(file.stat().st_size for file in of_the_set) <= 60e6


def test_set__its_card_holds_on_a_few_rows(local):
    """Explained variance of three layers on held-out rows that ship, and the page."""
    card = read_card(FOLDER / SET)
    if card is None:
        pytest.skip("not trained yet: python -m tools.local.transcoders")
    assert (FOLDER / SET / "README.md").read_text() == set_page(card), "stale: --measure mends it"
    rows = sample_rows(FOLDER / SAMPLE_FILE, local.tokenizer)
    for one in (card["per_layer"][i] for i in (0, len(card["layers"]) // 2, -1)):
        (sae,) = transcoders([one["layer"]], "local", width=card["plan"]["latents"])
        found = in_model(local.model, rows, sae).scores
        said = one["speeches"]["explained_variance"]  # of other rows: four are a small sample
        assert found.explained_variance == pytest.approx(said, abs=0.15)
        assert found.l0 == pytest.approx(one["speeches"]["l0"], rel=0.5)
        lost = card["rounding"][f"layer_{one['layer']:02}"]
        assert abs(lost["float32"] - lost["int8"]) < 0.005
