"""Documents of token ids, and the rows of equal length that models read.

A row holds one document's words only, BOS first. So rows of one document can be held out together,
and no token is predicted from another document.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from utils.course import ARTIFACTS
from utils.files import whole


@dataclass(frozen=True)
class Documents:
    """Token ids of documents one after the other, without BOS, and where each comes from."""

    ids: Int[Tensor, " token"]
    ends: Int[Tensor, " document"]  # one past each document's last token
    source: Int[Tensor, " document"]  # an index into `names`
    names: tuple[str, ...]  # of the sources: webtext, docstrings, written.story, …

    def __len__(self) -> int:
        return len(self.ends)

    def document(self, i: int) -> Int[Tensor, " token"]:
        """The tokens of document i."""
        return self.ids[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])]

    def select(self, keep: Bool[Tensor, " document"]) -> "Documents":
        """Keep the documents where `keep` is true; the names of sources stay."""
        chosen = keep.nonzero().flatten().tolist()
        return join([(self.document(i), int(self.source[i])) for i in chosen], self.names)

    def of(self, *sources: str) -> "Documents":
        """Keep the documents of these sources; `written` also means all of `written.…`.

        Raises KeyError for a source that does not exist.
        """
        wanted: list[int] = []
        for source in sources:
            found = [
                i for i, n in enumerate(self.names) if n == source or n.startswith(f"{source}.")
            ]
            if not found:
                raise KeyError(f"no source {source!r}; there are {', '.join(self.names)}")
            wanted += found
        return self.select(torch.isin(self.source, torch.tensor(wanted)))


def join(pieces: Sequence[tuple[Tensor, int]], names: Sequence[str]) -> Documents:
    """Put documents, given as (ids, index of the source), together."""
    ids = [ids.to(torch.int64) for ids, _ in pieces]
    lengths = torch.tensor([len(x) for x in ids], dtype=torch.int64)
    source = torch.tensor([source for _, source in pieces], dtype=torch.int64)
    flat = torch.cat(ids) if ids else lengths
    return Documents(flat, lengths.cumsum(0), source, tuple(names))


def merge(parts: Sequence[Documents]) -> Documents:
    """Put several collections together; a source's name stands for one source throughout."""
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    pieces = [
        (part.document(i), names.index(part.names[int(part.source[i])]))
        for part in parts
        for i in range(len(part))
    ]
    return join(pieces, names)


def split(docs: Documents, share: float, seed: int) -> tuple[Documents, Documents]:
    """Divide whole documents at random into (train, held out).

    In every source round(share × documents) are held out, at least one if it has two or more.
    """
    gen = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(docs), dtype=torch.bool)
    for s in range(len(docs.names)):
        mine = (docs.source == s).nonzero().flatten()
        n = max(round(share * len(mine)), int(len(mine) > 1 and share > 0))
        held[mine[torch.randperm(len(mine), generator=gen)[:n]]] = True
    return docs.select(~held), docs.select(held)


# ----------------------------------------------------------------------------------------- rows


@dataclass(frozen=True)
class Rows:
    """Token rows for a model; `mask` is false on padding, which is at the end of a row."""

    ids: Int[Tensor, "row pos"]
    mask: Bool[Tensor, "row pos"]
    document: Int[Tensor, " row"]  # rows of one document stay together when rows are held out

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, which: slice | Int[Tensor, " chosen"]) -> "Rows":
        """Some of the rows."""
        return Rows(self.ids[which], self.mask[which], self.document[which])


def counted(mask: Bool[Tensor, "row pos"], skip_first: int = 1) -> Bool[Tensor, "row pos"]:
    """Which tokens count in every metric, and are stored, replaced and trained on.

    Not padding, where `mask` is false, and not the first `skip_first` positions: the first one is
    an attention sink whose residual stream can be hundreds of times longer than any other.
    """
    keep = mask.clone()
    keep[:, :skip_first] = False
    return keep


def predicting(mask: Bool[Tensor, "row pos"], skip_first: int = 1) -> Bool[Tensor, "row pos-1"]:
    """At which positions the prediction of the next token counts: both tokens are text."""
    return counted(mask, skip_first)[:, :-1] & mask[:, 1:]


def rows_of(
    docs: Documents, bos: int | None, pad: int, length: int = 128, min_tail: int = 32
) -> Rows:
    """Cut every document into rows of `length` ids: BOS, then length - 1 of its tokens.

    The last row of a document is padded, or dropped if it has fewer than `min_tail` tokens.
    `bos = None` is for models without one.
    """
    first = [] if bos is None else [bos]
    step = length - len(first)
    chunks: list[tuple[int, Tensor]] = []
    for i in range(len(docs)):
        pieces = docs.document(i).split(step)
        chunks += [(i, piece) for piece in pieces if len(piece) >= min(min_tail, step)]
    ids = torch.full((len(chunks), length), pad)
    mask = torch.zeros(len(chunks), length, dtype=torch.bool)
    for row, (_, piece) in enumerate(chunks):
        end = len(first) + len(piece)
        ids[row, : len(first)] = torch.tensor(first, dtype=torch.int64)
        ids[row, len(first) : end] = piece
        mask[row, :end] = True
    return Rows(ids, mask, torch.tensor([i for i, _ in chunks], dtype=torch.int64))


# ---------------------------------------------------------------------------------------- files


def save_documents(docs: Documents, path: Path) -> None:
    """Write one safetensors file, whole or not at all; ids as uint16 where they fit."""
    from safetensors.torch import save_file

    small = not len(docs.ids) or int(docs.ids.max()) < 2**16
    tensors = {
        "ids": docs.ids.to(torch.uint16 if small else torch.int32),
        "ends": docs.ends.to(torch.int32),
        "source": docs.source.to(torch.uint8 if len(docs.names) <= 256 else torch.int32),
    }
    with whole(path) as part:
        save_file(tensors, part, metadata={"names": json.dumps(docs.names)})


def load_documents(path: Path) -> Documents:
    """Read what `save_documents` wrote."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = tuple(json.loads(file.metadata()["names"]))
        ids, ends, source = (file.get_tensor(k).to(torch.int64) for k in ("ids", "ends", "source"))
    return Documents(ids, ends, source, names)


def corpus_sample() -> Documents:
    """The text that ships with the course, written by its language model (see its card.json)."""
    folder = Path(os.environ.get("COURSE_ARTIFACTS") or ARTIFACTS)
    return load_documents(folder / "corpus_sample" / "documents.safetensors")
