"""The card of the set of transcoders: each layer alone, and all of them in the model at once."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tools.local import text
from tools.local.transcoders import ROUNDING, SET, Shop, name_of
from tools.saes.cards import Card, read_card, write_card
from tools.saes.cost import COST, Run, read_run
from utils.activations.write import capture
from utils.data.corpus import Rows, counted
from utils.models.sae import Sae, load_sae
from utils.sae_metrics import Reconstruction, in_model, together
from utils.saes.packed import PACKED

HEAD = """# {name}

{about}

- Reads `blocks.N.mlp.hook_in`, writes `blocks.N.hook_mlp_out` of {model}.
- Latents: {latents:,} a layer, k = {k} in training, saved in 8 bits with a scale for each row
  ({megabytes:.0f} MB in all); all metrics are those of the saved weights.
- Data: {tokens:,} tokens, each seen once, in rows of one document each, BOS first, from {sources}.
- Training: {n_steps:,} steps of about {batch} activations for each layer. Seed: {seed}.
- Command: `python -m tools.local.transcoders`.
- Time: {minutes:.0f} minutes of a CPU ({clock:.0f} by the clock); memory {peak_gb:.1f} GB.
- Licence: {licence}
- Evaluated on: {evaluated_on}.

"""
COLUMNS = """| layer | L0 | EV | EV, same | EV, written | CE | KL | dead | 8 bits |
|---|---|---|---|---|---|---|---|---|
"""
LEGEND = """
L0 and EV (explained variance) on speeches; EV on held-out documents of the sources trained on
(same) and on text that the model wrote (written); CE and KL: what is recovered of loss and
divergence with this transcoder alone in the model, ± one standard error, where an output of zeros
recovers nothing; dead: latents that none of the held-out tokens makes active; 8 bits: the explained
variance that rounding the weights cost.
"""


@dataclass(frozen=True)
class Sizes:
    """Held-out rows that are measured on."""

    scored: int = 256  # of each text: L0, explained variance, dead latents
    in_model: int = 48  # of speeches: loss and KL of each layer
    together: int = 128  # of speeches: loss and KL of all layers at once


@torch.no_grad()
def scores(shop: Shop, saes: list[Sae], rows: Rows) -> list[Reconstruction]:
    """What each transcoder does on clean activations, from one run of the model."""
    found = [Reconstruction() for _ in saes]
    hooks = list(dict.fromkeys(hook for sae in saes for hook in (sae.hook_in, sae.hook_out)))
    for i in range(0, len(rows), 8):
        part = rows[i : i + 8]
        keep = counted(part.mask)
        acts = capture(shop.loaded.model, part.ids, hooks)
        for sae, metrics in zip(saes, found, strict=True):
            x, y = (acts[hook][keep] for hook in (sae.hook_in, sae.hook_out))
            codes = sae.encode(x)
            metrics.update(y, sae.decode(codes, x), codes)
    return found


def measure(shop: Shop, layers: list[int], sizes: Sizes) -> tuple[list[dict[str, Any]], Card]:
    """Per layer, and all at once."""
    saes = [load_sae(shop.folder(layer)) for layer in layers]
    by_text = {name: scores(shop, saes, shop.held_rows(name, sizes.scored)) for name in shop.held}
    speeches, model = shop.held_rows("speeches", sizes.together), shop.loaded.model
    found = []
    for i, (layer, sae) in enumerate(zip(layers, saes, strict=True)):
        one: dict[str, Any] = {"layer": layer}
        fired = torch.zeros(sae.n_latents, dtype=torch.int64)
        for name, measured in by_text.items():
            result = measured[i].result()
            numbers = {k: getattr(result, k) for k in ("n_tokens", "l0", "explained_variance")}
            one[name] = {k: round(x, 5) for k, x in numbers.items()}
            fired += measured[i].fired.cpu()
        one["dead"] = round(float((fired == 0).double().mean()), 5)
        costs = in_model(model, speeches[: sizes.in_model], sae)
        one["in_model"] = rounded(costs.numbers())
        found.append(one)
        ev, loss = one["speeches"]["explained_variance"], one["in_model"]["loss_recovered"]
        print(f"layer {layer}: EV {ev:.3f}, loss recovered {loss:.3f}", flush=True)
    return found, rounded(together(model, speeches, saes).numbers())


def rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    """Five places."""
    return {k: round(x, 5) if isinstance(x, float) else x for k, x in numbers.items()}


def what_it_took(shop: Shop, old: Card | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Costs of all groups, and what 8 bits cost each layer; an old card's where there are none."""
    runs = [read_run(work / COST) for work in shop.works()]
    if not runs:
        old = old or {}
        return old.get("cost", asdict(Run())), old.get("rounding", {})
    rounding: dict[str, Any] = {}
    for work in shop.works():
        if (work / ROUNDING).exists():
            rounding |= json.loads((work / ROUNDING).read_text())
    cost = {
        "cpu_seconds": round(sum(run.cpu_seconds for run in runs)),
        "seconds": round(sum(run.seconds for run in runs)),
        "peak_gb": round(max(run.peak_gb for run in runs), 2),
    }
    return cost, rounding


