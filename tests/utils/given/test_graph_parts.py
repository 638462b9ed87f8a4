"""3.2.7's given parts: the frozen map in pieces, edits in batches, prompts of the grammar."""

import pytest
import torch

from utils.data.stories.sample import annotate
from utils.given.graph_parts import (
    head_maps,
    local_model,
    read_outputs,
    run_edits,
    stream_of_sources,
)
from utils.given.graph_questions import KINDS, WORDS, questions, swaps
from utils.given.graph_runs import head_inputs
from utils.graphs.intervene import intervene
from utils.graphs.targets import difference
from utils.models import language_model, transcoders


@pytest.fixture(scope="module")
def story():
    """The story model, its transcoders, and one prompt."""
    loaded = language_model("tiny")
    saes = transcoders(range(loaded.n_layers), "tiny")
    ask = questions("receiver", 1, seed=100)[0]
    return loaded, ask, local_model(loaded, ask.tokens, saes)


def written(local):
    """What the sources write."""
    r = local.replacement
    f = r.features
    latents = f.value[:, None] * local.W_dec[f.layer, f.latent]
    return torch.cat([latents, r.error.flatten(0, 1), local.frozen.embed])


def test_sources_together_are_the_model(story):
    _, ask, local = story
    found = read_outputs(local, difference(local.frozen, ask.right[0], ask.wrong[0]).vectors)
    bias = difference(local.frozen, ask.right[0], ask.wrong[0]).bias
    got = found(written(local)[None]) + bias
    torch.testing.assert_close(got[0], ask.gap(local.frozen.logits[-1]), rtol=1e-4, atol=1e-4)


def test_edits_in_batches_are_single_interventions(story):
    _, _, local = story
    f = local.replacement.features
    picked = [5, 200, 400]
    edits = [{(int(f.layer[i]), int(f.pos[i]), int(f.latent[i])): 0.5} for i in picked]
    edits.append({**edits[0], **edits[2]})
    for constrained in (True, False):
        together = run_edits(local, edits, constrained)
        for row, edit in zip(together, edits, strict=True):
            alone = intervene(local.frozen, local.saes, edit, constrained).after
            torch.testing.assert_close(row, alone, rtol=1e-3, atol=1e-3)


def test_sources_in_the_stream_and_in_a_head_add_up(story):
    loaded, ask, local = story
    names = ["blocks.2.hook_resid_pre", "blocks.2.attn.hook_pattern"]
    _, cache = loaded.model.run_with_cache(ask.tokens[None], names_filter=lambda n: n in names)
    stream = stream_of_sources(local, written(local), 2)
    torch.testing.assert_close(stream.sum(dim=0), cache[names[0]][0], rtol=1e-3, atol=1e-3)

    def norm(x, scale, gain, bias):
        return (x - x.mean(dim=-1, keepdim=True)) / scale * gain + bias

    x, last = head_inputs(local, written(local), 2, norm).sum(dim=0), len(ask.tokens) - 1
    scores = []
    for key in (2, 4):
        W_Q, b_Q, W_K, b_K = head_maps(loaded, 2, 3, last, key)
        scores.append((x[last] @ W_Q + b_Q) @ (x[key] @ W_K + b_K) / len(b_Q) ** 0.5)
    pattern = cache[names[1]][0, 3, last]
    ratio = (pattern[2] / pattern[4]).log()
    torch.testing.assert_close(scores[0] - scores[1], ratio, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_of_the_grammar(kind):
    for ask in questions(kind, 15, seed=100):
        annotate(ask.tokens[None])
        assert len(ask.tokens) <= len(WORDS)
        assert not set(ask.right) & set(ask.wrong)


def test_swaps_differ_in_the_place_alone():
    for pair in swaps(15, seed=100):
        for other in (pair.other, pair.same):
            assert (pair.tokens != other).nonzero().flatten().tolist() == [8]
        assert not set(pair.here) & set(pair.there)
