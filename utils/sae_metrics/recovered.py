"""What an SAE does to its model: loss and KL recovered when it is spliced in."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.corpus import Rows, counted, predicting
from utils.models.loaded import HookMissing, check_edits, check_hooks
from utils.progress import track
from utils.sae_metrics.reconstruction import Reconstruction, Scores

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Anchor = Literal["zero", "mean"]
Hooks = list[tuple[Any, Callable[..., Any]]]


class Coder(Protocol):
    """An SAE or transcoder, as `utils.models` gives it."""

    @property
    def hook_in(self) -> str:
        """Where it reads."""
        ...

    @property
    def hook_out(self) -> str:
        """Where it writes."""
        ...

    def encode(self, x: Tensor) -> Tensor:
        """Latents of the activations at `hook_in`."""
        ...

    def decode(self, latents: Tensor, x: Tensor) -> Tensor:
        """What to write at `hook_out`."""
        ...


@dataclass(frozen=True)
class Costs:
    """What replacing activations costs a model; losses in nats per predicted token."""

    n_predictions: int
    loss_clean: float
    loss_sae: float
    loss_ablated: float
    loss_recovered: float
    kl_sae: float  # KL(clean || with the SAE)
    kl_ablated: float
    kl_recovered: float
    loss_recovered_se: float  # standard errors, see `standard_error`
    kl_recovered_se: float

    def numbers(self) -> dict[str, float | int | str]:
        """Everything but the densities, for a card or a log."""
        flat = asdict(self)
        flat |= flat.pop("scores", {})
        return {k: v for k, v in flat.items() if k != "density"}


@dataclass(frozen=True)
class InModel(Costs):
    """An SAE's metrics in its model."""

    scores: Scores
    anchor: Anchor


def recovered(clean: float, sae: float, ablated: float) -> float:
    """(ablated - sae) / (ablated - clean): 1 where the SAE costs nothing, 0 where it is no better
    than ablation; negative where it is worse (as in Gated SAEs, Rajamanoharan et al. 2024).

    For the KL divergence `clean` is 0: 1 - KL_sae / KL_ablated. NaN if ablation costs nothing.
    """  # fmt: skip
    return (ablated - sae) / (ablated - clean) if ablated != clean else float("nan")


def standard_error(costs: Float[Tensor, " row"], ablated: Float[Tensor, " row"]) -> float:
    """Standard error of 1 - sum(costs) / sum(ablated), in which whole rows are drawn.

        r = sum(costs) / sum(ablated)      d = costs - r · ablated (its sum is 0)
        se = √(n / (n - 1) · sum(d²)) / |sum(ablated)|

    The ratio's linear approximation (Cochran 1977, Sampling Techniques, chapter 6). Tokens of a
    row have their text in common, so rows are counted, not tokens. `costs` and `ablated` are
    sums over each row of what the SAE and the ablation cost. NaN for fewer than two rows.
    """
    n, total = len(costs), float(ablated.sum())
    if n < 2 or total == 0:
        return float("nan")
    away = costs - costs.sum() / total * ablated
    return math.sqrt(n / (n - 1) * float(away.square().sum())) / abs(total)