def make_card(shop: Shop, layers: list[int], sizes: Sizes, old: Card | None) -> Card:
    """Everything that a reader needs to judge the set and to make it again."""
    found, at_once = measure(shop, layers, sizes)
    cost, rounding = what_it_took(shop, old)
    plan, stream = shop.plan, shop.stream()
    return {
        "name": SET,
        "about": "Skip transcoders of every layer's MLP, from what it reads to what it writes. One "
        "training, reported as it came out.",
        "model": shop.loaded.name,
        "digest": shop.digest,
        "layers": layers,
        "plan": asdict(plan),
        "tokens": text.n_tokens(shop.rows),
        "n_steps": stream.n_steps(),
        "sources": text.counts(shop.train_docs),
        "bytes": sum((shop.folder(layer) / PACKED).stat().st_size for layer in layers),
        "cost": cost,
        "rounding": {name: rounded(x) for name, x in rounding.items()},
        "evaluated_on": f"{sizes.scored} rows of each text, {sizes.in_model} rows of speeches for "
        f"loss and KL of a layer, {sizes.together} for all at once. Speeches (state_union, "
        "inaugural) are a source that was not trained on. The first position (BOS) is neither "
        "replaced nor counted; `utils/sae_metrics` defines each metric; losses in nats",
        "licence": "MIT. The activations come from SmolLM2-135M-Instruct (Apache-2.0). No text "
        "that it was trained on ships with it.",
        "per_layer": found,
        "together": at_once,
    }


def readme(card: Card) -> str:
    """The card as a page."""
    plan, cost = card["plan"], card["cost"]
    sources = ", ".join(f"{name} {n // 1000}k" for name, n in card["sources"].items())
    numbers = {
        "minutes": cost["cpu_seconds"] / 60,
        "clock": cost["seconds"] / 60,
        "megabytes": card["bytes"] / 1e6,
        "batch": plan["stream"]["batch"],
    }
    facts = {**plan, **cost, **card, **numbers, "sources": sources}
    lines = [HEAD.format(**facts), COLUMNS]
    for one in card["per_layer"]:
        costs = one["in_model"]
        evs = [
            one.get(name, {}).get("explained_variance") for name in ("speeches", "same", "written")
        ]
        evs = ["" if ev is None else f"{ev:.3f}" for ev in evs]
        shares = [
            f"{costs[f'{what}_recovered']:.3f} ± {costs[f'{what}_recovered_se']:.2g}"
            for what in ("loss", "kl")
        ]
        lost = card["rounding"].get(name_of(one["layer"]))
        bits = "" if lost is None else f"{lost['float32'] - lost['int8']:.4f}"
        cells = [str(one["layer"]), f"{one['speeches']['l0']:.1f}", *evs, *shares]
        lines.append("| " + " | ".join([*cells, f"{100 * one['dead']:.1f} %", bits]) + " |\n")
    lines.append(LEGEND)
    all_in = card["together"]
    lines.append(
        f"\nAll {len(card['layers'])} in the model at once: loss {all_in['loss_sae']:.3f} (clean "
        f"{all_in['loss_clean']:.3f}, with zeros in place of all these MLPs' outputs "
        f"{all_in['loss_ablated']:.3f}), KL {all_in['kl_sae']:.3f} (zeros: "
        f"{all_in['kl_ablated']:.3f}); recovered {all_in['loss_recovered']:.3f} ± "
        f"{all_in['loss_recovered_se']:.2g} of the loss, {all_in['kl_recovered']:.3f} ± "
        f"{all_in['kl_recovered_se']:.2g} of the divergence, on {all_in['n_predictions']:,} "
        "predictions.\n"
    )
    return "".join(lines)


def describe(
    shop: Shop, layers: list[int], sizes: Sizes | None = None, again: bool = False
) -> Card | None:
    """Measure the saved weights and write the card of the set; None where there is no layer."""
    folder = shop.artifacts / SET
    old = read_card(folder)
    if not layers:
        return None
    if old and not again and (old["digest"], old["layers"]) == (shop.digest, layers):
        return old
    card = make_card(shop, layers, sizes or Sizes(), old)
    write_card(card, folder, readme(card))
    return card
