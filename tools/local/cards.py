"""Cards of the language model's SAEs, in the format of `tools.tiny.cards`, with what is theirs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.local.evaluate import FEWEST_TOKENS, Numbers, verdicts
from tools.local.recipes import FISHER_ROWS, Recipe
from tools.local.train import Run
from tools.saes.examples import as_page
from utils.activations.index import write_whole

Card = dict[str, Any]
LICENCE = (
    "MIT. The activations come from SmolLM2-135M-Instruct (Apache-2.0). No text that it was "
    "trained on ships with it."
)
EVALUATED_ON = (
    "speeches: state_union and inaugural, a source that was not trained on; same: held-out "
    "documents of the sources trained on; written: the course's corpus sample; sample: a few rows "
    "of speeches that ship with the course; held_out: speeches and same together; indirect: "
    "prompts of tools/local/names. The first position (BOS) is neither replaced nor counted. "
    "`tools/local/evaluate.py` and `utils/sae_metrics` define each metric; losses in nats, the "
    "anchor of what is recovered is an output of zeros, _se is a standard error (rows are drawn)"
)
HEAD = """# {name}

{about}

- Reads `{hook_in}`, writes `{hook_out}` of {model}.
- Latents: {latents:,}, k = {k}, saved in {dtype}; the metrics are those of the saved weights.
- Data: {data}
- Training: {n_steps:,} steps of {batch} activations (each seen {epochs} times){more}.
- Seed: {seed}. Command: `{command}`.
- Time: {minutes:.0f} minutes of one CPU thread ({clock:.0f} by the clock); memory {peak_gb:.1f} GB.
- Licence: {licence}
- Evaluated on: {evaluated_on}.

| metric | value |
|---|---|
"""


def data_text(n_tokens: int, whole: bool, counts: Mapping[str, int]) -> str:
    """How many tokens of which sources; says so where it is not all that the recipe asks for."""
    sources = ", ".join(f"{name} {n // 1000}k" for name, n in counts.items())
    text = f"{n_tokens:,} tokens"
    if not whole:
        text += " (NOT FINAL: a random sample of the rows that are to be trained on)"
    return f"{text}, in rows of one document each, BOS first, from {sources}."


def make_card(
    recipe: Recipe,
    run: Run,
    model: str,
    data: dict[str, Any],
    metrics: dict[str, Numbers],
    density: dict[str, Any],
) -> Card:
    """Everything that a reader needs to judge an SAE and to make it again.

    `data` has `command`, `data` (a sentence), `segments`, `text` (their digests), `sources`,
    `tuned_on` (a segment, or None) and `examples` (see `tools.saes.examples`; None where there is
    no text that may be shown).
    """
    metrics = {"training": {"tokens": float(run.tokens)}, **metrics}
    metrics = {k: {m: round(x, 5) for m, x in v.items()} for k, v in metrics.items()}
    return {
        "name": recipe.name,
        "about": recipe.about,
        "model": model,
        "hook_in": recipe.hook_in,
        "hook_out": recipe.hook_out,
        "latents": recipe.sae.latent,
        "k": recipe.sae.k,
        "dtype": "float16",
        "tokens": run.tokens,
        "n_steps": run.n_steps,
        "batch": recipe.batch,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "cpu_seconds": round(run.cpu_seconds),
        "seconds": round(run.seconds),
        "peak_gb": round(run.peak_gb, 2),
        "licence": LICENCE,
        "evaluated_on": EVALUATED_ON,
        **data,
        "recipe": plain(recipe),
        "metrics": metrics,
        "density": density,
        "bars": verdicts(metrics),
    }


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON reads it back, without what it does not have."""
    return json.loads(json.dumps({k: v for k, v in asdict(recipe).items() if v is not None}))


def is_final(card: Card) -> bool:
    """Trained on all that was asked for."""
    return card["tokens"] >= FEWEST_TOKENS


def more_text(card: Card) -> str:
    """What else decided the weights, for the line on training: distance, last stage, threshold."""
    recipe, text = card["recipe"], ""
    if n := recipe.get("formal"):
        text = f"; the formal prose that the model wrote {n} times as often"
    if n := recipe.get("prose"):
        text += f"; prose by people {n} times as often"
    if weight := recipe.get("predictive"):
        text += (
            f"; in a distance in which {FISHER_ROWS} rows of {card['tuned_on']} say how much each "
            f"direction matters to predictions (weight {weight:g}; the log counts in it)"
        )
    if n := recipe["finetune_rows"]:
        text += f", then {n:,} rows of {card['tuned_on']} with the model's predictions in the loss"
    if k := recipe.get("k_saved"):
        text += f"; saved with the threshold at which {k} latents are active on training text"
    return text


def readme(card: Card) -> str:
    """The card as a page."""
    clock, minutes = card["seconds"] / 60, card["cpu_seconds"] / 60
    lines = [HEAD.format(**card, clock=clock, minutes=minutes, more=more_text(card))]
    for kind, numbers in card["metrics"].items():
        lines += [f"| {kind}: {name} | {value:g} |\n" for name, value in numbers.items()]
    lines.append("\n")
    for bar in card["bars"]:
        met = "met" if bar["met"] else "**missed**"
        lines.append(f"- bar {bar['metric']} {bar['bar']}: {met}\n")
    if card["examples"]:
        lines.append(as_page(card["examples"]))
    return "".join(lines)


def write_card(card: Card, folder: Path) -> None:
    """README.md, then card.json: its presence says that the folder is complete."""
    write_whole(folder / "README.md", readme(card).encode())
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / "card.json", text.encode())
