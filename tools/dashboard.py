"""Dashboards of latents as one page: `make dashboard SAE=… LATENTS=…`.

    python -m tools.dashboard residual                      100 latents of the language model's SAE
    python -m tools.dashboard transcoder 0-99               or 3,7,12; random:50; all
    python -m tools.dashboard story/mlp --profile tiny      another model's
    python -m tools.dashboard artifacts/smollm2/attention_23 all --rows 400
    python -m tools.dashboard gpt2-small-res-jb:blocks.8.hook_resid_pre     sae_lens' directory

SAE is a kind (residual, attention, transcoder, mlp) of the language model, ROLE/KIND of another
model (story, attention_only, othello), a folder, or RELEASE:ID. A run that was stopped goes on.
"""  # fmt: skip

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from utils.dashboards import Dashboards
    from utils.data.corpus import Rows
    from utils.models.loaded import Loaded
    from utils.models.sae import Sae

KINDS = ("residual", "attention", "transcoder", "mlp")
ROLES = ("language", "story", "attention_only", "othello")
PART = ".part.safetensors"  # what a stopped run has left, beside the page
SEED = 0  # of the rows and of random latents


def find(
    name: str, profile: str | None, layer: int | None, width: int | None
) -> "tuple[Loaded, Sae]":
    """The SAE that is meant, and its model."""
    if Path(name, "cfg.json").is_file():
        return from_folder(Path(name), profile)
    if ":" in name:
        return from_release(*name.split(":", 1))
    role, _, kind = name.rpartition("/")
    if kind not in KINDS or (role or "language") not in ROLES:
        raise typer.BadParameter(
            f"SAE is a kind ({', '.join(KINDS)}), ROLE/KIND (roles: {', '.join(ROLES)}), a folder"
            f" with a cfg.json, or RELEASE:ID; not {name!r}"
        )
    from utils.models import profiles, sae_of

    role = role or "language"
    sae = sae_of(role, kind, layer, profile, width=width)
    return profiles.load_model(role, profiles.profile(profile), None, "cpu"), sae


def from_folder(folder: Path, profile: str | None) -> "tuple[Loaded, Sae]":
    """An SAE of a folder; its model is that of the folder above, else the language model."""
    from utils.models import language_model
    from utils.models.loaded import Loaded
    from utils.models.sae import load_sae
    from utils.models.tiny import CONFIG, WEIGHTS, load_tiny

    above = folder.resolve().parent
    if all((above / name).is_file() for name in (CONFIG, WEIGHTS)):
        model = load_tiny(above)
        return Loaded(model, model.tokenizer, above.name), load_sae(folder)
    return language_model(profile), load_sae(folder)


def from_release(release: str, sae_id: str) -> "tuple[Loaded, Sae]":
    """A published SAE and the model that it names; both from the hub or its cache."""
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    from utils.models import hub
    from utils.models.loaded import Loaded
    from utils.models.sae import as_sae

    with hub.from_hub(f"{release} ({sae_id})"):
        sae = as_sae(SAE.from_pretrained(release, sae_id, device="cpu"))
    # older SAEs do not say which model they are of; the directory does
    directory = get_pretrained_saes_directory()
    name = sae.sae.cfg.metadata.model_name or directory[release].model
    if name in hub.CATALOGUE:
        return hub.load(name), sae
    return Loaded(*hub.boot(name), name), sae


def numbers(asked: str, n: int) -> list[int]:
    """`all`, `0-99`, `3,7,12`, `random:100`: latents of an SAE that has n."""
    import torch

    if asked == "all":
        return list(range(n))
    if drawn := re.fullmatch(r"random:(\d+)", asked):
        gen = torch.Generator().manual_seed(SEED)
        return sorted(torch.randperm(n, generator=gen)[: int(drawn[1])].tolist())
    found: list[int] = []
    for part in asked.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if ends is None:
            raise typer.BadParameter(f"LATENTS is all, 0-99, 3,7,12 or random:100; not {asked!r}")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return list(dict.fromkeys(found))


