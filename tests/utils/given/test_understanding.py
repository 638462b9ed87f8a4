"""What 3.2.4's demos are given: pushes of a model, explanations, families, words."""

from types import SimpleNamespace

import pytest
import torch

from part32_interp_with_saes.s4_understanding_latents import (
    absorbed,
    balanced_accuracy,
    best_predicate,
    f1_scores,
    output_score,
    random_like,
)
from utils.course import ARTIFACTS
from utils.given import explaining, families, first_letters, steering
from utils.given.in_model import sample_rows
from utils.models.loaded import Loaded
from utils.models.sae import load_sae
from utils.models.tiny import load_tiny
from utils.saes.config import SAEConfig


@pytest.fixture(scope="module")
def story():
    """The story model, an SAE, and the latents of some rows."""
    model = load_tiny(ARTIFACTS / "tiny_story_4l")
    loaded = Loaded(model, model.tokenizer, "tiny_story_4l")
    sae = load_sae(ARTIFACTS / "tiny_story_4l" / "residual_2_384")
    data, resid = steering.latents_and_stream(loaded, sae, sample_rows(loaded, 12, 0))
    return SimpleNamespace(loaded=loaded, sae=sae, data=data, resid=resid)


def test_latents_are_those_of_the_stream(story):
    f = story.sae.encode(story.resid) * story.data.mask[..., None]
    times = torch.bincount(story.data.number, minlength=384)
    number = int(times.argmax())
    assert torch.equal(story.data.latent(number), f[..., number])
    assert int(times.sum()) == int((f != 0).sum())


def test_a_push_changes_its_own_rows_and_never_the_first_token(story):
    ids, hook = story.data.ids[:3, :9], story.sae.hook_out
    seen = []

    def push(value, where):
        seen.append(where.clone())
        return value + 5 * where[..., None] * torch.arange(96.0).cos()

    clean, still, pushed = steering.next_logits(story.loaded, hook, ids, [lambda v, where: v, push])
    torch.testing.assert_close(still, clean, rtol=1e-4, atol=1e-4)
    assert (pushed - clean).abs().max() > 0.1
    assert not seen[0][:, 0].any() and seen[0][:, 1:].all()
    assert float(steering.divergence(clean, pushed).min()) > 0


def test_writing_is_seeded_and_leaves_the_callers_numbers(story):
    ids, hook = story.data.ids[:2, :6], story.sae.hook_out
    before = torch.random.get_rng_state()
    one, two = (steering.write(story.loaded, hook, ids, 4, 3) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (1, 2, 10)
    assert torch.equal(one[0, :, :6], ids)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_pushed_latents_have_three_directions(story):
    W, gen = story.sae.sae.W_dec.detach(), torch.Generator().manual_seed(0)
    numbers = torch.bincount(story.data.number, minlength=384).topk(2).indices.tolist()
    found = steering.push_latents(
        story.loaded, story.sae.hook_out, story.data, story.resid, W, numbers,
        story.data.ids[:3, :6], (0.1, 1.0), random_like(W[0], 2, gen), output_score,
        writes=lambda number: torch.arange(4),
    )  # fmt: skip
    assert found.shape == (3, 3, 2, 2)
    assert (found[2, ..., 1] > found[2, ..., 0]).all()  # more dose, more cost
    mean, low, high = steering.interval(torch.arange(10.0), gen)
    assert low < mean == 4.5 < high


def test_made_labels_are_found_and_scores_have_their_controls():
    told, gen = explaining.told_stories(30, 0), torch.Generator().manual_seed(0)
    n_found, n_labels = explaining.labels_found(told, gen, best_predicate)
    assert n_found > 0.8 * n_labels > 10
    scored = explaining.score_many(
        told.active[384], told.x, told.said, told.fit, 6, gen, best_predicate, balanced_accuracy,
        random_like,
    )  # fmt: skip
    assert len(scored.scores["latents"]) == 6 and len(scored.scores["shuffled"]) == 5
    assert scored.scores["latents"].mean() > scored.scores["shuffled"].mean() + 0.1


def test_short_saes_explain_and_normal_vectors_have_the_covariance():
    gen = torch.Generator().manual_seed(0)
    rows = torch.randn(4000, 8, generator=gen) @ torch.randn(8, 8, generator=gen) + 2
    coder = families.short_sae(rows, SAEConfig(8, 32, "topk", k=6), 0, steps=80, lr=5e-3)
    assert families.explained(coder, rows) > 0.6
    drawn = families.normal_like(rows, gen)
    torch.testing.assert_close(drawn.norm(dim=1), rows.norm(dim=1), rtol=1e-4, atol=1e-4)
    inside, _ = families.meta_variance(rows[:400], 300)
    assert 0 < inside < 1


def test_neighbours_and_the_tree():
    points = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    assert families.neighbours_kept(points, 2 * points + 1, 4) == 1.0
    z, x, W = families.tree(500, 0)
    torch.testing.assert_close(x, z @ W)
    has, with_child = families.family_of(z, 2)
    assert (has | ~with_child).all() and with_child.any()


def test_letters_of_the_story_words(story):
    gen = torch.Generator().manual_seed(0)
    words = first_letters.letter_words(story.loaded, story.sae.hook_in, 400, gen)
    pairs = zip(words.text, words.letter, strict=True)
    assert all(ord(word[0].lower()) - 97 == int(i) for word, i in pairs)
    probes = first_letters.letter_probes(words, least=12)
    found = first_letters.find_holes(words, probes, story.sae, f1_scores, absorbed)
    assert len(found.silent) == len(found.taken) and len(found.names) == len(found.f1)
    assert (found.taken <= found.silent).all()
    assert list(first_letters.saes_to_try(story.sae)) == ["the course's SAE"]
