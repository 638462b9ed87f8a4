"""The attribution graph of a prompt as one page: `make graph PROMPT="…"`.

    python -m tools.graph "When Mary and John went to the store, John gave a drink to"
    python -m tools.graph "…" --target " Mary" --other " John"      the difference of two tokens
    python -m tools.graph "after Daisy and Henry walk to the market ," --profile tiny
    python -m tools.graph "…" --max-features 2000 --json

It needs a transcoder for every layer of the model. The page opens in any browser, without a
network; --json writes the field's viewer format beside it, which the page also saves and loads.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from utils.graphs import Frozen
    from utils.graphs.targets import Targets

MOST = 1000  # latents that become nodes: a minute and a half for 15 tokens of SmolLM2


def token_of(tokenizer: Any, text: str) -> int:
    """The one token that a text is; ValueError where it is several."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        parts = [tokenizer.decode([i]) for i in ids]
        raise ValueError(
            f"{text!r} is {len(ids)} tokens, {parts}: a target is one (a space first?)"
        )
    return int(ids[0])


def targets_of(frozen: "Frozen", target: str | None, other: str | None) -> "Targets":
    """What is explained."""
    from utils.graphs.targets import difference, likely, of_tokens

    tokenizer = frozen.loaded.tokenizer
    if target is None and other is None:
        return likely(frozen)
    if target is None:
        raise ValueError("--other needs --target")
    first = token_of(tokenizer, target)
    if other is None:
        return of_tokens(frozen, [first])
    return difference(frozen, first, token_of(tokenizer, other))


def main(
    prompt: Annotated[str, typer.Argument(help="text; a BOS token is put before it")],
    target: Annotated[str | None, typer.Option(help="a token; default: the likely ones")] = None,
    other: Annotated[str | None, typer.Option(help="explain target minus this token")] = None,
    max_features: Annotated[int, typer.Option(help="latents that become nodes")] = MOST,
    nodes: Annotated[float, typer.Option(help="share of influence that pruning keeps")] = 0.8,
    edges: Annotated[float, typer.Option(help="the same of the edges")] = 0.98,
    out: Annotated[Path | None, typer.Option(help="the page; default: under graphs/")] = None,
    json: Annotated[bool, typer.Option("--json", help="also the viewer's JSON")] = False,
    profile: Annotated[str | None, typer.Option(help="local, hub or tiny")] = None,
) -> None:
    """The attribution graph of a prompt."""
    from utils.graphs import attribute, freeze, pruned, scores, write_page, write_viewer
    from utils.graphs.viewer import plain
    from utils.models import language_model, transcoders
    from utils.models.tiny import ModelMissing
    from utils.models.wheel import ModelUnavailable

    if out is not None and out.suffix != ".html":
        raise typer.BadParameter(f"--out is a page and ends in .html; not {out.name!r}")
    try:
        loaded = language_model(profile)
        saes = transcoders(range(loaded.n_layers), profile)
        frozen = freeze(loaded, loaded.model.to_tokens(prompt)[0], saes)
        wanted = targets_of(frozen, target, other)
        graph = attribute(frozen, saes, wanted, max_features)
        small = pruned(graph, nodes, edges)
    except (ModelMissing, ModelUnavailable, ValueError) as error:
        print(f"no graph: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    told = hashlib.sha256(repr((prompt, target, other, profile)).encode()).hexdigest()[:6]
    page = out or Path("graphs", f"{plain(prompt)[:50]}-{told}.html")
    write_page(small, page)
    kept = sum(node.kind == "feature" for node in small.nodes)
    quality = scores(graph)
    print(f"{graph.n_active:,} latents are active, {kept} are in the graph after pruning")
    both = quality["replacement"], quality["completeness"]
    print(
        "replacement score {:.2f}, completeness {:.2f}: the rest are errors, ".format(*both)
        + "what the transcoders do not explain"
    )
    print(page)
    if json:
        print(write_viewer(small, page.with_suffix(".json"), prompt))


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DYNAMIC_NCOLS", "1")
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
    typer.run(main)