def _batches(rows: Rows, size: int, label: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and masks of `size` rows at a time."""
    for i in track(range(0, len(rows), size), label):
        yield rows.ids[i : i + size], rows.mask[i : i + size]


@torch.no_grad()
def mean_activation(
    model: "TransformerBridge", rows: Rows, hook: str, skip_first: int = 1, batch_rows: int = 4
) -> Float[Tensor, "..."]:
    """The mean of what passes `hook`, over tokens that are neither padding nor first: an anchor."""
    check_hooks(model, [hook])
    total, n = torch.zeros(()), 0
    for ids, mask in _batches(rows, batch_rows, "mean activation"):
        seen: list[Tensor] = []
        keep = counted(mask, skip_first).to(_device(model))

        def tap(value: Tensor, hook: Any, seen: list[Tensor] = seen) -> None:
            seen.append(value.detach())

        model.run_with_hooks(ids.to(_device(model)), fwd_hooks=[(hook, tap)], return_type=None)
        total = total.to(seen[0].device) + seen[0][keep].double().sum(dim=0)
        n += int(keep.sum())
    return (total / n).float()


def _device(model: "TransformerBridge") -> torch.device:
    return next(model.parameters()).device


def splice_hooks(sae: Coder, keep: Bool[Tensor, "row pos"], metrics: Reconstruction) -> Hooks:
    """Hooks that put the reconstruction in place where `keep` is true, and count it."""
    at_input: list[Tensor] = []

    def read(x: Tensor, hook: Any) -> None:
        at_input.append(x.detach())

    def write(y: Tensor, hook: Any) -> Tensor:
        if sae.hook_in != sae.hook_out and not at_input:
            raise HookMissing(f"{sae.hook_out} comes before {sae.hook_in}: nothing was read yet")
        x = at_input.pop() if at_input else y
        codes = sae.encode(x)
        y_hat = sae.decode(codes, x)
        metrics.update(y.flatten(2), y_hat.flatten(2), codes, keep)
        return torch.where(keep.view(*keep.shape, *(1,) * (y.ndim - 2)), y_hat.view_as(y), y)

    reads: Hooks = [(sae.hook_in, read)] if sae.hook_in != sae.hook_out else []
    return [*reads, (sae.hook_out, write)]


def _log_probs(
    model: "TransformerBridge", ids: Int[Tensor, "row pos"], hooks: Hooks, where: Tensor
) -> Float[Tensor, "prediction vocab"]:
    """Log-probabilities of the next token at the positions of interest."""
    logits = model.run_with_hooks(ids, fwd_hooks=hooks, return_type="logits")
    return logits[:, :-1][where].float().log_softmax(dim=-1)


@torch.no_grad()
def in_model(
    model: "TransformerBridge",
    rows: Rows,
    sae: Coder,
    anchor: Anchor | Tensor = "zero",
    skip_first: int = 1,
    batch_rows: int = 4,
) -> InModel:
    """Run every row clean, with the SAE, and with its output ablated.

    Padding and the first `skip_first` positions are neither replaced nor counted. A prediction
    counts if its position is replaced and its target is no padding. The anchor at which recovered
    loss and KL are 0 writes zeros, or the mean activation over these rows, or a given tensor.
    Memory: batch_rows × pos × vocab numbers a few times (4 × 128 × 49,152 are 100 MB).
    """
    check_hooks(model, [sae.hook_in])
    check_edits(model, [sae.hook_out])
    fill: Tensor | float = 0.0
    if isinstance(anchor, Tensor):
        fill, anchor = anchor, "mean"
    elif anchor == "mean":
        fill = mean_activation(model, rows, sae.hook_out, skip_first, batch_rows)
    metrics, sums = Reconstruction(), []
    for ids, mask in _batches(rows, batch_rows, "SAE in model"):
        ids, mask = ids.to(_device(model)), mask.to(_device(model))
        keep, where = counted(mask, skip_first), predicting(mask, skip_first)
        passes = splice_hooks(sae, keep, metrics), [(sae.hook_out, _ablation(keep, fill))]
        sums.append(_sums(model, ids, where, passes))
    n = int(predicting(rows.mask, skip_first).sum())
    return InModel(**_summary(torch.cat(sums), n), scores=metrics.result(), anchor=anchor)


def _ablation(keep: Bool[Tensor, "row pos"], fill: Tensor | float) -> Callable[..., Tensor]:
    """A hook that writes the same vector wherever `keep` is true."""

    def ablate(y: Tensor, hook: Any) -> Tensor:
        inner = keep.view(*keep.shape, *(1,) * (y.ndim - 2))
        return torch.where(inner, torch.as_tensor(fill, dtype=y.dtype, device=y.device), y)

    return ablate


def _sums(
    model: "TransformerBridge",
    ids: Int[Tensor, "row pos"],
    where: Bool[Tensor, "row pos-1"],
    passes: Sequence[Hooks],
) -> Float[Tensor, "row sums"]:
    """Sums over each row: the clean loss, then loss and divergence of each pass."""
    target = ids[:, 1:][where][:, None]
    clean = _log_probs(model, ids, [], where)
    found = [-clean.gather(1, target)[:, 0]]
    for hooks in passes:
        other = _log_probs(model, ids, hooks, where)
        found += [-other.gather(1, target)[:, 0], (clean.exp() * (clean - other)).sum(dim=1)]
    per_row = where.new_zeros(len(ids), len(found), dtype=torch.float64)
    per_row.index_add_(0, where.nonzero()[:, 0], torch.stack(found, dim=1).double())
    return per_row.cpu()


@torch.no_grad()
def together(
    model: "TransformerBridge",
    rows: Rows,
    saes: Sequence[Coder],
    skip_first: int = 1,
    batch_rows: int = 4,
) -> Costs:
    """The same for several SAEs in one pass; ablated are the outputs of all of them.

    An SAE further up reads what those below it have written. Tokens count as in `in_model`.
    """
    check_hooks(model, [sae.hook_in for sae in saes])
    check_edits(model, [sae.hook_out for sae in saes])
    sums = []
    for ids, mask in _batches(rows, batch_rows, f"{len(saes)} SAEs in model"):
        ids, mask = ids.to(_device(model)), mask.to(_device(model))
        keep, where = counted(mask, skip_first), predicting(mask, skip_first)
        spliced = [pair for sae in saes for pair in splice_hooks(sae, keep, Reconstruction())]
        ablated: Hooks = [(sae.hook_out, _ablation(keep, 0.0)) for sae in saes]
        sums.append(_sums(model, ids, where, (spliced, ablated)))
    return Costs(**_summary(torch.cat(sums), int(predicting(rows.mask, skip_first).sum())))


def _summary(per_row: Float[Tensor, "row 5"], n: int) -> dict[str, Any]:
    """Name the five sums over rows: losses clean, spliced and its divergence, ablated and its."""
    clean, loss_sae, kl_sae, loss_ablated, kl_ablated = (per_row.sum(dim=0) / n).tolist()
    first, spliced, kl, zeros, kl_zeros = per_row.T
    return {
        "n_predictions": n,
        "loss_clean": clean,
        "loss_sae": loss_sae,
        "loss_ablated": loss_ablated,
        "loss_recovered": recovered(clean, loss_sae, loss_ablated),
        "kl_sae": kl_sae,
        "kl_ablated": kl_ablated,
        "kl_recovered": recovered(0.0, kl_sae, kl_ablated),
        "loss_recovered_se": standard_error(spliced - first, zeros - first),
        "kl_recovered_se": standard_error(kl, kl_zeros),
    }
