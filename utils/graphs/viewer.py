"""The JSON of the field's graph viewer (circuit-tracer, Neuronpedia), written and read.

What that form has no place for (what biases give to a row, its value) is not in it: a graph that is
read back has the sum of its edges as value. Errors get the id `{layer}_error_mlp_{pos}`, as on
Neuronpedia: circuit-tracer's own `0_{layer}_{pos}` is also the id of a latent of layer 0.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils import files
from utils.graphs.graph import Graph, Kind, Node
from utils.graphs.influence import cumulative_share

TYPES: dict[Kind, str] = {
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "embedding": "embedding",
    "logit": "logit",
}
KINDS = {name: kind for kind, name in TYPES.items()}
SCHEMA = 1
REQUIRED = ("metadata", "qParams", "nodes", "links")


class ViewerError(ValueError):
    """A file that is no graph of the viewer's; the sentence says what is missing."""


def cantor(layer: int, number: int) -> int:
    """One number for two."""
    return (layer + number) * (layer + number + 1) // 2 + number


def node_ids(graph: Graph) -> list[str]:
    """The viewer's id of every node; outputs that are no token get negative numbers."""
    found = []
    for i, n in enumerate(graph.nodes):
        if n.kind == "feature":
            found.append(f"{n.layer}_{n.number}_{n.pos}")
        elif n.kind == "error":
            found.append(f"{n.layer}_error_mlp_{n.pos}")
        elif n.kind == "embedding":
            found.append(f"E_{n.number}_{n.pos}")
        else:
            number = n.number if n.number >= 0 else i - len(graph.nodes)
            found.append(f"{graph.n_layers + 1}_{number}_{n.pos}")
    return found


def cumulative(graph: Graph) -> list[float | None]:
    """`cumulative_share` of every node, in the graph before pruning; None for outputs."""
    share = cumulative_share(graph) if graph.share is None else graph.share
    logits = graph.of_kind("logit")
    return [
        None if is_logit else float(x)
        for x, is_logit in zip(share.tolist(), logits.tolist(), strict=True)
    ]


def viewer_node(graph: Graph, node: Node, name: str, share: float | None) -> dict[str, Any]:
    """One node as the viewer has it."""
    layer = {"embedding": "E", "logit": str(graph.n_layers + 1)}.get(node.kind, str(node.layer))
    number = name.split("_")[1]
    ids = {
        "feature": f"{layer}_{number}-0",
        "error": f"{layer}_{node.pos}-0",
        "embedding": f"E_{number}-{node.pos}",
        "logit": f"L_{number}-{node.pos}",
    }
    feature = {
        "feature": cantor(node.layer, node.number),
        "error": -1,
        "embedding": node.pos,
        "logit": int(number) if node.kind == "logit" else 0,
    }
    clerp = node.label
    if node.kind == "logit":
        clerp = f'Output "{node.label}" (p={node.activation:.3f})'
    elif node.kind == "embedding":
        clerp = f'Emb: "{node.label}"'
    elif node.kind == "error":
        clerp = f"Err: mlp {node.layer}"
    return {
        "node_id": name,
        "feature": feature[node.kind],
        "layer": layer,
        "ctx_idx": node.pos,
        "feature_type": TYPES[node.kind],
        "jsNodeId": ids[node.kind],
        "clerp": clerp,
        "token_prob": node.activation if node.kind == "logit" else 0.0,
        "is_target_logit": node.kind == "logit",
        "run_idx": 0,
        "reverse_ctx_idx": len(graph.tokens) - 1 - node.pos,
        "influence": share,
        "activation": node.activation if node.kind == "feature" else None,
    }


def plain(text: str) -> str:
    """A text as a slug: letters, digits, `_`, `-`, `.`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "graph"


def as_viewer(graph: Graph, slug: str = "") -> dict[str, Any]:
    """The graph as the viewer's JSON; thresholds are those that it was pruned with (1: not)."""
    node_threshold, edge_threshold = graph.thresholds
    ids = node_ids(graph)
    shares = cumulative(graph)
    nodes = [viewer_node(graph, *each) for each in zip(graph.nodes, ids, shares, strict=True)]
    targets, sources = graph.adjacency.nonzero(as_tuple=True)
    weights = graph.adjacency[targets, sources].tolist()
    edges = zip(sources.tolist(), targets.tolist(), weights, strict=True)
    links = [{"source": ids[s], "target": ids[t], "weight": w} for s, t, w in edges]
    return {
        "metadata": {
            "slug": plain(slug or graph.prompt)[:80],
            "scan": plain(graph.model),
            "transcoder_list": [],
            "prompt_tokens": graph.strings,
            "prompt": graph.prompt,
            "node_threshold": node_threshold,
            "schema_version": SCHEMA,
            "pruning_settings": {
                "node_threshold": node_threshold,
                "edge_threshold": edge_threshold,
            },
        },
        "qParams": {
            "linkType": "both",
            "pinnedIds": list(dict.fromkeys(ids[i] for m in graph.supernodes.values() for i in m)),
            "clickedId": "",
            "supernodes": [[name, *(ids[i] for i in m)] for name, m in graph.supernodes.items()],
            "sg_pos": "",
        },
        "nodes": nodes,
        "links": links,
    }


