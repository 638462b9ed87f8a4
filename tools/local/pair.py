"""Two SAEs that differ in one thing: a plain one and a Matryoshka one, for absorption (3.2.4).

    python -m tools.local.pair                trains both from one run over the text; goes on after
                                              a stop; then measures and writes the card
    python -m tools.local.pair --rows 512 --artifacts FOLDER       a trial

Same place, text, order of batches, start, width, k and steps. Saved in 8 bits.
NLTK_DATA names the folder of NLTK's corpora.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import typer

from tools.local import text
from tools.local.recipes import LAYER
from tools.local.stream import Group, Stream, StreamConfig, train_group
from tools.local.transcoder_card import rounded, scores
from tools.local.transcoders import Plan as TranscoderPlan
from tools.local.transcoders import Shop, course_shop, fastest
from tools.saes.cards import Card, read_card, write_card
from tools.saes.cost import COST, counted, read_run
from utils.course import ARTIFACTS
from utils.models.sae import load_sae
from utils.sae_metrics import in_model
from utils.saes.coder import init_coder
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.export import save_coder
from utils.saes.packed import PACKED

FOLDER = "absorption"  # under artifacts/smollm2
HEAD = """# A plain and a Matryoshka SAE of {model}, for section 3.2.4

They differ in one thing: every prefix of {widths} latents of the Matryoshka SAE has to reconstruct
alone, too. Place ({hook}), text, order of batches, start, width ({latent:,} latents), k ({k}) and
steps ({n_steps:,}, of about {batch} activations) are the same.

- Data: {tokens:,} tokens, each seen once, in rows of one document each, BOS first.
- Saved in 8 bits, a scale for each row ({megabytes:.1f} MB in all); all metrics are those of the
  saved weights. Seed: {seed}. Command: `python -m tools.local.pair`.
- Time: {minutes:.0f} minutes of a CPU for both; memory {peak_gb:.1f} GB.
- Licence: MIT. The activations come from SmolLM2-135M-Instruct (Apache-2.0).

| SAE | L0 | EV | EV, same | loss recovered | KL recovered | dead |
|---|---|---|---|---|---|---|
"""
LEGEND = """
L0 and EV (explained variance) on {scored} rows of speeches, a source that was not trained on; EV on
held-out documents of the sources trained on (same); what is recovered of loss and divergence on
{in_model} rows of speeches, where an output of zeros recovers nothing; dead: latents that none of
these tokens makes active. The first position (BOS) is neither replaced nor counted.
"""


@dataclass(frozen=True)
class Plan:
    """What decides the weights, together with the text."""

    latent: int = 2304  # four times the width
    k: int = 32
    widths: tuple[int, ...] = (144, 576, 2304)  # nested: a sixteenth, a quarter, all
    layer: int = LAYER
    n_rows: int | None = 10_240  # of the text: 1.3 million tokens
    scored: int = 128  # held-out rows
    in_model: int = 48
    seed: int = 0
    stream: StreamConfig = field(default_factory=StreamConfig)

    def saes(self, d_model: int) -> dict[str, SAEConfig]:
        """The two shapes, by name."""
        same: dict[str, Any] = {"k": self.k, "normalise": "average_norm"}
        return {
            "plain": SAEConfig(d_model, self.latent, "batchtopk", **same),
            "matryoshka": SAEConfig(d_model, self.latent, "matryoshka", widths=self.widths, **same),
        }

    def train(self, n_steps: int) -> SAETrainConfig:
        """The trainer's settings: those of the transcoders."""
        return TranscoderPlan(stream=self.stream).train(n_steps)


def train(shop: Shop, plan: Plan, threads: int) -> None:
    """Train both from one run over the text, and save them."""
    hook = shop.loaded.hook("resid_post", plan.layer)
    rows = shop.rows[: plan.n_rows]
    stream = Stream(shop.loaded.model, rows, plan.stream)
    coders = {
        name: (init_coder(cfg, torch.Generator().manual_seed(plan.seed)), (hook, hook))
        for name, cfg in plan.saes(shop.loaded.model.cfg.d_model).items()
    }
    work = work_of(shop, plan)
    with counted(work / COST):
        group = Group(stream, coders, plan.train(stream.n_steps()))
        trained = train_group(group, work, lambda line: print(line, flush=True), threads)
        for name, coder in trained.items():
            where = {"hook_name": hook, "model_name": shop.loaded.name, "prepend_bos": True}
            save_coder(coder, folder_of(shop, name), where, torch.int8)


