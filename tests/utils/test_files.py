"""Files appear whole or not at all, and a full disk is said in words."""

import errno
import os
import threading

import pytest

from utils import files


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    files.write(tmp_path / "new" / "a.txt", "straße\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "straße\n".encode()
    assert names(tmp_path / "new") == ["a.txt"]


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
