"""The first event of a forked child opens its journal; what other threads log meanwhile."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autotrack.journal import segment, writer
from autotrack.journal.format import decode
from autotrack.journal.writer import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal as a forked child has it."""
    made = Journal(tmp_path, run="r", project="p", role="run", rank=0, fallback=lambda: None)
    made.forked()
    return made


def log(journal: Journal, number: int) -> None:
    journal.append("config", {"values": {"number": number}})


def numbers(folder: Path) -> list[int]:
    """What was logged and is in the folder's only file."""
    (path,) = folder.glob("*.jsonl")
    events = [decode(line) for line in path.read_bytes().splitlines()]
    return [event.body["values"]["number"] for event in events if event and event.kind == "config"]


def close(journal: Journal) -> None:
    fd = journal.close(wait=True)
    assert fd is not None
    os.close(fd)


class Opening:
    """Another thread logs 0, and is in the middle of opening the file until `wait` returns."""

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
        begin, begun = segment.begin, threading.Event()

        def slow(path: str | Path, first_line: bytes) -> int:
            begun.set()
            wait()
            return begin(path, first_line)

        monkeypatch.setattr(segment, "begin", slow)
        self.thread = threading.Thread(target=log, args=(journal, 0))
        self.thread.start()
        assert begun.wait(60)


def test_what_is_logged_while_another_thread_opens_the_file_is_in_it_when_the_call_returns(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "OPEN_SECONDS", 10.0)
    other = Opening(journal, monkeypatch, lambda: time.sleep(0.05))
    log(journal, 1)
    assert 1 in numbers(tmp_path)
    assert not journal.waiting()
    other.thread.join()
    close(journal)
    assert sorted(numbers(tmp_path)) == [0, 1]


def test_a_file_that_takes_long_to_be_opened_is_waited_for_once_and_the_helper_thread_is_woken(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    journal.on_waiting = lambda: woken.append(1)
    go = threading.Event()
    other = Opening(journal, monkeypatch, lambda: go.wait(60))
    log(journal, 1)
    assert woken
    began = time.monotonic()
    for number in range(2, 50):
        log(journal, number)
    assert time.monotonic() - began < writer.OPEN_SECONDS
    go.set()
    other.thread.join()
    journal.tick()
    assert not journal.waiting()
    log(journal, 50)
    close(journal)
    assert sorted(numbers(tmp_path)) == list(range(51))


def test_what_a_finalizer_or_signal_handler_logs_in_the_middle_of_the_opening_is_there_too(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = segment.begin

    def interrupted(path: str | Path, first_line: bytes) -> int:
        monkeypatch.setattr(segment, "begin", begin)
        log(journal, 1)
        return begin(path, first_line)

    monkeypatch.setattr(segment, "begin", interrupted)
    log(journal, 0)
    close(journal)
    assert sorted(numbers(tmp_path)) == [0, 1]


def test_a_line_that_is_kept_while_nothing_is_said_to_wait_wakes_the_helper_thread(journal: Journal) -> None:
    woken: list[int] = []
    log(journal, 0)
    journal.on_waiting = lambda: woken.append(1)
    journal.fast = None  # for a moment, between two states of which both have one
    log(journal, 1)
    assert woken
    journal.tick()
    assert not journal.waiting()
    close(journal)
