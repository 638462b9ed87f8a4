"""What a training costs, counted over all its parts, and the log it leaves beside its weights."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from utils import files

LOG, COST = "log.jsonl", "cost.json"


@dataclass(frozen=True)
class Run:
    """What a training cost and saw."""

    tokens: int = 0  # different ones
    n_steps: int = 0
    seconds: float = 0.0  # on the clock, over all parts of the run
    cpu_seconds: float = 0.0  # of computing: less than the former on a busy machine
    peak_gb: float = 0.0  # of memory, the whole process


@contextmanager
def counted(file: Path) -> Iterator[None]:
    """Add the time spent inside to what a file says, even if it ends in an error."""
    clock, cpu = time.monotonic(), time.process_time()
    try:
        yield
    finally:
        before = read_run(file)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
        now = Run(
            seconds=before.seconds + time.monotonic() - clock,
            cpu_seconds=before.cpu_seconds + time.process_time() - cpu,
            peak_gb=max(before.peak_gb, peak),
        )
        files.write(file, json.dumps(asdict(now)) + "\n")


def read_run(file: Path) -> Run:
    """The costs so far."""
    return Run(**json.loads(file.read_text())) if file.exists() else Run()
