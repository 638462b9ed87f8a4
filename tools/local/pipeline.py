"""The steps, each of which does what is missing: text, names, harvest, train, measure."""

import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from tools.local import names, text
from tools.local.cards import data_text, make_card
from tools.local.evaluate import measure
from tools.local.harvest import HELD_OUT, harvest, stores_of
from tools.local.recipes import Sizes, one_pass, recipes, times
from tools.local.train import Material, train
from tools.saes.cards import Card, read_card, readme, run_of, write_card
from tools.saes.cost import Run
from tools.saes.examples import as_text, examples
from tools.saes.recipe import Pass, Recipe, plain
from utils.activations import ActivationStore
from utils.data.corpus import Documents, Rows, join, load_documents, rows_of, save_documents
from utils.models.ioi import Prompt
from utils.models.loaded import Loaded
from utils.models.sae import Sae, load_sae

HELD = ("speeches", "same")
NAMES_FILE, SAMPLE_FILE = "names.json", "held_out.safetensors"


@dataclass(frozen=True)
class Amounts:
    """How much of everything; the defaults are the course's."""

    length: int = text.LENGTH  # tokens in a row
    per_segment: int = text.ROWS_PER_SEGMENT  # rows
    held: int = 1024  # rows of each held-out text whose activations are kept
    in_model: int = 256  # rows of speeches through the whole model, three times
    # attention costs so little loss that on 256 rows the share recovered has a standard error of
    # 0.014: too much to say whether it is above its bar
    in_model_attention: int = 1024
    in_model_others: int = 32  # rows of each other text
    sample: int = 4  # rows that ship with the course for the tests
    shown: int = 768  # rows of the corpus sample in which examples are looked for