def text_of(loaded: "Loaded", n: int | None) -> "Rows":
    """Rows for this model: the shipped text (all of it by default), stories, or games."""
    import torch

    from utils.data.corpus import Rows
    from utils.given.in_model import sample_rows

    if loaded.tokenizer is not None:
        # the shipped text has its end, stories have none
        few = 200 if loaded.name.startswith("tiny_") else 10**9
        return sample_rows(loaded, few if n is None else n, SEED)
    from utils.data.othello import Othello, random_games

    side = 6 if int(loaded.model.cfg.d_vocab) < 60 else 8
    gen = torch.Generator().manual_seed(SEED)
    ids = random_games(Othello(side), n or 200, int(loaded.model.cfg.n_ctx), gen).tokens
    return Rows(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(len(ids)))


def called(asked: str, loaded: "Loaded", sae: "Sae") -> str:
    """A file's name for an SAE: no two SAEs of a model have the same."""
    which = re.sub(r"[^\w.]+", "-", asked.removeprefix("artifacts/")).strip("-")
    model = loaded.name.replace("/", "-")
    where = f"{max(sae.layer, 0)}-{sae.n_latents}"
    return f"{which}-{where}" if which.startswith(model) else f"{model}-{which}-{where}"


def size(path: Path) -> str:
    """Of a file, in the unit that fits."""
    n = path.stat().st_size
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def run(
    pair: "tuple[Loaded, Sae]",
    latents: str,
    rows: int | None,
    page: Path,
    loss: int,
    fresh: bool,
) -> "Dashboards":
    """Collect, from where a stopped run left off."""
    from utils.dashboards import Settings, collect

    loaded, sae = pair
    page.parent.mkdir(parents=True, exist_ok=True)  # before the work: it may not be allowed
    part = page.with_suffix(PART)
    if fresh:
        part.unlink(missing_ok=True)
    chosen = numbers(latents, sae.n_latents)
    return collect(loaded, sae, text_of(loaded, rows), chosen, Settings(n_loss=loss), part)


def write(found: "Dashboards", page: Path, data: bool, neuronpedia: bool) -> list[Path]:
    """The page and what else is wanted; what a stopped run would need is deleted."""
    from utils.dashboards import write_data, write_neuronpedia, write_page

    written = [write_page(found, page)]
    written += [write_data(found, page.with_suffix(".json"))] if data else []
    written += write_neuronpedia(found, page.with_suffix("")) if neuronpedia else []
    page.with_suffix(PART).unlink(missing_ok=True)
    return written


def main(
    sae: Annotated[str, typer.Argument(help="residual, story/mlp, a folder, RELEASE:ID")],
    latents: Annotated[str, typer.Argument(help="all, 0-99, 3,7,12 or random:100")] = "random:100",
    rows: Annotated[int | None, typer.Option(help="of the text; default: all of it")] = None,
    out: Annotated[Path | None, typer.Option(help="the page; default: under dashboards/")] = None,
    layer: Annotated[int | None, typer.Option(help="where there are several")] = None,
    width: Annotated[int | None, typer.Option(help="latents of the SAE, where several")] = None,
    profile: Annotated[str | None, typer.Option(help="local, hub or tiny")] = None,
    loss: Annotated[int, typer.Option(help="examples whose effect on the loss is measured")] = 3,
    data: Annotated[bool, typer.Option("--data", help="also write the numbers (JSON)")] = False,
    neuronpedia: Annotated[bool, typer.Option("--neuronpedia", help="also batch-N.json")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget what a stopped run left")] = False,
) -> None:
    """Dashboards of latents as one page."""
    from utils.dashboards import DashboardError
    from utils.models.wheel import ModelUnavailable

    if out is not None and out.suffix != ".html":
        raise typer.BadParameter(f"--out is a page and ends in .html; not {out.name!r}")
    try:
        pair = find(sae, profile, layer, width)
        page = out or Path("dashboards", f"{called(sae, *pair)}.html")
        written = write(run(pair, latents, rows, page, loss, fresh), page, data, neuronpedia)
    except (DashboardError, ModelUnavailable, OSError, ValueError) as error:
        print(f"no dashboard: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for path in written:
        print(f"{path} ({size(path)})")
    print("open it in any browser; it needs no network")


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DYNAMIC_NCOLS", "1")
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
    typer.run(main)
