"""From the state of a finished run to the dashboards."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from utils.dashboards.effects import Effects
from utils.dashboards.result import Dashboards, Example, Latent, Numbers, Partner
from utils.dashboards.select import Selector
from utils.dashboards.settings import Settings
from utils.dashboards.state import State
from utils.dashboards.statistics import Enriched, enrichment, wilson
from utils.dashboards.sums import Moments, cosines, pearson
from utils.dashboards.text import Text
from utils.dashboards.tokens import texts
from utils.dashboards.weights import (
    LogitWeights,
    decoder_rows,
    logit_weights,
    read_out,
    to_residual,
)
from utils.models.loaded import Loaded
from utils.models.sae import Sae

N_INPUTS = 3  # coordinates named beside a latent


@dataclass(frozen=True)
class Tables:
    """Everything about all latents that is computed at once, one entry per latent."""

    correlated: list[list[Partner]]
    cosine: list[list[Partner]]
    inputs: list[list[Partner]]
    outputs: list[list[Partner]]
    l1: list[float]
    enriched: list[list[Enriched]]
    logits: list[LogitWeights] | None
    heads: list[list[float]] | None


@torch.no_grad()
def assemble(
    loaded: Loaded,
    sae: Sae,
    text: Text,
    state: State,
    effects: Effects,
    partners: str,
    seconds: dict[str, float],
) -> Dashboards:
    """Put together what was collected."""
    settings = state.settings
    tables = _tables(loaded, sae, state)
    selector, n_tokens = Selector(state, text), int(state.done[1])
    latents = [
        _latent(slot, selector, tables, state, effects) for slot in range(len(state.latents))
    ]
    return Dashboards(
        *(
            loaded.name,
            sae.kind,
            sae.hook_in,
            sae.hook_out,
            sae.n_latents,
            len(text.rows),
            n_tokens,
        ),
        n_pos=text.rows.ids.shape[1],
        n_vocab_seen=int((state.tokens.seen > 0).sum()),
        partners=partners,
        settings=settings,
        vocab=texts(loaded.tokenizer, _named(latents)),
        latents=latents,
        seconds=seconds,
    )


def _named(latents: list[Latent]) -> set[int]:
    """Every token that is named anywhere."""
    found = {t for latent in latents for e in latent.examples for t in e.tokens}
    found |= {e.token for latent in latents for e in latent.enriched}
    for latent in latents:
        if latent.logits is not None:
            found |= {token for token, _ in [*latent.logits.top, *latent.logits.bottom]}
    return found


def _tables(loaded: Loaded, sae: Sae, state: State) -> Tables:
    """What is computed for all latents at once."""
    cfg, model, n = state.settings, loaded.model, int(state.done[1])
    active = state.histogram.counts.sum(dim=1)
    home = state.latents.device
    rows = decoder_rows(sae, state.latents.to(loaded.device)).to(home)
    everyone = decoder_rows(sae, torch.arange(sae.n_latents, device=loaded.device)).to(home)
    cosine = _unit(rows) @ _unit(everyone).T
    cosine[torch.arange(len(rows)), state.latents] = -math.inf  # itself
    columns = torch.tensor(state.sizes.columns, device=home)
    numbers = None if state.sizes.n_codes == sae.n_latents else state.latents
    state.tokens.settle()
    found = state.tokens
    out = to_residual(model, sae.hook_out)
    return Tables(
        _correlated(state.codes, state.codes, columns, n, cfg.n_partners, numbers),
        _first(cosine, cfg.n_partners),
        _correlated(state.codes, state.inputs, columns, n, N_INPUTS),
        _first(rows, N_INPUTS, by_size=True),
        rows.abs().sum(dim=1).tolist(),
        enrichment(found.key, found.count, found.seen, active, cfg.n_enriched),
        None
        if out is None
        else logit_weights(read_out(model), out(rows.to(loaded.device)), cfg.n_tokens),
        _head_shares(rows, int(model.cfg.n_heads)) if sae.kind == "attention" else None,
    )


def _unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows of length 1; a row of zeros stays."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _correlated(
    codes: Moments,
    other: Moments,
    columns: Int[Tensor, " latent"],
    n_tokens: int,
    n: int,
    numbers: Int[Tensor, " n"] | None = None,
) -> list[list[Partner]]:
    """Each latent's n largest positive correlations, with the cosine of the activations."""
    square = (codes.square[columns], other.square)
    r = pearson(other.product, (codes.total[columns], other.total), square, n_tokens)
    if other is codes:
        r[torch.arange(len(columns)), columns] = 0.0  # itself
    return _first(r, n, numbers, cosines(other.product, square), above=0.0)


