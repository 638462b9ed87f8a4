"""Rows add up, edges are what an edit does, nothing is lost: on random models of every kind."""

import pytest
import torch

from tests.utils.graphs.conftest import random_transcoders
from utils.graphs import GraphError, attribute, freeze
from utils.graphs.coders import replace_mlps
from utils.graphs.targets import difference, direction, likely, of_tokens

PROMPT = [0, 3, 5, 7, 2, 9]
SOME = "native LayerNorm"
KINDS = [("relu", True), ("topk", False), ("jumprelu", True)]


def graph_of(loaded, kind="relu", skip=True, **options):
    frozen = freeze(loaded, PROMPT)
    return frozen, attribute(frozen, random_transcoders(loaded, kind, skip), **options)


@pytest.mark.parametrize(("kind", "skip"), KINDS)
def test_rows_add_up_to_the_pre_activation_and_the_logit(loaded, kind, skip):
    frozen, graph = graph_of(loaded, kind, skip, batch=5)
    assert graph.n_active == sum(node.kind == "feature" for node in graph.nodes) > 10
    assert graph.gap() < 1e-4
    saes = random_transcoders(loaded, kind, skip)
    capped = getattr(loaded.model.cfg, "output_logits_soft_cap", -1) or -1
    for i, node in enumerate(graph.nodes):
        found = graph.adjacency[i].sum() + graph.constant[i] + graph.bias[i]
        if node.kind == "feature":
            inner = saes[node.layer].sae
            x = frozen.mlp_in[node.layer, node.pos]
            pre = x @ inner.W_enc[:, node.number] + inner.b_enc[node.number]
            assert float(pre) == pytest.approx(node.activation, rel=1e-5, abs=1e-6)
            torch.testing.assert_close(found, pre, rtol=1e-4, atol=1e-4)
        elif node.kind == "logit" and capped <= 0:
            logits = frozen.logits[-1]
            wanted = logits[node.number] - logits.mean()
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        elif node.kind != "logit":
            assert not graph.adjacency[i].any()


def test_the_frozen_model_with_transcoders_and_errors_is_the_model(loaded):
    frozen = freeze(loaded, PROMPT)
    r = replace_mlps(frozen, random_transcoders(loaded))
    acts = torch.zeros(frozen.n_layers, frozen.n_pos, 12)
    f = r.features
    acts[f.layer, f.pos, f.latent] = f.value
    written = torch.stack([a @ c.W_dec for a, c in zip(acts, r.coders, strict=True)])
    sites = frozen.run(frozen.embed[None], (written + r.biases() + r.error)[None], r.skip)
    torch.testing.assert_close(sites.final[0], frozen.final, rtol=1e-4, atol=1e-4)
    for layer, x in enumerate(sites.mlp_in):
        torch.testing.assert_close(x[0], frozen.mlp_in[layer], rtol=1e-4, atol=1e-4)


def test_an_edge_is_what_taking_the_source_away_does(loaded, seed):
    frozen, graph = graph_of(loaded)
    r = replace_mlps(frozen, random_transcoders(loaded))
    gen = torch.Generator().manual_seed(seed)
    sources = [i for i, node in enumerate(graph.nodes) if node.kind != "logit"]
    for i in [sources[k] for k in torch.randperm(len(sources), generator=gen)[:6].tolist()]:
        node, embed, own = graph.nodes[i], frozen.embed.clone(), r.own.clone()
        if node.kind == "embedding":
            embed[node.pos] = 0
        elif node.kind == "error":
            own[node.layer, node.pos] -= r.error[node.layer, node.pos]
        else:
            row = r.coders[node.layer].W_dec[node.number]
            own[node.layer, node.pos] -= node.activation * row
        after = frozen.run(embed[None], own[None], r.skip)
        before = frozen.run(frozen.embed[None], r.own[None], r.skip)
        for j, target in enumerate(graph.nodes):
            if target.kind == "feature":
                W = r.coders[target.layer].W_enc[:, target.number]
                change = (before.mlp_in[target.layer] - after.mlp_in[target.layer])[
                    0, target.pos
                ] @ W
            elif target.kind == "logit":
                vector = of_tokens(frozen, [target.number]).vectors[0]
                change = (before.final - after.final)[0, -1] @ vector
            else:
                continue
            torch.testing.assert_close(graph.adjacency[j, i], change, rtol=1e-3, atol=2e-4)


