"""Documents keep their text and source through files, splits and rows."""

import pytest
import torch

from utils.data.corpus import (
    counted,
    join,
    load_documents,
    merge,
    predicting,
    rows_of,
    save_documents,
    split,
)


def documents(lengths, names=("a", "b.x", "b.y"), start=10):
    pieces, n = [], start
    for i, length in enumerate(lengths):
        pieces.append((torch.arange(n, n + length), i % len(names)))
        n += length
    return join(pieces, names)


def test_files_give_back_what_was_saved(tmp_path):
    for start in (10, 70_000):  # 16 bits, and more
        docs = documents([5, 0, 9, 3], start=start)
        save_documents(docs, tmp_path / "d.safetensors")
        found = load_documents(tmp_path / "d.safetensors")
        assert torch.equal(found.ids, docs.ids) and torch.equal(found.ends, docs.ends)
        assert found.names == docs.names and torch.equal(found.source, docs.source)
        assert [p.name for p in tmp_path.iterdir()] == ["d.safetensors"]
    assert len(documents([])) == 0


def test_sources_are_chosen_by_name_and_by_family():
    docs = documents([2, 3, 4, 5])
    assert len(docs.of("a")) == 2 and len(docs.of("b")) == 2 and len(docs.of("b.y")) == 1
    assert torch.equal(docs.of("b.y").ids, docs.document(2))
    with pytest.raises(KeyError, match=r"b\.x"):
        docs.of("c")


def test_merging_keeps_one_number_per_source():
    both = merge([documents([2, 3]), documents([4, 5], names=("b.x", "z"))])
    assert both.names == ("a", "b.x", "b.y", "z")
    assert both.source.tolist() == [0, 1, 1, 3] and len(both.ids) == 14


def test_whole_documents_of_every_source_are_held_out():
    docs = documents([3] * 30)
    train, held = split(docs, 0.2, seed=1)
    assert [(held.source == s).sum().item() for s in range(3)] == [2, 2, 2]
    assert sorted([*train.ids.tolist(), *held.ids.tolist()]) == docs.ids.tolist()
    assert not torch.equal(split(docs, 0.2, seed=2)[1].ids, held.ids)
    assert len(split(docs, 0.01, seed=1)[1]) == 3 and len(split(docs, 0.0, seed=1)[1]) == 0


def test_rows_begin_with_bos_and_hold_one_document():
    rows = rows_of(documents([10, 3, 7]), bos=1, pad=2, length=5, min_tail=2)
    assert rows.document.tolist() == [0, 0, 0, 1, 2, 2]
    assert (rows.ids[:, 0] == 1).all()
    assert rows.ids[2].tolist() == [1, 18, 19, 2, 2]
    assert rows.mask[2].tolist() == [True, True, True, False, False]
    assert int(rows.mask[:, 1:].sum()) == 10 + 3 + 7
    assert torch.equal(rows_of(documents([10]), None, 2, 5).ids, torch.arange(10, 20).view(2, 5))


def test_short_tails_are_dropped():
    rows = rows_of(documents([9, 1]), bos=1, pad=2, length=5, min_tail=2)
    assert len(rows) == 2 and rows.mask.all()


def test_tokens_that_count_are_neither_padding_nor_first():
    rows = rows_of(documents([7]), bos=1, pad=2, length=5, min_tail=2)
    assert rows.mask.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert counted(rows.mask).int().tolist() == [[0, 1, 1, 1, 1], [0, 1, 1, 1, 0]]
    assert torch.equal(counted(rows.mask, skip_first=0), rows.mask)
    assert counted(rows.mask, skip_first=9).sum() == 0
    assert predicting(rows.mask).int().tolist() == [[0, 1, 1, 1], [0, 1, 1, 0]]
    assert predicting(rows.mask, skip_first=0).int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    part = rows[1:]
    assert len(part) == 1 and torch.equal(part.ids, rows.ids[1:]) and rows.mask.all() == 0