def node_from(told: Mapping[str, Any], n_layers: int) -> Node:
    """One node of a viewer's file."""
    name, clerp = str(told["node_id"]), str(told.get("clerp") or "")
    kind = KINDS[told["feature_type"]]
    parts, pos = name.split("_"), int(told["ctx_idx"])
    if kind == "feature":
        value = told.get("activation")
        size = 1.0 if value is None else float(value)
        return Node(kind, int(told["layer"]), pos, int(parts[1]), size, clerp)
    if kind == "error":
        # circuit-tracer's own id is 0_{layer}_{pos}
        return Node(kind, int(told["layer"]), pos, -1)
    quoted = re.search(r'"(.*)"', clerp, re.DOTALL)
    label = quoted[1] if quoted else clerp
    if kind == "embedding":
        return Node(kind, -1, pos, int(parts[1]), label=label)
    probability = float(told.get("token_prob") or 0.0)
    number = int(parts[1])
    return Node(kind, n_layers, pos, max(number, -1), probability, label)


def from_viewer(told: Mapping[str, Any]) -> Graph:
    """A graph from the viewer's JSON; ViewerError where it is none."""
    if missing := [name for name in REQUIRED if name not in told]:
        raise ViewerError(f"this is no graph: {', '.join(missing)} missing")
    strange = {n.get("feature_type") for n in told["nodes"]} - KINDS.keys()
    if strange:
        raise ViewerError(f"nodes of a kind that is unknown here: {', '.join(map(str, strange))}")
    outputs = [int(n["layer"]) for n in told["nodes"] if n["feature_type"] == "logit"]
    if not outputs:
        raise ViewerError("the graph explains nothing: it has no node of type logit")
    n_layers = max(outputs) - 1
    nodes = [node_from(n, n_layers) for n in told["nodes"]]
    number = {str(n["node_id"]): i for i, n in enumerate(told["nodes"])}
    if len(number) < len(nodes):
        [(twice, _)] = Counter(str(n["node_id"]) for n in told["nodes"]).most_common(1)
        raise ViewerError(f"two nodes are called {twice!r}: their edges cannot be told apart")
    A = torch.zeros(len(nodes), len(nodes))
    for link in told["links"]:
        ends = (str(link["target"]), str(link["source"]))
        if lost := [end for end in ends if end not in number]:
            raise ViewerError(f"an edge goes to {lost[0]!r}, which is no node")
        if not math.isfinite(weight := float(link["weight"])):
            raise ViewerError(f"the edge from {ends[1]} to {ends[0]} has weight {weight}")
        A[number[ends[0]], number[ends[1]]] = weight
    words = [str(s) for s in told["metadata"]["prompt_tokens"]]
    ids = torch.full((len(words),), -1)
    for node in nodes:
        if node.kind == "embedding":
            ids[node.pos] = node.number
    zeros = torch.zeros(len(nodes))
    pruning = told["metadata"].get("pruning_settings") or {}
    limits = [float(pruning.get(f"{part}_threshold", 1.0)) for part in ("node", "edge")]
    of_all = [n.get("influence") for n, node in zip(told["nodes"], nodes, strict=True)
              if node.kind != "logit"]  # fmt: skip
    whole = all(share is not None for share in of_all)
    found = [1.0 if n.get("influence") is None else float(n["influence"]) for n in told["nodes"]]
    return Graph(
        tokens=ids,
        strings=words,
        nodes=nodes,
        adjacency=A,
        constant=zeros,
        value=A.sum(dim=1),
        bias=zeros,
        n_active=sum(node.kind == "feature" for node in nodes),
        n_layers=n_layers,
        prompt=str(told["metadata"]["prompt"]),
        model=str(told["metadata"]["scan"]),
        supernodes={
            str(name): [number[m] for m in members if m in number]
            for name, *members in told["qParams"].get("supernodes") or []
        },
        thresholds=(limits[0], limits[1]),
        share=torch.tensor(found) if whole else None,
    )


def write_viewer(graph: Graph, path: str | Path, slug: str = "") -> Path:
    """Write the viewer's JSON, whole or not at all."""
    told = json.dumps(as_viewer(graph, slug), ensure_ascii=False, allow_nan=False)
    files.write(Path(path), told)
    return Path(path)


def read_viewer(path: str | Path) -> Graph:
    """Read the viewer's JSON."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ViewerError(f"{path} is no JSON: {error}") from error
    try:
        return from_viewer(told)
    except KeyError as error:
        raise ViewerError(f"{path}: {error} is missing") from error
