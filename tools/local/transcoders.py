"""Skip transcoders for every layer of the language model: one run over the text for ten layers.

    python -m tools.local.transcoders               all that is missing; goes on after a stop
    python -m tools.local.transcoders --group 30    all layers from one run: 5 GB of memory
    python -m tools.local.transcoders --measure     only measure, write the card
    python -m tools.local.transcoders --layers 3-5 --rows 2000 --artifacts FOLDER       a trial

They are saved in 8 bits, in artifacts/smollm2/transcoders/layer_00 and so on; the set has one card.
NLTK_DATA names the folder of NLTK's corpora. It runs for hours: `nice -n 19` lets others work.
"""  # fmt: skip

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin cost others' time, too

import torch
import typer

from tools.local import text
from tools.local.stream import Group, Stream, StreamConfig, train_group
from tools.saes.cost import COST, counted
from utils import files
from utils.activations.index import Compute
from utils.course import ARTIFACTS
from utils.data.corpus import Documents, Rows, corpus_sample, merge, split
from utils.models.loaded import Loaded
from utils.sae_metrics import Reconstruction
from utils.saes.coder import SparseCoder, init_coder, reconstruct
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.export import load_coder, save_coder

SET = "transcoders"  # the folder of the set
ROUNDING = "rounding.json"  # what 8 bits cost, beside a group's checkpoint


