"""Files appear whole or not at all, and a full disk is said in words."""

import errno
import os
import re
import threading

import pytest
import torch

from utils import files
from utils.course import ROOT


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    files.write(tmp_path / "new" / "a.txt", "straße\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "straße\n".encode()
    assert names(tmp_path / "new") == ["a.txt"]


def test_a_link_stays_one_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    files.write(target, "old")
    link.symlink_to(target)
    files.write(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert names(tmp_path) == ["link.txt", "target.txt"]


def test_what_is_no_ordinary_file_is_left_alone(tmp_path):
    """`--json /dev/null` of somebody who may do everything"""
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="no ordinary file"):
            files.write(place, "text")
    assert (tmp_path / "pipe").is_fifo()


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_an_error_in_the_middle_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    files.write(path, b"old")
    with pytest.raises(RuntimeError, match="half way"):
        with files.whole(path) as part:
            part.write_bytes(b"ne")
            raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("number", files.FULL)
def test_a_full_disk_keeps_the_old_file_and_names_the_cure(tmp_path, monkeypatch, number):
    path = tmp_path / "a.txt"
    files.write(path, "old")

    def full(_handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(files.DiskFull, match=r"is full: a\.txt was not written.*Free some space"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_another_error_of_the_system_stays_what_it_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        files.write(tmp_path / "file" / "a.txt", "x")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
    assert not isinstance(caught.value, files.DiskFull)


def test_the_file_has_the_mode_that_the_old_one_had_or_the_umask_gives(tmp_path):
    path, plain = tmp_path / "a.txt", tmp_path / "plain"
    plain.write_text("")
    files.write(path, "new")
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    files.write(path, "newer")
    assert path.stat().st_mode & 0o777 == 0o640


def test_two_writers_at_once_leave_one_whole_file(tmp_path):
    path, texts = tmp_path / "a.txt", [c * 200_000 for c in "ab"]
    threads = [threading.Thread(target=files.write, args=(path, text)) for text in texts * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


# ------------------------------------------------------------------------- whoever writes a file


def writers():
    """Each kind of thing that is written, as a function of a folder that writes its file there."""
    from tools.saes.cards import write_card
    from tools.saes.cost import counted
    from utils.data.corpus import join, save_documents
    from utils.saes.checkpoint import save_checkpoint
    from utils.saes.coder import init_coder
    from utils.saes.config import SAEConfig
    from utils.saes.export import save_coder
    from utils.saes.records import RecordConfig, Recorder

    def cost(folder):
        with counted(folder / "cost.json"):
            pass

    coder = init_coder(SAEConfig(3, 4, k=2), torch.Generator().manual_seed(0))
    docs = join([(torch.arange(3), 0)], ["a"])
    state = {"params": coder.params, "n_steps": 0}
    return {
        "documents": lambda folder: save_documents(docs, folder / "d.safetensors"),
        "coder": lambda folder: save_coder(coder, folder),
        "checkpoint": lambda folder: save_checkpoint(folder / "c.pt", state),
        "card": lambda folder: write_card({"name": "x"}, folder, "# x"),
        "cost": cost,
        "log": lambda folder: Recorder(RecordConfig(jsonl=folder / "log.jsonl"), {}, 0),
    }


@pytest.mark.parametrize("what", ["documents", "coder", "checkpoint", "card", "cost", "log"])
def test_a_full_disk_is_said_in_words_by_whoever_writes(what, tmp_path, monkeypatch):
    write = writers()[what]
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_handle):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(files.DiskFull, match="Free some space"):
        write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nobody_writes_files_by_hand():
    """utils/files.py does it: a name of its own for the part, fsync, one step, one error"""
    by_hand = re.compile(r"os\.replace\(|\bfsync\(|\bpart\.replace\(|\.EDQUOT|\.part\"")
    # the set-up runs before there are packages; the other two have their own tests
    others = {"utils/files.py", "tools/setup.py", "utils/check.py", "tools/build.py"}
    paths = [path for room in ("utils", "tools") for path in (ROOT / room).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in paths if by_hand.search(path.read_text())}
    assert found <= others
