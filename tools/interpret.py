"""Sentences about latents, scored on text that they were not made from: `make interpret SAE=…`.

    python -m tools.interpret residual                     50 random latents, the local explainer
    python -m tools.interpret residual 0-99 --rows 400     or 3,7,12; random:50; all
    python -m tools.interpret residual 0-9 --endpoint http://localhost:11434/v1 --model NAME
    python -m tools.interpret residual 0-9 --model NAME    OpenAI's own; the key in OPENAI_API_KEY

SAE is what `python -m tools.dashboard` takes. Answers of an endpoint are kept under
interpretations/, so a run that was stopped goes on and nothing is paid for twice.
"""

import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.dashboard import called, find, numbers, text_of
from utils import files

if TYPE_CHECKING:
    from utils.autointerp import EndpointJudge, Interpretation, Text
    from utils.given.latent_data import LatentData

FOLDER = Path("interpretations")
MOST_ROWS = 512  # of the text, unless asked otherwise: 65,000 tokens


def text_and_data(
    name: str, profile: str | None, layer: int | None, width: int | None, rows: int | None
) -> "tuple[Text, LatentData, str]":
    """The text as strings, all activations on it, and the SAE's name."""
    from utils.autointerp import Text
    from utils.given.latent_data import latent_data

    loaded, sae = find(name, profile, layer, width)
    if loaded.tokenizer is None:
        raise ValueError(f"{loaded.name} has no tokenizer: its tokens have no words to explain by")
    data = latent_data(loaded, sae, text_of(loaded, rows or MOST_ROWS))
    pieces = [[loaded.tokenizer.decode([i]) for i in row] for row in data.ids.tolist()]
    return Text(pieces, data.mask), data, called(name, loaded, sae)


def judge_of(endpoint: str | None, model: str | None) -> "EndpointJudge | None":
    """Who explains and judges; None: the local explainer."""
    from utils.autointerp import Endpoint, EndpointJudge

    if model is None and endpoint is not None:
        raise ValueError("--endpoint needs --model, the name of a model that the server has")
    if model is None:
        return None
    return EndpointJudge(Endpoint(model, endpoint, cache=FOLDER / "answers"))


def line(found: "Interpretation") -> str:
    """One latent's row."""
    if found.why:
        return f"{found.latent:6}  {'not scored':>31}  {found.why}"
    three = (found.detection, found.fuzzing, found.simulation)
    cells = [f"{score.value:9.2f}" for score in three if score is not None]
    return f"{found.latent:6}  {'  '.join(cells)}  {found.sentence}"


def main(
    sae: Annotated[str, typer.Argument(help="residual, story/mlp, a folder, RELEASE:ID")],
    latents: Annotated[str, typer.Argument(help="all, 0-99, 3,7,12 or random:50")] = "random:50",
    rows: Annotated[int | None, typer.Option(help="of the text; default: up to 512")] = None,
    endpoint: Annotated[str | None, typer.Option(help="address of an OpenAI-like server")] = None,
    model: Annotated[str | None, typer.Option(help="who explains and judges, on a server")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON; default: interpretations/")] = None,
    layer: Annotated[int | None, typer.Option(help="where there are several")] = None,
    width: Annotated[int | None, typer.Option(help="latents of the SAE, where several")] = None,
    profile: Annotated[str | None, typer.Option(help="local, hub or tiny")] = None,
    seed: Annotated[int, typer.Option(help="of the examples")] = 0,
) -> None:
    """Sentences about latents, with their scores."""
    from utils.autointerp import NoEndpoint, interpret
    from utils.models.wheel import ModelUnavailable

    try:
        judge = judge_of(endpoint, model)
        text, data, name = text_and_data(sae, profile, layer, width, rows)
        chosen = numbers(latents, data.n_latents)
        if wrong := [latent for latent in chosen if latent >= data.n_latents]:
            raise ValueError(f"there is no latent {wrong[0]}: the SAE has {data.n_latents}")
        by = "" if model is None else "-" + re.sub(r"[^\w.]+", "-", model)
        file = out or FOLDER / f"{name}{by}.json"
        file.parent.mkdir(parents=True, exist_ok=True)  # before the work: it may not be allowed
        found = interpret(data.latent, chosen, text, judge, seed)
        files.write(file, json.dumps([asdict(each) for each in found], indent=1) + "\n")
    except (NoEndpoint, ModelUnavailable, OSError, ValueError) as error:
        print(f"no interpretation: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print("latent  detection    fuzzing  simulation  sentence")
    for each in found:
        print(line(each))
    print(f"{file}: {sum(not each.why for each in found)} of {len(found)} latents have a sentence")
    if judge is not None:
        used = judge.endpoint.usage
        print(
            f"{used.asked} questions asked, {used.cached} answered from the disk; "
            f"{used.tokens_in:,} tokens read and {used.tokens_out:,} written by {model}"
        )


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DYNAMIC_NCOLS", "1")
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
    typer.run(main)