def work_of(shop: Shop, plan: Plan) -> Path:
    """Where a run on this text keeps its checkpoints and its cost: a trial has its own."""
    rows = shop.rows[: plan.n_rows]
    return shop.cache / FOLDER / f"{text.digest(rows)}-{len(rows)}"


def folder_of(shop: Shop, name: str) -> Path:
    """Where one of them ships."""
    return shop.artifacts / FOLDER / name


def measure(shop: Shop, plan: Plan) -> dict[str, Any]:
    """Each SAE's scores on two held-out texts, and what it costs the model."""
    names = list(plan.saes(1))
    saes = [load_sae(folder_of(shop, name)) for name in names]
    by_text = {
        kind: scores(shop, saes, shop.held_rows(kind, plan.scored)) for kind in ("speeches", "same")
    }
    found: dict[str, Any] = {}
    for i, (name, sae) in enumerate(zip(names, saes, strict=True)):
        one: dict[str, Any] = {}
        fired = torch.zeros(sae.n_latents, dtype=torch.int64)
        for kind, measured in by_text.items():
            result = measured[i].result()
            numbers = {k: getattr(result, k) for k in ("n_tokens", "l0", "explained_variance")}
            one[kind] = rounded(numbers)
            fired += measured[i].fired.cpu()
        one["dead"] = round(float((fired == 0).double().mean()), 5)
        rows = shop.held_rows("speeches", plan.in_model)
        one["in_model"] = rounded(in_model(shop.loaded.model, rows, sae).numbers())
        found[name] = one
    return found


def make_card(shop: Shop, plan: Plan) -> Card:
    """Everything that a reader needs to judge the two and to make them again."""
    rows, work = shop.rows[: plan.n_rows], work_of(shop, plan) / COST
    if not work.exists() and (old := read_card(shop.artifacts / FOLDER)):
        cost = {key: old[key] for key in ("cpu_seconds", "peak_gb")}  # measured elsewhere
    else:
        run = read_run(work)
        cost = {"cpu_seconds": round(run.cpu_seconds), "peak_gb": round(run.peak_gb, 2)}
    return {
        "name": FOLDER,
        "about": "A plain and a Matryoshka SAE of the residual stream that differ in nothing else, "
        "for absorption (3.2.4).",
        "model": shop.loaded.name,
        "hook": shop.loaded.hook("resid_post", plan.layer),
        "plan": asdict(plan),
        "text": text.digest(rows),
        "tokens": text.n_tokens(rows),
        "n_steps": Stream(shop.loaded.model, rows, plan.stream).n_steps(),
        "bytes": sum((folder_of(shop, n) / PACKED).stat().st_size for n in plan.saes(1)),
        **cost,
        "metrics": measure(shop, plan),
    }


def readme(card: Card) -> str:
    """The card as a page."""
    plan = card["plan"]
    numbers = {"minutes": card["cpu_seconds"] / 60, "megabytes": card["bytes"] / 1e6}
    facts = {**plan, **card, **numbers, "batch": plan["stream"]["batch"]}
    facts["widths"] = ", ".join(map(str, plan["widths"]))
    lines = [HEAD.format(**facts)]
    for name, one in card["metrics"].items():
        costs = one["in_model"]
        shares = [
            f"{costs[f'{what}_recovered']:.3f} ± {costs[f'{what}_recovered_se']:.2g}"
            for what in ("loss", "kl")
        ]
        evs = [f"{one[kind]['explained_variance']:.3f}" for kind in ("speeches", "same")]
        cells = [name, f"{one['speeches']['l0']:.1f}", *evs, *shares, f"{100 * one['dead']:.1f} %"]
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines) + LEGEND.format(**plan)


def main(
    rows: Annotated[int | None, typer.Option(help="of the text, for a trial")] = None,
    measure_only: Annotated[bool, typer.Option("--measure", help="measure, do not train")] = False,
    threads: Annotated[int, typer.Option(help="SAEs trained side by side")] = 2,
    artifacts: Path = ARTIFACTS / "smollm2",
    cache: Annotated[Path | None, typer.Option(help="default: local/ in the course's")] = None,
) -> None:
    """A plain and a Matryoshka SAE that differ in nothing else."""
    from utils.models.smollm2 import cache_folder

    stream = StreamConfig(compute=fastest())
    plan = Plan(stream=stream) if rows is None else Plan(n_rows=rows, stream=stream)
    place = cache or cache_folder() / "local"
    shop = course_shop(place, artifacts, TranscoderPlan())
    if not measure_only:
        train(shop, plan, threads)
    card = make_card(shop, plan)
    write_card(card, artifacts / FOLDER, readme(card))
    print(json.dumps(card["metrics"], indent=1))


if __name__ == "__main__":
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
    typer.run(main)
