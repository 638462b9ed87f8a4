"""Cards of the small models: what is theirs beside `tools.saes.cards`."""

import json
from dataclasses import asdict
from typing import Any

from tools.saes.cards import Card, measured, rounded, verdicts
from tools.tiny.metrics import BARS, HELD_OUT, MEASURES, Numbers
from tools.tiny.recipes import ABOUT
from tools.tiny.train import Progress, Recipe

HEAD = """# {name}

{about}

- Parameters: {parameters:,}, saved in {dtype}; the metrics are those of the saved weights.
- Data: {data}
- Seen in training: {tokens:,} tokens, all drawn afresh ({n_steps:,} steps of {batch} rows).
- Seed: {seed}. Command: `{command}`.
- Time: {minutes:.0f} minutes of one CPU thread ({clock:.0f} by the clock: other work was running).
- Licence: {licence}, weights and generated data alike.
- Evaluated on: {evaluated_on}

| metric | value |
|---|---|
"""


def make_card(recipe: Recipe, progress: Progress, model: Any, metrics: dict[str, Numbers]) -> Card:
    """Everything that a reader needs to judge a model and to make it again."""
    about, data = ABOUT[recipe.name]
    sizes = ", ".join(f"{kind}: {n}" for kind, (_, n) in MEASURES[recipe.name].items())
    return {
        "name": recipe.name,
        "about": about,
        "data": data,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": "float16",
        "tokens": recipe.n_steps * recipe.batch * recipe.config["n_ctx"],
        "n_steps": recipe.n_steps,
        "batch": recipe.batch,
        "seed": recipe.seed,
        "command": f"python -m tools.tiny {recipe.name}",
        "cpu_seconds": round(progress.cpu_seconds),
        "seconds": round(progress.seconds),
        "licence": "MIT",
        "evaluated_on": f"rows drawn afresh from the same generators, seeds from {HELD_OUT} on, "
        f"which training does not use ({sizes}); `tools/tiny/metrics.py` defines each metric",
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "metrics": rounded(metrics),
        "bars": verdicts(BARS[recipe.name], rounded(metrics)),
    }


def readme(card: Card) -> str:
    """The card as a page."""
    clock, minutes = card["seconds"] / 60, card["cpu_seconds"] / 60
    return HEAD.format(**card, clock=clock, minutes=minutes) + measured(card)