@dataclass(frozen=True)
class Pipeline:
    """A model, its text, and where things lie."""

    loaded: Loaded
    texts: text.Corpora
    sample: Documents | None  # the course's corpus sample, to evaluate on
    prompts: list[Prompt]
    cache: Path  # activations and checkpoints: gigabytes
    artifacts: Path  # what ships
    sizes: Sizes
    amounts: Amounts

    # ----------------------------------------------------------------------------------- rows

    def cut(self, docs: Documents, n: int) -> Rows:
        """The first rows of a text in random order."""
        rows = text.shuffled(docs, self.loaded.tokenizer, self.amounts.length)
        return Rows(rows.ids[:n], rows.mask[:n], torch.arange(min(n, len(rows))))

    @cached_property
    def train_rows(self) -> dict[str, Rows]:
        """Segments to train on, by name."""
        a, tokenizer = self.amounts, self.loaded.tokenizer
        return text.segments(self.texts, tokenizer, a.per_segment, a.length)

    @cached_property
    def prose(self) -> dict[str, Bool[Tensor, " row"]]:
        """Which rows of the segments by people are prose, not documentation."""
        a, tokenizer = self.amounts, self.loaded.tokenizer
        return text.prose(self.texts, tokenizer, a.per_segment, a.length)

    @cached_property
    def held_rows(self) -> dict[str, Rows]:
        """Held-out rows whose activations are kept."""
        return {name: self.cut(self.texts.held[name], self.amounts.held) for name in HELD}

    def shipped_rows(self) -> Rows:
        """The first held-out speeches, as the file that ships with the course has them."""
        file, tokenizer = self.artifacts / SAMPLE_FILE, self.loaded.tokenizer
        if not file.exists():
            rows = self.held_rows["speeches"]
            whole = rows.ids[rows.mask.all(dim=1)][: self.amounts.sample, 1:]
            save_documents(join([(ids, 0) for ids in whole], ["speeches"]), file)
        return sample_rows(file, tokenizer, self.amounts.length)

    # -------------------------------------------------------------------------------- harvest

    @cached_property
    def names_layer(self) -> int:
        """The attention layer that moves names."""
        return int(self.find_names()["layer"])

    def find_names(self) -> dict[str, Any]:
        """The table of direct logit attribution."""
        return names.write_table(self.loaded, self.artifacts / NAMES_FILE, self.prompts)

    def source(self) -> Pass:
        """The run of the model that all three are trained on."""
        return one_pass(self.sizes.layer, self.names_layer)

    def harvest(self, what: Pass, held_only: bool = False) -> None:
        """Write what is missing: what is held out first, since every evaluation needs it."""
        held = {f"{HELD_OUT}{name}": rows for name, rows in self.held_rows.items()}
        rows = held if held_only else held | self.train_rows
        harvest(self.loaded.model, what, rows, self.cache / "activations")

    def stores(self, what: Pass, partial: bool = False) -> list[ActivationStore]:
        """The segments to train on that are complete, or also those that were begun."""
        return stores_of(what, list(self.train_rows), self.cache / "activations", partial)

    def read_by(self, recipe: Recipe) -> list[str]:
        """The names of the segments that a recipe is trained on."""
        return [name for name in self.train_rows if times(recipe, name)]

    def stores_for(self, recipe: Recipe, partial: bool = False) -> list[ActivationStore]:
        """Those of them that are there."""
        wanted = self.read_by(recipe)
        return [s for s in self.stores(recipe.source, partial) if s.folder.name in wanted]

    def held_stores(self, what: Pass) -> dict[str, ActivationStore]:
        """The held-out activations."""
        found = {n: stores_of(what, [f"{HELD_OUT}{n}"], self.cache / "activations") for n in HELD}
        return {name: stores[0] for name, stores in found.items() if stores}

    # ---------------------------------------------------------------------------------- train

    def recipes(self) -> list[Recipe]:
        """What is trained."""
        return recipes(self.names_layer, self.sizes)

    def finished(self, recipe: Recipe) -> bool:
        """A card of this very recipe, on all its text that there is."""
        card = read_card(self.artifacts / recipe.name)
        if card is None or card["recipe"] != plain(recipe):
            return False
        return set(self.read_by(recipe)) <= set(card["segments"])

    def make(self, recipe: Recipe, partial: bool = False) -> Card:
        """Train, save, measure what was saved, write the card; `partial`: on what is there."""
        self.harvest(recipe.source, held_only=partial)
        folder, stores = self.artifacts / recipe.name, self.stores_for(recipe, partial)
        (folder / "card.json").unlink(missing_ok=True)  # it is not of the weights that come
        place = self.cache / "training"
        material = Material(stores, self.prose, self.tuning_rows(recipe))
        _, run = train(recipe, material, place, folder, self.loaded)
        whole = [store.folder.name for store in self.stores_for(recipe)]
        used = [store.folder.name for store in stores]
        return self.describe(recipe, run, [n if n in whole else f"part of {n}" for n in used])

    def tuned_on(self, recipe: Recipe) -> list[str]:
        """Of which segments rows run through the model in training: the first of people, and of
        the formal prose, where the recipe has it."""
        found = list(self.train_rows)[:1]
        if recipe.formal:
            found += [name for name in self.train_rows if name.startswith(text.FORMAL)][:1]
        return found

    def tuning_rows(self, recipe: Recipe) -> Rows:
        """Those rows, of each segment in turn."""
        parts = [self.train_rows[name] for name in self.tuned_on(recipe)]
        n = min(len(part) for part in parts)
        ids = torch.stack([part.ids[:n] for part in parts], dim=1).flatten(0, 1)
        mask = torch.stack([part.mask[:n] for part in parts], dim=1).flatten(0, 1)
        return Rows(ids, mask, torch.arange(len(ids)))

    def describe(self, recipe: Recipe, run: Run, used: list[str]) -> Card:
        """Measure the saved weights and write their card."""
        folder = self.artifacts / recipe.name
        wanted = self.read_by(recipe)
        sources = text.counts(self.texts.people)
        for name, docs in self.texts.own.items():
            sources |= text.counts(docs) if times(recipe, name) else {}
        whole = set(wanted) <= set(used)
        options = "" if whole else f" --partial --epochs {recipe.epochs}"
        data: dict[str, Any] = {
            "command": f"python -m tools.local train {recipe.name}{options}",
            "data": data_text(run.tokens, whole, sources),
            "segments": used,
            "tuned_on": " and ".join(self.tuned_on(recipe))
            if recipe.finetune_rows or recipe.predictive
            else None,
            "text": {n: text.digest(self.train_rows[n.removeprefix("part of ")]) for n in used},
            "sources": sources,
        }
        held = self.held_stores(recipe.source)
        metrics, density = measure(
            self.loaded, load_sae(folder), held, self.evaluation_rows(recipe), self.prompts
        )
        data["examples"] = self.examples(load_sae(folder))
        card = make_card(recipe, run, self.loaded.name, data, metrics, density)
        write_card(card, folder, readme(card))
        return card

    def examples(self, sae: Sae) -> dict[str, Any] | None:
        """Some latents with contexts that the model wrote: text of others is not ours to ship."""
        if self.sample is None:
            return None
        rows, tokenizer = self.cut(self.sample, self.amounts.shown), self.loaded.tokenizer
        of = "of the course's corpus sample, which the model wrote"
        return examples(self.loaded, sae, rows, of, lambda ids: as_text(ids, tokenizer))

    def measure_again(self, recipe: Recipe) -> Card | None:
        """A new card for weights that are there; None where there are none."""
        card = read_card(self.artifacts / recipe.name)
        if card is None:
            return None
        recipe = replace(recipe, epochs=card["epochs"])
        parts = [name.removeprefix("part of ") for name in card["segments"]]
        if gone := [name for name in parts if name not in self.train_rows]:
            raise FileNotFoundError(
                f"{', '.join(gone)}: this text is not here (python -m tools.local write)"
            )
        self.harvest(recipe.source, held_only=True)  # `clean` may have removed them
        return self.describe(recipe, run_of(card), card["segments"])

    def evaluation_rows(self, recipe: Recipe) -> dict[str, Rows]:
        """What runs through the whole model."""
        a, few = self.amounts, self.amounts.in_model_others
        many = a.in_model_attention if recipe.sae.heads else a.in_model
        rows = {"speeches": self.cut(self.texts.held["speeches"], many)}
        rows["same"] = self.cut(self.texts.held["same"], few)
        if self.sample is not None:
            rows["written"] = self.cut(self.sample, few)
        return rows | {"sample": self.shipped_rows()}

    def clean(self) -> None:
        """Remove the activations; what was trained stays."""
        shutil.rmtree(self.cache / "activations", ignore_errors=True)


def sample_rows(file: Path, tokenizer: Any, length: int = text.LENGTH) -> Rows:
    """The rows that ship with the course."""
    docs = load_documents(file)
    return rows_of(docs, tokenizer.bos_token_id, tokenizer.pad_token_id or 0, length)
