"""A run's metrics: one JSON object a line, and W&B if wanted (offline unless asked otherwise)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from utils import files

Metrics = dict[str, float | int | None]


@dataclass(frozen=True)
class RecordConfig:
    """Where metrics go."""

    # rewritten, less the lines after the step that the run goes on from; None: kept in memory only
    jsonl: Path | None = None
    wandb_project: str | None = None  # None: no W&B
    wandb_mode: Literal["offline", "online"] = "offline"  # offline asks for no account, no network
    wandb_folder: Path | None = None  # where offline runs are written; None is W&B's own default


class Recorder:
    """Writes each record as it comes, so that a killed run leaves its log."""

    def __init__(self, cfg: RecordConfig, run_config: dict[str, Any], resumed_at: int) -> None:
        self.cfg, self.records = cfg, list[Metrics]()
        if cfg.jsonl is not None:
            self.records = [r for r in read_records(cfg.jsonl) if _step(r) <= resumed_at]
            # lines after the checkpoint come again
            files.write(cfg.jsonl, "".join(json.dumps(r) + "\n" for r in self.records))
        self.run: Any = None
        if cfg.wandb_project is not None:
            if cfg.wandb_mode == "offline":  # else it reports its use over the network at the end
                os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            import wandb  # a second to import, and optional

            # a stack of coders has a run for each, side by side
            settings = wandb.Settings(console="off", silent=True, reinit="create_new")
            folder = None if cfg.wandb_folder is None else str(cfg.wandb_folder)
            self.run = wandb.init(
                project=cfg.wandb_project,
                mode=cfg.wandb_mode,
                dir=folder,
                config=run_config,
                settings=settings,
            )

    def write(self, metrics: Metrics) -> None:
        """Record one step's metrics."""
        self.records.append(metrics)
        if self.cfg.jsonl is not None:
            with self.cfg.jsonl.open("a") as file:
                file.write(json.dumps(metrics) + "\n")
        if self.run is not None:
            self.run.log({k: v for k, v in metrics.items() if v is not None}, step=_step(metrics))

    def close(self) -> None:
        """End the W&B run."""
        if self.run is not None:
            self.run.finish()


def read_records(path: Path) -> list[Metrics]:
    """The records of a log; a last line cut short by a crash is left out."""
    if not path.exists():
        return []
    complete = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines()]


def _step(metrics: Metrics) -> int:
    return int(metrics["step"] or 0)
