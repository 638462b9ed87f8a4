"""The whole pipeline on a small random model, in seconds: every step, stopped and resumed."""

import json
import operator
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tools.local import names, text
from tools.local.cards import is_final
from tools.local.evaluate import BARS, indirect
from tools.local.harvest import Mix
from tools.local.pipeline import SAMPLE_FILE, Amounts, Pipeline, sample_rows
from tools.local.recipes import Sizes, recipes
from tools.local.train import Material, reading, train
from tools.saes.cards import readme
from tools.saes.cost import counted, read_run
from tools.saes.recipe import train_config
from utils.activations import StoreError
from utils.data.corpus import join
from utils.models import ioi
from utils.models.sae import Sae, entries, load_sae

SIZES = Sizes(24, 3, 6, layer=1, residual=40, transcoder=30, attention=36, k=4, k_transcoder=4)
SIZES = replace(
    SIZES,
    k_attention=4,
    k_saved=3,
    batch=64,
    epochs=8,
    epochs_transcoder=8,
    epochs_attention=8,
    finetune=16,
)
AMOUNTS = Amounts(12, 40, held=20, in_model=6, in_model_attention=8, in_model_others=3, sample=3)


class Identity:
    """The SAE that changes nothing."""

    def encode(self, x):
        return x

    def decode(self, latents):
        return latents


def documents(n, seed, *sources):
    gen = torch.Generator().manual_seed(seed)
    sizes = torch.randint(11, 60, (n,), generator=gen).tolist()
    pieces = [(torch.randint(2, 16, (size,), generator=gen), i) for i, size in enumerate(sizes)]
    return join([(ids, i % len(sources)) for ids, i in pieces], sources)


def pipeline_at(folder, loaded):
    held = {"speeches": documents(30, 1, "speeches"), "same": documents(9, 2, "abc", "webtext")}
    texts = text.Corpora(documents(60, 3, "abc", "webtext", "docstrings.torch"), {}, held)
    prompt = ioi.Prompt("When Mary and John went to", "Mary", "John")
    places = folder / "cache", folder / "artifacts"
    return Pipeline(
        loaded, texts, documents(12, 4, "written.story"), [prompt], *places, SIZES, AMOUNTS
    )


@pytest.fixture(scope="module")
def made(loaded, tmp_path_factory):
    """A pipeline with all three trained, and their cards."""
    pipeline = pipeline_at(tmp_path_factory.mktemp("local"), loaded)
    return pipeline, [pipeline.make(recipe) for recipe in pipeline.recipes()]


def test_pipeline__leaves_an_sae_of_each_kind_that_the_roles_find(made):
    pipeline, cards = made
    found = {(e.kind, e.layer, e.n_latents) for e in entries(pipeline.artifacts)}
    layer = pipeline.names_layer
    assert found == {("residual", 1, 40), ("transcoder", 1, 30), ("attention", layer, 36)}
    for card in cards:
        assert load_sae(pipeline.artifacts / card["name"]).hook_in == card["hook_in"]


def test_pipeline__its_cards_say_what_was_measured_on_which_text(made):
    pipeline, cards = made
    n = sum(text.n_tokens(rows) for rows in pipeline.train_rows.values())
    for card in cards:
        metrics = card["metrics"]
        assert card["tokens"] == n == metrics["training"]["tokens"] and not is_final(card)
        texts = {"speeches", "same", "written", "sample"}
        assert texts < set(metrics) and {bar["metric"] for bar in card["bars"]} == {
            f"{kind}.{metric}" for kind, metric, _, _ in BARS
        }
        assert metrics["speeches"]["n_tokens"] == text.n_tokens(pipeline.held_rows["speeches"])
        assert sum(card["density"]["latents"]) == round(
            card["latents"] * (1 - metrics["held_out"]["dead"])
        )
        folder = pipeline.artifacts / card["name"]
        assert json.loads((folder / "card.json").read_text()) == card
        assert (folder / "README.md").read_text() == readme(card)
        assert card["sources"].keys() == {"abc", "webtext", "docstrings.torch"}
        assert (folder / "log.jsonl").exists()


