"""A connection to the index waits for the next question: it is in nobody's way, and no fork or new file is taken in by it."""

import ctypes
import ctypes.util
import fcntl
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from autotrack.index import open_index
from autotrack.index.place import writable


@pytest.fixture
def filled(bench: Any) -> Any:
    hand = bench.journal("one1111111").start()
    for step in range(300):
        hand.metrics(step, loss=step)
    hand.finish()
    bench.index.sync()
    return bench


@pytest.fixture
def opened(filled: Any) -> Iterator[list[int]]:
    """One entry for each connection that was opened."""
    found: list[int] = []

    def note(*_: Any) -> None:
        found.append(os.getpid())

    event.listen(filled.index._database.engine, "connect", note)
    yield found
    event.remove(filled.index._database.engine, "connect", note)


def in_another_process(code: str, *words: str) -> str:
    """What a process of its own prints; it knows nothing of our locks and connections."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_questions_one_after_another_share_a_connection(filled: Any, opened: list[int]) -> None:
    for _ in range(5):
        record = filled.index.get("one")
        assert record.history("loss")["loss"].values[-1] == 299
    assert len(opened) <= 1
    with open_index(filled.root) as other:
        assert other.get("one").summary["loss"] == 299


def test_a_waiting_connection_holds_nobody_up(filled: Any) -> None:
    filled.index.get("one")
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0); "
        "c.execute('BEGIN IMMEDIATE'); c.execute('UPDATE runs SET status = \"failed\"'); c.commit(); "
        "print(c.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone())"
    )
    assert in_another_process(code, str(filled.layout.index)) == "(0, 0, 0)"
    assert filled.index.get("one").status == "failed"


def test_a_waiting_connection_keeps_no_pages_in_memory(bench: Any) -> None:
    hand = bench.journal("long111111").start()
    hand.event(
        "config", {"values": {f"key{number}": os.urandom(500).hex() for number in range(4000)}}
    ).finish()
    bench.index.sync()
    assert len(bench.index.get("long").config) == 4000
    before = sqlite_bytes()
    bench.index.close()
    assert before - sqlite_bytes() < 500_000


def sqlite_bytes() -> int:
    """What SQLite has of memory in this process."""
    used = ctypes.CDLL(ctypes.util.find_library("sqlite3")).sqlite3_memory_used
    used.restype = ctypes.c_longlong
    return int(used())


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("CREATE TABLE theirs (x)")
connection.execute("INSERT INTO theirs VALUES (1)")
connection.commit()
print("written", flush=True)
sys.stdin.readline()
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM theirs").fetchone())
"""


def test_closing_it_takes_nothing_away_from_an_index_that_replaced_the_old_one(filled: Any) -> None:
    filled.index.get("one")
    path = filled.layout.index
    for each in filled.root.glob("index.db*"):
        each.unlink()
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin
    assert holder.stdout
    assert holder.stdout.readline() == "written\n"
    log = Path(f"{path}-wal").stat()
    filled.index.close()
    assert Path(f"{path}-wal").stat().st_ino == log.st_ino
    assert Path(f"{path}-wal").stat().st_size == log.st_size
    assert holder.communicate("go\n", timeout=60)[0] == "(1,)\n"


def test_a_forked_child_has_locks_of_its_own(filled: Any) -> None:
    """Without them the parent, closing what it has written with, would take the log away under the child."""
    filled.index.get("one")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def ask() -> None:
        with open_index(filled.root) as index:
            theirs.send(index.get("one").summary["loss"])
            theirs.recv()
            filled.journal("three33333").start().metrics(0, loss=8.0).finish()
            index.sync()
            theirs.send(index.get("two").summary["loss"])

    process = context.Process(target=ask)
    process.start()
    assert ours.recv() == 299
    filled.journal("two2222222").start().metrics(0, loss=7.0).finish()
    filled.index.sync()
    assert Path(f"{filled.layout.index}-wal").exists()
    ours.send("go on")
    assert ours.recv() == 7
    process.join(60)
    assert process.exitcode == 0
    assert filled.index.get("three").summary["loss"] == 8
    assert filled.index.get("two").summary["loss"] == 7


def test_looking_whether_an_index_can_be_written_gives_no_lock_up(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    assert writable(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert writable(path)
        code = (
            "import fcntl, sys\n"
            "try: fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "except OSError: print('held')"
        )
        assert in_another_process(code, str(path)) == "held"
