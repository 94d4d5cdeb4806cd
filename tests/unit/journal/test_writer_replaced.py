"""The files before the present one: what was on its way to them is not lost, and all of them are synced."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import autotrack
from autotrack.journal import replaced, segment, writer
from autotrack.journal.place import Place
from autotrack.journal.reader import read
from autotrack.journal.source import find_segments
from autotrack.journal.writer import Journal


class Slow:
    """The first write of a line that holds `mark` begins, and ends when `go` is set, as where the disk takes long for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mark: bytes) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self._mark, self._write = mark, os.write
        monkeypatch.setattr(os, "write", self._late)

    def _late(self, fd: int, data: bytes | memoryview) -> int:
        if self.begun.is_set() or self._mark not in bytes(data):
            return self._write(fd, data)
        file = os.dup(fd)  # what the descriptor stands for when the call begins
        self.begun.set()
        assert self.go.wait(60)
        written = self._write(file, data)
        os.close(file)
        return written

    def log(self, journal: Journal, step: int) -> threading.Thread:
        """A thread that is in the middle of writing this step's line."""
        thread = threading.Thread(target=log, args=(journal, step, self._mark.decode()))
        thread.start()
        assert self.begun.wait(60)
        return thread


def opened(folder: Path, fallback: Path | None = None) -> Journal:
    journal = Journal(folder, run="r", project="p", role="run", rank=0, fallback=lambda: fallback)
    journal.open()
    return journal


def log(journal: Journal, step: int, key: str = "x") -> None:
    journal.append("m", step, {key: 1.0})


def close(journal: Journal) -> None:
    fd = journal.close(wait=True)
    assert fd is not None
    os.close(fd)


def steps(folder: Path) -> list[int]:
    """The steps that are read from a folder, in order."""
    found: list[int] = []
    for one in find_segments(folder)[0]:
        for batch in read(one):
            for group in batch.groups:
                assert group.steps is not None
                found += group.steps.tolist()
    return sorted(found)


