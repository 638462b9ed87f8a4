"""Every SAE of the small models does what its card says; the pipeline makes such SAEs."""

import json
from dataclasses import replace

import pytest
import torch

from tools.saes.cards import readme
from tools.saes.examples import N_LATENTS
from tools.tiny.recipes import TASKS
from tools.tiny.sae_recipes import (
    CARD_SEED,
    PLANS,
    TEST_SEED,
    Plan,
    n_bytes,
    recipes_of,
    rows_for,
    train_config,
)
from tools.tiny.saes import METRICS, Workshop, main, summary
from tools.tiny.train import Recipe, build
from utils.activations.write import capture
from utils.course import ROOT
from utils.data.stories.tokenizer import story_tokenizer
from utils.models.loaded import Loaded
from utils.models.sae import entries, load_sae
from utils.models.tiny import load_tiny, save_tiny
from utils.sae_metrics import in_model

FOLDER = ROOT / "artifacts"


def config_of(model):
    return json.loads((FOLDER / model / "config.json").read_text())


NAMES = [
    (model, recipe.name)
    for model, plan in PLANS.items()
    for recipe in recipes_of(model, plan, config_of(model))
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "0")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices are small: a second thread would only wait, for seconds on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def load():
    """Each model once, with the rows of the test and what passes its hooks on the card's rows."""
    found = {}

    def load(name):
        if name not in found:
            model, plan = load_tiny(FOLDER / name), PLANS[name]
            hooks = {recipe.hook_in for recipe in recipes_of(name, plan, config_of(name))}
            rows = rows_for(name, plan.n_held, CARD_SEED)
            keep = rows.mask.clone()
            keep[:, 0] = False
            acts = {k: x[keep] for k, x in capture(model, rows.ids, sorted(hooks)).items()}
            found[name] = model, rows_for(name, plan.n_block, TEST_SEED), acts
        return found[name]

    return load


def card_of(model, name):
    file = FOLDER / model / name / "card.json"
    if not file.exists():
        pytest.skip(f"not trained yet: python -m tools.tiny.saes {model}")
    return json.loads(file.read_text())


@pytest.mark.parametrize(("model_name", "name"), NAMES)
def test_card__its_metrics_hold_on_other_rows(model_name, name, load):
    """On one block of new rows, within five standard deviations of the card's sixteen blocks.

    With t of 15 degrees of freedom, one comparison in 4,700 fails by chance; there are about 150,
    on rows that do not change. Latents that no token fires are those of the card's own rows.
    """
    model, rows, acts = load(model_name)
    card, sae = card_of(model_name, name), load_sae(FOLDER / model_name / name)
    numbers, spread = card["metrics"]["held_out"], card["metrics"]["spread_of_blocks"]
    again = in_model(model, rows, sae, batch_rows=len(rows)).numbers()
    for metric in METRICS:
        if metric != "dead":  # fewer rows leave more latents silent
            tolerance = 5 * spread[metric] + 1e-3  # rounding, and L0 = k has no spread at all
            assert again[metric] == pytest.approx(numbers[metric], abs=tolerance), metric
    with torch.no_grad():
        fired = (sae.encode(acts[card["hook_in"]]) != 0).any(dim=0)
    # sums in another order may move a latent that fires once
    assert 1 - fired.float().mean() == pytest.approx(numbers["dead"], abs=2 / sae.n_latents)


@pytest.mark.parametrize(("model_name", "name"), NAMES)
def test_card__its_examples_are_what_the_latents_fire_on(model_name, name, load):
    card, sae = card_of(model_name, name), load_sae(FOLDER / model_name / name)
    rows = rows_for(model_name, PLANS[model_name].n_held, CARD_SEED)
    assert len(card["examples"]["latents"]) == N_LATENTS
    for shown in card["examples"]["latents"]:
        context = shown["contexts"][0]
        ids = rows.ids[context["row"]][None]
        (acts,) = sae.encode(capture(load(model_name)[0], ids, [sae.hook_in])[sae.hook_in])
        best = acts[1:][rows.mask[context["row"], 1:], shown["latent"]].max()
        assert best == pytest.approx(context["activation"], rel=1e-3, abs=1e-3)
        assert acts[context["pos"], shown["latent"]] == pytest.approx(float(best), abs=1e-3)


@pytest.mark.parametrize(("model_name", "name"), NAMES)
def test_card__says_what_made_the_sae(model_name, name):
    card, folder = card_of(model_name, name), FOLDER / model_name / name
    sae = load_sae(folder)
    assert (sae.hook_in, sae.hook_out, sae.n_latents) == (
        *(card["hook_in"], card["hook_out"]),
        card["latents"],
    )
    assert name == f"{sae.kind}_{sae.layer}_{sae.n_latents}"
    assert card["licence"] == "MIT" and model_name in card["command"]
    assert (folder / "README.md").read_text() == readme(card), "stale: --measure mends it"
    assert card["metrics"]["held_out"]["l0"] <= 16.5, "k is at most 16"
    assert card["metrics"]["held_out"]["loss_sae"] > 0


