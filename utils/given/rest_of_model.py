"""The model from one hook on: a function of the activation at one position, with gradients.

The library runs a model only from its first block. For SmolLM2 the blocks are written out here, so
that an edit at block 23 costs seven blocks, and only the positions from the edited one on (the keys
and values before it cannot change). Other models run from the start.
"""

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from utils.given.indirect_objects import Prompts
from utils.given.latent_data import final_read_out
from utils.models.loaded import check_edits
from utils.models.sae import Sae

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

Metric = Callable[[Tensor, Tensor], Tensor]  # (rows of activations, their prompts) -> differences


def metric_at(
    loaded: "Loaded", prompts: Prompts, hook: str, at: Int[Tensor, " prompt"]
) -> tuple[Float[Tensor, "prompt d_in"], Metric]:
    """(clean activations at `hook`, each prompt at its position `at`; the rest of the model).

    The rest of the model is `metric(x, prompt)`: logit differences, one per row of `x`, when row i
    stands in the place of the activation of prompt number `prompt[i]`. Heads lie side by side.
    """
    check_edits(loaded.model, [hook])
    maker = _from_here if loaded.name.startswith("SmolLM2") else _from_the_start
    cache = _run(loaded, prompts, [hook], int(hook.split(".")[1]) + 1)
    clean = cache[hook].flatten(2)
    return clean[torch.arange(len(at)), at], maker(loaded, prompts, hook, at, clean)


@torch.no_grad()
def _run(loaded: "Loaded", prompts: Prompts, names: list[str], stop: int) -> dict[str, Tensor]:
    """What passes at some hooks in the first `stop` blocks, batch by batch."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for tokens in prompts.tokens.split(25):
        _, cache = loaded.model.run_with_cache(tokens, names_filter=names, stop_at_layer=stop)
        for name in names:
            found[name].append(cache[name])
    return {name: torch.cat(parts) for name, parts in found.items()}


def _put(values: Tensor, x: Tensor, at: Tensor) -> Tensor:
    """`values` with the rows of `x` at one position each."""
    here = torch.arange(values.shape[1]) == at[:, None]
    return torch.where(here[:, :, None], x[:, None], values)


def _from_the_start(
    loaded: "Loaded", prompts: Prompts, hook: str, at: Tensor, clean: Tensor
) -> Metric:
    """The whole model with the activation put in its place."""

    def metric(x: Tensor, prompt: Tensor) -> Tensor:
        def put(value: Tensor, hook: object) -> Tensor:
            return _put(value.flatten(2), x, at[prompt]).reshape(value.shape)

        logits = loaded.model.run_with_hooks(prompts.tokens[prompt], fwd_hooks=[(hook, put)])[:, -1]
        rows = torch.arange(len(prompt))
        return logits[rows, prompts.io[prompt]] - logits[rows, prompts.s[prompt]]

    return metric


def _from_here(loaded: "Loaded", prompts: Prompts, hook: str, at: Tensor, clean: Tensor) -> Metric:
    """The blocks from the hook's on, written out; of the logits, two are computed."""
    layer, site = int(hook.split(".")[1]), hook.split(".", 2)[2]
    if site not in ("attn.hook_z", "hook_resid_post"):
        raise ValueError(f"from {site} on is not written out: take z or resid_post")
    names = [f"blocks.{i}.hook_resid_pre" for i in range(layer, loaded.n_layers)]
    blocks, n_kept = Blocks(loaded), int(at.min())
    cache = _run(loaded, prompts, names, loaded.n_layers)
    with torch.no_grad():
        old = {
            i: blocks.keys_values(i, cache[name][:, :n_kept])
            for i, name in enumerate(names, start=layer)
        }
        W_U = loaded.model.W_U.detach()
        direction = (W_U[:, prompts.io] - W_U[:, prompts.s]).T

    def metric(x: Tensor, prompt: Tensor) -> Tensor:
        stream = _put(clean[prompt, n_kept:], x, at[prompt] - n_kept)
        if site == "attn.hook_z":
            before = cache[names[0]][prompt, n_kept:]
            stream = blocks.mlp(layer, before + blocks.output(layer, stream))
        for i in range(layer + 1, loaded.n_layers):
            k, v = (kept[prompt] for kept in old[i])
            stream = blocks.mlp(i, stream + blocks.attention(i, stream, k, v))
        end = loaded.model.ln_final(stream[:, -1:])[:, 0]
        return (end * direction[prompt]).sum(dim=-1)

    return metric


