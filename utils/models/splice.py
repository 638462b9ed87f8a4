"""Put SAEs into a model's forward pass, with plain hooks, and keep what they compute.

At its output hook an SAE replaces the activation x by D(E(x)), a transcoder by D(E(x_in)). With
an error term the splice writes D(f) + (x - D(E(x))), where f are the latents after any edit: with
no edit that is x, so the model's output is unchanged (up to rounding).

The first position stays as it is: its activation is an attention sink of enormous norm, SAEs are
trained without it, and replacing it costs more than all other positions together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.models.loaded import HookInert, HookMissing, check_edits, check_hooks, inert
from utils.models.sae import Sae

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Edit = Callable[[Float[Tensor, "batch pos latent"]], Float[Tensor, "batch pos latent"]]
Hook = tuple[str | Callable[..., Any], Callable[..., Any]]  # as the library types it
ErrorTerm = Literal["none", "constant", "live"]
ERROR_TERMS = ("none", "constant", "live")


@dataclass(frozen=True)
class Spliced:
    """One forward pass with SAEs in it. Dictionaries are keyed by the SAE's output hook."""

    output: Any  # logits, or the loss where return_type="loss"
    latents: dict[str, Float[Tensor, "batch pos latent"]]  # after the edit, as decoded
    errors: dict[str, Float[Tensor, "..."]]  # x - D(E(x)), whether added or not
    cache: dict[str, Tensor]  # what `names` asked for, after the splice


def spliced(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    saes: Sequence[Sae] | Sae,
    error_term: ErrorTerm = "none",
    edits: Mapping[str, Edit] | None = None,
    names: Sequence[str] = (),
    hooks: Sequence[Hook] = (),
    keep_gradients: bool = False,
    skip_first: int = 1,
    **options: Any,
) -> Spliced:
    """Run `model` on `tokens` with every SAE in its place.

    The first `skip_first` positions keep the model's own activations, with their gradients, and
    edits there are not written (but `latents` and `errors` have them); 0 replaces every position.
    `utils.sae_metrics.in_model` does the same.

    `error_term`: `none` leaves it out. `constant` adds it without gradient, so that gradients
    reach earlier layers through the latents alone. `live` adds it with gradient: earlier layers
    then get the gradient of the clean model (as in sparse feature circuits, Marks et al. 2024).
    `edits` maps an output hook to a function of the latents (see `ablate`); `names` are hooks to
    cache; `hooks` are further forward hooks, run after the splices at the same hook; `options` go
    to the model (`return_type="loss"`, `stop_at_layer=…`). With `keep_gradients`, `.grad` of
    `latents` and `errors` is filled by a backward pass.

    Raises HookMissing for hooks that the model lacks or that did not run (SAEs': exactly once);
    HookInert where an SAE would write, or one of `hooks` edits, and the library goes on with a
    copy; ValueError for edits of nothing but positions that are not replaced.
    """
    splices = _splices(saes, error_term, edits or {}, keep_gradients, skip_first)
    check_edits(model, list(splices))
    cache: dict[str, Tensor] = {}
    forward = [pair for splice in splices.values() for pair in splice.hooks()]
    watched, ran = _watched(model, hooks)
    forward += [*watched, *((name, _keep(cache, name)) for name in names)]
    output = _run(model, tokens, forward, options)
    for splice in splices.values():
        splice.check()
    _check_kept([name for name, _ in hooks if isinstance(name, str)], ran)
    _check_kept(names, cache)
    latents = {hook: splice.latents for hook, splice in splices.items()}
    return Spliced(output, latents, {h: s.error for h, s in splices.items()}, cache)


def ablate(
    latents: Sequence[int] | Int[Tensor, " n"],
    value: float = 0.0,
    pos: int | slice = slice(None),
) -> Edit:
    """An edit that sets some latents to `value`, everywhere or at some positions."""
    chosen = [int(i) for i in latents]

    def edit(acts: Float[Tensor, "batch pos latent"]) -> Float[Tensor, "batch pos latent"]:
        out = acts.clone()
        where = slice(pos, pos + 1 or None) if isinstance(pos, int) else pos
        out[..., where, chosen] = value
        return out

    return edit


def latents_of(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    saes: Sequence[Sae] | Sae,
    **options: Any,
) -> dict[str, Float[Tensor, "batch pos latent"]]:
    """Latents on the clean forward pass: nothing is replaced. Keyed by output hook."""
    saes = [saes] if isinstance(saes, Sae) else list(saes)
    if len({sae.hook_out for sae in saes}) < len(saes):
        raise ValueError("two SAEs write to the same hook: ask for one at a time")
    cache: dict[str, Tensor] = {}
    names = list(dict.fromkeys(sae.hook_in for sae in saes))
    _run(model, tokens, [(name, _keep(cache, name)) for name in names], options)
    _check_kept(names, cache)
    return {sae.hook_out: sae.encode(cache[sae.hook_in]) for sae in saes}


