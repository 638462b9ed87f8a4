"""What some latents of an SAE fire on, for its card: drawn at random, not picked by hand."""

from collections.abc import Callable
from typing import Any

import torch

from utils.data.corpus import Rows
from utils.models.loaded import Loaded
from utils.models.sae import Sae
from utils.sae_metrics.contexts import strongest, window

N_LATENTS, N_CONTEXTS = 5, 4
MOST = 0.05  # share of tokens: a latent that is active more often says little about any of them
Names = Callable[[list[int]], str]  # token ids to text


def as_text(ids: list[int], tokenizer: Any) -> str:
    """Tokens as they are read, on one line."""
    return tokenizer.decode(ids).replace("\n", "⏎").replace("\t", "⇥").replace("\r", "")


def examples(
    loaded: Loaded, sae: Sae, rows: Rows, of: str, names: Names, seed: int = 0
) -> dict[str, Any]:
    """Five latents, drawn among those active in four rows or more, with their strongest contexts.

    `of` says which text the rows are. In JSON: a latent's number, its share of tokens, and per
    context the activation, the row, the position, and the text before, at and after it.
    """
    found = strongest(loaded.model, rows, sae, N_CONTEXTS)
    fit = found.between(0, MOST, N_CONTEXTS)
    order = torch.randperm(len(fit), generator=torch.Generator().manual_seed(seed))[:N_LATENTS]
    latents = []
    for latent in fit[order].tolist():
        contexts = []
        for row, pos, act in zip(
            *(x[latent].tolist() for x in (found.row, found.pos, found.activation)), strict=True
        ):
            before, at, after = window(rows.ids[row][rows.mask[row]], pos)
            text = [names(before), names([at]), names(after)]
            contexts.append({"activation": round(act, 3), "row": row, "pos": pos, "text": text})
        share = round(float(found.share[latent]), 6)
        latents.append({"latent": latent, "share": share, "contexts": contexts})
    return {"of": of, "n_rows": len(rows), "n_fit": len(fit), "latents": latents}


def as_page(shown: dict[str, Any]) -> str:
    """The examples as a part of a card's page."""
    lines = [
        f"\n## {len(shown['latents'])} latents\n\nDrawn at random among the {shown['n_fit']} that "
        f"are active in at least {N_CONTEXTS} of {shown['n_rows']} rows ({shown['of']}) and on at "
        f"most {100 * MOST:g} % of tokens; their strongest rows, the token in brackets.\n"
    ]
    for one in shown["latents"]:
        lines.append(f"\nLatent {one['latent']}, active on {100 * one['share']:.2g} % of tokens:\n")
        lines.append("\n```text\n")
        for context in one["contexts"]:
            before, at, after = context["text"]
            lines.append(f"{context['activation']:9.3g}  {before}⟦{at}⟧{after}\n")
        lines.append("```\n")
    return "".join(lines)