def _first(
    values: Float[Tensor, "latent n"],
    n: int,
    numbers: Int[Tensor, " n"] | None = None,
    beside: Float[Tensor, "latent n"] | None = None,
    above: float = -math.inf,
    by_size: bool = False,
) -> list[list[Partner]]:
    """The n largest of each row (by absolute value: `by_size`) that are above a bound."""
    order = (values.abs() if by_size else values).topk(min(n, values.shape[1])).indices
    names = order if numbers is None else numbers[order]
    more = order.new_zeros(order.shape) if beside is None else beside.gather(1, order)
    columns = (x.tolist() for x in (names, values.gather(1, order), more))
    return [
        [
            Partner(i, value, None if beside is None else cosine)
            for i, value, cosine in zip(*row, strict=True)
            if value > above
        ]
        for row in zip(*columns, strict=True)
    ]


def _head_shares(rows: Float[Tensor, "n d"], n_heads: int) -> list[list[float]]:
    """Share of each head in the squared norm of a decoder row over z."""
    squares = rows.view(len(rows), n_heads, -1).square().sum(dim=2)
    return (squares / squares.sum(dim=1, keepdim=True).clamp(min=1e-12)).tolist()


def _latent(
    slot: int, selector: Selector, tables: Tables, state: State, effects: Effects
) -> Latent:
    """One latent."""
    index, n = int(state.latents[slot]), int(state.done[1])
    column = state.sizes.columns[slot]
    counts = state.histogram.counts[slot]
    k = int(counts.sum())
    total, square = float(state.codes.total[column]), float(state.codes.square[column])
    mean = total / k if k else 0.0
    used, width = selector.used(slot) if k else (0, 0.0)
    low, high = wilson(k, n)
    examples, groups = selector.choose(slot)
    return Latent(
        *(index, k, int(state.rows[slot]), k / n, low, high, float(state.largest[slot])),
        mean=mean,
        std=math.sqrt(max(square / k - mean * mean, 0.0)) if k else 0.0,
        histogram=counts[:used].tolist(),
        bin_width=width,
        examples=_with_effects(slot, examples, effects, state.settings),
        groups=groups,
        correlated=tables.correlated[slot],
        cosine=tables.cosine[slot],
        inputs_correlated=tables.inputs[slot],
        outputs_aligned=tables.outputs[slot],
        outputs_l1=tables.l1[slot],
        enriched=tables.enriched[slot],
        logits=None if tables.logits is None else tables.logits[slot],
        heads=None if tables.heads is None else tables.heads[slot],
    )


def _with_effects(
    slot: int, examples: list[Example], effects: Effects, settings: Settings
) -> list[Example]:
    """The strongest examples, with what was measured there."""
    found = list(examples)
    for nth in range(min(settings.n_loss, len(examples))):
        example = examples[nth]
        first = example.start - (example.pos - settings.before)
        part = slice(first, first + len(example.tokens))
        more: dict[str, Any] = {
            name: _known(getattr(effects, name)[slot, nth, part])
            for name in ("direct", "full", "sources")
            if getattr(effects, name).numel()
        }
        found[nth] = replace(example, **more)
        if effects.heads.shape[-1]:
            heads, outside = effects.heads[slot, nth].tolist(), float(effects.outside[slot, nth])
            found[nth] = replace(found[nth], heads=heads, outside=outside)
    return found


def _known(values: Float[Tensor, " n"]) -> Numbers | None:
    """NaN as None; None where nothing is known."""
    if values.isnan().all():
        return None
    return [None if math.isnan(v) else v for v in values.tolist()]
