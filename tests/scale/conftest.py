"""Stores with much in them, written line by line as the recorder writes them, and the time that reading takes."""

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from autotrack.journal.format import SEGMENT_BYTES, encode
from autotrack.layout import Layout
from autotrack.process import this_process

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND


def header(run: str, segment: int, wall: int) -> dict[str, Any]:
    """The first line of a journal of a process of this host that is gone."""
    facts = this_process()
    own = {
        "host": facts.host,
        "pid": 999_999,
        "pidns": facts.pidns,
        "boot": facts.boot,
        "started": 1,
        "rank": 0,
    }
    return own | {
        "format": 1, "run": run, "project": "p", "segment": segment, "wall": wall, "by": "hand", "role": "run",
    }  # fmt: skip


def start(run: str, wall: int, parent: str | None = None) -> dict[str, Any]:
    return {
        "name": run,
        "project": "p",
        "parent": parent,
        "tags": ["t"],
        "created": wall,
        "opened_by": "init",
    }


class Much:
    """Makes runs in a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)
        self.layout.create()
        self.random = random.Random(1)

    def small(self, count: int, steps: int = 20) -> None:
        """Finished runs of 18 parameters and 3 metrics each."""
        for number in range(count):
            run, wall = f"run{number:07}", WALL + number * SECOND
            values = {f"p{place}": self.random.random() for place in range(17)} | {"n": number}
            lines = [encode("h", 0, 0, header(run, 0, wall)), encode("start", 1, 1, start(run, wall))]
            lines.append(encode("config", 2, 2, {"values": values, "source": "init"}))
            for step in range(steps):
                numbers = {
                    "loss": self.random.random(),
                    "acc": self.random.random(),
                    "val/loss": float(number),
                }
                lines.append(encode("m", 3 + step, 10**6 * step, step, numbers))
            lines.append(encode("finish", 3 + steps, SECOND, {"status": "finished", "exit_code": 0}))
            self._write(run, wall, 0, lines)

    def known(
        self, number: int, config: dict[str, Any], rows: list[dict[str, float]], status: str, **facts: Any
    ) -> str:
        """One run that ended so, or "died"; its id. `facts`: tags, group and the like."""
        run, wall = f"run{number:07}", WALL + number * SECOND
        lines = [encode("h", 0, 0, header(run, 0, wall)), encode("start", 1, 1, start(run, wall) | facts)]
        lines.append(encode("config", 2, 2, {"values": config, "source": "init"}))
        lines += [encode("m", 3 + step, 10**6 * step, step, row) for step, row in enumerate(rows)]
        if status != "died":
            lines.append(encode("finish", 3 + len(rows), SECOND, {"status": status}))
        self._write(run, wall, 0, lines)
        return run

    def long(self, run: str, rows: Iterable[dict[str, float]], finished: bool = True) -> int:
        """One run of many lines, in segments as the recorder cuts them; the number of lines."""
        lines, size, segment, seq, mono = [encode("h", 0, 0, header(run, 0, WALL))], 0, 0, 1, 0
        lines.append(encode("start", seq, 1, start(run, WALL)))
        for count, row in enumerate(rows):
            seq, mono = seq + 1, mono + 4_000_000 + self.random.randrange(400_000)
            lines.append(encode("m", seq, mono, count, row))
            size += len(lines[-1])
            if size > SEGMENT_BYTES:
                self._write(run, WALL, segment, lines)
                segment, seq, size = segment + 1, seq + 1, 0
                lines = [encode("h", seq, mono, header(run, segment, WALL + mono))]
        if finished:
            lines.append(encode("finish", seq + 1, mono, {"status": "finished", "exit_code": 0}))
        self._write(run, WALL, segment, lines)
        return seq

    def children(self, run: str, count: int) -> None:
        """A search: candidates of 8 parameters and 7 scores in their parent's journal."""
        lines = [encode("h", 0, 0, header(run, 0, WALL)), encode("start", 1, 1, start(run, WALL))]
        for number in range(count):
            child, at = f"child{number:06}", 2 + 4 * number
            values = {f"p{place}": self.random.random() for place in range(8)}
            scores = {f"split{place}": self.random.random() for place in range(6)} | {
                "score": self.random.random()
            }
            lines.append(encode("start", at, at * 1000, start(child, WALL + at, run), child))
            lines.append(encode("config", at + 1, at * 1000, {"values": values, "source": "search"}, child))
            lines.append(encode("m", at + 2, at * 1000, 0, scores, child))
            lines.append(encode("finish", at + 3, at * 1000, {"status": "finished"}, child))
        lines.append(encode("finish", 4 * count + 2, SECOND, {"status": "finished", "exit_code": 0}))
        self._write(run, WALL, 0, lines)

    def line(self, run: str, row: dict[str, float]) -> None:
        """A run of one line."""
        self.long(run, [row])

    def folder(self, run: str) -> Path:
        return self.layout.run_dir("p", run)

    def _write(self, run: str, wall: int, segment: int, lines: list[bytes]) -> None:
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{this_process().host}-999999-{wall}-0.{segment}.jsonl"
        (folder / name).write_bytes(b"".join(lines))


@pytest.fixture
def much(store: Path) -> Much:
    return Much(store)


@pytest.fixture(scope="module")
def module_much(tmp_path_factory: pytest.TempPathFactory) -> Much:
    return Much(tmp_path_factory.mktemp("much") / ".autotrack")


@pytest.fixture
def seconds(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Call a function some times; the least that it took, on the processor and by the clock, becomes a fact of the test's result."""

    def measure(what: str, function: Callable[[], object], tries: int = 1) -> None:
        taken = []
        for _ in range(tries):
            begun, on_processor = time.monotonic(), time.process_time()
            function()
            taken.append((time.process_time() - on_processor, time.monotonic() - begun))
        least, clock = min(taken)
        record_property(what, f"{least:.4f} s of CPU, {clock:.4f} s")

    return measure