def _splices(
    saes: Sequence[Sae] | Sae,
    error_term: ErrorTerm,
    edits: Mapping[str, Edit],
    keep_gradients: bool,
    skip_first: int,
) -> "dict[str, _Splice]":
    """One splice per output hook, each with its edit."""
    saes = [saes] if isinstance(saes, Sae) else list(saes)
    if error_term not in ERROR_TERMS:
        raise ValueError(f"error_term is one of {', '.join(ERROR_TERMS)}, not {error_term!r}")
    if skip_first < 0:
        raise ValueError(f"skip_first = {skip_first}: positions are counted from the left, from 0")
    splices = {sae.hook_out: _Splice(sae, error_term, keep_gradients, skip_first) for sae in saes}
    if len(splices) < len(saes):
        raise ValueError("two SAEs write to the same hook: splice one at a time")
    for hook, edit in edits.items():
        if hook not in splices:
            raise HookMissing(f"no SAE writes to {hook!r}; these do: {', '.join(splices)}")
        splices[hook].edit = edit
    return splices


def _run(
    model: "TransformerBridge", tokens: Tensor, hooks: list[Hook], options: dict[str, Any]
) -> Any:
    """The forward pass, once every hook is known to be there."""
    check_hooks(model, [name for name, _ in hooks if isinstance(name, str)])
    return model.run_with_hooks(tokens, fwd_hooks=hooks, **options)


def _watched(
    model: "TransformerBridge", hooks: Sequence[Hook]
) -> tuple[list[Hook], dict[str, int]]:
    """The caller's hooks, and a count of how often each of their names ran.

    Where the library would drop an edit, a hook may look but not change anything.
    """
    ran: dict[str, int] = {}

    def watch(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(value: Any, hook: Any) -> Any:
            ran[name] = ran.get(name, 0) + 1
            before = value._version if isinstance(value, Tensor) else 0
            out = function(value, hook=hook)
            changed = out is not None or (isinstance(value, Tensor) and value._version != before)
            if changed and (why := inert(model, name)):
                raise HookInert(why)
            return out

        return run

    found: list[Hook] = []
    for name, function in hooks:
        found.append((name, watch(name, function) if isinstance(name, str) else function))
    return found, ran


def _check_kept(names: Sequence[str], cache: Mapping[str, Any]) -> None:
    """Everything that was asked for has passed."""
    silent = [name for name in names if name not in cache]
    if silent:
        raise HookMissing(f"{', '.join(silent)}: the hook is there, but nothing passed through it")


def _keep(cache: dict[str, Tensor], name: str) -> Callable[..., None]:
    """A hook that stores what passes, unchanged."""

    def keep(value: Tensor, hook: Any) -> None:
        cache[name] = value

    return keep


@dataclass(repr=False)  # the library takes the repr of every hook
class _Splice:
    """One SAE during one forward pass."""

    sae: Sae
    error_term: ErrorTerm
    keep_gradients: bool
    skip_first: int
    edit: Edit | None = None
    latents: Tensor = field(init=False)
    error: Tensor = field(init=False)
    _x: Tensor = field(init=False)
    n_reads: int = 0
    n_writes: int = 0

    def hooks(self) -> list[Hook]:
        """Read and write; one after the other where they are the same hook."""
        return [(self.sae.hook_in, self.read), (self.sae.hook_out, self.write)]

    def read(self, value: Tensor, hook: Any) -> None:
        """Remember the SAE's input."""
        self.n_reads += 1
        self._x = value

    def write(self, value: Tensor, hook: Any) -> Tensor:
        """Replace the output by the SAE's, plus the error term where it is asked for."""
        self.n_writes += 1
        if not self.n_reads:
            raise HookMissing(f"{self.sae.hook_out} comes before {self.sae.hook_in}")
        clean = self.sae.encode(self._x)
        error = value - self.sae.decode(clean, self._x).reshape(value.shape)
        self.error = self._node(error if self.error_term == "live" else error.detach())
        edited = self.edit(clean) if self.edit else clean
        self._check_edit(clean, edited)
        self.latents = self._node(edited)  # another node than `clean`, on which the error depends
        out = self.sae.decode(self.latents, self._x).reshape(value.shape)
        out = out if self.error_term == "none" else out + self.error
        n = self.skip_first
        return torch.cat([value[:, :n], out[:, n:]], dim=1) if n else out

    def _check_edit(self, clean: Tensor, edited: Tensor) -> None:
        """An edit that is not written at all was meant otherwise."""
        n = self.skip_first
        if edited is clean or torch.equal(edited[:, :n], clean[:, :n]):
            return
        if torch.equal(edited[:, n:], clean[:, n:]):
            raise ValueError(
                f"the edit at {self.sae.hook_out} changes the first {n} position(s) only, which are"
                " not replaced: pass skip_first=0"
            )

    def _node(self, value: Tensor) -> Tensor:
        """A tensor of its own in the graph, whose gradient can be kept."""
        node = value.clone()
        if self.keep_gradients:
            if not node.requires_grad:
                node.requires_grad_()
            node.retain_grad()
        return node

    def check(self) -> None:
        """Both hooks ran exactly once."""
        for name, count in ((self.sae.hook_in, self.n_reads), (self.sae.hook_out, self.n_writes)):
            if count != 1:
                raise HookMissing(f"{name} ran {count} times in the pass, not once")
