"""Every trained model does what its card says, measured again on a small held-out sample."""

import json

import pytest
import torch

from tools.saes.cards import verdicts
from tools.tiny.cards import readme
from tools.tiny.metrics import BARS, MEASURES, measure, probe_accuracy
from tools.tiny.recipes import TASKS
from utils.course import ROOT
from utils.models.tiny import load_tiny

FOLDER = ROOT / "artifacts"
MODELS = list(MEASURES)
TOLERANCE = {"excess": 0.02, "ratio": 0.01, "top_move_legal": 0.02}
TOLERANCE |= {"receiver_is_top": 0.05, "receiver_over_giver": 0.05, "receiver_in_stories": 0.05}


@pytest.fixture(scope="module")
def load():
    """Each model once, however many tests ask for it."""
    found = {}

    def load(name):
        if name not in found:
            found[name] = load_tiny(FOLDER / name)
        return found[name]

    return load


def card_of(name):
    return json.loads((FOLDER / name / "card.json").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_card__its_metrics_hold_on_a_small_sample(name, load):
    model, card = load(name), card_of(name)
    compared = 0
    for kind, (function, n) in MEASURES[name].items():
        if kind == "board":
            continue
        again = function(model, n // 8)
        for metric, tolerance in TOLERANCE.items():
            if metric in again:
                assert again[metric] == pytest.approx(card["metrics"][kind][metric], abs=tolerance)
                compared += 1
    assert compared > 0


def test_card__the_board_can_be_read_by_a_linear_probe(load):
    numbers = card_of("tiny_othello")["metrics"]["board"]
    layer = next(i for i in range(9) if numbers[f"after_block_{i}"] == numbers["best"])
    again = probe_accuracy(load("tiny_othello"), layer, n_games=150)
    assert again == pytest.approx(numbers["best"], abs=0.03)
    assert again > numbers["commonest_state"] + 0.2


@pytest.mark.parametrize("name", MODELS)
def test_card__says_what_made_the_model(name):
    card, recipe = card_of(name), TASKS[name]().recipe
    assert card["recipe"] == json.loads(json.dumps(vars(recipe))), "train it again: make artifacts"
    assert card["licence"] == "MIT" and card["seed"] == recipe.seed and name in card["command"]
    assert card["parameters"] == sum(p.numel() for p in load_tiny(FOLDER / name).parameters())
    assert (FOLDER / name / "README.md").read_text() == readme(card), "stale: --measure mends it"
    log = [json.loads(line) for line in (FOLDER / name / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == recipe.n_steps - 1


@pytest.mark.parametrize("name", MODELS)
def test_card__every_bar_is_met(name):
    assert card_of(name)["bars"] == verdicts(BARS[name], card_of(name)["metrics"])
    assert len(BARS[name]) > 0 and all(bar["met"] for bar in card_of(name)["bars"])


def test_weights__are_small_together():
    files = [FOLDER / name / "model.safetensors" for name in MODELS]
    assert sum(file.stat().st_size for file in files) <= 6e6


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny_othello"])
def test_tokenizer__one_bos_and_the_answer(name, load):
    model = load(name)
    prompt = "When Mary and John went to the store, John gave a drink to"
    tokens = model.to_tokens(prompt)
    assert model.to_str_tokens(prompt)[:3] == ["<|bos|>", "when", "Mary"] and tokens.shape[1] == 15
    with torch.no_grad():
        assert model.to_string(model(tokens)[0, -1].argmax()) == "Mary"


def test_measure__takes_a_share(load):
    numbers = measure("tiny_attn_only_2l", load("tiny_attn_only_2l"), share=0.02)
    assert numbers["prompts"]["n_prompts"] == 12 * 4
