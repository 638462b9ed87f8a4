"""3.2.7's pieces: what the nodes of a prompt write, maps that add it up, edits in batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.graphs.coders import SKIP_FIRST, Replacement, replace_mlps
from utils.graphs.frozen import Frozen, Sites, freeze
from utils.models.sae import Sae

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

BATCH = 64  # copies of the prompt in one run
Place = tuple[int, int, int]  # layer, position, latent
Edits = Mapping[Place, float]  # the values that some latents get


@dataclass(frozen=True)
class Local:
    """A prompt, its transcoders, and its frozen map; sources are latents, errors, embeddings."""

    frozen: Frozen
    replacement: Replacement
    saes: list[Sae]

    @property
    def layer(self) -> Int[Tensor, " source"]:
        """Of every source; -1 for embeddings."""
        f, spots = self.replacement.features, self._spots
        return torch.cat([f.layer, spots[:, 0], torch.full((self.frozen.n_pos,), -1)])

    @property
    def pos(self) -> Int[Tensor, " source"]:
        """Of every source."""
        f = self.replacement.features
        return torch.cat([f.pos, self._spots[:, 1], torch.arange(self.frozen.n_pos)])

    @property
    def _spots(self) -> Int[Tensor, "item 2"]:
        sizes = torch.arange(self.frozen.n_layers), torch.arange(self.frozen.n_pos)
        return torch.cartesian_prod(*sizes)

    @property
    def n_latents(self) -> int:
        """Latents that are active; they are the first sources."""
        return len(self.replacement.features)

    @property
    def acts(self) -> Float[Tensor, "layer pos latent"]:
        """All latents."""
        f, n = self.replacement.features, self.saes[0].n_latents
        full = f.value.new_zeros(self.frozen.n_layers, self.frozen.n_pos, n)
        full[f.layer, f.pos, f.latent] = f.value
        return full

    @property
    def biases(self) -> Float[Tensor, " feature"]:
        """The encoder's bias of every active latent."""
        f, coders = self.replacement.features, self.replacement.coders
        return torch.stack([coders[i].bias[k] for i, k in zip(f.layer, f.latent, strict=True)])

    @property
    def W_dec(self) -> Float[Tensor, "layer latent d_model"]:
        """All decoders."""
        return torch.stack([coder.W_dec for coder in self.replacement.coders])

    def run(self, copies: Float[Tensor, "target source d_model"]) -> Sites:
        """The frozen model on copies of the prompt, each with its own version of the sources."""
        frozen, r = self.frozen, self.replacement
        n, d, at = len(copies), copies.shape[-1], self.layer >= 0
        embed = copies.new_zeros(n, frozen.n_pos, d).index_add(1, self.pos[~at], copies[:, ~at])
        place = self.layer[at] * frozen.n_pos + self.pos[at]
        own = copies.new_zeros(n, frozen.n_layers * frozen.n_pos, d)
        own = own.index_add(1, place, copies[:, at]).reshape(n, *r.own.shape) + r.biases()
        return frozen.run(embed, own, r.skip)


def local_model(
    loaded: "Loaded", tokens: Int[Tensor, " pos"] | Sequence[int], saes: Sequence[Sae]
) -> Local:
    """Freeze a prompt and put the transcoders in."""
    frozen = freeze(loaded, tokens, saes)
    return Local(frozen, replace_mlps(frozen, saes), list(saes))


def read_latents(
    local: Local, which: Int[Tensor, " target"]
) -> Callable[[Float[Tensor, "target source d_model"]], Float[Tensor, " target"]]:
    """A map from copies of the sources to what some latents read, one latent in each copy."""
    f, coders = local.replacement.features, local.replacement.coders

    def read(copies: Tensor) -> Tensor:
        sites = local.run(copies)
        values = [
            sites.mlp_in[int(f.layer[k])][i, int(f.pos[k])]
            @ coders[int(f.layer[k])].W_enc[:, f.latent[k]]
            for i, k in enumerate(which)
        ]
        return torch.stack(values)

    return read


def read_outputs(
    local: Local, vectors: Float[Tensor, "target d_model"]
) -> Callable[[Float[Tensor, "target source d_model"]], Float[Tensor, " target"]]:
    """A map from copies of the sources to output directions at the last position."""
    return lambda copies: (local.run(copies).final[:, -1] * vectors).sum(dim=-1)


