"""What another thread writes while a journal is being closed, or while the helper thread writes what waits."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import autotrack
from autotrack import background
from autotrack.journal.writer import Journal
from autotrack.verify import verify


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


def test_a_line_that_comes_in_the_middle_of_one_that_the_disk_takes_in_parts_costs_neither(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that was on its way to the file when lines began to wait writes behind the first part of one of them."""
    write, late = os.write, []

    def is_one_line_again(data: bytes) -> bool:
        return data.startswith(b"\n[") and data.count(b"\n") == 2

    def half(fd: int, data: bytes | memoryview) -> int:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith(".jsonl"):
            return write(fd, data)
        taken = write(fd, bytes(data)[: max(1, len(data) // 2)])
        if (
            threading.current_thread().name == "autotrack"
            and is_one_line_again(bytes(data))
            and len(late) < 3
        ):
            late.append(write(fd, b'["m",7,12'))
        return taken

    with autotrack.init(project="p") as run, warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("ignore", autotrack.AutotrackWarning)
        patch.setattr(os, "write", half)
        for step in range(50):
            # The disk takes half of it: what comes next waits for the helper thread.
            run.update_config({"step": step})
            run.log({"loss": step}, step=step)
        assert background.drain(60)
    assert late
    assert autotrack.get_run(run.id).history("loss")["loss"].values.tolist() == list(range(50))
    findings = verify(store).findings
    assert [one for one in findings if one.lost] == []
