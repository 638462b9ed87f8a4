"""Text of others: planted corpora and packages, so that nothing depends on this machine."""

import sys
import zipfile

import pytest

from tools.corpus import docstrings, nltk_text
from tools.corpus.texts import encode, texts_of


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """abc as a zip, inaugural as a folder, nothing else."""
    corpora = tmp_path / "corpora"
    (corpora / "inaugural").mkdir(parents=True)
    (corpora / "inaugural" / "1789-A.txt").write_bytes(
        "Caf\u00e9, fellow citizens.\r\nYes.".encode()
    )
    (corpora / "inaugural" / "1793-B.txt").write_bytes("Caf\u00e9 again.".encode("latin-1"))
    with zipfile.ZipFile(corpora / "abc.zip", "w") as archive:
        archive.writestr("abc/README", "no text")
        archive.writestr("abc/rural.txt", "\n\n".join(f"story {i} " + "x" * 995 for i in range(9)))
    monkeypatch.setattr(nltk_text, "data_folders", lambda: [tmp_path / "nowhere", tmp_path])


def test_speeches_are_documents_whatever_their_encoding(planted):
    assert list(texts_of("inaugural")) == [
        ("inaugural", "Caf\u00e9, fellow citizens.\nYes."),
        ("inaugural", "Caf\u00e9 again."),
    ]


def test_a_collection_in_a_zip_is_cut_between_paragraphs(planted):
    found = list(texts_of("abc"))
    assert {name for name, _ in found} == {"abc.rural"} and len(found) == 3
    assert all(text.startswith("story") for _, text in found)
    assert "\n\n".join(text for _, text in found).count("story") == 9


def test_a_missing_corpus_says_how_to_get_it(planted):
    with pytest.raises(nltk_text.TextMissing, match=r"nltk.download\('webtext'\)"):
        list(texts_of("webtext"))
    with pytest.raises(nltk_text.TextMissing, match="not installed"):
        list(texts_of("docstrings.no_such_package"))
    with pytest.raises(KeyError, match=r"docstrings\.torch"):
        list(texts_of("abd"))


def test_docstrings_are_read_and_nothing_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "planted_package"
    (package / "tests").mkdir(parents=True)
    text = "Explains at some length what this is good for."
    module = f'"""Module. {text}"""\nraise SystemExit\ndef f(x, y=1):\n    """F. {text}"""\n'
    (package / "__init__.py").write_text(module + 'def g():\n    """Short."""\n')
    (package / "broken.py").write_text("def (")
    (package / "copy.py").write_text(module + 'def g():\n    """Short."""\n')
    (package / "tests" / "test_it.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    found = list(docstrings.docstring_texts("planted_package"))
    assert found == [("docstrings.planted_package", f"Module. {text}\n\ndef f(x, y=1):\nF. {text}")]
    assert "planted_package" not in sys.modules


def test_encoding_keeps_sources_apart_and_stops():
    class Letters:
        def __call__(self, texts, **_):
            return type("Ids", (), {"input_ids": [[ord(c) for c in t] for t in texts]})

    docs = encode([("a", "xyz"), ("b", "uv"), ("a", ""), ("a", "w")], Letters())
    assert docs.names == ("a", "b") and docs.source.tolist() == [0, 1, 0]
    assert "".join(map(chr, docs.ids.tolist())) == "xyzuvw"
    assert len(encode([("a", "xyz"), ("b", "uv")], Letters(), max_tokens=2)) == 1
