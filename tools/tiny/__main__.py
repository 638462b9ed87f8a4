"""Train what is missing and write it to artifacts/, each model with its card.

    python -m tools.tiny                       all four; what is done is skipped
    python -m tools.tiny tiny_othello          one of them
    python -m tools.tiny --measure             only measure the saved weights again, write the cards

A run that is stopped goes on from its checkpoint in the course's cache folder and ends with the
same weights.
"""  # fmt: skip

import json
import os
from pathlib import Path
from typing import Annotated

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import typer

from tools.saes.cards import read_card, report, write_card
from tools.tiny.cards import make_card, readme
from tools.tiny.metrics import MEASURES
from tools.tiny.metrics import measure as metrics_of
from tools.tiny.recipes import TASKS
from tools.tiny.train import Progress, train
from utils import files
from utils.course import ARTIFACTS
from utils.data.stories.tokenizer import story_tokenizer
from utils.models.smollm2 import cache_folder
from utils.models.tiny import WEIGHTS, load_tiny, save_tiny


def finished(name: str, folder: Path) -> bool:
    """Weights, and a card made by this very recipe."""
    card = read_card(folder)
    recipe = json.loads(json.dumps(vars(TASKS[name]().recipe)))
    return card is not None and card["recipe"] == recipe and (folder / WEIGHTS).exists()


def make(name: str, folder: Path, work: Path) -> None:
    """Train or resume, save, measure what was saved, write the card."""
    task = TASKS[name]()
    model, progress = train(task.recipe, task.draw, task.loss, work)
    save_tiny(model, None if name == "tiny_othello" else story_tokenizer(), folder)
    files.write(folder / "log.jsonl", (work / "log.jsonl").read_bytes())
    describe(name, folder, progress)


def describe(name: str, folder: Path, progress: Progress) -> None:
    """Measure the saved weights and write their card."""
    saved = load_tiny(folder)
    card = make_card(TASKS[name]().recipe, progress, saved, metrics_of(name, saved))
    write_card(card, folder, readme(card))
    report(card)


def main(
    names: Annotated[list[str] | None, typer.Argument(help=", ".join(TASKS))] = None,
    measure: Annotated[bool, typer.Option("--measure", help="measure again, do not train")] = False,
    artifacts: Path = ARTIFACTS,
    threads: Annotated[int, typer.Option(help="of torch; 0: its own choice")] = 0,
) -> None:
    """Train what is missing and write it to artifacts/, each model with its card."""
    torch.set_num_threads(threads or torch.get_num_threads())
    if wrong := [name for name in names or () if name not in TASKS]:
        raise typer.BadParameter(f"there is no {', '.join(wrong)}: choose from {', '.join(TASKS)}")
    for name in names or MEASURES:
        folder = artifacts / name
        card = read_card(folder)
        if measure:
            if card is None or not finished(name, folder):
                print(f"{name}: no weights of this recipe are there")
                continue
            times = {key: card[key] for key in ("seconds", "cpu_seconds")}
            describe(name, folder, Progress(step=card["n_steps"], **times))
        elif finished(name, folder):
            print(f"{name}: done, skipped (delete its card.json to make it again)")
        else:
            make(name, folder, cache_folder() / "training" / name)


if __name__ == "__main__":
    typer.run(main)
