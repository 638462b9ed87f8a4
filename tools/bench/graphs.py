"""Measure attribution graphs: `python -m tools.bench.graphs [--max-features 1000]`.

A sentence of 15 tokens in the story model and in SmolLM2 with its thirty transcoders: seconds by
part, and the peak of memory. Each model is a process of its own, since a peak never falls again.
What bounds a graph is the backward passes: one for each batch of latents, as long as two forward
passes over as many copies of the prompt.
"""

import json
import os
import resource
import subprocess
import sys
import time
from typing import Annotated

import typer

AIM_SECONDS, AIM_GB = 300, 8
KILO = 1 if sys.platform == "darwin" else 1024  # the unit of a process's peak of memory
PROMPTS = {
    "tiny": "after Daisy and Henry walk to the market , Henry talks to Daisy .",
    "local": "When Mary and John went to the store, John gave a drink to",
}


def case(profile: str, max_features: int, batch: int) -> dict[str, float]:
    """One graph; seconds by part."""
    import torch

    from utils.graphs import attribute, freeze, pruned
    from utils.graphs.attribute import Tracer
    from utils.graphs.coders import replace_mlps
    from utils.graphs.targets import likely
    from utils.models import language_model, transcoders

    loaded = language_model(profile)
    saes = transcoders(range(loaded.n_layers), profile)
    start = time.perf_counter()
    frozen = freeze(loaded, loaded.model.to_tokens(PROMPTS[profile])[0])
    freezing = time.perf_counter() - start
    start = time.perf_counter()
    replacement = replace_mlps(frozen, saes)
    tracer = Tracer(replacement, likely(frozen), batch)
    forward = time.perf_counter() - start
    start = time.perf_counter()
    n = min(batch, len(replacement.features))
    tracer.rows(torch.arange(len(replacement.features))[-n:])
    backward = time.perf_counter() - start
    del tracer
    start = time.perf_counter()
    graph = attribute(frozen, saes, max_features=max_features, batch=batch)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    pruned(graph)
    pruning = time.perf_counter() - start
    rows = sum(node.kind == "feature" for node in graph.nodes)
    return {
        "tokens": frozen.n_pos,
        "active": graph.n_active,
        "nodes": rows,
        "freeze": freezing,
        "forward": forward,
        "backward": backward,
        "passes": -(-rows // batch),
        "graph": whole,
        "pruning": pruning,
        "gap": graph.gap(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILO / 1e9,
    }


def report(results: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="attribution graphs of a sentence of 15 tokens")
    columns = ("model", "active", "nodes", "forward s", "a backward s", "passes", "graph s")
    for column in (*columns, "pruning s", "gap", "peak GB"):
        table.add_column(column, justify="right")
    for name, told in results.items():
        cells = [name, f"{told['active']:,.0f}", f"{told['nodes']:,.0f}", f"{told['forward']:.2f}"]
        cells += [f"{told['backward']:.2f}", f"{told['passes']:.0f}", f"{told['graph']:.1f}"]
        table.add_row(*cells, f"{told['pruning']:.2f}", f"{told['gap']:.0e}", f"{told['peak']:.2f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"aim for SmolLM2: at most {AIM_SECONDS} s and {AIM_GB} GB")


def main(
    max_features: Annotated[int, typer.Option(help="latents that become nodes")] = 1000,
    batch: Annotated[int, typer.Option(help="latents in one backward pass")] = 32,
    one: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure attribution graphs."""
    if one is not None:
        print(json.dumps(case(one, max_features, batch)))
        return
    results = {}
    for profile in PROMPTS:
        command = [sys.executable, "-m", "tools.bench.graphs", "--one", profile]
        command += ["--max-features", str(max_features), "--batch", str(batch)]
        quiet = os.environ | {"COURSE_PROGRESS": "0"}
        done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        results[profile] = json.loads(done.stdout.splitlines()[-1])
    report(results)


if __name__ == "__main__":
    typer.run(main)
