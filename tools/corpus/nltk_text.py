"""NLTK's English corpora, read as the plain files they are: nltk itself is not needed."""

import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

Text = tuple[str, str]  # (source, text of one document)


@dataclass(frozen=True)
class Corpus:
    """Which files of a corpus are English prose, and what a document is."""

    files: str = "*.txt"
    cut: bool = True  # a file is a collection: cut it; else a file is a document


CORPORA = {
    "abc": Corpus(),  # rural and science news, Australia, 2006
    "webtext": Corpus(),  # bug reports, overheard talk, two film scripts, singles, wine
    "genesis": Corpus("english-*.txt"),
    "inaugural": Corpus(cut=False),
    "state_union": Corpus(cut=False),
}


class TextMissing(FileNotFoundError):
    """A corpus that is not here; the message says how to get it."""


def data_folders() -> list[Path]:
    """Where NLTK's data may lie: NLTK_DATA, the home folder, beside Python."""
    named = [Path(p) for p in os.environ.get("NLTK_DATA", "").split(os.pathsep) if p]
    prefixes = [Path(sys.prefix), Path(sys.prefix) / "share", Path(sys.prefix) / "lib"]
    return [*named, Path.home() / "nltk_data", *(p / "nltk_data" for p in prefixes)]


def corpus_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each text file of a corpus, from its folder or its zip.

    Raises TextMissing where there is neither.
    """
    pattern = CORPORA[name].files
    for folder in data_folders():
        plain, packed = folder / "corpora" / name, folder / "corpora" / f"{name}.zip"
        if plain.is_dir():
            for path in sorted(plain.glob(pattern)):
                yield path.stem, path.read_bytes()
            return
        if packed.is_file():
            with zipfile.ZipFile(packed) as archive:
                for member in sorted(archive.namelist()):
                    if fnmatch(Path(member).name, pattern):
                        yield Path(member).stem, archive.read(member)
            return
    raise TextMissing(
        f"the corpus {name!r} is not here. With a network: pip install nltk, then "
        f"python -c \"import nltk; nltk.download('{name}')\"; or set NLTK_DATA to a folder that "
        f"has corpora/{name}.zip"
    )


def decode(data: bytes) -> str:
    """UTF-8 where it is, else Latin-1 (as the older corpora are); line ends as \\n."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cut(text: str, n_chars: int = 4000) -> list[str]:
    """Documents of at least `n_chars` characters (the last may be shorter).

    They are cut between paragraphs, else between lines.
    """
    between = "\n\n" if text.count("\n\n") > len(text) // n_chars else "\n"
    documents: list[str] = []
    pieces: list[str] = []
    for piece in text.split(between):
        pieces.append(piece)
        if sum(map(len, pieces)) >= n_chars:
            documents.append(between.join(pieces).strip())
            pieces = []
    documents.append(between.join(pieces).strip())
    return [d for d in documents if d]


def nltk_texts(name: str) -> Iterator[Text]:
    """The documents of a corpus; sources like `webtext.wine`, and `inaugural`."""
    for stem, data in corpus_files(name):
        text = decode(data)
        if CORPORA[name].cut:
            yield from ((f"{name}.{stem}", document) for document in cut(text))
        else:
            yield name, text.strip()
