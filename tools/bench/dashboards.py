"""Measure dashboards: `python -m tools.bench.dashboards [--rows 200]`.

Latents of the language model's residual SAE on the shipped text: seconds for 100 and for 1,000
latents, the share of the pass that is not the model's forward pass, what the effects on the loss
cost, and the peak of memory. Each case is a process of its own, since a peak never falls again.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

AIM = 0.5  # of the pass, at most, beside the model's forward pass
LAYER, SEED = 10, 0
KILO = 1 if sys.platform == "darwin" else 1024  # the unit of a process's peak of memory


def case(n_latents: int, n_rows: int, n_loss: int, out: Path) -> dict[str, float]:
    """Collect and write once; seconds by part, bytes of the page and of memory."""
    import torch

    from utils.dashboards import Settings, collect, write_page
    from utils.given.in_model import sample_rows
    from utils.models import language_model, residual_sae

    loaded, sae = language_model("local"), residual_sae(LAYER, "local")
    rows = sample_rows(loaded, n_rows, SEED)
    gen = torch.Generator().manual_seed(SEED)
    chosen = sorted(torch.randperm(sae.n_latents, generator=gen)[:n_latents].tolist())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = collect(loaded, sae, rows, chosen, Settings(n_loss=n_loss), progress=False)
    seconds = time.perf_counter() - start
    page = write_page(found, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "latents": n_latents,
        "rows": len(rows),
        "seconds": seconds,
        **{f"seconds_{name}": value for name, value in found.seconds.items()},
        "page_MB": page.stat().st_size / 1e6,
        "peak_GB": peak * KILO / 1e9,
        "more_than_model_GB": (peak - before) * KILO / 1e9,
    }


def report(results: list[dict[str, float]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"latents of residual_{LAYER} on {results[0]['rows']:.0f} rows of 128 tokens"
    )
    columns = ("latents", "model s", "rest of the pass s", "share", "effects s", "other s")
    for column in (*columns, "s per latent", "page MB", "peak GB", "of it new"):
        table.add_column(column, justify="right")
    for told in results:
        model, whole = told["seconds_model"], told["seconds_pass"]
        other = told["seconds"] - whole - told["seconds_effects"]
        share = (whole - model) / whole
        cells = [f"{told['latents']:.0f}", f"{model:.1f}", f"{whole - model:.1f}", f"{share:.0%}"]
        cells += [f"{told['seconds_effects']:.1f}", f"{other:.1f}"]
        cells += [f"{told['seconds'] / told['latents']:.2f}", f"{told['page_MB']:.1f}"]
        table.add_row(*cells, f"{told['peak_GB']:.2f}", f"{told['more_than_model_GB']:.2f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"aim: at most {AIM:.0%} of the pass beside the model's forward pass")


def main(
    rows: Annotated[int, typer.Option(help="of the text; all: 1,677")] = 10**6,
    latents: Annotated[str, typer.Option(help="how many, in turn")] = "100,1000",
    loss: Annotated[int, typer.Option(help="examples with effects per latent")] = 0,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure dashboards of the language model's residual SAE."""
    if one:
        n, out = one.split(":", 1)
        print(json.dumps(case(int(n), rows, loss, Path(out))))
        return
    import tempfile

    results = []
    with tempfile.TemporaryDirectory() as folder:
        for n in latents.split(","):
            command = [sys.executable, "-m", "tools.bench.dashboards", "--rows", str(rows)]
            command += ["--loss", str(loss), "--one", f"{n}:{folder}/page.html"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    report(results)


if __name__ == "__main__":
    os.environ |= {"COURSE_PROGRESS": "0", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    typer.run(main)