def test_pipeline__trained_at_all(made):
    """Even random activations are explained better by trained latents than by their mean."""
    for card in made[1]:
        assert card["metrics"]["same"]["explained_variance"] > 0.1
        assert card["metrics"]["same"]["l0"] <= 1.5 * SIZES.k


def test_pipeline__measures_the_same_numbers_again(made):
    pipeline, cards = made
    assert pipeline.measure_again(pipeline.recipes()[0]) == cards[0]


def test_pipeline__its_cards_say_where_predictions_count_in_the_loss(made):
    _, cards = made
    pages = [readme(card) for card in cards]
    assert ["how much each direction matters" in page for page in pages] == [False, False, True]
    assert ["model's predictions in the loss" in page for page in pages] == [False, True, False]
    assert [card["tuned_on"] for card in cards] == [None, "people-00", "people-00"]
    assert [card["recipe"].get("predictive") for card in cards] == [None, None, SIZES.predictive]


def test_pipeline__saves_a_threshold_for_fewer_latents_where_the_recipe_says_so(made):
    pipeline, _ = made
    recipe = pipeline.recipes()[1]
    assert (recipe.sae.k, recipe.k_saved) == (4, 3)
    page = (pipeline.artifacts / recipe.name / "README.md").read_text()
    assert "at which 3 latents are active on training text" in page
    sae = load_sae(pipeline.artifacts / recipe.name)
    store = pipeline.stores(recipe.source)[0]
    rows = torch.cat([x for x, _ in Mix([store], batch=64, hooks=recipe.hooks)])
    assert float((sae.encode(rows) > 0).sum(dim=1).float().mean()) == pytest.approx(3, abs=0.1)


def test_pipeline__refuses_a_distance_that_does_not_fold_before_it_trains(made, tmp_path):
    pipeline, _ = made
    topk = replace(pipeline.recipes()[0], predictive=1.0)
    stores, place = pipeline.stores(topk.source), (tmp_path / "work", tmp_path / "out")
    with pytest.raises(ValueError, match="take batchtopk"):
        train(topk, Material(stores, {}, pipeline.tuning_rows(topk)), *place, pipeline.loaded)
    assert not place[1].exists() and not list(place[0].rglob("checkpoint.pt"))


def test_pipeline__knows_what_is_finished(made, loaded):
    pipeline, _ = made
    assert all(pipeline.finished(recipe) for recipe in pipeline.recipes())
    other = replace(pipeline, sizes=replace(SIZES, k=3, k_transcoder=3, k_attention=3))
    assert not any(other.finished(recipe) for recipe in other.recipes())
    more = replace(pipeline.texts, own={"written": documents(30, 5, "written.story")})
    assert not replace(pipeline, texts=more).finished(pipeline.recipes()[0])


def test_pipeline__text_of_the_model_adds_segments_and_changes_none(made):
    pipeline, _ = made
    more = replace(pipeline.texts, own={"written": documents(30, 5, "written.story")})
    rows = replace(pipeline, texts=more).train_rows
    before = pipeline.train_rows
    assert list(rows)[: len(before)] == list(before) and list(rows)[len(before)] == "written-00"
    for name, segment in before.items():
        assert torch.equal(rows[name].ids, segment.ids)


def test_pipeline__trains_on_what_is_there_and_says_so(loaded, tmp_path):
    pipeline = pipeline_at(tmp_path, loaded)
    what = pipeline.source()
    with pytest.raises(StoreError, match="harvest first"):
        pipeline.make(pipeline.recipes()[0], partial=True)
    pipeline.harvest(what)
    last = list(pipeline.train_rows)[-1]
    next((pipeline.cache / "activations" / what.name / last).glob("*.safetensors")).unlink()
    card = pipeline.make(pipeline.recipes()[0], partial=True)
    assert "NOT FINAL" in card["data"] and last not in card["segments"]
    assert card["tokens"] < sum(text.n_tokens(rows) for rows in pipeline.train_rows.values())
    assert not pipeline.finished(pipeline.recipes()[0])
    pipeline.clean()
    assert not (pipeline.cache / "activations").exists()


