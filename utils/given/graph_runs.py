"""3.2.7's experiments around the learner's functions: a model by hand, a head, removals."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from utils.given.graph_parts import (
    Local,
    local_model,
    read_latents,
    run_edits,
    stream_of_sources,
)
from utils.given.graph_questions import Question, Swap
from utils.graphs.attribute import attribute
from utils.graphs.frozen import freeze
from utils.graphs.graph import Graph
from utils.models.sae import Sae
from utils.progress import track

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

STRONGEST, DRAWN = 4, 4  # latents of a prompt that are removed


@torch.no_grad()
def logits_by_hand(
    local: Local, norm: Callable, attention: Callable, split: Callable, errors: bool
) -> Float[Tensor, "pos vocab"]:
    """The local replacement model from the learner's functions, with or without its errors."""
    model = local.frozen.loaded.model
    _, cache = model.run_with_cache(local.frozen.tokens[None])
    x = cache["blocks.0.hook_resid_pre"][0]
    keep = torch.full((len(x), 1), float(errors))
    keep[0] = 1  # no transcoder there
    for i, (block, coder) in enumerate(zip(model.blocks, local.replacement.coders, strict=True)):
        name, scales = f"blocks.{i}.", [cache[f"blocks.{i}.ln{k}.hook_scale"][0] for k in (1, 2)]
        h = norm(x, scales[0], block.ln1.weight, block.ln1.bias)
        heads = model.W_V[i], model.b_V[i], model.W_O[i], model.b_O[i]
        x = x + attention(h, cache[f"{name}attn.hook_pattern"][0], *heads)
        h, out = norm(x, scales[1], block.ln2.weight, block.ln2.bias), cache[f"{name}hook_mlp_out"]
        pieces = coder.W_dec, coder.b_out, coder.W_skip
        error = split(h, out[0], local.saes[i].encode, *pieces)[1]
        x = x + out[0] - error + keep * error
    scale = cache["ln_final.hook_scale"][0]
    last = norm(x, scale, model.ln_final.weight, model.ln_final.bias)
    return last @ model.W_U + model.b_U


def latent_rows(
    local: Local, written: Float[Tensor, "source d_model"], rows_of: Callable
) -> tuple[Float[Tensor, "target source"], Float[Tensor, " target"]]:
    """(rows, constants) of all active latents, by the learner's function, 32 at a time."""
    some = torch.arange(local.n_latents).split(32)
    parts = [
        rows_of(read_latents(local, which), written, len(which))
        for which in track(some, "backward passes")
    ]
    return torch.cat([rows for rows, _ in parts]), torch.cat([rest for _, rest in parts])


def node_name(graph: Graph, i: int) -> str:
    """A node in a few words."""
    node = graph.nodes[i]
    kinds = {"feature": f"L{node.layer} latent {node.number}", "error": f"L{node.layer} error"}
    return f"{kinds.get(node.kind, node.kind)} at {graph.strings[node.pos]} ({node.pos})"


def head_that_prefers(
    patterns: Sequence[Tensor], query: int, key: int, other: int
) -> tuple[int, int]:
    """(layer, head) that looks most at one key instead of another; layer 0 has no latents below."""
    likes = torch.stack([p[:, query, key] - p[:, query, other] for p in patterns[1:]])
    layer, head = divmod(int(likes.argmax()), likes.shape[1])
    return layer + 1, head


@torch.no_grad()
def head_inputs(
    local: Local, written: Float[Tensor, "source d_model"], layer: int, norm: Callable
) -> Float[Tensor, "source+1 pos d_model"]:
    """What each source puts into the heads of a layer, after the held norm; biases come last."""
    stream = stream_of_sources(local, written, layer)
    block = local.frozen.loaded.model.blocks[layer]
    names = [f"blocks.{layer}.ln1.hook_scale"]
    _, cache = local.frozen.loaded.model.run_with_cache(
        local.frozen.tokens[None], names_filter=lambda n: n in names
    )
    scale, bias = cache[names[0]][0].expand(len(stream), -1, -1), block.ln1.bias
    parts = norm(stream, scale, block.ln1.weight, torch.zeros_like(bias))
    parts[-1] += bias
    return parts