class SaeAt:
    """An SAE at one position of each prompt: x = f W_dec + b_dec + error, and what follows."""

    def __init__(
        self, loaded: "Loaded", prompts: Prompts, sae: Sae, at: Int[Tensor, " prompt"]
    ) -> None:
        self.loaded, self.prompts, self.sae, self.at = loaded, prompts, sae, at
        self.x, self.metric = metric_at(loaded, prompts, sae.hook_out, at)
        self.everyone = torch.arange(len(prompts))
        with torch.no_grad():
            self.clean = self.metric(self.x, self.everyone)
            self.f = sae.encode(self.x)
            self.error = self.x - sae.decode(self.f, self.x)
        self.W_dec, self.b_dec = sae.sae.W_dec.detach(), sae.sae.b_dec.detach()

    def with_latents(self, f: Tensor) -> Tensor:
        """The differences when the latents have these values; bias and error stay."""
        return self.metric(f @ self.W_dec + self.b_dec + self.error, self.everyone)

    def with_random_dictionary(
        self, control_latents: Callable[[Tensor, Tensor], Tensor], gen: torch.Generator
    ) -> "SaeAt":
        """The same place with random directions of the same norms; the error takes up the rest.

        `control_latents(f, scores)`, the learner's, says which are active.
        """
        W = torch.randn(self.W_dec.shape, generator=gen)
        W = W * (self.W_dec.norm(dim=1) / W.norm(dim=1))[:, None]
        other = copy(self)
        other.W_dec, other.f = W, control_latents(self.f, (self.x - self.b_dec) @ W.T)
        other.error = self.x - other.f @ W - self.b_dec
        return other

    @property
    def W_O(self) -> Float[Tensor, "head d_head d_model"]:
        """The output weights of the block's heads."""
        W_O = self.loaded.model.blocks[self.sae.layer].attn.W_O.detach()
        return W_O.reshape(self.loaded.model.cfg.n_heads, -1, W_O.shape[-1])

    @cached_property
    def pattern_and_values(self) -> tuple[Tensor, Tensor]:
        """The block's attention from the position to all, by head; the values at all positions."""
        names = [f"blocks.{self.sae.layer}.attn.hook_{name}" for name in ("pattern", "v")]
        pattern, v = _run(self.loaded, self.prompts, names, self.sae.layer + 1).values()
        v = v if v.ndim == 4 else v.unflatten(-1, (-1, self.W_O.shape[1]))
        return pattern[self.everyone, :, self.at], v

    @property
    def looks(self) -> dict[str, Float[Tensor, "prompt head"]]:
        """How much each head looks at the three places with a name."""
        pattern, p = self.pattern_and_values[0], self.prompts
        at = {"right name": p.io_at, "repeated, first": p.s1_at, "repeated, second": p.s2_at}
        return {name: pattern[self.everyone, :, where] for name, where in at.items()}

    def with_head_of(self, head: int, partner: Tensor) -> Float[Tensor, "prompt d_in"]:
        """z, with one head's from another prompt."""
        z = self.x.unflatten(1, (len(self.W_O), -1)).clone()
        z[:, head] = z[partner, head]
        return z.flatten(1)

    def name_writes(self, head: int) -> tuple[Float[Tensor, "item d_model"], Int[Tensor, " item"]]:
        """What a head adds when it looks at a name only (mean over the prompts); the names."""
        p, (_, v) = self.prompts, self.pattern_and_values
        values = v[:, :, head * v.shape[2] // len(self.W_O)]
        at, who = torch.cat([p.io_at, p.s1_at]), torch.cat([p.io, p.s])
        found = values[self.everyone.repeat(2), at] @ self.W_O[head]
        if final_read_out(self.loaded)[3]:
            found = found - found.mean(dim=1, keepdim=True)
        names = who.unique()
        return torch.stack([found[who == name].mean(dim=0) for name in names]), names

    @torch.no_grad()
    def without_heads(self, heads: list[int]) -> Float[Tensor, " prompt"]:
        """How much the difference falls when some heads put out their mean over the prompts."""
        z = self.x.unflatten(1, (len(self.W_O), -1)).clone()
        z[:, heads] = z[:, heads].mean(dim=0)
        return self.clean - self.metric(z.flatten(1), self.everyone)


def judge_heads(
    spot: SaeAt, copying_scores: Callable[..., Tensor], name_role: Callable[..., str]
) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    """Looks, writes and effect of each head of a block; the learner's functions judge them."""
    gain, W_U = final_read_out(spot.loaded)[:2]
    at_io, at_s1, at_s2 = spot.looks.values()
    evidence = {}
    for head in range(len(spot.W_O)):
        writes, names = spot.name_writes(head)
        looks = (at_io - at_s1 - at_s2)[:, head]
        found = looks, copying_scores(writes, gain, W_U, names), spot.without_heads([head])
        numbers = ", ".join(f"{v.mean():7.2f}" for v in found)
        print(f"   {spot.sae.layer}.{head}: looks, writes, effect {numbers}: {name_role(*found)}")
        evidence[head] = found
    return evidence


def compare(
    name: str,
    guess: Float[Tensor, "prompt latent"],
    truth: Float[Tensor, "prompt latent"],
    bootstrap_interval: Callable[..., tuple[float, float]],
    rank_correlation: Callable[[Tensor, Tensor], float],
    gen: torch.Generator,
) -> tuple[float, float, float]:
    """Print how well a guess goes with measured effects; the two functions are the learner's.

    Over all (prompt, latent) where one of them is not 0: Pearson's r, with a 95 % interval over
    prompts, and the rank correlation. Over latents: r of the means over prompts. Returns these.
    """

    def kept(both: Tensor) -> Tensor:
        return both.transpose(1, 2)[(both != 0).any(dim=1)].T

    def pearson(both: Tensor) -> float:
        return float(torch.corrcoef(kept(both))[0, 1])

    both = torch.stack([guess, truth], dim=1)
    low, high = bootstrap_interval(both, pearson, 200, 0.95, gen)
    ranks, r = rank_correlation(*kept(both)), pearson(both)
    means = float(torch.corrcoef(both.mean(dim=0)[:, (both != 0).any(dim=(0, 1))])[0, 1])
    print(
        f"{name}: r = {r:.2f} ({low:.2f} to {high:.2f}), ranks {ranks:.2f}; means r = {means:.2f}"
    )
    return r, ranks, means


class Blocks:
    """SmolLM2's blocks: RMSNorm, rotary positions, shared keys and values, gated MLP."""

    def __init__(self, loaded: "Loaded") -> None:
        found = loaded.model.named_parameters()
        self.weights = {k.replace("._original_component", ""): v for k, v in found}
        cfg: Any = loaded.model.original_model.config
        self.d_head, self.eps = cfg.hidden_size // cfg.num_attention_heads, cfg.rms_norm_eps
        base = getattr(cfg, "rope_theta", None) or cfg.rope_parameters["rope_theta"]
        self.turn = base ** (-torch.arange(0, self.d_head, 2) / self.d_head)

    def _linear(self, layer: int, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"model.layers.{layer}.{name}.weight"])

    def _norm(self, layer: int, name: str, x: Tensor) -> Tensor:
        gain = self.weights[f"model.layers.{layer}.{name}.weight"]
        return F.rms_norm(x, x.shape[-1:], gain, self.eps)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.d_head))

    def _rotated(self, x: Tensor, start: int) -> Tensor:
        """Pairs (i, i + d/2) turned by position times a speed."""
        angle = torch.arange(start, start + x.shape[1])[:, None] * self.turn
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def keys_values(self, layer: int, stream: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Keys (turned) and values of a block, from the stream that it reads."""
        x = self._norm(layer, "input_layernorm", stream)
        k, v = (self._heads(self._linear(layer, f"self_attn.{n}_proj", x)) for n in "kv")
        return self._rotated(k, start), v

    def output(self, layer: int, z: Tensor) -> Tensor:
        """What z, heads side by side, adds to the stream."""
        return self._linear(layer, "self_attn.o_proj", z)

    def attention(self, layer: int, stream: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What a block's heads add at the positions after those of `k` and `v`."""
        start = k.shape[1]
        new = self.keys_values(layer, stream, start)
        k, v = (torch.cat(pair, dim=1).transpose(1, 2) for pair in zip((k, v), new, strict=True))
        x = self._norm(layer, "input_layernorm", stream)
        q = self._rotated(self._heads(self._linear(layer, "self_attn.q_proj", x)), start)
        q = q.transpose(1, 2)
        allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(start)
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True)
        return self.output(layer, z.transpose(1, 2).flatten(2))

    def mlp(self, layer: int, stream: Tensor) -> Tensor:
        """The stream after a block's MLP, from the stream before it."""
        x = self._norm(layer, "post_attention_layernorm", stream)
        up = self._linear(layer, "mlp.up_proj", x)
        gate = F.silu(self._linear(layer, "mlp.gate_proj", x))
        return stream + self._linear(layer, "mlp.down_proj", gate * up)