def test_shipped_rows__are_whole_rows_of_the_held_out_source(made):
    pipeline, _ = made
    tokenizer = pipeline.loaded.tokenizer
    rows = sample_rows(pipeline.artifacts / SAMPLE_FILE, tokenizer, AMOUNTS.length)
    assert rows.ids.shape == (3, 12) and rows.mask.all()
    held = pipeline.held_rows["speeches"].ids.tolist()
    assert all(row in held for row in rows.ids.tolist())


def test_pipeline__reads_formal_prose_where_a_recipe_asks(made):
    pipeline, _ = made
    more = replace(pipeline.texts, own={"formal": documents(30, 6, "written.law")})
    with_more = replace(pipeline, texts=more)
    residual, transcoder, attention = pipeline.recipes()
    for recipe in (residual, transcoder):
        assert with_more.read_by(recipe) == list(pipeline.train_rows)
        assert with_more.finished(recipe)
    assert with_more.read_by(attention) == list(with_more.train_rows)
    assert with_more.read_by(attention)[-1].startswith("formal-")
    assert not with_more.finished(attention)
    tuning, first = with_more.tuning_rows(attention), with_more.train_rows
    assert with_more.tuned_on(attention) == ["people-00", "formal-00"]
    assert torch.equal(tuning.ids[:4:2], first["people-00"].ids[:2])
    assert torch.equal(tuning.ids[1:4:2], first["formal-00"].ids[:2])
    assert with_more.tuned_on(transcoder) == ["people-00"]
    assert torch.equal(with_more.tuning_rows(transcoder).ids, first["people-00"].ids)


def test_reading__has_each_store_as_often_as_the_recipe_says(made):
    pipeline, _ = made
    recipe = replace(pipeline.recipes()[2], prose=3)
    formal = SimpleNamespace(folder=Path("formal-00"))
    stores = pipeline.stores(recipe.source)
    material = Material([*stores, formal], pipeline.prose, pipeline.tuning_rows(recipe))
    for times in (None, 1, 4):
        read = reading(material, replace(recipe, formal=times))
        assert sum(s is formal for s in read) == (times or 0)
        whole = [s for s in read if s is not formal and s.rows is None]
        assert len(whole) == len(stores) and all(map(operator.is_, whole, stores))
    for store in stores:
        rows, mine = pipeline.train_rows[store.folder.name], pipeline.prose[store.folder.name]
        again = [s for s in read if s.folder == store.folder and s.rows is not None]
        assert [part.n_tokens() for part in again] == [int(rows.mask[mine, 1:].sum())] * 2
    plain = reading(material, replace(recipe, prose=None, formal=1))
    assert len(plain) == len(material.stores) and all(map(operator.is_, plain, material.stores))


def test_prose__is_what_is_not_documentation(made):
    pipeline, _ = made
    docs, length = pipeline.texts.people, pipeline.amounts.length
    prose = torch.cat(list(pipeline.prose.values()))
    rows = text.shuffled(docs, pipeline.loaded.tokenizer, length)
    for mine, document in zip(prose.tolist(), rows.document.tolist(), strict=True):
        assert mine == (docs.names[docs.source[document]] != "docstrings.torch")
    assert 0 < prose.sum() < len(prose)


@pytest.fixture
def mix(made):
    """Small batches of two segments, the first of which is read twice."""
    pipeline, _ = made
    stores, hook = pipeline.stores(pipeline.source()), pipeline.recipes()[0].hook_in
    assert len(stores) > 1
    return lambda: Mix([stores[0], *stores], batch=32, pieces=8, hooks=hook)