@pytest.mark.parametrize("name", PLANS)
def test_artifacts__are_those_of_the_plan(name):
    if not entries(FOLDER / name):
        pytest.skip(f"no SAE of {name} is trained yet: python -m tools.tiny.saes {name}")
    shop = Workshop(name, PLANS[name], FOLDER / name, FOLDER)
    stale = [recipe.name for recipe in shop.recipes() if not shop.finished(recipe)]
    assert not stale, f"stale or missing: run `python -m tools.tiny.saes {name}`"
    assert {e.folder.name for e in entries(FOLDER / name)} == {r.name for r in shop.recipes()}


@pytest.mark.parametrize("name", PLANS)
def test_plan__has_every_layer(name):
    config, plan = config_of(name), PLANS[name]
    assert len(plan.residual) == len(plan.attention) == config["n_layers"]
    assert len(plan.transcoder) == (0 if config["attn_only"] else config["n_layers"])


def test_weights__are_small_together():
    folders = [FOLDER / model / name for model, name in NAMES]
    files = [file for folder in folders for file in folder.glob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) < 6e6


# ---------------------------------------------------------------------------------- the pipeline

SHAPE = {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_head": 4, "d_mlp": 24}
PLAN = Plan(
    residual=((2, 3),),
    attention=((4,),),
    transcoder=((2,),),
    k=3,
    n_rows=24,
    epochs=2,
    batch=64,
    n_held=8,
    n_block=4,
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, one_thread):
    """A random model of one layer with all its SAEs."""
    folder = tmp_path_factory.mktemp("artifacts") / "tiny_story_1l"
    config = {**TASKS["tiny_story_1l"]().recipe.config, **SHAPE}
    model = build(Recipe("random", config, n_steps=1))
    save_tiny(model, story_tokenizer(), folder)
    shop = Workshop("tiny_story_1l", PLAN, folder, tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_PROGRESS", "0")
        for recipe in shop.recipes():
            shop.make(recipe)
    return shop


def test_pipeline__makes_each_kind(shop):
    found = [(e.folder.name, e.kind, e.n_latents) for e in entries(shop.folder)]
    assert found == [
        ("attention_0_32", "attention", 32),
        ("residual_0_32", "residual", 32),
        ("residual_0_48", "residual", 48),
        ("transcoder_0_32", "transcoder", 32),
    ]
    assert all(shop.finished(recipe) for recipe in shop.recipes())
    for recipe in shop.recipes():
        size = (shop.folder / recipe.name / "sae_weights.safetensors").stat().st_size
        assert n_bytes(recipe) < size < n_bytes(recipe) + 1200


def test_pipeline__learns(shop):
    for recipe in shop.recipes():
        log = (shop.place() / recipe.name / "log.jsonl").read_text().splitlines()
        card = json.loads((shop.folder / recipe.name / "card.json").read_text())
        assert card["metrics"]["held_out"]["explained_variance"] > 0.1
        assert json.loads(log[-1])["step"] == card["n_steps"] == 2 * (24 * 95 // 64)
        assert summary(card).startswith(f"tiny_story_1l/{recipe.name}: l0 ")


def test_pipeline__is_seeded_and_goes_on_after_a_stop(shop, tmp_path, monkeypatch):
    recipe = shop.recipes()[0]
    weights = "sae_weights.safetensors"
    first = (shop.folder / recipe.name / weights).read_bytes()
    again = replace(shop, cache=tmp_path)

    class Stop(Exception):
        pass

    def stop_half_way(*arguments):
        cfg = train_config(*arguments)
        return replace(cfg, checkpoint_every=cfg.n_steps // 3)

    import utils.saes.train as training

    step, taken = training.Trainer.step, []

    def counted(self):
        taken.append(1)
        if len(taken) == 40:
            raise Stop
        return step(self)

    monkeypatch.setattr("tools.tiny.saes.train_config", stop_half_way)
    monkeypatch.setattr(training.Trainer, "step", counted)
    with pytest.raises(Stop):
        again.train(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / weights).exists()
    again.train(recipe, tmp_path / "out")
    assert len(taken) < 40 + 70, "it started from the beginning"
    assert (tmp_path / "out" / weights).read_bytes() == first


def test_pipeline__knows_what_is_finished(shop):
    recipe = shop.recipes()[0]
    for plan in (replace(PLAN, n_rows=25), replace(PLAN, epochs=3), replace(PLAN, k=2)):
        other = replace(shop, plan=plan)
        assert not other.finished(other.recipes()[0])
    card = json.loads((shop.folder / recipe.name / "card.json").read_text())
    assert shop.measure_again(recipe) == card


def test_main__skips_what_is_done(shop, monkeypatch, capsys):
    monkeypatch.setitem(PLANS, "tiny_story_1l", PLAN)
    main(["tiny_story_1l"], artifacts=shop.folder.parent)
    assert capsys.readouterr().out.count("done, skipped") == 4


def test_measure__recovers_everything_with_the_identity(shop):
    from tools.tiny.saes import measure

    class Identity:
        hook_in = hook_out = "blocks.0.hook_resid_post"

        def encode(self, x):
            return x

        def decode(self, latents, x):
            return latents

    loaded = Loaded(shop.loaded.model, None, "random")
    found = measure(loaded, Identity(), shop.held_rows, n_block=4)
    assert found["held_out"]["loss_recovered"] == pytest.approx(1.0, abs=1e-5)
    assert found["mean_anchor"]["kl_recovered"] == pytest.approx(1.0, abs=1e-4)
    assert found["spread_of_blocks"]["explained_variance"] == pytest.approx(0.0, abs=1e-9)
