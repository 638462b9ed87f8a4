"""Train what is missing and write it to artifacts/, each model with its card.

    python -m tools.tiny                       all four; what is done is skipped
    python -m tools.tiny tiny_othello          one of them
    python -m tools.tiny --measure             only measure the saved weights again, write the cards

A run that is stopped goes on from its checkpoint in the course's cache folder and ends with the
same weights.
"""  # fmt: skip

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from tools.tiny.cards import make_card, read_card, write_card
from tools.tiny.metrics import MEASURES, measure
from tools.tiny.recipes import TASKS
from tools.tiny.train import Progress, train
from utils.course import ROOT
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
    (folder / "log.jsonl").write_bytes((work / "log.jsonl").read_bytes())
    describe(name, folder, progress)


def describe(name: str, folder: Path, progress: Progress) -> None:
    """Measure the saved weights and write their card."""
    saved = load_tiny(folder)
    card = make_card(TASKS[name]().recipe, progress, saved, measure(name, saved))
    write_card(card, folder)
    for bar in card["bars"]:
        kind, metric = bar["metric"].split(".")
        value = card["metrics"][kind][metric]
        print(f"{name}: {bar['metric']} = {value:.4f}, asked {bar['bar']}: ", end="")
        print("met" if bar["met"] else "MISSED")


def main(arguments: list[str]) -> int:
    """Exit 0 where everything asked for is there in the end."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(TASKS))
    parser.add_argument("--measure", action="store_true", help="measure again, do not train")
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for name in options.names or MEASURES:
        folder = options.artifacts / name
        card = read_card(folder)
        if options.measure and card is not None:
            times = {key: card[key] for key in ("seconds", "cpu_seconds")}
            describe(name, folder, Progress(step=card["n_steps"], **times))
        elif finished(name, folder):
            print(f"{name}: done, skipped (delete its card.json to make it again)")
        else:
            make(name, folder, cache_folder() / "training" / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
