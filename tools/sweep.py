"""Train a grid of SAEs on one activation, and compare them: `make sweep SITE=… K=4,8,16`.

    python -m tools.sweep story/residual --k 4,8,16,32 --latent 192,384
    python -m tools.sweep residual --architecture topk,relu --k 16,32 --sparsity 1,5 --rows 1000
    python -m tools.sweep story/mlp --k 8,16 --seeds 0,1,2 --ray        stacks go to Ray's workers

SITE names an SAE as `python -m tools.dashboard` does: the new ones read where it reads. Small ones
are trained side by side, in stacks. What is finished is kept under sweeps/, and the same command
goes on. The page that it writes shows every SAE and the Pareto front.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tools.dashboard import find, text_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from utils.saes.sweep import Result

FOLDER = Path("sweeps")
HELD_OUT = 0.1  # of the text's rows
DIVERGED = (FloatingPointError, RuntimeError)  # a step that is not finite; all workers failed
Number = TypeVar("Number", int, float)


def values(text: str, kind: type[Number]) -> tuple[Number, ...]:
    """`4,8,16` as numbers."""
    try:
        found = tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 4,8,16")
    return found


def activations(
    site: str, rows: int | None, layer: int | None, profile: str | None
) -> "tuple[Float[Tensor, 'row d'], Float[Tensor, 'row d'], dict[str, str], int | None]":
    """What passes the site's hook, to train on and held out (other rows); what SAEs note; heads."""
    import torch

    from utils.activations.write import capture
    from utils.data.corpus import counted
    from utils.progress import track

    loaded, sae = find(site, profile, layer, None)
    text = text_of(loaded, rows)
    keep, found, heads = counted(text.mask), [], None
    pieces = list(zip(text.ids.split(16), keep.split(16), strict=True))
    for ids, wanted in track(pieces, f"{loaded.name}: {sae.hook_in}"):
        x = capture(loaded.model, ids, [sae.hook_in])[sae.hook_in]
        heads = x.shape[-2] if x.ndim == 4 else None  # (row, pos, head, d_head) at z
        found.append(sae.flatten(x)[wanted])
    n_train = min(round((1 - HELD_OUT) * len(text)), len(text) - 1)
    n = int(keep[:n_train].sum())
    every = torch.cat(found).cpu()
    about = {"model_name": loaded.name, "hook_name": sae.hook_in, "n_rows": str(len(text))}
    return every[:n], every[n:], about, heads


def write_page(results: "list[Result]", title: str, file: Path) -> None:
    """L0 against explained variance, every SAE a point, the front a line."""
    from utils.files import write
    from utils.plots.sweeps import frontier

    write(file, frontier(results, title).to_html(include_plotlyjs=True))


def table(results: "list[Result]") -> str:
    """One line per SAE; a star marks the front."""
    from utils.saes.sweep import pareto

    front = set(pareto(results))
    wide = max(len(r["name"]) for r in results)
    lines = [f"{'SAE':{wide}}      L0  explained  dead"]
    for r in results:
        numbers = f"{r['l0']:7.1f}  {r['explained_variance']:9.3f} {r['dead']:5.1%}"
        lines.append(f"{r['name']:{wide}} {numbers}{' *' if r['name'] in front else ''}")
    return "\n".join(lines)


def main(
    site: Annotated[str, typer.Argument(help="where to read: story/residual, residual, a folder")],
    k: Annotated[str, typer.Option(help="topk and its kin: active latents per token")] = "8,16,32",
    sparsity: Annotated[str, typer.Option(help="relu, gated, jumprelu: the penalty")] = "1",
    latent: Annotated[str, typer.Option(help="latents")] = "384",
    architecture: Annotated[str, typer.Option(help="topk,batchtopk,relu,jumprelu,gated")] = "topk",
    seeds: Annotated[str, typer.Option(help="one SAE of each kind per seed")] = "0",
    steps: Annotated[int, typer.Option(help="batches")] = 2000,
    batch: Annotated[int, typer.Option(help="tokens in a batch")] = 512,
    lr: Annotated[float, typer.Option(help="Adam's step size")] = 1e-3,
    rows: Annotated[
        int | None, typer.Option(help="of the text; default: all that is shipped")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="where there are several")] = None,
    profile: Annotated[str | None, typer.Option(help="local, hub or tiny")] = None,
    out: Annotated[Path | None, typer.Option(help="folder; default: under sweeps/")] = None,
    ray: Annotated[bool, typer.Option(help="give stacks to Ray's workers")] = False,
    wandb: Annotated[str | None, typer.Option(help="log to this W&B project, offline")] = None,
) -> None:
    """Train the grid, print and draw what came out."""
    from utils.models.wheel import ModelUnavailable
    from utils.saes.config import SAEConfig, SAETrainConfig
    from utils.saes.records import RecordConfig
    from utils.saes.sweep import Point, Sweep, run

    try:
        data, held_out, about, heads = activations(site, rows, layer, profile)
        name = f"{about['model_name']}-{about['hook_name']}".replace("/", "-")
        folder = (out or FOLDER / name).resolve()  # workers of Ray have folders of their own
        kinds: Any = tuple(part.strip() for part in architecture.split(","))
        base = SAEConfig(
            data.shape[1], max(values(latent, int)), normalise="average_norm", k=1, heads=heads
        )
        train = SAETrainConfig(
            steps, lr=lr, warmup_steps=steps // 20, decay_steps=steps // 5,
            checkpoint_every=max(1, steps // 10), dead_window=steps * batch // 8,
        )  # fmt: skip
        sweep = Sweep(
            base, train, architecture=kinds, latent=values(latent, int), k=values(k, int),
            sparsity=values(sparsity, float), seeds=values(seeds, int), batch=batch, metadata=about,
        )  # fmt: skip

        def records(point: Point) -> RecordConfig:
            place = folder / point.name
            return RecordConfig(place / "log.jsonl", wandb, wandb_folder=place if wandb else None)

        if ray:
            from utils.saes.on_ray import run_on_ray

            results = run_on_ray(sweep, data, held_out, folder, records)
        else:
            results = run(sweep, data, held_out, folder, records)
    except (ModelUnavailable, ImportError, OSError, ValueError, *DIVERGED) as error:
        print(f"no sweep: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(table(results))
    write_page(results, f"{len(results)} SAEs of {name}", folder / "sweep.html")
    shown = out or FOLDER / name
    print(f"{shown / 'sweep.html'}: a picture; every SAE lies in a folder of its own beside it")


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DYNAMIC_NCOLS", "1")
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
    typer.run(main)