def removals(
    loaded: "Loaded",
    saes: Sequence[Sae],
    asked: Sequence[Question],
    predict: Callable[..., Tensor],
    gen: torch.Generator,
) -> dict[str, Tensor]:
    """Remove the strongest and some random latents of each prompt, one by one.

    Of every removal: what the graph predicts (all paths; the direct edge alone), what happens in
    constrained and free runs, and the number of the prompt.
    """
    names = ("predicted", "direct", "constrained", "free", "prompt")
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for number, ask in enumerate(track(asked, "prompts")):
        here = local_model(loaded, ask.tokens, saes)
        graph = attribute(here.frozen, saes, ask.targets(here.frozen))
        size = torch.tensor([node.activation for node in graph.nodes])
        latent, logit = graph.of_kind("feature"), graph.of_kind("logit")
        effect = predict(graph.adjacency, size, latent, logit)[0]
        top = (effect * latent).abs().topk(STRONGEST).indices
        which = torch.cat([top, torch.randperm(int(latent.sum()), generator=gen)[:DRAWN]])
        nodes = [graph.nodes[i] for i in which.tolist()]
        edits = [{(n.layer, n.pos, n.number): 0.0} for n in nodes]
        found["predicted"].append(-effect[which])
        found["direct"].append(-graph.adjacency[-1, which])
        found["prompt"].append(torch.full((len(which),), number))
        for name in ("constrained", "free"):
            after = ask.gap(run_edits(here, edits, constrained=name == "constrained"))
            found[name].append(after - ask.gap(here.frozen.logits[-1]))
    return {name: torch.cat(values) for name, values in found.items()}


PLACE, COMMA, LAST = 8, 9, 12  # positions in a prompt that asks for a thing
WHERE = {
    "nothing": (),
    "the place": (PLACE,),
    "the last word": (LAST,),
    "both": (PLACE, LAST),
    "the comma (control)": (COMMA,),
}


def scenes_after(
    loaded: "Loaded", saes: Sequence[Sae], pairs: Sequence[Swap], edits_of: Callable
) -> dict[str, list[list[float]]]:
    """After swaps in the free model: probability of the things of the old and of the new scene.

    A row for each pair of prompts, for each place of the swap; the last takes another place of the
    same scene. `edits_of(latents, other latents, positions)` is the learner's.
    """
    found: dict[str, list[list[float]]] = {name: [] for name in (*WHERE, "same scene (control)")}
    for pair in track(pairs, "pairs of prompts"):
        three = (pair.tokens, pair.other, pair.same)
        here, other, same = (local_model(loaded, tokens, saes) for tokens in three)
        edits = [edits_of(here.acts, other.acts, at) for at in WHERE.values()]
        edits.append(edits_of(here.acts, same.acts, (LAST,)))
        p = run_edits(here, edits, constrained=False).softmax(dim=-1)
        for name, row in zip(found, p, strict=True):
            found[name].append([float(row[pair.here].sum()), float(row[pair.there].sum())])
    return found


def begins_at(
    loaded: "Loaded",
    saes: Sequence[Sae],
    asked: Sequence[Question],
    influence_of: Callable[[Tensor, Tensor], Tensor],
    share_by_word: Callable,
) -> Float[Tensor, "prompt pos"]:
    """Where the influence of each prompt's embeddings begins; both functions are the learner's."""
    found = []
    for ask in track(asked, "graphs"):
        frozen = freeze(loaded, ask.tokens, saes)
        graph = attribute(frozen, saes, ask.targets(frozen))
        worth = influence_of(graph.adjacency, graph.of_kind("logit").float())
        pos = torch.tensor([node.pos for node in graph.nodes])
        found.append(share_by_word(worth, pos, graph.of_kind("embedding"), frozen.n_pos))
    return torch.stack(found)
