"""One training run: seeded, recorded, stopped and resumed at any step with the same result."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils import files
from utils.progress import track

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Draw = Callable[[int, torch.Generator], Any]  # a batch of so many rows
Loss = Callable[[torch.nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, together with the data."""

    name: str  # of the folder under artifacts/
    config: dict[str, Any]  # of the TransformerBridge
    n_steps: int
    batch: int = 32  # rows
    lr: float = 2e-3  # AdamW's, after the warm-up
    warmup: int = 200  # steps: attention diverges when it starts at full speed
    decay: float = 0.3  # share of the run, at its end, in which lr falls to 0 on a straight line
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)  # a short memory of squares: rows differ a lot
    clip: float = 1.0  # largest norm of the gradient
    seed: int = 0
    record_every: int = 50  # steps between two lines of the log


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0  # on the clock, over all parts of the run
    cpu_seconds: float = 0.0  # of computing: less than the former on a busy machine
    log: list[dict[str, float]] = field(default_factory=list)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rise over `warmup` steps, stay at lr, fall to 0 over the last steps; straight lines.

    Up to the fall nothing depends on `n_steps`: a run that stands there may be made longer.
    """
    n_fall = recipe.decay * recipe.n_steps
    return recipe.lr * min(1.0, (step + 1) / recipe.warmup, (recipe.n_steps - step) / n_fall)


def build(recipe: Recipe) -> "TransformerBridge":
    """A fresh TransformerBridge with seeded weights."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(**recipe.config, seed=recipe.seed)
    return TransformerBridge.boot_native(config)


class Run:
    """A model in training, with all that its next step depends on."""

    def __init__(self, recipe: Recipe, work: Path) -> None:
        self.recipe, self.work = recipe, work
        self.model = build(recipe)
        self.gen = torch.Generator().manual_seed(recipe.seed)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=recipe.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.progress = Progress()

    def step(self, loss: Loss, batch: Any) -> dict[str, float]:
        """One update; the loss before it and the norm of its gradient."""
        recipe, parameters = self.recipe, self.model.parameters()
        self.optimiser.param_groups[0]["lr"] = learning_rate(recipe, self.progress.step)
        self.optimiser.zero_grad()
        value = loss(self.model, batch)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        self.optimiser.step()
        return {"loss": value.item(), "norm": norm.item()}

    def checkpoint(self) -> None:
        """Write everything to `work`, and the log beside it for people."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "gen": self.gen.get_state(),
            "n_steps": self.recipe.n_steps,
            "recipe": _fixed(self.recipe),
        }
        with files.whole(self.work / "checkpoint.pt") as part:
            torch.save({**state, **vars(self.progress)}, part)
        text = "".join(json.dumps(line) + "\n" for line in self.progress.log)
        files.write(self.work / "log.jsonl", text)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one; ValueError where it is of another recipe."""
        file = self.work / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        fall = (1 - self.recipe.decay) * min(self.recipe.n_steps, state["n_steps"])
        too_late = state["n_steps"] != self.recipe.n_steps and state["step"] > fall
        if state["recipe"] != _fixed(self.recipe) or too_late:
            raise ValueError(
                f"the checkpoint of {self.recipe.name} was made by another recipe: "
                f"delete {file} to start again"
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.gen.set_state(state["gen"])
        self.progress = Progress(**{name: state[name] for name in vars(self.progress)})


def _fixed(recipe: Recipe) -> str:
    """What must not change between the parts of a run."""
    return repr(replace(recipe, n_steps=1))


def train(
    recipe: Recipe,
    draw: Draw,
    loss: Loss,
    work: Path,
    save_every: float = 120.0,
    stop_at: int | None = None,
) -> tuple["TransformerBridge", Progress]:
    """Train, or go on where the checkpoint under `work` stands; `stop_at` ends a run early."""
    work.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, work)
    run.restore()
    progress = run.progress
    end = min(recipe.n_steps, stop_at or recipe.n_steps)
    clock, cpu = time.monotonic, time.process_time
    saved = now = clock()
    used = cpu()
    for step in track(range(progress.step, end), recipe.name):
        numbers = run.step(loss, draw(recipe.batch, run.gen))
        progress.step = step + 1
        progress.seconds += clock() - now
        progress.cpu_seconds += cpu() - used
        now, used = clock(), cpu()
        if step % recipe.record_every == 0 or step + 1 == end:
            line = {"step": step, **numbers, "cpu_seconds": progress.cpu_seconds}
            progress.log.append({name: round(x, 4) for name, x in line.items()})
        if now - saved > save_every:
            run.checkpoint()
            saved = now
    run.checkpoint()
    return run.model.eval(), progress
