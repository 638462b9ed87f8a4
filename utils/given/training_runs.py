"""Runs of training with seeded faults: how one is made, how its log is kept, opened and read."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from utils import files
from utils.data.corpus import Rows
from utils.saes.coder import init_coder, reconstruct
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.gradients import Batch, Pass
from utils.saes.records import Metrics
from utils.saes.train import Trainer

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

LAYER, BATCH = 2, 512  # the residual stream after this block of the story model; rows in a batch
N_TRAIN, N_HELD = 600, 40  # stories
FIRST = (1, 2, 3, 5, 8, 12, 18, 25)  # steps that are recorded besides every 25th


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run."""

    architecture: Literal["topk", "relu"] = "topk"
    layer: int = LAYER  # whose activations are trained on
    latent: int = 384
    k: int = 12  # topk
    sparsity: float = 4.0  # relu
    lr: float = 3e-3
    warmup: int = 100  # steps
    input_scale: float = 1.0  # after the average norm was brought to √d
    n_steps: int = 600
    seed: int = 0


@dataclass(frozen=True)
class RunLog:
    """What is left of a run: its curves, and its settings under a seal."""

    architecture: str
    sealed: str
    records: list[Metrics]

    def curve(self, name: str) -> Float[Tensor, " step"]:
        """A metric at the recorded steps."""
        return torch.tensor([float(r[name] or 0.0) for r in self.records])

    @property
    def steps(self) -> Float[Tensor, " step"]:
        """The recorded steps."""
        return self.curve("step")

    def opened(self) -> dict[str, Any]:
        """The name of the fault and the settings: what the seal hides."""
        return json.loads(zlib.decompress(base64.b85decode(self.sealed)))


def seal(name: str, cfg: RunConfig) -> str:
    """Settings that nobody reads by accident."""
    text = json.dumps({"fault": name, **asdict(cfg)}).encode()
    return base64.b85encode(zlib.compress(text, 9)).decode()


def save_run(path: Path, name: str, cfg: RunConfig, records: list[Metrics]) -> None:
    """One line for the architecture and the seal, then one for each record."""
    head = {"architecture": cfg.architecture, "sealed": seal(name, cfg)}
    files.write(path, "".join(json.dumps(line) + "\n" for line in (head, *records)))


def read_run(path: Path) -> RunLog:
    """A run as it was saved."""
    head, *records = (json.loads(line) for line in path.read_text().splitlines())
    return RunLog(head["architecture"], head["sealed"], records)


def shipped_runs() -> dict[str, RunLog]:
    """The runs that come with the course, by name."""
    from utils.course import ARTIFACTS

    found = sorted((ARTIFACTS / "tiny_story_4l" / "training_runs").glob("*.jsonl"))
    return {path.stem: read_run(path) for path in found}


# ---------------------------------------------------------------------------------------- making


def story_rows(n: int, n_pos: int, seed: int) -> Rows:
    """Rows of stories."""
    from utils.data.stories.sample import sample_tokens

    ids = sample_tokens(n, n_pos, torch.Generator().manual_seed(seed))
    return Rows(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(n))


@torch.no_grad()
def story_activations(
    loaded: "Loaded", rows: Rows, site: str = "resid_post", layer: int = LAYER
) -> Float[Tensor, "row d"]:
    """One row per word, without the first position; heads side by side."""
    from utils.activations.write import capture

    hook, found = loaded.hook(site, layer), []
    for part in rows.ids.split(100):
        found.append(capture(loaded.model, part, [hook])[hook][:, 1:].flatten(2).flatten(0, 1))
    return torch.cat(found)


class _Watched(Trainer):
    """A trainer that notes how long the last gradient was."""

    length = 0.0

    def update(self, batch: Batch, step: Pass) -> None:
        """Note it before it is cut."""
        self.length = float(torch.stack([g.norm() for g in step.grads.values()]).norm())
        super().update(batch, step)


def make_run(loaded: "Loaded", cfg: RunConfig) -> list[Metrics]:
    """Train as the settings say; `unexplained` is of the batch, `held_out` of other stories."""
    n_pos = int(loaded.model.cfg.n_ctx)
    rows = story_activations(loaded, story_rows(N_TRAIN, n_pos, 1000 + cfg.seed), layer=cfg.layer)
    held = story_activations(loaded, story_rows(N_HELD, n_pos, 2000 + cfg.seed))
    scale = cfg.input_scale * float(rows.shape[1] ** 0.5 / rows.norm(dim=1).mean())
    rows, held = rows * scale, held * scale
    gen = torch.Generator().manual_seed(cfg.seed)
    sae = SAEConfig(rows.shape[1], cfg.latent, cfg.architecture, k=cfg.k, sparsity=cfg.sparsity)
    train = SAETrainConfig(
        cfg.n_steps, cfg.lr, warmup_steps=cfg.warmup, dead_window=20_000, label="training a run"
    )
    order = [torch.randperm(len(rows), generator=gen) for _ in range(6)]
    batches = [rows[i] for o in order for i in o.split(BATCH) if len(i) == BATCH]
    trainer, records = _Watched(init_coder(sae, gen), batches, train), list[Metrics]()
    trainer.prepare()
    for _ in range(cfg.n_steps):
        batch, step = trainer.step()
        if trainer.n_steps in FIRST or trainer.n_steps % 25 == 0:
            records.append(_record(trainer, batch, step, held))
    return records


def _record(trainer: _Watched, batch: Batch, step: Pass, held: Tensor) -> Metrics:
    """The curves of one step, to four digits."""
    told = trainer.metrics(batch, step)
    missed = (reconstruct(trainer.coder, held) - held).square().sum()
    since = trainer.firing.rows_since
    found = {
        "loss": told["loss"],
        "mse": told["mse"],
        "unexplained": 1 - (told["explained_variance"] or 0.0),
        "held_out": float(missed / (held - held.mean(0)).square().sum()),
        "l0": told["l0"],
        "silent": float((since >= trainer.cfg.dead_window).float().mean()),
        "gradient": trainer.length,
    }
    return {"step": trainer.n_steps} | {k: float(f"{v:.4g}") for k, v in found.items()}


ONE: Mapping[str, dict[str, Any]] = {
    "healthy": {},
    "k too small": {"k": 1},
    "no warm-up": {"warmup": 0},
    "learning rate too low": {"lr": 1e-4},
    "expansion 1": {"latent": 96},
    "expansion too large": {"latent": 3072},
    "wrong data": {"layer": LAYER - 1},
    "wrong input scale": {"input_scale": 30.0},
    "L1 too small": {"sparsity": 0.1},
}


def with_fault(base: RunConfig, *names: str) -> RunConfig:
    """The settings with these faults."""
    changes = {key: value for name in names for key, value in ONE[name].items()}
    return replace(base, **changes)
