"""The viewer's JSON: every required field, ids that do not collide, and the way back."""

import json
import re
from dataclasses import replace

import pytest
import torch

from tests.utils.graphs.conftest import random_transcoders
from utils.graphs import attribute, freeze, influence, pruned
from utils.graphs.page import page, write_page
from utils.graphs.targets import difference
from utils.graphs.viewer import (
    ViewerError,
    as_viewer,
    cantor,
    from_viewer,
    node_ids,
    read_viewer,
    write_viewer,
)

PROMPT = [0, 3, 5, 7, 2, 9]


@pytest.fixture
def graph(model_of):
    loaded = model_of("native LayerNorm")
    made = attribute(freeze(loaded, PROMPT), random_transcoders(loaded))
    return replace(made, supernodes={"first": [0, 2], "second": [1]})


def test_every_required_field_is_there(graph):
    told = as_viewer(graph, "a b/c")
    assert set(told) == {"metadata", "qParams", "nodes", "links"}
    assert {"slug", "scan", "prompt", "prompt_tokens", "transcoder_list", "schema_version"} <= set(
        told["metadata"]
    )
    assert told["metadata"]["slug"] == "a-b-c" and told["metadata"]["schema_version"] == 1
    needed = {"node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"}
    assert all(needed <= set(node) for node in told["nodes"])
    assert all(set(link) == {"source", "target", "weight"} for link in told["links"])
    json.dumps(told, allow_nan=False)


def test_ids_are_different_and_of_the_viewers_form(graph):
    ids = node_ids(graph)
    assert len(set(ids)) == len(ids)
    told = {n["node_id"]: n for n in as_viewer(graph)["nodes"]}
    for name, n in zip(ids, graph.nodes, strict=True):
        node = told[name]
        if n.kind == "feature":
            assert name == f"{n.layer}_{n.number}_{n.pos}"
            assert node["jsNodeId"] == f"{n.layer}_{n.number}-0"
            assert node["feature"] == cantor(n.layer, n.number)
        elif n.kind == "error":
            assert (name, node["feature"]) == (f"{n.layer}_error_mlp_{n.pos}", -1)
        elif n.kind == "embedding":
            assert (name, node["layer"], node["feature"]) == (f"E_{n.number}_{n.pos}", "E", n.pos)
        else:
            assert (name, node["layer"]) == (f"4_{n.number}_{n.pos}", "4")
            assert node["clerp"] == f'Output "{n.label}" (p={n.activation:.3f})'
            assert node["is_target_logit"] and node["influence"] is None


def test_cantor_pairs_are_different():
    assert len({cantor(i, j) for i in range(40) for j in range(40)}) == 1600
    assert [cantor(0, 0), cantor(1, 0), cantor(0, 1), cantor(2, 3)] == [0, 1, 2, 18]


def test_influence_is_cumulative_and_the_strongest_has_least(graph):
    worth, told = influence(graph), as_viewer(graph)["nodes"]
    kept = [i for i, n in enumerate(graph.nodes) if n.kind != "logit"]
    order = sorted(kept, key=lambda i: -float(worth[i]))
    shares = [told[i]["influence"] for i in order]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    assert shares[0] == pytest.approx(float(worth[order[0]] / worth.sum()), rel=1e-4)


def test_a_pruned_graph_says_with_what_and_shows_the_influence_of_before(graph):
    """so that no viewer hides, by the threshold in the file, what was kept"""
    assert as_viewer(graph)["metadata"]["pruning_settings"] == {
        "node_threshold": 1.0, "edge_threshold": 1.0,
    }  # fmt: skip
    small = pruned(graph, 0.5, 0.9)
    told, whole = as_viewer(small), as_viewer(graph)
    assert told["metadata"]["node_threshold"] == 0.5
    assert told["metadata"]["pruning_settings"]["edge_threshold"] == 0.9
    before = {n["node_id"]: n["influence"] for n in whole["nodes"]}
    for node in told["nodes"]:
        assert node["influence"] == before[node["node_id"]]
    chosen = ("cross layer transcoder", "mlp reconstruction error")
    shares = sorted(n["influence"] for n in told["nodes"] if n["feature_type"] in chosen)
    assert all(share <= 0.5 for share in shares[:-1]), "the last one reaches the threshold"
    again = as_viewer(from_viewer(told))
    assert again["metadata"]["pruning_settings"] == told["metadata"]["pruning_settings"]
    assert [n["influence"] for n in again["nodes"]] == pytest.approx(
        [n["influence"] for n in told["nodes"]]
    )


