"""The page of all artifacts says what the cards say."""

import json

from tools.catalogue import FOLDER, denser_elsewhere, page


def test_page__is_in_step():
    text = (FOLDER / "README.md").read_text()
    assert text == page(), "stale: python -m tools.catalogue writes it"


def test_page__has_every_card_and_every_link_leads_somewhere():
    text = (FOLDER / "README.md").read_text()
    cards = [*FOLDER.glob("*/card.json"), *FOLDER.glob("*/*/card.json")]
    for card in cards:
        if card.parent.name != "corpus_sample":
            link = f"({card.parent.relative_to(FOLDER).as_posix()}/README.md)"
            assert link in text and card.with_name("README.md").exists(), link
    assert text.count("/README.md)") == len(cards) - 1  # the corpus sample has a card, too


def test_page__takes_numbers_from_the_card(tmp_path):
    held = {"l0": 3.26, "explained_variance": 0.5, "loss_recovered": 0.25, "kl_recovered": 0.125}
    card = {"name": "residual_1_8", "model": "tiny_x", "latents": 8, "metrics": {}}
    card["metrics"] = {"held_out": held | {"dead": 0.75, "kl_recovered_se": 0.0125}}
    bars = [("held_out.dead", "<= 0.1", False), ("held_out.l0", "<= 4", True)]
    card["bars"] = [dict(zip(("metric", "bar", "met"), bar, strict=True)) for bar in bars]
    own = {"about": "A model.", "parameters": 12_345}
    for at, what in (("tiny_x/residual_1_8", card), ("tiny_x", own), ("other", own)):
        (tmp_path / at).mkdir(parents=True, exist_ok=True)
        (tmp_path / at / "card.json").write_text(json.dumps(what))
    text = page(tmp_path)
    assert "A model. 12,345 parameters; [its card](tiny_x/README.md)." in text
    assert "| 8 | 3.3 | 0.500 | 0.250 | 0.125 ± 0.013 | 75.0 % |" in text
    assert text.count("missed a bar") == 1
    assert "- residual_1_8 missed a bar: dead on held_out is 0.7500, asked was <= 0.1." in text


def test_page__says_where_an_sae_is_denser_than_in_the_table():
    def card(name, here, there):
        return {"name": name, "metrics": {"speeches": {"l0": here}, "same": {"l0": there}}}

    text = denser_elsewhere([card("a_1", 40.0, 60.04), card("b_2", 40.0, 43.0), {"metrics": {}}])
    assert text.startswith("\n- a_1 has 60.0 active latents") and text.count("\n- ") == 1
    assert denser_elsewhere([card("b_2", 40.0, 40.0)]) == ""


def test_all_weights_are_below_95_mb():
    files = [file for file in FOLDER.rglob("*.safetensors") if "parts" not in file.parts]
    assert sum(file.stat().st_size for file in files) < 95e6
