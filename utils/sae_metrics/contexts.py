"""Where latents fire most: the tokens to look at when a latent is to be understood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.data.corpus import Rows, counted
from utils.progress import track
from utils.sae_metrics.recovered import Coder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Contexts:
    """Every latent's strongest rows, one token of each, strongest first; -1 where there is none.

    Of fewer than n rows there are fewer columns.
    """

    row: Int[Tensor, "latent n"]
    pos: Int[Tensor, "latent n"]
    activation: Float[Tensor, "latent n"]  # 0 where there is none
    share: Float[Tensor, " latent"]  # of tokens on which it is active
    rows: Int[Tensor, " latent"]  # in which it is active

    def between(self, least: float, most: float, n_rows: int) -> Int[Tensor, " chosen"]:
        """Latents active on such a share of tokens and in at least so many rows."""
        right = (self.share >= least) & (self.share <= most) & (self.rows >= n_rows)
        return right.nonzero().flatten()


@torch.no_grad()
def strongest(
    model: "TransformerBridge",
    rows: Rows,
    sae: Coder,
    n: int = 5,
    skip_first: int = 1,
    batch_rows: int = 4,
) -> Contexts:
    """Run the clean model over the rows and keep each latent's n strongest rows.

    One token per row, since neighbours of a strong token are often strong for the same reason.
    Padding and the first `skip_first` positions do not count. Memory: the activations of
    batch_rows × pos tokens, and n numbers per latent, however many rows there are.
    """
    from utils.activations.write import capture

    device = next(model.parameters()).device
    best: Tensor | None = None
    n_tokens = 0
    for i in track(range(0, len(rows), batch_rows), "strongest contexts"):
        part = rows[i : i + batch_rows]
        ids, keep = part.ids.to(device), counted(part.mask, skip_first).to(device)
        codes = sae.encode(capture(model, ids, [sae.hook_in])[sae.hook_in]) * keep[..., None]
        peak, pos = codes.max(dim=1)  # (row, latent)
        if best is None:
            best = peak.new_zeros(0, codes.shape[-1])
            at, where = pos.new_zeros(0, codes.shape[-1]), pos.new_zeros(0, codes.shape[-1])
            # counts are whole numbers: in the codes' own bfloat16 they would stop at 256
            times, in_rows = pos.new_zeros(2, codes.shape[-1])
        fires = codes > 0
        times += fires.sum(dim=(0, 1))
        in_rows += fires.any(dim=1).sum(dim=0)
        n_tokens += int(keep.sum())
        row = torch.arange(i, i + len(ids), device=device)[:, None].expand_as(pos)
        best, order = torch.cat([best, peak]).sort(dim=0, descending=True, stable=True)
        best, order = best[:n], order[:n]
        at = torch.cat([at, pos]).gather(0, order)
        where = torch.cat([where, row]).gather(0, order)
    if best is None:
        raise ValueError("there are no rows to look at")
    none = best <= 0
    at, where = at.masked_fill(none, -1), where.masked_fill(none, -1)
    share = (times.double() / n_tokens).float()
    found = (where.T, at.T, best.clamp(min=0).T, share, in_rows)
    return Contexts(*(x.cpu() for x in found))


def window(
    ids: Sequence[int] | Int[Tensor, " pos"], pos: int, before: int = 10, after: int = 4
) -> tuple[list[int], int, list[int]]:
    """Token ids before, at and after a position of a row, its first token (BOS) left out."""
    row = [int(i) for i in ids]
    return row[max(1, pos - before) : pos], row[pos], row[pos + 1 : pos + 1 + after]
