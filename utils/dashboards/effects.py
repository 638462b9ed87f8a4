"""What removing a latent does to the loss, at the strongest examples: directly, and in full."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.activations.write import may_keep
from utils.dashboards.settings import Settings
from utils.dashboards.text import Text
from utils.dashboards.weights import ReadOut, read_out, to_residual
from utils.models.sae import Sae
from utils.models.splice import spliced

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Item:
    """An example whose effect is measured."""

    slot: int
    nth: int
    latent: int
    row: int
    pos: int
    start: int
    end: int


class Effects:
    """Changes of the loss by latent, example and token of the window; NaN where unknown."""

    def __init__(self, n: int, settings: Settings, n_heads: int = 0) -> None:
        shape = (n, settings.n_loss, settings.width)
        self.direct, self.full = torch.full(shape, UNKNOWN), torch.full(shape, UNKNOWN)
        self.sources = torch.full(shape if n_heads else (0, 0, 0), UNKNOWN)
        self.outside = torch.full(shape[:2], UNKNOWN)
        self.heads = torch.full((*shape[:2], n_heads), UNKNOWN)
        self.done = torch.zeros(1, dtype=torch.int64)  # items

    def put(self, items: list[Item], found: dict[str, Tensor]) -> None:
        """Store a batch of results."""
        at = torch.tensor([item.slot for item in items]), torch.tensor([i.nth for i in items])
        for name, value in found.items():
            getattr(self, name)[at] = value.cpu()
        self.done += len(items)


def order(places: list[tuple[int, int, int, int]], latents: list[int], text: Text) -> list[Item]:
    """Items by the end of their window, so that those of a batch are cut at about one length."""
    items = [
        Item(slot, nth, latents[slot], row, pos, *text.span(row, pos))
        for slot, nth, row, pos in places
    ]
    return sorted(items, key=lambda i: (i.end, i.row, i.slot, i.nth))


class Meter:
    """Measures batches of items in one model."""

    def __init__(self, model: "TransformerBridge", sae: Sae, text: Text) -> None:
        self.model, self.sae, self.rows, self.settings = model, sae, text.rows, text.settings
        self.read: ReadOut = read_out(model)
        self.out = to_residual(model, sae.hook_out)
        self.device = next(model.parameters()).device

    @torch.no_grad()
    def __call__(self, items: list[Item]) -> dict[str, Float[Tensor, "n ..."]]:
        """Direct and full change of the loss at every token of the windows.

        direct: CE(logits + W_U-image of the removed vector / frozen scale) − CE(logits)
        full: CE of the spliced model, error kept, latent set to 0 on the window − CE of the model
        """
        stop = max(item.end for item in items) + 1  # the last token's target; later ones are blind
        ids = self.rows.ids[[item.row for item in items], :stop].to(self.device)
        first = min(item.start for item in items)
        few: dict[str, Any] = (
            {"logits_to_keep": ids.shape[1] - first} if may_keep(self.model) else {}
        )
        logits, seen = self._clean(items, ids, few)
        at, target = self._windows(items, ids)
        batch = torch.arange(len(items), device=self.device)[:, None]
        skipped = ids.shape[1] - logits.shape[1]
        here = (at - skipped).clamp(0, logits.shape[1] - 1)
        clean = logits[batch, here].float()
        loss = partial(_loss, target=target)
        base, found = loss(clean), {}
        if self.out is not None:
            scale = seen["ln_final.hook_scale"][batch, at] if self.read.scaled else 1.0
            moved = self._removed(items, seen[self.sae.hook_in][batch, at]) / scale
            found["direct"] = loss(self.read.moved(clean, moved)) - base
        if self.sae.kind == "attention":
            found |= sources(self.sae, items, seen, self.settings)
        del logits, seen
        other = spliced(
            self.model, ids, self.sae, "constant", {self.sae.hook_out: self._edit(items)},
            skip_first=self.settings.skip_first, return_type="logits", **few,
        ).output  # fmt: skip
        found["full"] = loss(other[batch, here].float()) - base
        return found

    def _clean(
        self, items: list[Item], ids: Int[Tensor, "n pos"], few: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The model as it is, each row once: logits, and what passes the hooks needed."""
        rows, which = torch.tensor([item.row for item in items]).unique(return_inverse=True)
        once = torch.stack([(which == i).nonzero()[0, 0] for i in range(len(rows))])
        names = [self.sae.hook_in]
        names += ["ln_final.hook_scale"] if self.read.scaled and self.out is not None else []
        names += attention_hooks(self.sae.layer) if self.sae.kind == "attention" else []
        seen: dict[str, Tensor] = {}

        def keep(value: Tensor, hook: Any, name: str) -> None:
            seen[name] = value.detach()

        hooks: list[Any] = [(n, lambda v, hook, n=n: keep(v, hook, n)) for n in names]
        logits = self.model.run_with_hooks(
            ids[once.to(ids.device)], fwd_hooks=hooks, return_type="logits", **few
        )
        which = which.to(ids.device)
        return logits[which], {name: value[which] for name, value in seen.items()}

    def _windows(
        self, items: list[Item], ids: Int[Tensor, "n pos"]
    ) -> tuple[Int[Tensor, "n k"], Int[Tensor, "n k"]]:
        """Positions of each window (the last repeated), and the next token; −1 where none."""
        offset = torch.arange(self.settings.width)
        first = torch.tensor([i.pos - self.settings.before for i in items])[:, None]
        at = first + offset
        start, end = (torch.tensor([[getattr(i, k)] for i in items]) for k in ("start", "end"))
        length = self.rows.mask[[i.row for i in items]].sum(dim=1, keepdim=True)
        told = (at >= start) & (at < end) & (at + 1 < length)
        after = (at + 1).clamp(0, ids.shape[1] - 1)
        target = ids.cpu().gather(1, after).masked_fill(~told, -1)
        return at.clamp(0, ids.shape[1] - 1).to(ids.device), target.to(ids.device)

    def _removed(
        self, items: list[Item], x: Float[Tensor, "n k ..."]
    ) -> Float[Tensor, "n k vocab"]:
        """Change of the logits, times the norm's scale, when each item's latent is 0."""
        codes = self.sae.encode(x)
        without = codes.clone()
        without[torch.arange(len(items)), :, [item.latent for item in items]] = 0
        change = self.sae.decode(without, x) - self.sae.decode(codes, x)
        assert self.out is not None
        return self.read(self.out(change).to(self.read.W_U.dtype)).float()

    def _edit(self, items: list[Item]) -> Any:
        """Set every item's latent to 0 on its window."""

        def edit(codes: Float[Tensor, "n pos latent"]) -> Float[Tensor, "n pos latent"]:
            out = codes.clone()
            for i, item in enumerate(items):
                out[i, item.start : item.end, item.latent] = 0
            return out

        return edit


