"""The adjacency matrix: what each node gives to each later one, by batched backward passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.graphs.coders import Features, Replacement, replace_mlps
from utils.graphs.frozen import Frozen, Sites
from utils.graphs.graph import Graph, Node
from utils.graphs.influence import power_influence
from utils.graphs.targets import Targets, likely
from utils.models.sae import Sae
from utils.progress import track

Reader = Callable[[Sites, int], Tensor]  # the value of a target, by its number in the batch
BATCH = 32  # targets in one backward pass: as many copies of the prompt


@dataclass(frozen=True)
class Rows:
    """What sources give to some targets."""

    features: Float[Tensor, "target feature"]
    errors: Float[Tensor, "target layer pos"]
    embeddings: Float[Tensor, "target pos"]
    constant: Float[Tensor, " target"]
    value: Float[Tensor, " target"]

    @staticmethod
    def joined(parts: "Sequence[Rows]") -> "Rows":
        """One after the other."""
        names = ("features", "errors", "embeddings", "constant", "value")
        return Rows(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Tracer:
    """One forward pass over copies of a prompt, and backward passes from batches of targets."""

    def __init__(self, replacement: Replacement, targets: Targets, batch: int = BATCH) -> None:
        self.r, self.targets, self.batch = replacement, targets, batch
        frozen = replacement.frozen
        self.embed = frozen.embed.expand(batch, -1, -1).clone().requires_grad_()
        self.own = replacement.own.expand(batch, -1, -1, -1).clone().requires_grad_()
        with torch.enable_grad():
            self.sites = frozen.run(self.embed, self.own, replacement.skip)
        self.nothing = frozen.constants(replacement.skip)
        f = replacement.features
        self.written = [
            f.value[here, None] * coder.W_dec[f.latent[here]]
            for here, coder in zip(self.by_layer(), replacement.coders, strict=True)
        ]
        self.biases = replacement.biases()

    def by_layer(self) -> list[Int[Tensor, " chosen"]]:
        """The numbers of the features of each layer."""
        layer = self.r.features.layer
        return [(layer == i).nonzero().flatten() for i in range(self.r.frozen.n_layers)]

    def rows(self, features: Int[Tensor, " chosen"]) -> Rows:
        """What everything before gives to these latents' pre-activations."""
        parts = [self.of_features(some) for some in features.split(self.batch)]
        return Rows.joined(parts) if parts else self.empty()

    def of_outputs(self) -> Rows:
        """What everything gives to the outputs."""
        parts = []
        for vectors in self.targets.vectors.split(self.batch):

            def read(sites: Sites, i: int, vectors: Tensor = vectors) -> Tensor:
                return sites.final[min(i, len(sites.final) - 1), -1] @ vectors[i]

            parts.append(self.back(len(vectors), read))
        return Rows.joined(parts)

    def of_features(self, some: Int[Tensor, " chosen"]) -> Rows:
        """One batch of latents."""
        f, coders = self.r.features, self.r.coders
        places = [(int(f.layer[i]), int(f.pos[i]), int(f.latent[i])) for i in some]

        def read(sites: Sites, i: int) -> Tensor:
            layer, pos, latent = places[i]
            x = sites.mlp_in[layer]
            return x[min(i, len(x) - 1), pos] @ coders[layer].W_enc[:, latent]

        return self.back(len(some), read)

    def back(self, n: int, read: Reader) -> Rows:
        """Gradients of n targets, each on its own copy of the prompt, times what sources write."""
        with torch.enable_grad():
            value = torch.stack([read(self.sites, i) for i in range(n)])
            down = torch.autograd.grad(
                value.sum(), [self.embed, self.own], retain_graph=True, allow_unused=True
            )
        slope_in, slope = (
            torch.zeros_like(leaf[:n]) if grad is None else grad[:n]
            for leaf, grad in zip((self.embed, self.own), down, strict=True)
        )
        pos = self.r.features.pos
        given = [
            (slope[:, i, pos[here]] * write).sum(dim=-1)
            for i, (here, write) in enumerate(zip(self.by_layer(), self.written, strict=True))
        ]
        with torch.no_grad():
            nothing = torch.stack([read(self.nothing, i) for i in range(n)])
        return Rows(
            features=torch.cat(given, dim=1),
            errors=(slope * self.r.error).sum(dim=-1),
            embeddings=(slope_in * self.r.frozen.embed).sum(dim=-1),
            constant=nothing + (slope * self.biases).sum(dim=(1, 2, 3)),
            value=value.detach(),
        )

    def empty(self) -> Rows:
        """No rows."""
        n_layers, n_pos = self.r.own.shape[:2]
        none = self.r.own.new_zeros
        return Rows(none(0, len(self.r.features)), none(0, n_layers, n_pos), none(0, n_pos),
                    none(0), none(0))  # fmt: skip


