from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tameshi.doors.files import NotWritten, write, writing


def left_over(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial"))


def test_a_file_appears_whole_with_its_folders(tmp_path):
    assert write(tmp_path / "a" / "b.txt", "試し").read_text(encoding="utf-8") == "試し"
    assert not left_over(tmp_path)


def test_an_error_in_the_block_leaves_the_old_file_as_it_was(tmp_path):
    place = write(tmp_path / "a.txt", "old")

    def interrupted() -> None:
        with writing(place) as beside:
            beside.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert place.read_text() == "old"
    assert not left_over(tmp_path)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with writing(tmp_path / "model", folder=True) as beside:
        (beside / "a").write_text("1")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "a").read_text() == "1"


def test_a_folder_that_holds_something_is_never_replaced(tmp_path):
    write(tmp_path / "model" / "precious", "1")
    with pytest.raises(NotWritten, match="already holds something"), writing(tmp_path / "model", folder=True):
        pass
    assert (tmp_path / "model" / "precious").read_text() == "1"


def test_a_full_disk_is_said_with_path_and_bytes_and_changes_nothing(tmp_path, monkeypatch):
    place = write(tmp_path / "a.txt", "old")

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NotWritten, match=r"5 bytes to .*a\.txt: No space left"):
        write(place, "12345")
    assert place.read_text() == "old"
    assert not left_over(tmp_path)


def test_a_disk_that_fills_while_flushing_leaves_the_old_file(tmp_path, monkeypatch):
    place = write(tmp_path / "a.txt", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritten, match=r"3 bytes so far.*No space left"):
        write(place, "new")
    assert place.read_text() == "old"
    assert not left_over(tmp_path)


def test_what_a_killed_process_left_is_cleared_by_the_next_write(tmp_path):
    killed = (
        "import os, signal, sys; from pathlib import Path; from tameshi.doors.files import writing\n"
        "with writing(Path(sys.argv[1])) as beside:\n"
        "    beside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "a.txt")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.txt").exists()
    assert len(left_over(tmp_path)) == 1
    write(tmp_path / "a.txt", "whole")
    assert not left_over(tmp_path)
