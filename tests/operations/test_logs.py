"""Logs are bounded, and lose nothing for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgxc.operations.logs import Log


def parts(path: Path) -> list[bytes]:
    """The files of a log, the oldest first."""
    files = sorted(path.parent.glob(f"{path.name}.*"), key=lambda it: int(it.suffix[1:]), reverse=True)
    return [file.read_bytes() for file in (*files, path) if file.exists()]


def written(path: Path, chunks: list[bytes], **bounds: int) -> list[bytes]:
    """The files after these chunks."""
    log = Log(path, **bounds)
    for chunk in chunks:
        log.write(chunk)
    log.close()
    return parts(path)


@given(st.lists(st.binary(max_size=60).map(lambda it: it.replace(b"\0", b"\n")), max_size=30))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_and_lines_stay_whole(chunks: list[bytes]) -> None:
    """Whatever is written in whatever pieces is there, in order; files are divided between lines."""
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"msgxc-test-log-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    try:
        files = written(folder / "a.log", chunks, limit=100, kept=1000)
        assert b"".join(files) == b"".join(chunks)
        for file in files[:-1]:
            assert file.endswith(b"\n") or len(file) >= 200  # A line that never ends is divided.
        assert all(len(file) <= 260 for file in files)
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_old_ones_go(tmp_path: Path) -> None:
    """A part that floods its log takes no more than its share of the disk, and the end of it is there."""
    lines = [b"%06d\n" % number for number in range(5000)]
    files = written(tmp_path / "a.log", lines, limit=700, kept=3)
    assert len(files) == 4
    assert all(len(file) <= 700 for file in files)
    assert b"".join(lines).endswith(b"".join(files))


def test_it_goes_on_where_the_last_start_ended(tmp_path: Path) -> None:
    """What a part said before it died stays; the size counts what was there already."""
    written(tmp_path / "a.log", [b"before\n" * 50], limit=400)
    files = written(tmp_path / "a.log", [b"after\n" * 50], limit=400)
    assert b"".join(files) == b"before\n" * 50 + b"after\n" * 50
    assert len(files) == 2


def test_what_the_disk_did_not_take_is_counted(tmp_path: Path) -> None:
    """A log that cannot be written ends nobody; when it can be again, it says how much is missing."""
    log = Log(tmp_path / "folder" / "a.log")
    log.write(b"nobody reads this\n")
    log.write(b"nor this\n")
    (tmp_path / "folder").mkdir()
    log.write(b"this\n")
    log.close()
    said, line = (tmp_path / "folder" / "a.log").read_bytes().splitlines()
    assert b"27 bytes" in said
    assert line == b"this"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_ends_nobody(tmp_path: Path) -> None:
    """ENOSPC is no exception to the program that logs."""
    (tmp_path / "a.log").symlink_to("/dev/full")
    log = Log(tmp_path / "a.log")
    log.write(b"line\n")
    log.close()