@dataclass(frozen=True)
class Plan:
    """What decides the weights, together with the text."""

    latents: int = 1152  # twice the width; 1.7 MB in 8 bits with the skip matrix
    k: int = 32
    lr: float = 1e-3
    warmup: int = 100  # steps
    decay: float = 0.25  # share of the run, at its end, in which lr falls to 0
    aux_k: int = 32
    dead_window: int = 100_000  # tokens
    seed: int = 0
    n_rows: int | None = 23_040  # of the text: 2.8 million tokens; None: all of it
    n_check: int = 64  # held-out rows on which the cost of 8 bits is measured
    stream: StreamConfig = field(default_factory=StreamConfig)

    def sae(self, d_model: int) -> SAEConfig:
        """A BatchTopK skip transcoder, which is saved as a JumpReLU one."""
        return SAEConfig(
            *(d_model, self.latents, "batchtopk", "skip_transcoder", d_model, self.k),
            normalise="average_norm",
        )

    def train(self, n_steps: int) -> SAETrainConfig:
        """The trainer's settings."""
        return SAETrainConfig(
            n_steps=n_steps,
            lr=self.lr,
            warmup_steps=min(self.warmup, n_steps // 10),
            decay_steps=round(self.decay * n_steps),
            aux_k=min(self.aux_k, self.latents),
            dead_window=min(self.dead_window, max(1, n_steps * self.stream.batch // 4)),
            n_norm_batches=32,
        )


@dataclass(frozen=True)
class Shop:
    """The model, its text, and where things lie."""

    loaded: Loaded
    train_docs: Documents
    held: dict[str, Documents]  # by text: what is measured on
    plan: Plan
    cache: Path  # checkpoints
    artifacts: Path  # what ships
    length: int = text.LENGTH

    @cached_property
    def rows(self) -> Rows:
        """What is trained on, in random order."""
        return text.shuffled(self.train_docs, self.loaded.tokenizer, self.length)[
            : self.plan.n_rows
        ]

    def held_rows(self, name: str, n: int) -> Rows:
        """Some rows of a held-out text."""
        return text.shuffled(self.held[name], self.loaded.tokenizer, self.length)[:n]

    @cached_property
    def digest(self) -> str:
        """Of plan and text: what was trained by others is trained again."""
        told = asdict(self.plan)
        for name in ("compute", "batch_rows", "checkpoint_every"):  # decide no more than rounding
            del told["stream"][name]
        what = json.dumps(told, sort_keys=True) + text.digest(self.rows)
        return hashlib.sha256(what.encode()).hexdigest()[:16]

    def stream(self) -> Stream:
        """The run over the text."""
        return Stream(self.loaded.model, self.rows, self.plan.stream)

    def hooks(self, layer: int) -> tuple[str, str]:
        """What a layer's MLP reads and writes."""
        return self.loaded.hook("mlp_in", layer), self.loaded.hook("mlp_out", layer)

    def folder(self, layer: int) -> Path:
        """Where a layer's transcoder ships."""
        return self.artifacts / SET / name_of(layer)

    def work(self, layers: list[int]) -> Path:
        """Where a group's checkpoint lies."""
        span = f"{min(layers):02}-{max(layers):02}-{len(layers)}"
        return self.cache / SET / f"{self.digest}-{span}"

    def works(self) -> list[Path]:
        """The folders of all groups."""
        return sorted((self.cache / SET).glob(f"{self.digest}-*"))

    def finished(self, layer: int) -> bool:
        """Weights of this very plan and text."""
        file = self.folder(layer) / "cfg.json"
        if not file.exists():
            return False
        return json.loads(file.read_text())["metadata"].get("plan") == self.digest

    def train(self, layers: list[int], threads: int = 1) -> None:
        """Train the layers from one run over the text, save them, note what 8 bits cost."""
        stream, d_model, work = self.stream(), self.loaded.model.cfg.d_model, self.work(layers)
        cfg = self.plan.train(stream.n_steps())
        coders = {}
        for layer in layers:
            gen = torch.Generator().manual_seed(self.plan.seed * 1000 + layer)
            coders[name_of(layer)] = init_coder(self.plan.sae(d_model), gen), self.hooks(layer)

        def say(line: str) -> None:
            print(f"layers {min(layers)} to {max(layers)}: {line}", flush=True)

        with counted(work / COST):
            trained = train_group(Group(stream, coders, cfg), work, say, threads)
            costs = {
                name: self.save(layer, trained[name])
                for layer, name in zip(layers, coders, strict=True)
            }
        files.write(work / ROUNDING, json.dumps(costs, indent=1) + "\n")

    def save(self, layer: int, coder: SparseCoder) -> dict[str, float]:
        """Write a transcoder in 8 bits; what it explains before and after the rounding."""
        hook_in, hook_out = self.hooks(layer)
        where = {"hook_name": hook_in, "hook_name_out": hook_out, "plan": self.digest}
        where["model_name"] = self.loaded.name
        save_coder(coder, self.folder(layer), where | {"prepend_bos": True}, torch.int8)
        rows = self.held_rows("same", self.plan.n_check)
        found = self.stream().activations(rows, (hook_in, hook_out))
        x, y = (found[hook].float() for hook in (hook_in, hook_out))
        both = {"float32": coder, "int8": load_coder(self.folder(layer))}
        return {name: explained(one, x, y) for name, one in both.items()}


def explained(coder: SparseCoder, x: torch.Tensor, y: torch.Tensor) -> float:
    """Explained variance."""
    found = Reconstruction()
    found.update(y, reconstruct(coder, x), x.new_zeros(len(x), 1))
    return found.result().explained_variance


def name_of(layer: int) -> str:
    """A layer's folder and log."""
    return f"layer_{layer:02}"


def chosen_layers(asked: str, n_layers: int) -> list[int]:
    """ "3-5,9" as numbers; "" is all of them."""
    if not asked:
        return list(range(n_layers))
    found: list[int] = []
    for part in asked.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    if wrong := [layer for layer in found if not 0 <= layer < n_layers]:
        raise typer.BadParameter(f"the model has layers 0 to {n_layers - 1}, not {wrong[0]}")
    return sorted(set(found))


def course_shop(cache: Path, artifacts: Path, plan: Plan) -> Shop:
    """The real model on all text that there is: by people, and what the model has written.

    Two per cent of the documents of each source by people and a tenth of the shipped sample are
    held out, and the speeches as a whole (see tools/local/text.py).
    """
    from tools.local.__main__ import written_files
    from utils.models import smollm2

    loaded = smollm2.load()
    texts = text.corpora(cache, loaded.tokenizer, written_files(cache))
    sample, held_sample = split(corpus_sample(), 0.1, text.SEED)
    held = texts.held | {"written": held_sample}
    docs = merge([texts.people, sample, *texts.own.values()])
    return Shop(loaded, docs, held, plan, cache, artifacts)


def fastest() -> Compute:
    """bfloat16 where the processor has instructions for it: half of the time, elsewhere more."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    asks = [getattr(torch.cpu, name, None) for name in names]
    return "bfloat16" if any(ask is not None and ask() for ask in asks) else "float32"


def main(
    layers: Annotated[str, typer.Option(help="3-5,9; default: all")] = "",
    group: Annotated[int, typer.Option(help="layers from one run over the text")] = 10,
    rows: Annotated[int | None, typer.Option(help="of the text, for a trial")] = Plan.n_rows,
    measure: Annotated[bool, typer.Option("--measure", help="measure, do not train")] = False,
    threads: Annotated[int, typer.Option(help="layers trained side by side")] = 2,
    artifacts: Path = ARTIFACTS / "smollm2",
    cache: Annotated[Path | None, typer.Option(help="default: local/ in the course's")] = None,
) -> None:
    """Skip transcoders for every layer of the language model."""
    from tools.local.transcoder_card import describe
    from utils.models.smollm2 import cache_folder

    plan = Plan(n_rows=rows, stream=StreamConfig(compute=fastest()))
    shop = course_shop(cache or cache_folder() / "local", artifacts, plan)
    asked = chosen_layers(layers, shop.loaded.n_layers)
    for i in range(0, len(asked), group):
        part = asked[i : i + group]
        if all(map(shop.finished, part)):
            print(f"layers {part[0]} to {part[-1]}: done, skipped")
        elif not measure:
            shop.train(part, threads)
    # the card is of all that are there, whichever were asked for now
    there = [layer for layer in range(shop.loaded.n_layers) if shop.finished(layer)]
    describe(shop, there, again=measure)


if __name__ == "__main__":
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
    typer.run(main)
