"""Predicted against measured: equal where the model is linear, close for small steps elsewhere."""

from dataclasses import replace

import pytest
import torch

from tests.utils.graphs.conftest import random_transcoders
from utils.graphs import GraphError, attribute, freeze
from utils.graphs.intervene import effects, intervene
from utils.graphs.targets import difference, of_tokens

PROMPT = [0, 3, 5, 7, 2, 9]
TOKENS = [4, 11, 17]
SOME = ["native LayerNorm", "native RMSNorm, gated", "Gemma 2", "GPT-NeoX"]


def made(loaded, **options):
    frozen, saes = freeze(loaded, PROMPT), random_transcoders(loaded)
    return frozen, saes, attribute(frozen, saes, of_tokens(frozen, TOKENS), **options)


def biased(graph):
    """Features of a graph."""
    return [(i, node) for i, node in enumerate(graph.nodes) if node.kind == "feature"]


@pytest.mark.parametrize("name", SOME)
def test_no_edit_changes_nothing(model_of, name):
    frozen, saes, graph = made(model_of(name))
    same = {(n.layer, n.pos, n.number): n.activation for _, n in biased(graph)[:5]}
    for constrained in (True, False):
        done = intervene(frozen, saes, same, constrained)
        torch.testing.assert_close(done.after, done.before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", SOME)
def test_a_small_step_does_what_the_graph_predicts(model_of, name):
    frozen, saes, graph = made(model_of(name))
    capped = (getattr(frozen.loaded.model.cfg, "output_logits_soft_cap", -1) or -1) > 0
    if capped:
        pytest.skip("the graph is about logits before the cap")
    predicted = effects(graph)
    for i, n in biased(graph)[::4]:
        step = 1e-3
        edit = {(n.layer, n.pos, n.number): n.activation * (1 + step)}
        found = intervene(frozen, saes, edit, constrained=True).change[TOKENS] / step
        size = predicted[:, i].abs().max().clamp(min=0.05)
        torch.testing.assert_close(found / size, predicted[:, i] / size, rtol=0, atol=0.03)


def test_the_last_layers_latents_do_exactly_what_is_predicted(model_of):
    frozen, saes, graph = made(model_of("native LayerNorm"))
    predicted = effects(graph)
    for i, n in biased(graph):
        if n.layer == 2 and n.pos == 5:
            edit = {(2, 5, n.number): 0.0}
            found = intervene(frozen, saes, edit, constrained=True).change[TOKENS]
            torch.testing.assert_close(found, -predicted[:, i], rtol=1e-3, atol=1e-4)
            direct = graph.adjacency[graph.of_kind("logit")][:, i]
            torch.testing.assert_close(predicted[:, i], direct)


def test_without_norms_and_attention_free_and_constrained_are_one(model_of):
    frozen, saes, graph = made(model_of("native without norms"))
    last = [(i, n) for i, n in biased(graph) if n.layer == 2]
    for _, n in last:
        edit = {(2, n.pos, n.number): 3.0}
        one, two = (intervene(frozen, saes, edit, c).after for c in (True, False))
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_a_free_edit_is_the_difference_at_the_mlps_output(model_of):
    frozen, saes, graph = made(model_of("Llama"))
    _, n = biased(graph)[3]
    row = saes[n.layer].sae.W_dec[n.number]

    def add(out, hook):
        out = out.clone()
        out[0, n.pos] += (7.0 - n.activation) * row
        return out

    hooks = [(frozen.loaded.hook("mlp_out", n.layer), add)]
    expected = frozen.loaded.model.run_with_hooks(frozen.tokens[None], fwd_hooks=hooks)[0, -1]
    found = intervene(frozen, saes, {(n.layer, n.pos, n.number): 7.0})
    torch.testing.assert_close(found.after, expected, rtol=1e-4, atol=1e-4)


def test_capped_logits_stay_below_the_cap(model_of):
    """the change is made before the cap, where the model has one"""
    frozen, saes, graph = made(model_of("Gemma 2"))
    cap = frozen.loaded.model.cfg.output_logits_soft_cap
    _, n = biased(graph)[-1]
    done = intervene(frozen, saes, {(n.layer, n.pos, n.number): 1e4}, constrained=True)
    assert float(done.after.abs().max()) <= cap
    assert float((done.after - done.before).abs().max()) > 0.1


@pytest.mark.parametrize("constrained", [False, True])
def test_a_transcoder_that_reads_elsewhere_is_an_error(model_of, constrained):
    """an edit of what it would read there changes nothing, or something else"""
    frozen, saes, _ = made(model_of("Llama"))
    elsewhere = [replace(sae, hook_in=f"blocks.{sae.layer}.hook_resid_mid") for sae in saes]
    with pytest.raises(GraphError, match=r"`freeze`, too"):
        intervene(frozen, elsewhere, {(1, 2, 3): 1.0}, constrained)


def test_transcoders_may_differ_in_width(model_of):
    loaded = model_of("native LayerNorm")
    saes = random_transcoders(loaded)
    inner = saes[1].sae
    wide = replace(inner, W_enc=inner.W_enc.repeat(1, 2), b_enc=inner.b_enc.repeat(2),
                   W_dec=inner.W_dec.repeat(2, 1) / 2)  # fmt: skip
    mixed = [saes[0], replace(saes[1], sae=wide, n_latents=24), saes[2]]
    frozen = freeze(loaded, [0, 3, 5, 7, 2, 9])
    one, two = attribute(frozen, saes), attribute(frozen, mixed)
    assert two.n_active > one.n_active and two.gap() < 1e-4


def test_a_difference_of_one_token_is_an_error(model_of):
    frozen, _, _ = made(model_of("Llama"))
    with pytest.raises(GraphError, match="the two tokens are one"):
        difference(frozen, 4, 4)


@pytest.mark.parametrize("place", [(0, 0, 1), (0, 6, 1), (0, 1, 12), (3, 1, 0)])
def test_a_place_that_is_none_is_an_error(model_of, place):
    frozen, saes, _ = made(model_of("Llama"))
    with pytest.raises(GraphError):
        intervene(frozen, saes, {place: 1.0})
