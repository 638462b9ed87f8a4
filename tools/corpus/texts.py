"""From text to documents of token ids, source by source."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from tools.corpus.docstrings import PACKAGES, docstring_texts
from tools.corpus.nltk_text import CORPORA, Text, nltk_texts
from utils.data.corpus import Documents, join
from utils.progress import track

CHUNK = 64  # documents tokenised at a time


def texts_of(source: str) -> Iterator[Text]:
    """The documents of `abc`, … (NLTK), `docstrings.torch`, …, or `docstrings` (all packages)."""
    if source in CORPORA:
        yield from nltk_texts(source)
    elif source == "docstrings":
        for package in PACKAGES:
            yield from docstring_texts(package)
    elif source.startswith("docstrings."):
        yield from docstring_texts(source.removeprefix("docstrings."))
    else:
        known = [*CORPORA, "docstrings", *(f"docstrings.{p}" for p in PACKAGES)]
        raise KeyError(f"no source {source!r}; there are {', '.join(known)}")


def encode(texts: Iterable[Text], tokenizer: Any, max_tokens: int | None = None) -> Documents:
    """Tokenise documents, without special tokens; stop after the one that reaches `max_tokens`."""
    names: list[str] = []
    pieces: list[tuple[torch.Tensor, int]] = []
    n, source = 0, iter(track(texts, "tokenising"))
    while chunk := list(islice(source, CHUNK)):
        ids = tokenizer([text for _, text in chunk], add_special_tokens=False, verbose=False)
        for (name, _), row in zip(chunk, ids.input_ids, strict=True):
            if row and (max_tokens is None or n < max_tokens):
                if name not in names:
                    names.append(name)
                pieces.append((torch.tensor(row), names.index(name)))
                n += len(row)
        if max_tokens is not None and n >= max_tokens:
            break
    return join(pieces, names)
