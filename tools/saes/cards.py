"""Cards: card.json for programs, README.md for people, one written from the other."""

import json
from pathlib import Path
from typing import Any

from tools.saes.cost import Run
from tools.saes.examples import as_page
from tools.saes.recipe import FISHER_ROWS, Recipe, plain
from utils import files

Card = dict[str, Any]
Numbers = dict[str, float]
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


def facts(recipe: Recipe, run: Run) -> Card:
    """What a card says of every SAE: what it is, and what its training took."""
    return {
        "name": recipe.name,
        "about": recipe.about,
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
        "recipe": plain(recipe),
    }


def run_of(card: Card) -> Run:
    """What the training took, as its card says."""
    names = ("tokens", "n_steps", "seconds", "cpu_seconds", "peak_gb")
    return Run(**{name: card[name] for name in names})


def rounded(metrics: dict[str, Numbers]) -> dict[str, Numbers]:
    """Five places: more than any of them means."""
    return {kind: {m: round(x, 5) for m, x in v.items()} for kind, v in metrics.items()}


def verdicts(
    bars: list[tuple[str, str, str, float]], metrics: dict[str, Numbers]
) -> list[dict[str, Any]]:
    """Each bar (kind, metric, <= or >=, number) with whether it was reached."""
    found = []
    for kind, metric, sign, bar in bars:
        value = metrics[kind][metric]
        met = value <= bar if sign == "<=" else value >= bar
        found.append({"metric": f"{kind}.{metric}", "bar": f"{sign} {bar:g}", "met": met})
    return found


def report(card: Card) -> None:
    """Print each bar of a card."""
    for bar in card["bars"]:
        kind, metric = bar["metric"].split(".")
        value, met = card["metrics"][kind][metric], "met" if bar["met"] else "MISSED"
        print(f"{card['name']}: {bar['metric']} = {value:g}, asked {bar['bar']}: {met}", flush=True)


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
    """An SAE's card as a page."""
    clock, minutes = card["seconds"] / 60, card["cpu_seconds"] / 60
    page = HEAD.format(**card, clock=clock, minutes=minutes, more=more_text(card))
    return page + measured(card) + (as_page(card["examples"]) if card["examples"] else "")


def measured(card: Card) -> str:
    """The rows of the table of metrics, then the bars: of an SAE or of a model."""
    lines = []
    for kind, numbers in card["metrics"].items():
        lines += [f"| {kind}: {name} | {value:g} |\n" for name, value in numbers.items()]
    lines.append("\n")
    for bar in card["bars"]:
        met = "met" if bar["met"] else "**missed**"
        lines.append(f"- bar {bar['metric']} {bar['bar']}: {met}\n")
    return "".join(lines)


def write_card(card: Card, folder: Path, page: str) -> None:
    """README.md, then card.json: its presence says that the folder is complete."""
    files.write(folder / "README.md", page)
    files.write(folder / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def read_card(folder: Path) -> Card | None:
    """The card of a finished model or SAE, None where there is none."""
    file = folder / "card.json"
    return json.loads(file.read_text()) if file.exists() else None
