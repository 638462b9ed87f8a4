"""Text as token ids: `python -m tools.corpus`.

python -m tools.corpus sample                write artifacts/corpus_sample/ (half an hour alone)
python -m tools.corpus sample --seed 1 --tokens 1000000 --out FOLDER      more, for training
python -m tools.corpus texts abc docstrings.torch --out FILE              other people's text
python -m tools.corpus show FILE                  documents and tokens of each source
"""

import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from utils import files
from utils.course import ARTIFACTS

if TYPE_CHECKING:
    from tools.corpus.writing import WritingConfig
    from utils.data.corpus import Documents

SAMPLE = ARTIFACTS / "corpus_sample"
FILE, CARD = "documents.safetensors", "card.json"


class Dtype(StrEnum):
    """What the model computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Kinds(StrEnum):
    """A collection of prompts."""

    mixed = "mixed"
    formal = "formal"


app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, help=__doc__, no_args_is_help=True
)


@dataclass(frozen=True)
class Asked:
    """What is to be written, and where."""

    tokens: int = 200_000
    seed: int = 0
    out: Path = SAMPLE
    batch: int = 64
    dtype: str = Dtype.float32.value
    kinds: str = Kinds.mixed.value
    model: Path | None = None  # a checkpoint's folder


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_writer(folder: Path | None, dtype: str = "float32") -> tuple[Any, Any, dict[str, str]]:
    """The model, its tokenizer and who it is; `folder` is a checkpoint, by default the course's."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from utils.models import smollm2

    if folder is None:
        folder = smollm2.checkpoint()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    identity = {"name": smollm2.NAME, "sha256": sha256(folder / "model.safetensors")}
    return model, tokenizer, identity


def make_card(
    args: Asked,
    cfg: "WritingConfig",
    identity: dict[str, str],
    docs: "Documents",
    report: dict[str, Any],
) -> dict[str, Any]:
    """What the text is, how it came about, how long that took."""
    from dataclasses import asdict

    import torch

    from tools.corpus.prompts import COLLECTIONS

    kinds = COLLECTIONS[args.kinds]
    other = "" if args.kinds == "mixed" else f" --kinds {args.kinds}"
    return {
        "what": "text written by the model from seeded prompts, as token ids without BOS",
        "model": {**identity, "licence": "Apache-2.0"},
        "licence": "MIT, as the course",
        "sampling": asdict(cfg),
        "prompts": {name: {"mode": k.mode, "templates": k.templates} for name, k in kinds.items()},
        "prompts_module": "tools/corpus/prompts.py (templates and slots)",
        "filter": "documents shorter than min_tokens are dropped; so are those with more than "
        "max_repeats of their n-grams repeated, or one token with more than max_share",
        "documents": len(docs),
        "tokens": len(docs.ids),
        "tokens_per_second": round(len(docs.ids) / max(report["seconds"], 1e-9), 1),
        "run": {**report, "threads": torch.get_num_threads(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, shared with other programs",
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python -m tools.corpus sample --seed {cfg.seed} --tokens {cfg.n_tokens} "
        f"--batch {cfg.batch} --dtype {cfg.dtype}{other}",
        "sha256": sha256(args.out / FILE),
    }


def is_written(folder: Path, cfg: "WritingConfig", kinds: str = "mixed") -> bool:
    """A file and its card are there, and the card is of this sampling and these kinds."""
    from dataclasses import asdict

    from tools.corpus.prompts import COLLECTIONS

    if not ((folder / CARD).exists() and (folder / FILE).exists()):
        return False
    card = json.loads((folder / CARD).read_text())
    same = card["sampling"] == asdict(cfg) and set(card["prompts"]) == set(COLLECTIONS[kinds])
    return same and card["sha256"] == sha256(folder / FILE)


def write_sample(args: Asked) -> None:
    """Write documents and their card; the finished batches go when both are there."""
    import shutil

    from tools.corpus.prompts import COLLECTIONS
    from tools.corpus.writing import PARTS, WritingConfig, write
    from utils.data.corpus import save_documents

    os.environ["HF_HUB_OFFLINE"] = "1"
    cfg = WritingConfig(args.tokens, args.seed, args.batch, dtype=args.dtype)
    if is_written(args.out, cfg, args.kinds):
        print(f"{args.out / FILE}: done, skipped (delete {CARD} beside it to write it again)")
        return
    model, tokenizer, identity = load_writer(args.model, args.dtype)
    docs, report = write(model, tokenizer, cfg, args.out, identity, COLLECTIONS[args.kinds])
    save_documents(docs, args.out / FILE)
    card = make_card(args, cfg, identity, docs, report)
    files.write(args.out / CARD, json.dumps(card, indent=1) + "\n")
    shutil.rmtree(args.out / PARTS)


FOLDER_HELP = typer.Option(help="a checkpoint's folder")


@app.command()
def sample(
    out: Path = SAMPLE,
    tokens: int = Asked.tokens,
    seed: int = Asked.seed,
    batch: int = Asked.batch,
    dtype: Dtype = Dtype.float32,
    kinds: Kinds = Kinds.mixed,
    model: Annotated[Path | None, FOLDER_HELP] = None,
) -> None:
    """Let the local model write."""
    if kinds != "mixed" and out == SAMPLE:
        raise typer.BadParameter(
            "needs --out: the sample that ships is mixed", param_hint="--kinds"
        )
    write_sample(Asked(tokens, seed, out, batch, dtype, kinds, model))


@app.command()
def texts(
    sources: Annotated[list[str], typer.Argument(help="abc, docstrings.torch, …")],
    out: Annotated[Path, typer.Option(help="the file to write")],
    tokens: Annotated[int | None, typer.Option(help="at most, per source (about)")] = None,
    model: Annotated[Path | None, FOLDER_HELP] = None,
) -> None:
    """Tokenise NLTK's corpora and docstrings into one file."""
    from transformers import AutoTokenizer

    from tools.corpus.texts import encode, texts_of
    from utils.data.corpus import merge, save_documents
    from utils.models import smollm2

    tokenizer = AutoTokenizer.from_pretrained(model or smollm2.checkpoint(), local_files_only=True)
    parts = [encode(texts_of(name), tokenizer, tokens) for name in sources]
    save_documents(merge(parts), out)


@app.command()
def show(file: Path) -> None:
    """Count documents and tokens of each source of a file."""
    from utils.data.corpus import load_documents

    docs = load_documents(file)
    starts = docs.ends.new_zeros(len(docs))
    starts[1:] = docs.ends[:-1]
    for i, name in enumerate(docs.names):
        mine = docs.source == i
        n = int((docs.ends - starts)[mine].sum())
        print(f"{name:24} {int(mine.sum()):6} documents {n:9} tokens")


if __name__ == "__main__":
    app()
