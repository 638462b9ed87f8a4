"""Do the latents do what the graph says? Change some, and see what the outputs do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from utils.graphs.coders import SKIP_FIRST, coder_of, replace_mlps
from utils.graphs.frozen import Frozen, GraphError
from utils.graphs.graph import Graph
from utils.graphs.targets import unembedding_bias
from utils.models.sae import Sae

Place = tuple[int, int, int]  # layer, position, latent
Edits = Mapping[Place, float]  # the value that a latent gets


def effects(graph: Graph) -> Float[Tensor, "output node"]:
    """What the graph predicts for each output if a node alone grew by its own size.

    A latent that grows by the share r_s adds r_s · adjacency[t, s] to every target t. An active
    latent's value moves with its pre-activation, so shares obey

        r_t = [t is the node] + Σ_s adjacency[t, s] / activation_t · r_s

    and an output moves by Σ_s adjacency[output, s] · r_s, all paths counted. Taking a node away is
    minus this, as far as the model is linear: no latent turns on or off.
    """
    A = graph.adjacency.double()
    size = torch.tensor([n.activation for n in graph.nodes], dtype=torch.float64)
    feature = graph.of_kind("feature")
    step = torch.where(feature[:, None], A / size[:, None], 0.0)
    outputs = A[graph.of_kind("logit")]
    total, term = outputs.clone(), outputs
    for _ in range(len(A)):
        term = term @ step
        if not term.any():
            break
        total += term
    return total.float()


@dataclass(frozen=True)
class Outcome:
    """The outputs at the last position, before and after."""

    before: Float[Tensor, " vocab"]
    after: Float[Tensor, " vocab"]

    @property
    def change(self) -> Float[Tensor, " vocab"]:
        """Of each logit minus the mean logit, as in a graph."""
        moved = self.after - self.before
        return moved - moved.mean()


@torch.no_grad()
def intervene(
    frozen: Frozen, transcoders: Sequence[Sae], edits: Edits, constrained: bool = False
) -> Outcome:
    """Set latents to other values, and run the model.

    `constrained`: attention and norms stay as they were, transcoders stand for the MLPs with their
    errors as they were, and all latents respond. Otherwise only what the edited latents write is
    changed, by the difference, and the whole model responds: attention, norms and MLPs.
    A latent that is edited keeps its new value whatever comes before it.
    """
    coders = {sae.layer: sae for sae in transcoders}
    for layer, pos, latent in edits:
        if layer not in coders or not 0 <= latent < coders[layer].n_latents:
            raise GraphError(f"there is no latent {latent} in layer {layer}")
        if not SKIP_FIRST <= pos < frozen.n_pos:
            raise GraphError(f"position {pos}: latents stand at {SKIP_FIRST} to {frozen.n_pos - 1}")
    for layer in sorted({layer for layer, _, _ in edits}):
        if coders[layer].hook_in != frozen.reads[layer]:
            raise GraphError(
                f"the transcoder of layer {layer} reads {coders[layer].hook_in}, the prompt was "
                f"frozen at {frozen.reads[layer]}: give the transcoders to `freeze`, too"
            )
    after = _constrained if constrained else _free
    return Outcome(frozen.logits[-1], after(frozen, coders, edits))


def _written(f: Tensor, layer: int, edits: Edits) -> Tensor:
    """Latents with the edits of a layer."""
    f = f.clone()
    for (at, pos, latent), value in edits.items():
        if at == layer:
            f[..., pos, latent] = value
    return f


def _free(frozen: Frozen, coders: Mapping[int, Sae], edits: Edits) -> Tensor:
    """The real model, with the differences added to what its MLPs write."""
    loaded = frozen.loaded
    read: dict[int, Tensor] = {}

    def hooks_of(layer: int) -> list:
        def keep(x: Tensor, hook: object) -> None:
            read[layer] = x

        def add(out: Tensor, hook: object) -> Tensor:
            sae = coders[layer]
            f = sae.encode(read[layer])
            moved = _written(f, layer, edits) - f
            moved[:, :SKIP_FIRST] = 0
            return out + moved @ sae.sae.W_dec

        names = (frozen.reads[layer], loaded.hook("mlp_out", layer))
        return [(names[0], keep), (names[1], add)]

    layers = sorted({layer for layer, _, _ in edits})
    hooks = [pair for layer in layers for pair in hooks_of(layer)]
    return loaded.model.run_with_hooks(frozen.tokens[None], fwd_hooks=hooks)[0, -1]


def _constrained(frozen: Frozen, coders: Mapping[int, Sae], edits: Edits) -> Tensor:
    """The local replacement model, its latents alive."""
    r = replace_mlps(frozen, list(coders.values()))
    bodies = [coder_of(coders[i]) for i in range(frozen.n_layers)]

    def live(layer: int, x: Tensor) -> Tensor:
        f = coders[layer].encode(x)
        f[:, :SKIP_FIRST] = 0
        return _written(f, layer, edits) @ bodies[layer].W_dec + r.skip(layer, x)

    still = (r.error + r.biases())[None]
    final = frozen.run(frozen.embed[None], still, live).final[0, -1]
    W_U = frozen.loaded.model.W_U.detach()
    cap = getattr(frozen.loaded.model.cfg, "output_logits_soft_cap", None) or -1
    if cap > 0:
        return cap * torch.tanh((final @ W_U + unembedding_bias(frozen)) / cap)
    return frozen.logits[-1] + (final - frozen.final[-1]) @ W_U
