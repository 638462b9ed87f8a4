"""artifacts/README.md: one table of everything the course trained, from the cards.

python -m tools.catalogue
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils import files
from utils.course import ARTIFACTS as FOLDER

HEAD = """# What the course trained

Models, sparse autoencoders (SAEs) and transcoders that ship with the course, from their cards
(`python -m tools.catalogue` writes this page). `utils.models` loads them by role. A folder's
README.md says what its SAE was trained on and with which command, how long that took, all metrics,
and what a few of its latents, drawn at random, fire on.

Measured with the saved weights, spliced into the model, on held-out text: L0 is the mean number of
active latents, EV the explained variance, CE and KL what is recovered of the loss and of the
divergence from the clean model (1: nothing is lost; 0: no better than an output of zeros), dead the
share of latents that no held-out token makes active. ± is one standard error.
"""
COLUMNS = "| {} | latents | L0 | EV | CE | KL | dead |\n|---|---|---|---|---|---|---|\n"
# what is measured on which text: the small models have one, the language model several
PLACES = {"tiny": ("held_out", "held_out"), "smollm2": ("speeches", "held_out")}


def cards(folder: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """Every card directly under a folder's folders, by kind, layer and width."""

    def key(file: Path) -> tuple[str, ...]:
        return tuple(f"{part:0>6}" for part in file.parent.name.split("_"))

    files = sorted(folder.glob("*/card.json"), key=key)
    return [(file.parent, json.loads(file.read_text())) for file in files]


def number(scores: Mapping[str, float], metric: str) -> str:
    """A metric, with its standard error where the card has one."""
    spread = scores.get(f"{metric}_se")
    return f"{scores[metric]:.3f}" + (f" ± {spread:.2g}" if spread is not None else "")


def line(folder: Path, card: Mapping[str, Any], places: tuple[str, str]) -> str:
    """An SAE's row."""
    scores, dead = (card["metrics"][place] for place in places)
    name = f"[{card['name']}]({folder.parent.name}/{folder.name}/README.md)"
    metrics = ("explained_variance", "loss_recovered", "kl_recovered")
    texts = [f"{card['latents']:,}", f"{scores['l0']:.1f}", *(number(scores, m) for m in metrics)]
    return " | ".join([f"| {name}", *texts, f"{100 * dead['dead']:.1f} % |\n"])


def read(file: Path) -> str:
    """A file's text; empty where there is none."""
    return file.read_text() if file.exists() else ""


def missed(all_of: list[Mapping[str, Any]]) -> str:
    """A sentence for every bar that an SAE was to reach and did not."""
    lines = []
    for card in all_of:
        for bar in card["bars"]:
            place, metric = bar["metric"].split(".")
            if not bar["met"]:
                scores = card["metrics"][place]
                value, spread = scores[metric], scores.get(f"{metric}_se")
                within = "" if spread is None else f" (standard error {spread:.2g})"
                lines.append(
                    f"- {card['name']} missed a bar: {metric.replace('_', ' ')} on {place} is "
                    f"{value:.4f}{within}, asked was {bar['bar']}.\n"
                )
    return "\n" + "".join(lines) if lines else ""


def denser_elsewhere(all_of: list[Mapping[str, Any]]) -> str:
    """A sentence for every SAE with a tenth more active latents on text like what it read."""
    lines = []
    for card in all_of:
        here, there = (card["metrics"].get(p, {}).get("l0", 0.0) for p in ("speeches", "same"))
        if there > 1.1 * here:
            lines.append(
                f"- {card['name']} has {there:.1f} active latents on held-out documents of the "
                f"sources that it was trained on.\n"
            )
    return "\n" + "".join(lines) if lines else ""


def section(folder: Path) -> str:
    """A model and its SAEs; empty where there is neither."""
    found = [(at, card) for at, card in cards(folder) if "latents" in card]
    own = json.loads(text) if (text := read(folder / "card.json")) else {}
    kind, title = "tiny", folder.name
    if "parameters" in own:
        about = f"{own['about']} {own['parameters']:,} parameters; [its card]({title}/README.md)."
    elif not found:
        return ""
    else:
        kind, title = "smollm2", found[0][1]["model"]
        about = (
            "The weights come from a Python package; these are its SAEs, measured on speeches, "
            "a source that none of them was trained on (dead: on speeches and other held-out text)."
        )
    rows = "".join(line(at, card, PLACES[kind]) for at, card in found)
    table = f"\n{COLUMNS.format('SAE')}{rows}" if rows else ""
    sets = [(at, card) for at, card in cards(folder) if "latents" not in card]
    lines = [f"- [{at.name}]({folder.name}/{at.name}/README.md): {card['about']}\n"
             for at, card in sets]  # fmt: skip
    table += "\n" + "".join(lines) if lines else ""
    all_of = [card for _, card in found]
    return f"\n## {title}\n\n{about}\n{table}{missed(all_of)}{denser_elsewhere(all_of)}"


def page(folder: Path = FOLDER) -> str:
    """The whole page."""
    return HEAD + "".join(section(each) for each in sorted(folder.iterdir()) if each.is_dir())


def main() -> int:
    """Write the page."""
    files.write(FOLDER / "README.md", page())
    print(f"artifacts/README.md: {page().count('/README.md)')} cards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