def _loss(logits: Float[Tensor, "n k vocab"], target: Int[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Cross-entropy in nats; NaN where there is no target."""
    chosen = logits.gather(2, target.clamp(min=0)[..., None])[..., 0]
    return (logits.logsumexp(dim=2) - chosen).masked_fill(target < 0, UNKNOWN)


def attention_hooks(layer: int) -> list[str]:
    """Where a layer's attention pattern and values pass."""
    return [f"blocks.{layer}.attn.hook_{name}" for name in ("pattern", "v")]


def sources(
    sae: Sae, items: list[Item], seen: dict[str, Tensor], settings: Settings
) -> dict[str, Tensor]:
    """What each source position adds to a latent's pre-activation, the bias apart.

        z_p·w = Σ_s Σ_h A[h, p, s] v[s, h]·w_h          w: the latent's column of W_enc, by head

    With grouped queries each value head serves several heads. "Direct feature attribution" on
    Neuronpedia.
    """  # fmt: skip
    pattern, v = (seen[name] for name in attention_hooks(sae.layer))
    n_heads, d_head = pattern.shape[1], v.shape[-1]
    v = v.repeat_interleave(n_heads // v.shape[2], dim=2)
    w = sae.sae.W_enc.detach().T[[i.latent for i in items]].view(-1, n_heads, d_head)
    at = torch.tensor([i.pos for i in items], device=v.device)
    looks = pattern[torch.arange(len(items), device=v.device), :, at]  # (n, head, source)
    parts = looks * torch.einsum("nshd,nhd->nhs", v.float(), w.float())
    per_source = parts.sum(dim=1)
    shown = torch.full((len(items), settings.width), UNKNOWN, device=v.device)
    outside = torch.zeros(len(items), device=v.device)
    for i, item in enumerate(items):
        first = item.start - (item.pos - settings.before)
        shown[i, first : settings.before + 1] = per_source[i, item.start : item.pos + 1]
        outside[i] = per_source[i, : item.start].sum()
    return {"sources": shown, "outside": outside, "heads": parts.sum(dim=2)}
