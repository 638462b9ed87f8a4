"""The text that ships with the course is what its card says."""

import hashlib
import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from tools.corpus.__main__ import Asked, app, is_written, write_sample
from tools.corpus.prompts import KINDS
from tools.corpus.writing import WritingConfig, verdict
from utils.course import ROOT
from utils.data.corpus import corpus_sample, rows_of

FOLDER = ROOT / "artifacts" / "corpus_sample"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "card.json").exists(), reason="not written: python -m tools.corpus sample"
)


def test_the_card_describes_the_file():
    card, docs = json.loads((FOLDER / "card.json").read_text()), corpus_sample()
    data = (FOLDER / "documents.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == card["sha256"] and len(data) < 1.5e6
    assert (len(docs), len(docs.ids)) == (card["documents"], card["tokens"])
    assert {"model", "prompts", "sampling", "filter", "licence", "command"} <= set(card)
    kept = sum(n for what, n in card["run"]["documents"].items() if what.endswith(": kept"))
    assert kept == len(docs)


def test_every_document_passes_the_filter_and_every_kind_is_there():
    card, docs = json.loads((FOLDER / "card.json").read_text()), corpus_sample()
    cfg = WritingConfig(**card["sampling"])
    assert {verdict(docs.document(i), cfg) for i in range(len(docs))} == {""}
    assert set(docs.names) == {f"written.{kind}" for kind in KINDS}


def test_it_makes_rows_with_little_padding():
    rows = rows_of(corpus_sample(), bos=1, pad=2)
    assert rows.mask.float().mean() > 0.85 and len(rows) > 1000


def test_other_kinds_do_not_take_the_place_of_the_sample():
    done = CliRunner().invoke(app, ["sample", "--kinds", "formal"])
    assert done.exit_code == 2 and "needs --out" in done.output
    done = CliRunner().invoke(app, ["sample", "--kinds", "modern"])
    assert done.exit_code == 2 and "formal" in done.output


def test_show_counts_the_documents_of_each_source():
    done = CliRunner().invoke(app, ["show", str(FOLDER / "documents.safetensors")])
    assert done.exit_code == 0 and len(done.output.splitlines()) == len(KINDS)
    assert sum(int(line.split()[3]) for line in done.output.splitlines()) == len(
        corpus_sample().ids
    )


def test_writing_it_again_is_skipped_and_asked_for_by_the_defaults(capsys):
    card = json.loads((FOLDER / "card.json").read_text())
    assert card["sampling"] == asdict(WritingConfig())
    assert not is_written(FOLDER, WritingConfig(seed=1))
    assert not is_written(FOLDER, WritingConfig(), "formal")
    assert not is_written(FOLDER.parent, WritingConfig())
    write_sample(Asked(out=FOLDER))
    assert "done, skipped" in capsys.readouterr().out
