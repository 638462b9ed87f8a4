"""The command line; `tools.local` says what each step does."""

import os
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import typer

import tools.local
from tools.saes.cards import report
from utils.course import ARTIFACTS

if TYPE_CHECKING:
    from tools.local.pipeline import Pipeline
    from tools.saes.recipe import Recipe


class Step(StrEnum):
    """What there is to do; `text` is what every other step does first."""

    write = "write"
    text = "text"
    names = "names"
    harvest = "harvest"
    train = "train"
    measure = "measure"
    status = "status"
    clean = "clean"


IN_ORDER = (Step.write, Step.text, Step.names, Step.harvest, Step.train)
# What the model writes for training, beside what people have written: folder, kinds, tokens
WRITTEN = {"written": ("mixed", 120_000), "formal": ("formal", 620_000)}
WRITTEN_SEED = 1  # the corpus sample that ships is of seed 0


def written_files(cache: Path) -> dict[str, Path]:
    """Where the model's own text for training lies."""
    return {name: cache / name / "documents.safetensors" for name in WRITTEN}


def write(cache: Path) -> None:
    """Let the model write, with another seed than that of the sample that ships."""
    from tools.corpus.__main__ import Asked, write_sample

    for name, file in written_files(cache).items():
        if not file.exists():
            kinds, n = WRITTEN[name]
            # bfloat16: half the time where the processor has instructions for it
            asked = Asked(n, WRITTEN_SEED, file.parent, dtype="bfloat16", kinds=kinds)
            write_sample(asked)


def course_pipeline(cache: Path, artifacts: Path) -> "Pipeline":
    """The real model on the real text."""
    from tools.local import names, text
    from tools.local.pipeline import Amounts, Pipeline
    from tools.local.recipes import Sizes
    from utils.data.corpus import load_documents
    from utils.models import smollm2

    loaded = smollm2.load()
    texts = text.corpora(cache, loaded.tokenizer, written_files(cache))
    file = ARTIFACTS / "corpus_sample" / "documents.safetensors"
    sample = load_documents(file) if file.exists() else None
    sizes, amounts = Sizes(), Amounts()
    return Pipeline(loaded, texts, sample, names.asked(), cache, artifacts, sizes, amounts)


def status(pipeline: "Pipeline") -> None:
    """Print what is there."""
    wanted = list(pipeline.train_rows)
    what = pipeline.source()
    there = pipeline.stores(what)
    n = sum(store.n_tokens() for store in pipeline.stores(what, partial=True))
    held = ", ".join(pipeline.held_stores(what)) or "none"
    print(f"{what.name}: {len(there)} of {len(wanted)} segments, {n} tokens; held out: {held}")
    for recipe in pipeline.recipes():
        print(f"{recipe.name}: {'done' if pipeline.finished(recipe) else 'to be trained'}")


def wanted(pipeline: "Pipeline", only: list[str]) -> list["Recipe"]:
    """The recipes of these names, all where there are none; an error for a name that is unknown."""
    known = {recipe.name: recipe for recipe in pipeline.recipes()}
    if unknown := [name for name in only if name not in known]:
        sys.exit(f"there is no {', '.join(unknown)}: it is one of {', '.join(known)}")
    return [known[name] for name in only] or list(known.values())


def train(pipeline: "Pipeline", only: list[str], partial: bool, epochs: int | None) -> None:
    """Train what is not finished; `epochs` in place of the recipe's."""
    for recipe in wanted(pipeline, only):
        if pipeline.finished(recipe):
            file = pipeline.artifacts / recipe.name / "card.json"
            print(f"{recipe.name}: done, skipped (delete {file} to make it again)")
        else:
            chosen = replace(recipe, epochs=epochs or recipe.epochs)
            report(pipeline.make(chosen, partial))


@dataclass(frozen=True)
class Options:
    """What the command line says beside the step."""

    names: list[str]
    partial: bool
    epochs: int | None
    artifacts: Path
    cache: Path


def run(step: Step, options: Options) -> None:
    """One step; `text` is what making the pipeline does."""
    if step == "write":
        write(options.cache)
        return
    pipeline = course_pipeline(options.cache, options.artifacts)
    if step == "names":
        table = pipeline.find_names()
        print(f"attention of layer {table['layer']} moves names: {table['attention']}")
    elif step == "harvest":
        pipeline.harvest(pipeline.source())
    elif step == "train":
        train(pipeline, options.names, options.partial, options.epochs)
    elif step == "measure":
        for recipe in wanted(pipeline, options.names):
            if card := pipeline.measure_again(recipe):
                report(card)
    elif step == "status":
        status(pipeline)
    elif step == "clean":
        pipeline.clean()


def main(
    step: Annotated[Step | None, typer.Argument(help="default: write to train, in order")] = None,
    names: Annotated[
        list[str] | None, typer.Argument(help="what is trained or measured; default: all")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="on what is harvested so far")] = False,
    epochs: Annotated[int | None, typer.Option(help="other than the recipe's")] = None,
    artifacts: Path = ARTIFACTS / "smollm2",
    cache: Annotated[Path | None, typer.Option(help="default: local/ in the course's")] = None,
) -> None:
    """SAEs for the real language model: text, activations, training, evaluation, cards."""
    from utils.models.smollm2 import cache_folder

    folder = cache or cache_folder() / "local"
    options = Options(names or [], partial, epochs, artifacts, folder)
    for one in (step,) if step else IN_ORDER:
        run(one, options)


if __name__ == "__main__":
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(tools.local.__doc__)
    typer.run(main)