def test_two_nodes_of_one_name_are_an_error(graph, tmp_path):
    """circuit-tracer's id of an error is also that of a latent of layer 0"""
    told = as_viewer(graph)
    names = [n["node_id"] for n in told["nodes"]]
    told["nodes"][0]["node_id"] = names[1]
    with pytest.raises(ViewerError, match=f"two nodes are called '{names[1]}'"):
        from_viewer(told)
    told = as_viewer(graph)
    del told["metadata"]["prompt_tokens"]
    (tmp_path / "graph.json").write_text(json.dumps(told))
    with pytest.raises(ViewerError, match="'prompt_tokens' is missing"):
        read_viewer(tmp_path / "graph.json")


def test_links_are_the_adjacency(graph):
    told = as_viewer(graph)
    number = {n["node_id"]: i for i, n in enumerate(told["nodes"])}
    A = torch.zeros_like(graph.adjacency)
    for link in told["links"]:
        A[number[link["target"]], number[link["source"]]] = link["weight"]
    assert (graph.adjacency == A).all()


@pytest.mark.parametrize("small", [False, True])
def test_a_graph_comes_back(graph, tmp_path, small):
    graph = pruned(graph) if small else graph
    back = read_viewer(write_viewer(graph, tmp_path / "graph.json"))
    assert (back.adjacency == graph.adjacency).all()
    assert back.supernodes == graph.supernodes and back.strings == graph.strings
    assert back.tokens.tolist() == graph.tokens.tolist() and back.n_layers == graph.n_layers
    for one, other in zip(back.nodes, graph.nodes, strict=True):
        assert (one.kind, one.layer, one.pos, one.number) == (
            *(other.kind, other.layer, other.pos, other.number),
        )
        assert one.activation == pytest.approx(other.activation)
    torch.testing.assert_close(influence(back), influence(graph))


def test_a_difference_comes_back(model_of, tmp_path):
    loaded = model_of("native LayerNorm")
    frozen = freeze(loaded, PROMPT)
    graph = attribute(frozen, random_transcoders(loaded), difference(frozen, 4, 11))
    back = read_viewer(write_viewer(graph, tmp_path / "graph.json"))
    assert (back.nodes[-1].number, back.nodes[-1].label) == (-1, "4 - 11")
    torch.testing.assert_close(influence(back), influence(graph))


def test_circuit_tracers_own_error_ids_are_read(graph):
    told = as_viewer(graph)
    for node in told["nodes"]:
        if node["feature_type"] == "mlp reconstruction error":
            old, new = node["node_id"], f"0_{int(node['layer']) + 900}_{node['ctx_idx']}"
            node["node_id"] = new
            for link in told["links"]:
                link["source"] = new if link["source"] == old else link["source"]
    back = from_viewer(told)
    assert (back.adjacency == graph.adjacency).all()
    assert back.of_kind("error").sum() == graph.of_kind("error").sum()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: g.pop("links"), "links missing"),
        (lambda g: g["nodes"][0].update(feature_type="neuron"), "unknown here: neuron"),
        (lambda g: g["links"][0].update(source="nobody"), "'nobody', which is no node"),
        (lambda g: g["links"][0].update(weight=float("nan")), "has weight nan"),
    ],
)
def test_what_is_no_graph_is_an_error(graph, change, says):
    told = as_viewer(graph)
    change(told)
    with pytest.raises(ViewerError, match=says):
        from_viewer(told)


def test_a_graph_without_outputs_is_an_error(graph):
    told = as_viewer(graph)
    told["nodes"] = [n for n in told["nodes"] if n["feature_type"] != "logit"]
    with pytest.raises(ViewerError, match="explains nothing"):
        from_viewer(told)


def test_no_json_is_an_error(tmp_path):
    (tmp_path / "x.json").write_text("hello")
    with pytest.raises(ViewerError, match="is no JSON"):
        read_viewer(tmp_path / "x.json")


def test_the_page_has_no_address_and_no_markup_of_the_texts(graph, tmp_path):
    evil = replace(graph, strings=["</script><script>alert(1)</script>", *graph.strings[1:]])
    text = page(evil, "<b>title</b>")
    assert "alert(1)</script>" not in text and "<b>title</b>" not in text
    assert set(re.findall(r"https?://[^\"']*", text)) == {"http://www.w3.org/2000/svg"}, (
        "a name of the SVG language is no address"
    )
    assert write_page(evil, tmp_path / "page.html").read_text() == page(evil)