def still_open(folder: Path) -> list[str]:
    """The files in a folder, deleted ones too, that this process holds open."""
    found = []
    for one in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{one}"))
    return [path for path in found if path.startswith(str(folder))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home" / "p" / "r"


@pytest.fixture
def away(tmp_path: Path) -> Path:
    return tmp_path / "away" / "p" / "r"


@pytest.fixture(autouse=True)
def nothing_stays_open(tmp_path: Path) -> object:
    yield
    assert still_open(tmp_path) == []


def refuse_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next file that is to be brought home finds no room."""
    carry: Callable[[Path, Path], object] = segment.carry

    def refuses(source: Path, target: Path) -> None:
        monkeypatch.setattr(segment, "carry", carry)
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(segment, "carry", refuses)


def test_a_second_stay_in_the_fallback_folder_ends_as_well(
    home: Path, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(home, away)
    place = journal._place
    log(journal, 0)
    assert place.leave("it is full")
    log(journal, 1)
    place.begin()
    log(journal, 2)
    refuse_once(monkeypatch)
    assert not place.come_home()
    log(journal, 3)
    assert place.leave("it is full again")
    log(journal, 4)
    assert place.come_home()
    assert not place.away
    close(journal)
    assert steps(home) == [0, 1, 2, 3, 4]
    assert not away.exists()


def test_a_file_that_somebody_took_out_of_the_fallback_folder_keeps_no_other_one_there(
    home: Path, away: Path
) -> None:
    journal = opened(home, away)
    assert journal._place.leave("it is full")
    taken = journal.path
    journal._place.begin()
    log(journal, 1)
    place = journal._place
    place._refuge.append(taken)
    taken.unlink()
    assert place.come_home()
    close(journal)
    assert steps(home) == [1]


def test_a_write_that_takes_long_is_not_lost_with_the_file_that_was_deleted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(home)
    log(journal, 0)
    slow = Slow(monkeypatch, b"late")
    thread = slow.log(journal, 1)
    journal.path.unlink()
    with pytest.warns(autotrack.AutotrackWarning, match="was deleted"):
        journal.tick()
    log(journal, 2)
    slow.go.set()
    thread.join()
    journal.tick()
    assert steps(home) == [0, 1, 2]
    log(journal, 3)
    close(journal)
    assert steps(home) == [0, 1, 2, 3]


@pytest.mark.parametrize("ends", [False, True])
def test_a_write_that_takes_long_is_not_lost_with_the_file_that_came_home(
    home: Path, away: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    journal = opened(home, away)
    log(journal, 0)
    assert journal._place.leave("it is full")
    slow = Slow(monkeypatch, b"late")
    thread = slow.log(journal, 1)
    journal._place._return_at = 0.0
    journal.tick()
    assert journal.folder == home
    log(journal, 2)
    slow.go.set()
    thread.join()
    if not ends:
        journal.tick()
        assert steps(home) == [0, 1, 2]
        monkeypatch.setattr(replaced, "LATE_SECONDS", 0.0)
        journal.tick()
        assert not away.exists()
    close(journal)
    assert steps(home) == [0, 1, 2]
    assert not away.exists()


def test_a_line_that_came_late_to_a_file_is_synced_after_the_next_one_was_begun(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 10)
    synced: dict[int, int] = {}

    def noting(fd: int, sync: Callable[[int], None] = os.fsync) -> None:
        sync(fd)
        found = os.fstat(fd)
        synced[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fsync", noting)
    journal = opened(home)
    first = journal.path
    slow = Slow(monkeypatch, b"late")
    thread = slow.log(journal, 1)
    journal.tick()
    assert journal.path != first
    slow.go.set()
    thread.join()
    journal.tick()
    found = first.stat()
    assert synced[found.st_ino] == found.st_size
    close(journal)


def test_a_sync_that_fails_when_the_next_file_was_begun_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 10)
    journal = opened(home)
    first, calls = journal.path.stat().st_ino, []

    def fails(fd: int, sync: Callable[[int], None] = os.fsync) -> None:
        if os.fstat(fd).st_ino == first:
            calls.append(fd)
            if len(calls) > 1:
                raise OSError(errno.EIO, "an error of the device")
        sync(fd)

    monkeypatch.setattr(os, "fsync", fails)
    log(journal, 0)
    with pytest.warns(autotrack.AutotrackWarning, match="could not be synced"):
        journal.tick()
    close(journal)
    assert steps(home) == [0]


def test_a_journal_that_is_closed_while_it_is_synced_is_no_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(home, lambda number: b"[]\n", lambda: None)
    place.begin()
    fd = place.fd
    assert fd is not None

    def closed(fd: int) -> None:
        place.fd = None
        raise OSError(errno.EBADF, "it is closed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", closed)
        assert place.sync() is None
    os.close(fd)


def edited(data: bytes) -> bytes:
    """One line is another one, which is damaged by that; all that come after it stand in other places."""
    return data.replace(b'3,{"x":1.0}', b'3,{"xyz":1.0}', 1)


@pytest.mark.parametrize(
    "change", [bytes, edited, lambda data: b"", lambda data: b"hello\nworld", lambda data: None]
)
def test_a_file_that_was_replaced_under_its_own_name_costs_nothing(
    home: Path, tmp_path: Path, change: Callable[[bytes], bytes | None]
) -> None:
    """As `cp` and `mv` back, `sed -i` or an `rsync` back do, and an editor."""
    journal = opened(home)
    for step in range(10):
        log(journal, step)
    data = change(journal.path.read_bytes())
    for step in range(10, 20):
        log(journal, step)
    if data is None:
        journal.path.unlink()
        journal.path.mkdir()
    else:
        copy = tmp_path / "copy"
        copy.write_bytes(data)
        copy.replace(journal.path)
    for step in range(20, 25):
        log(journal, step)
    with pytest.warns(autotrack.AutotrackWarning, match="was deleted"):
        journal.tick()
    log(journal, 25)
    close(journal)
    assert steps(home) == list(range(26))


def test_a_long_file_that_was_replaced_under_its_own_name_is_not_copied_again(
    home: Path, tmp_path: Path
) -> None:
    journal = opened(home)
    for step in range(30_000):
        log(journal, step)
    shutil.copy(journal.path, tmp_path / "copy")
    log(journal, 30_000)
    first = journal.path
    shutil.move(tmp_path / "copy", first)
    with pytest.warns(autotrack.AutotrackWarning, match="was deleted"):
        journal.tick()
    assert journal.path.stat().st_size < 1_000 < 1_000_000 < first.stat().st_size
    close(journal)
    assert steps(home) == list(range(30_001))
