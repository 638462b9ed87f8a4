"""A model's forward pass on one prompt in which everything that is not linear is held still.

Queries, keys and the scale of every norm keep the values that they have on the prompt, and what an
MLP writes is a quantity of its own. What the residual stream holds at any place is then an affine
function of the embeddings and of the MLPs' outputs: gradients are exact, and contributions add up.
(Ameisen et al. 2025, "Circuit Tracing", call this, with transcoders, the local replacement model.)
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.models.loaded import check_hooks
from utils.models.splice import Hook

if TYPE_CHECKING:
    from utils.models.loaded import Loaded
    from utils.models.sae import Sae

START = "blocks.0.hook_resid_pre"  # embeddings, those of the positions included
END = "unembed.hook_in"  # after the final norm
SCALES = re.compile(r"(blocks\.\d+\.(?!attn\.)\w+|ln_final)\.hook_scale")
Skip = Callable[[int, Float[Tensor, "batch pos d_in"]], Float[Tensor, "batch pos d_model"]]


class GraphError(ValueError):
    """Something with which no graph can be made, and what to do about it."""


@dataclass(frozen=True)
class Sites:
    """What targets are read from, for a batch of copies of the prompt."""

    mlp_in: list[Float[Tensor, "batch pos d_in"]]  # by layer: where transcoders read
    final: Float[Tensor, "batch pos d_model"]  # after the final norm: what the unembedding reads


@dataclass(frozen=True)
class Frozen:
    """The prompt's values, and the affine map that they freeze."""

    loaded: "Loaded"
    tokens: Int[Tensor, " pos"]
    embed: Float[Tensor, "pos d_model"]
    mlp_in: Float[Tensor, "layer pos d_in"]
    mlp_out: Float[Tensor, "layer pos d_model"]
    final: Float[Tensor, "pos d_model"]
    logits: Float[Tensor, "pos vocab"]
    held: dict[str, Tensor] = field(repr=False)  # queries, keys, scales, by hook
    reads: tuple[str, ...]  # by layer, the hook of `mlp_in`

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return len(self.mlp_out)

    @property
    def n_pos(self) -> int:
        """Tokens."""
        return len(self.tokens)

    def run(
        self,
        embed: Float[Tensor, "batch pos d_model"],
        mlp_out: Float[Tensor, "batch layer pos d_model"],
        skip: Skip | None = None,
        watch: Sequence[Hook] = (),
    ) -> Sites:
        """The affine map: what is written where, given what is written before.

        `mlp_out` is what each MLP adds, and `skip(layer, mlp_in)` what it adds beside that as a
        linear function of what it reads. `watch` are further hooks that look at other places.
        """
        n, layers = len(embed), range(self.n_layers)
        read: list[Tensor] = []
        final: list[Tensor] = []
        hooks: list[Hook] = [(START, lambda value, hook: embed)]
        for name, value in self.held.items():
            hooks.append((name, _hold(value.expand(n, *value.shape[1:]))))
        for layer in layers:
            hooks.append((self.reads[layer], _keep(read)))
            hooks.append((self.loaded.hook("mlp_out", layer), _write(mlp_out, layer, read, skip)))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A forward hook edited hook_scale")
            hooks += [(END, _keep(final)), *watch]
            self.loaded.model.run_with_hooks(self.tokens.expand(n, -1), fwd_hooks=hooks)
        return Sites(read, final[0])

    def constants(self, skip: Skip | None = None) -> Sites:
        """What the biases of norms and attention put everywhere: the map of nothing."""
        with torch.no_grad():
            return self.run(self.embed.new_zeros(1, *self.embed.shape),
                            self.mlp_out.new_zeros(1, *self.mlp_out.shape), skip)  # fmt: skip


def _hold(value: Tensor) -> Callable[..., Tensor]:
    return lambda now, hook: value.to(now.dtype).reshape(now.shape)


def _keep(read: list[Tensor]) -> Callable[..., None]:
    def keep(value: Tensor, hook: Any) -> None:
        read.append(value)

    return keep


def _write(
    mlp_out: Tensor, layer: int, read: list[Tensor], skip: Skip | None
) -> Callable[..., Tensor]:
    def write(now: Tensor, hook: Any) -> Tensor:
        own = mlp_out[:, layer]
        return own if skip is None else own + skip(layer, read[layer])

    return write


def held_hooks(loaded: "Loaded") -> list[str]:
    """Queries and keys of every block, and the scale of every norm outside attention."""
    known = loaded.model.hook_dict
    names = [f"blocks.{i}.attn.hook_{what}" for i in range(loaded.n_layers) for what in "qk"]
    check_hooks(loaded.model, names)
    return [*names, *(name for name in known if SCALES.fullmatch(name))]


@torch.no_grad()
def freeze(
    loaded: "Loaded",
    tokens: Int[Tensor, " pos"] | Sequence[int],
    transcoders: "Sequence[Sae]" = (),
) -> Frozen:
    """Run the model on one prompt (with its BOS) and hold still what is not linear in it.

    `transcoders` are needed only where they read something else than the MLPs do, as Gemma Scope's
    do: what the norm gives before its gain.
    """
    ids = torch.as_tensor(tokens, dtype=torch.long, device=loaded.device)
    if ids.ndim != 1 or len(ids) < 2:
        raise GraphError(f"a graph is of one prompt of two tokens or more, not {tuple(ids.shape)}")
    held = held_hooks(loaded)
    layers = range(loaded.n_layers)
    places = {sae.layer: sae.hook_in for sae in transcoders}
    mlp_in = [places.get(i, loaded.hook("mlp_in", i)) for i in layers]
    mlp_out = [loaded.hook("mlp_out", i) for i in layers]
    names = [*held, *mlp_in, *mlp_out, START, END]
    check_hooks(loaded.model, names)
    logits, cache = loaded.model.run_with_cache(ids[None], names_filter=lambda n: n in names)
    return Frozen(
        loaded=loaded,
        tokens=ids,
        embed=cache[START][0],
        mlp_in=torch.stack([cache[name][0] for name in mlp_in]),
        mlp_out=torch.stack([cache[name][0] for name in mlp_out]),
        final=cache[END][0],
        logits=logits[0],
        held={name: cache[name] for name in held},
        reads=tuple(mlp_in),
    )