def test_edges_go_up_and_to_the_right(loaded):
    _, graph = graph_of(loaded)
    for i, j in graph.adjacency.nonzero().tolist():
        target, source = graph.nodes[i], graph.nodes[j]
        assert source.layer < target.layer and source.pos <= target.pos


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_size_changes_nothing(model_of, batch):
    _, one = graph_of(model_of(SOME), batch=3)
    _, other = graph_of(model_of(SOME), batch=batch)
    torch.testing.assert_close(one.adjacency, other.adjacency, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [SOME, "Llama"])
@pytest.mark.parametrize("most", [0, 1, 25])
def test_latents_that_are_no_node_are_in_the_errors(model_of, name, most):
    loaded = model_of(name)
    _, whole = graph_of(loaded)
    _, some = graph_of(loaded, max_features=most, batch=4)
    assert sum(node.kind == "feature" for node in some.nodes) == most
    assert some.n_active == whole.n_active > most
    assert some.gap() < 1e-4
    number = {(n.kind, n.layer, n.pos, n.number): i for i, n in enumerate(whole.nodes)}
    place = [number[n.kind, n.layer, n.pos, n.number] for n in some.nodes]
    errors = some.of_kind("error")
    for i, row in zip(place, some.adjacency, strict=True):
        torch.testing.assert_close(row[~errors], whole.adjacency[i][place][~errors])
        torch.testing.assert_close(row.sum(), whole.adjacency[i].sum(), rtol=1e-3, atol=1e-4)


def test_the_latents_that_are_kept_are_the_influential_ones(model_of):
    from utils.graphs import influence

    _, whole = graph_of(model_of(SOME))
    _, some = graph_of(model_of(SOME), max_features=20, batch=4)
    features = whole.of_kind("feature")
    best = influence(whole)[features].topk(20).indices.tolist()
    kept = {(n.layer, n.pos, n.number) for n in some.nodes if n.kind == "feature"}
    wanted = {(n.layer, n.pos, n.number) for n in (whole.nodes[i] for i in best)}
    assert len(kept & wanted) >= 14  # greedy, so not all


def test_targets_of_ones_own(loaded):
    frozen = freeze(loaded, PROMPT)
    saes, d = random_transcoders(loaded), frozen.final.shape[1]
    two = attribute(frozen, saes, of_tokens(frozen, [4, 11]))
    one = attribute(frozen, saes, difference(frozen, 4, 11))
    torch.testing.assert_close(
        one.adjacency[-1, :-1], two.adjacency[-2, :-2] - two.adjacency[-1, :-2],
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip
    vector = torch.randn(d, generator=torch.Generator().manual_seed(1))
    own = attribute(frozen, saes, direction(frozen, vector, "mine"))
    assert own.nodes[-1].label == "mine" and own.nodes[-1].number == -1
    torch.testing.assert_close(own.value[-1], frozen.final[-1] @ vector, rtol=1e-4, atol=1e-4)
    assert own.gap() < 1e-4


def test_likely_tokens_have_the_share_asked_for(model_of):
    frozen = freeze(model_of(SOME), PROMPT)
    p = frozen.logits[-1].softmax(-1)
    for share in (0.1, 0.5, 0.9):
        found = likely(frozen, share, most=20)
        assert float(p[found.tokens].sum()) >= share > float(p[found.tokens[:-1]].sum())
    assert len(likely(frozen, 1.0, most=3).tokens) == 3


@pytest.mark.parametrize(
    ("tokens", "says"), [([3], "two tokens or more"), ([[1, 2], [3, 4]], "one prompt")]
)
def test_a_prompt_that_is_none_is_an_error(model_of, tokens, says):
    with pytest.raises(GraphError, match=says):
        freeze(model_of(SOME), torch.tensor(tokens))


def test_transcoders_must_be_there_and_in_place(model_of):
    loaded = model_of(SOME)
    frozen, saes = freeze(loaded, PROMPT), random_transcoders(loaded)
    with pytest.raises(GraphError, match="no transcoder for layer 1"):
        attribute(frozen, [saes[0], saes[2]])
    from dataclasses import replace

    wrong = replace(saes[1], hook_in="blocks.1.hook_resid_mid")
    with pytest.raises(GraphError, match=r"a graph needs blocks\.1\.mlp\.hook_in"):
        attribute(frozen, [saes[0], wrong, saes[2]])
    with pytest.raises(GraphError, match="from 0 to 19"):
        of_tokens(frozen, [20])


def test_nothing_of_the_model_is_changed(loaded):
    ids = torch.tensor([PROMPT])
    before = loaded.model(ids)
    graph_of(loaded)
    torch.testing.assert_close(loaded.model(ids), before, rtol=0, atol=0)