@torch.no_grad()
def stream_of_sources(
    local: Local, written: Float[Tensor, "source d_model"], layer: int
) -> Float[Tensor, "source+1 pos d_model"]:
    """What each source puts into the residual stream before a block; last, what biases put."""
    found: list[Tensor] = []
    name = f"blocks.{layer}.hook_resid_pre"
    watch = [(name, lambda value, hook: found.append(value.clone()))]
    r, frozen, d = local.replacement, local.frozen, written.shape[1]
    zeros = (0 * r.own)[None]
    for chosen in torch.arange(len(written)).split(BATCH):
        n = len(chosen)
        embed, own = written.new_zeros(n, frozen.n_pos, d), zeros.repeat(n, 1, 1, 1)
        for i, k in enumerate(chosen):
            at, pos = int(local.layer[k]), int(local.pos[k])
            (embed[i] if at < 0 else own[i, at])[pos] = written[k]
        frozen.run(embed, own, r.skip, watch)
    frozen.run(0 * frozen.embed[None], zeros, r.skip, watch)  # biases of norms and attention
    nothing = found.pop()
    frozen.run(0 * frozen.embed[None], r.biases()[None], r.skip, watch)
    biases = found.pop()
    return torch.cat([torch.cat(found) - nothing, biases])


def head_maps(
    loaded: "Loaded", layer: int, head: int, q_pos: int, k_pos: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(W_Q, b_Q, W_K, b_K) of one head, with the rotation of the two positions folded in."""
    model = loaded.model
    rotary = model.blocks[layer].attn.original_component.rotary

    def turned(rows: Tensor, pos: int) -> Tensor:
        pair = torch.stack([-rows[..., 1::2], rows[..., 0::2]], dim=-1).flatten(-2)
        return rows * rotary.cos_cached[pos] + pair * rotary.sin_cached[pos]

    W_Q, b_Q = (turned(w[layer, head].detach(), q_pos) for w in (model.W_Q, model.b_Q))
    W_K, b_K = (turned(w[layer, head].detach(), k_pos) for w in (model.W_K, model.b_K))
    return W_Q, b_Q, W_K, b_K


@torch.no_grad()
def run_edits(
    local: Local, edits: Sequence[Edits], constrained: bool
) -> Float[Tensor, "item vocab"]:
    """The last position's logits after each of several edits (see `utils.graphs.intervene`)."""
    run = _constrained if constrained else _free
    parts = [edits[i : i + BATCH] for i in range(0, len(edits), BATCH)]
    return torch.cat([run(local, part) for part in parts])


def _put(f: Tensor, edits: Sequence[Edits], layer: int) -> Tensor:
    """Latents of copies of the prompt with the edits of one layer; none at the first position."""
    f = f.clone()
    f[:, :SKIP_FIRST] = 0
    at = [(i, p, k, v) for i, e in enumerate(edits) for (m, p, k), v in e.items() if m == layer]
    if at:
        i, p, k, v = zip(*at, strict=True)
        f[list(i), list(p), list(k)] = torch.tensor(v, dtype=f.dtype)
    return f


def _constrained(local: Local, edits: Sequence[Edits]) -> Tensor:
    r, frozen, n = local.replacement, local.frozen, len(edits)

    def live(layer: int, x: Tensor) -> Tensor:
        f = _put(local.saes[layer].encode(x), edits, layer)
        return f @ r.coders[layer].W_dec + r.skip(layer, x)

    still = (r.error + r.biases()).expand(n, -1, -1, -1)
    final = frozen.run(frozen.embed.expand(n, -1, -1), still, live).final[:, -1]
    return frozen.logits[-1] + (final - frozen.final[-1]) @ frozen.loaded.model.W_U.detach()


def _free(local: Local, edits: Sequence[Edits]) -> Tensor:
    loaded, n = local.frozen.loaded, len(edits)
    read: dict[int, Tensor] = {}

    def hooks_of(layer: int) -> list:
        def keep(x: Tensor, hook: object) -> None:
            read[layer] = x

        def add(out: Tensor, hook: object) -> Tensor:
            f = _put(local.saes[layer].encode(read[layer]), [{}] * n, layer)
            return out + (_put(f, edits, layer) - f) @ local.saes[layer].sae.W_dec

        names = local.frozen.reads[layer], loaded.hook("mlp_out", layer)
        return [(names[0], keep), (names[1], add)]

    layers = sorted({layer for edit in edits for layer, _, _ in edit})
    hooks = [pair for layer in layers for pair in hooks_of(layer)]
    return loaded.model.run_with_hooks(local.frozen.tokens.expand(n, -1), fwd_hooks=hooks)[:, -1]