def same(one, two):
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_mix__resumes_anywhere(mix):
    data = mix()
    whole, n = [*data, *data], len(data)
    assert len(whole) == 2 * n and not same(whole[:n], whole[n:])
    for stop in (0, 1, n // 2, n - 1, n, n + 1):
        first, second = mix(), mix()
        batches = (batch for _ in range(2) for batch in first)
        assert same([next(batches) for _ in range(stop)], whole[:stop])
        second.load_state_dict(first.state_dict())
        rest = list(second)
        if stop % n:  # the epoch that was begun, then the next
            rest += list(second)
        assert same(rest[: 2 * n - stop], whole[stop : stop + len(rest)])


def test_mix__gives_every_store_its_share_of_each_batch(mix):
    data = mix()
    sizes = [len(reader) for reader in data.readers]
    for at in range(len(data)):
        turns = data.order[at * data.pieces : (at + 1) * data.pieces]
        for i, size in enumerate(sizes):
            assert abs(turns.count(i) - data.pieces * size / sum(sizes)) < 1.5
    read = Counter(tuple(row) for batch in data for row in batch.tolist())
    whole = [r.store.reader(batch=1, hooks=data.readers[0].hooks) for r in data.readers]
    there = Counter(tuple(row) for reader in whole for batch in reader for row in batch.tolist())
    assert read <= there and read.total() == 32 * len(data)
    assert there.total() - read.total() < 32 + 4 * len(sizes)  # what fills no batch, no piece
    twice, once = mix().readers[:2]
    assert not same(list(twice), list(once))


def test_mix__refuses_other_segments_and_too_few(made, mix):
    stores = made[0].stores(made[0].source())
    with pytest.raises(StoreError, match="segments"):
        Mix(stores[:1], batch=32).load_state_dict(mix().state_dict())
    with pytest.raises(StoreError, match="no batch of 100000"):
        Mix(stores, batch=100_000, pieces=2000)
    with pytest.raises(StoreError, match="harvest first"):
        Mix([])


def test_contributions__add_up_to_the_logit_difference(loaded):
    prompts = [
        ioi.Prompt("When Mary and John went to", "Mary", "John"),
        ioi.Prompt("John and Mary went to the store", "Mary", "John"),
    ]
    found = names.contributions(loaded, prompts)
    total = found.attention.sum() + found.mlp.sum() + found.embedding
    expected = float(ioi.logit_differences(loaded, prompts).mean())
    assert float(total) == pytest.approx(expected, abs=1e-4)
    assert len(found.attention) == 3 and found.attention[found.layer] == found.attention.max()


def test_indirect__an_identity_keeps_everything(loaded):
    hook = loaded.hook("resid_post", 1)
    prompts = [ioi.Prompt("When Mary and John went to", "Mary", "John")]
    found = indirect(loaded, Sae(Identity(), hook, hook, 24, 24), prompts)
    assert found["kept"] == pytest.approx(1.0, abs=1e-5)


def test_recipes__fit_the_model_and_the_budget():
    found = recipes(23)
    assert all(r.sae.latent >= 4 * 576 for r in found)
    # attention: k is of the text trained on; what the bar is about, speeches, is measured
    assert [r.name for r in found if r.sae.k > 48] == ["attention_23"]
    assert sum(2 * r.sae.d_in * r.sae.latent * 2 for r in found) < 24e6
    cfg = train_config(found[0], 3000)
    assert cfg.n_steps == 6000 and cfg.warmup_steps + cfg.decay_steps < cfg.n_steps


def test_prompts__are_sixty_with_the_right_name_first_or_second():
    asked = names.asked()
    assert len({p.text for p in asked}) == 60
    first = sum(p.text.index(p.io) < p.text.index(p.s) for p in asked)
    assert first == 30
    assert all(p.text.count(p.s.strip()) == 2 and p.text.count(p.io.strip()) == 1 for p in asked)


def test_counted__adds_up_over_runs_that_fail(tmp_path):
    file = tmp_path / "run" / "cost.json"
    with counted(file):
        pass
    before = read_run(file).seconds
    with pytest.raises(KeyError), counted(file):
        raise KeyError
    assert read_run(file).seconds > before and read_run(file).peak_gb > 0
