"""What another thread writes while a journal is being closed."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotrack.journal.writer import Journal


@pytest.fixture(autouse=True)
def quick_turns() -> Iterator[None]:
    """Threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_what_another_thread_logs_while_a_journal_closes_does_not_stay_in_memory(tmp_path: Path) -> None:
    forgotten = 0
    for turn in range(40):
        journal = Journal(
            tmp_path / str(turn), run="r", project="p", role="run", rank=0, fallback=lambda: None
        )
        journal.open()
        begun = threading.Event()

        def write(journal: Journal = journal, begun: threading.Event = begun) -> None:
            begun.set()
            for number in range(2_000):
                journal.append("config", {"values": {"number": number}})

        thread = threading.Thread(target=write)
        thread.start()
        begun.wait()
        journal.close(wait=True)
        thread.join()
        forgotten += journal.waiting()
    assert forgotten == 0