def attribute(
    frozen: Frozen,
    transcoders: Sequence[Sae],
    targets: Targets | None = None,
    max_features: int | None = None,
    batch: int = BATCH,
) -> Graph:
    """The graph of a prompt: every active latent, error, embedding and output.

    With `max_features` only the latents with the largest influence on the outputs become nodes
    (found as the graph grows, see `grow`); what the others write is counted with the error of
    their layer and position, so that rows still add up.
    """
    replacement = replace_mlps(frozen, transcoders)
    outputs = likely(frozen) if targets is None else targets
    tracer = Tracer(replacement, outputs, batch)
    out = tracer.of_outputs()
    n = len(replacement.features)
    if max_features is None or n <= max_features:
        chosen = torch.arange(n, device=frozen.tokens.device)
        parts = [tracer.rows(some) for some in track(chosen.split(batch), "backward passes")]
        rows = Rows.joined(parts) if parts else tracer.empty()
    else:
        chosen, rows = grow(tracer, out, max_features)
    return assemble(replacement, outputs, chosen, rows, out)


def grow(tracer: Tracer, out: Rows, most: int) -> tuple[Int[Tensor, " chosen"], Rows]:
    """Trace the most influential latents first: influence is that through rows known so far."""
    n, weights = len(tracer.r.features), tracer.targets.weights
    taken = torch.zeros(n, dtype=torch.bool, device=weights.device)
    order: list[Tensor] = []
    parts: list[Rows] = []
    step = max(tracer.batch, -(-most // 32 // tracer.batch) * tracer.batch)  # about 32 rounds
    for _ in track(range(-(-most // step)), "rounds of backward passes"):
        known = torch.cat(order) if order else torch.zeros(0, dtype=torch.long)
        found = Rows.joined(parts) if parts else tracer.empty()
        strength = power_influence(found, out, known, weights)
        strength[taken] = -1.0
        some = strength.topk(min(step, most - int(taken.sum()))).indices.sort().values
        taken[some] = True
        order.append(some)
        parts.append(tracer.rows(some))
    if not parts:
        return torch.zeros(0, dtype=torch.long, device=weights.device), tracer.empty()
    chosen, rows = torch.cat(order), Rows.joined(parts)
    sort = chosen.argsort()
    pieces = (rows.features, rows.errors, rows.embeddings, rows.constant, rows.value)
    return chosen[sort], Rows(*(piece[sort] for piece in pieces))


def assemble(
    r: Replacement, targets: Targets, chosen: Int[Tensor, " chosen"], rows: Rows, out: Rows
) -> Graph:
    """Nodes and matrices, latents that are no node counted with the errors."""
    both = Rows.joined([rows, out])
    f, frozen = r.features, r.frozen
    left = torch.ones(len(f), dtype=torch.bool, device=f.layer.device)
    left[chosen] = False
    errors = both.errors.flatten(1)
    place = f.layer[left] * frozen.n_pos + f.pos[left]
    errors = errors.index_add(1, place, both.features[:, left])
    sources = torch.cat([both.features[:, chosen], errors, both.embeddings], dim=1)
    n, n_out, n_rows = sources.shape[1], len(targets.tokens), len(chosen)
    adjacency = sources.new_zeros(n + n_out, n + n_out)
    adjacency[:n_rows, :n], adjacency[n:, :n] = sources[:n_rows], sources[n_rows:]
    pairs = zip(f.layer[chosen].tolist(), f.latent[chosen].tolist(), strict=True)
    own = torch.stack([r.coders[i].bias[n] for i, n in pairs]) if n_rows else out.value[:0]

    def spread(v: Float[Tensor, " target"]) -> Float[Tensor, " node"]:
        full = v.new_zeros(n + n_out)
        full[:n_rows], full[n:] = v[:n_rows], v[n_rows:]
        return full.cpu()

    decode = frozen.loaded.tokenizer
    ids = frozen.tokens.tolist()
    strings = [decode.decode([t]) if decode is not None else str(t) for t in ids]
    return Graph(
        tokens=frozen.tokens.cpu(),
        strings=strings,
        nodes=nodes_of(f, chosen, frozen, targets, strings),
        adjacency=adjacency.cpu(),
        constant=spread(both.constant),
        value=spread(both.value),
        bias=spread(torch.cat([own, targets.bias])),
        n_active=len(f),
        n_layers=frozen.n_layers,
        prompt=decode.decode(ids[1:]) if decode is not None else " ".join(strings),
        model=frozen.loaded.name,
    )


def nodes_of(
    f: Features, chosen: Tensor, frozen: Frozen, targets: Targets, strings: list[str]
) -> list[Node]:
    """Latents, errors, embeddings, outputs."""
    table = zip(*(v[chosen].tolist() for v in (f.layer, f.pos, f.latent, f.value)), strict=True)
    nodes = [Node("feature", *place) for place in table]
    spots = [(i, p) for i in range(frozen.n_layers) for p in range(frozen.n_pos)]
    nodes += [Node("error", i, p, -1) for i, p in spots]
    ids = frozen.tokens.tolist()
    words = enumerate(zip(ids, strings, strict=True))
    nodes += [Node("embedding", -1, p, t, label=s) for p, (t, s) in words]
    outputs = zip(targets.tokens, targets.weights.tolist(), targets.labels, strict=True)
    last = frozen.n_pos - 1
    return nodes + [Node("logit", frozen.n_layers, last, t, w, s) for t, w, s in outputs]
