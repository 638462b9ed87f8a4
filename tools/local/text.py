"""Which text the activations come from: what is trained on, what is held out, cut into segments.

Speeches (state_union, inaugural) are held out as a whole. They are another kind of text than all
by people that is trained on: formal prose meant to be heard, of one genre from 1789 to 2005, where
the rest is news, chat, reviews, scripture in verses, and documentation. Formal prose that is
trained on (addresses among it) the model has written itself, from prompts of our own.
Two per cent of the documents of every source by people are held out as well, to tell the effect of
a new source from that of new text.
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from tools.corpus.texts import encode, texts_of
from utils.data.corpus import (
    Documents,
    Rows,
    counted,
    load_documents,
    merge,
    rows_of,
    save_documents,
    split,
)

SPEECHES = ("state_union", "inaugural")
PEOPLE: dict[str, int | None] = {
    "abc": None,
    "webtext": None,
    "genesis": None,
}  # source: at most so many tokens
DOCS = "docstrings."  # what the names of the sources begin with that are not prose
PEOPLE |= {f"{DOCS}{name}": 300_000 for name in ("stdlib", "torch", "numpy", "scipy")}
PEOPLE |= {f"{DOCS}{name}": 300_000 for name in ("sklearn", "pandas", "transformers")}
FORMAL = "formal"  # the collection of formal prose that the model wrote
HELD_SHARE = 0.02  # of each source's documents
SEED = 0
LENGTH = 128  # tokens in a row, BOS among them
ROWS_PER_SEGMENT = 4096  # about half a million tokens: what can be trained on before all is there


@dataclass(frozen=True)
class Corpora:
    """Documents by what they are for."""

    people: Documents  # trained on: written by people
    own: dict[str, Documents]  # trained on: written by the model, by collection
    held: dict[str, Documents]  # speeches; same (held-out documents of the sources trained on)


def sample_of(source: str, tokenizer: Any, max_tokens: int | None) -> Documents:
    """Documents of a source in random order, up to a number of tokens."""
    texts = list(texts_of(source))
    random.Random(f"{SEED} {source}").shuffle(texts)
    return encode(texts, tokenizer, max_tokens)


def tokenised(name: str, sources: dict[str, int | None], folder: Path, tokenizer: Any) -> Documents:
    """The documents of these sources, tokenised once and kept."""
    file = folder / f"{name}.safetensors"
    if not file.exists():
        parts = [sample_of(source, tokenizer, n) for source, n in sources.items()]
        save_documents(merge(parts), file)
    return load_documents(file)


def corpora(folder: Path, tokenizer: Any, own: dict[str, Path]) -> Corpora:
    """All text, from `folder` where it was tokenised before; `own` are files, if they are there."""
    people, same = split(tokenised("people", PEOPLE, folder, tokenizer), HELD_SHARE, SEED)
    speeches = tokenised("speeches", dict.fromkeys(SPEECHES), folder, tokenizer)
    there = {name: load_documents(file) for name, file in own.items() if file.exists()}
    return Corpora(people, there, {"speeches": speeches, "same": same})


def shuffled(docs: Documents, tokenizer: Any, length: int = LENGTH) -> Rows:
    """The rows of documents in random order."""
    rows = rows_of(docs, tokenizer.bos_token_id, tokenizer.pad_token_id or 0, length)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))
    return rows[order]


def segments(
    texts: Corpora, tokenizer: Any, size: int = ROWS_PER_SEGMENT, length: int = LENGTH
) -> dict[str, Rows]:
    """Rows to train on, a random sample of their kind each, by name and in order.

    The model's own text comes in segments of its own, so that it can be added later. A last
    piece that is less than an eighth of a segment is left out.
    """
    found: dict[str, Rows] = {}
    for kind, docs in {"people": texts.people, **texts.own}.items():
        rows = shuffled(docs, tokenizer, length)
        pieces = zip(rows.ids.split(size), rows.mask.split(size), strict=True)
        for i, (ids, mask) in enumerate(pieces):
            if i == 0 or len(ids) >= size // 8:
                found[f"{kind}-{i:02}"] = Rows(ids, mask, torch.arange(len(ids)))
    return found


def prose(
    texts: Corpora, tokenizer: Any, size: int = ROWS_PER_SEGMENT, length: int = LENGTH
) -> dict[str, Bool[Tensor, " row"]]:
    """Which rows of the segments written by people are prose, not documentation."""
    docs = texts.people
    is_prose = torch.tensor([not name.startswith(DOCS) for name in docs.names])
    pieces = is_prose[docs.source[shuffled(docs, tokenizer, length).document]].split(size)
    return {f"people-{i:02}": piece for i, piece in enumerate(pieces)}


def n_tokens(rows: Rows) -> int:
    """Tokens that are neither padding nor BOS."""
    return int(counted(rows.mask).sum())


def digest(rows: Rows) -> str:
    """Which text this is, for a card."""
    return hashlib.sha256(rows.ids.numpy().tobytes()).hexdigest()[:16]


def counts(docs: Documents) -> dict[str, int]:
    """Tokens by source."""
    starts = torch.cat([docs.ends.new_zeros(1), docs.ends[:-1]]) if len(docs) else docs.ends
    sizes = docs.ends - starts
    totals = {name: int(sizes[docs.source == i].sum()) for i, name in enumerate(docs.names)}
    return {name: n for name, n in totals.items() if n}
