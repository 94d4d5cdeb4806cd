"""A run that another process writes as fast as it can is opened again and again: each answer is a whole beginning of it."""

import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

import autotrack
from autotrack.cli.app import app
from autotrack.index import History
from autotrack.index.series import CHUNK
from autotrack.journal import source

Floats = npt.NDArray[np.float64]

MOST = 500_000
PAGE = 4096
WRITER = """
import os, sys, time
import autotrack
most, width, stop, rest = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
keys = [(f"k{number}", 40503 * number) for number in range(width)]
with autotrack.init(project="p", id="written222") as run:
    step = 0
    while step < most and (step % 256 or not os.path.exists(stop)):
        noise = 7919 * step * step
        values = {key: (noise + shift) % 1048573 / 1024 for key, shift in keys}
        run.log({"at": step} | values, step=step)
        step += 1
        if step == 1:
            print("begun", flush=True)
        if rest and step % 256 == 0:
            time.sleep(rest)
    while not os.path.exists(stop):
        time.sleep(0.01)
print(step)
"""


def written(key: str, lines: int) -> Floats:
    """What the first so many lines hold of a key."""
    steps = np.arange(lines, dtype=np.int64)
    if key == "at":
        return steps.astype(np.float64)
    values: Floats = (7919 * steps * steps + 40503 * int(key[1:])) % 1048573 / 1024
    return values


class Again:
    """How many bytes of journals were read more than once, to some pages."""

    def __init__(self) -> None:
        self.bytes = 0
        self._read: dict[Path, set[int]] = {}

    def open(self, path: Path, mode: str) -> io.BufferedReader:
        """What stands for `open` where journals are read."""
        assert mode == "rb"
        return io.BufferedReader(_Watched(path, self))

    def note(self, path: Path, start: int, end: int) -> None:
        known, pages = self._read.setdefault(path, set()), set(range(start // PAGE, end // PAGE))
        self.bytes += len(known & pages) * PAGE
        known |= pages


class _Watched(io.FileIO):
    def __init__(self, path: Path, again: Again) -> None:
        super().__init__(path)
        self._path, self._again = path, again

    def readinto(self, buffer: Any) -> int | None:
        start = self.tell()
        count = super().readinto(buffer)
        self._again.note(self._path, start, start + (count or 0))
        return count


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Again:
    watch = Again()
    monkeypatch.setattr(source, "open", watch.open, raising=False)
    return watch


def peak(reset: bool = False) -> int:
    """The most memory that this process has had since the last reset, in MiB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


def check_picture(history: History, limit: int) -> int:
    """Each series is exact, has its ends, and of each stretch the lowest and the highest; how many lines they show."""
    (lines,) = {int(series.steps[-1]) + 1 for series in history.values()}
    stretches, chunks = (limit - 2) // 2, math.ceil(lines / CHUNK)
    # Where chunks are many, stretches are made of whole ones.
    longest = (
        CHUNK * math.ceil(chunks / stretches) if 2 * chunks >= stretches else math.ceil(lines / stretches)
    )
    for key, series in history.items():
        values = written(key, lines)
        assert len(series) <= limit
        assert series.steps[0] == 0
        assert (np.diff(series.steps) > 0).all()
        assert (np.diff(series.times) >= 0).all()
        assert np.array_equal(series.values, values[series.steps])
        if len(series) < lines:
            assert_highest_stay(values, series.steps, longest)
            assert_highest_stay(-values, series.steps, longest)
        else:
            assert len(series) == lines
    return lines


def assert_highest_stay(values: Floats, shown: npt.NDArray[np.int64], longest: int) -> None:
    """No value is higher than all those that are shown within the length of a stretch."""
    seen = np.full(len(values), -np.inf)
    seen[shown] = values[shown]
    starts = np.arange(0, len(values), longest)
    kept = np.concatenate([[-np.inf], np.maximum.reduceat(seen, starts), [-np.inf]])
    near = np.max([kept[:-2], kept[1:-1], kept[2:]], axis=0)
    assert (near >= np.maximum.reduceat(values, starts)).all()


def check_numbers(metrics: dict[str, dict[str, Any]], summary: dict[str, float]) -> int:
    """Every summary is that of the lines up to one of them; how many those are."""
    lines = metrics["at"]["count"]
    for key, metric in metrics.items():
        if key.startswith("system/"):
            continue
        values = written(key, lines)
        places = int(values.argmin()), int(values.argmax())
        ends = (metric["first_step"], metric["last_step"], metric["min_step"], metric["max_step"])
        assert ends == (0, lines - 1, *places)
        found = (metric["first"], metric["last"], metric["min"], metric["max"])
        assert found == (values[0], values[-1], *values[list(places)])
        assert metric["count"] == lines
        assert metric["mean"] == pytest.approx(values.mean())
    last = int(summary["at"])
    assert dict(summary) == {key: written(key, last + 1)[-1] for key in summary}
    assert last + 1 >= lines
    return last + 1


class Reader:
    """Opens the run anew for each question; every answer begins with the one before."""

    def __init__(self, again: Again, limits: Sequence[int]) -> None:
        self.lines = 0
        self.rounds = 0
        self.again: dict[str, int] = {}
        self.memory: dict[str, int] = {}
        self._again = again
        self._questions: dict[str, Callable[[], int]] = {
            "summary": self.summary,
            "show": self.show,
            "tail": self.tail,
        }
        for limit in limits:
            self._questions[f"history({limit})"] = partial(self.history, limit)

    def look(self) -> None:
        """Ask everything once; note how many bytes are read again for an answer at least, and how many MiB it takes at most.

        A line that another thread writes late makes a reader look back; no question meets one each time.
        """
        self.rounds += 1
        for name, question in self._questions.items():
            read, memory = self._again.bytes, peak(reset=True)
            lines = question()
            self.memory[name] = max(self.memory.get(name, 0), peak() - memory)
            self.again[name] = min(self.again.get(name, 2**62), self._again.bytes - read)
            assert lines >= self.lines
            self.lines = lines

    def summary(self) -> int:
        run = autotrack.get_run("written")
        assert run.status == "running"
        metrics = {key: vars(metric) for key, metric in run.metrics.items()}
        return check_numbers(metrics, dict(run.summary))

    def history(self, limit: int) -> int:
        return check_picture(autotrack.get_run("written").history(max_points=limit), limit)

    def show(self) -> int:
        assert self.ask("show").startswith("run  written222  running\n")
        run = json.loads(self.ask("show", "--json"))
        assert run["status"] == "running"
        return check_numbers(run["metrics"], run["summary"])

    def tail(self) -> int:
        found = [json.loads(line) for line in self.ask("tail", "--once", "--json").splitlines()]
        return check_lines(found, 10)

    def ask(self, command: str, *options: str) -> str:
        done = CliRunner().invoke(app, [command, "written", *options])
        assert done.exit_code == 0, done.output
        return str(done.stdout)


def check_lines(found: list[dict[str, Any]], least: int) -> int:
    """Lines follow one another and are exact; the step behind them."""
    steps = [line["step"] for line in found]
    assert len(steps) >= min(least, steps[-1] + 1)
    assert steps == list(range(steps[0], steps[-1] + 1))
    end = int(steps[-1]) + 1
    for key in found[0]["values"]:
        assert [line["values"][key] for line in found] == written(key, end)[steps[0] :].tolist()
    return end


@contextmanager
def writing(folder: Path, most: int, width: int, rest: float = 0.0) -> Iterator[Callable[[], int]]:
    """A process that writes up to so many lines of so many keys, with a rest after 256; what ends it tells how many."""
    stop = folder / "stop"
    words = [sys.executable, "-c", WRITER, *map(str, (most, width, stop, rest))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = writer.stdout
        assert said.readline() == "begun\n"

        def end() -> int:
            stop.touch()
            lines = int(said.readline())
            assert writer.wait(60) == 0
            return lines

        try:
            yield end
        finally:
            writer.kill()


@pytest.mark.parametrize(
    ("enough", "width", "rest", "limits"),
    [(20_000, 5, 0.005, [12, 500]), pytest.param(MOST, 19, 0.0, [100, 2000], marks=pytest.mark.proof)],
)
def test_a_run_is_read_while_it_is_written(
    store: Path,
    tmp_path: Path,
    again: Again,
    record_property: Callable[[str, object], None],
    enough: int,
    width: int,
    rest: float,
    limits: list[int],
) -> None:
    reader = Reader(again, limits)
    with writing(tmp_path, MOST, width, rest) as end:
        while reader.rounds < 3 or reader.lines < enough:
            reader.look()
        total = end()
    run = autotrack.get_run("written")
    assert run.status == "finished"
    assert check_numbers({key: vars(one) for key, one in run.metrics.items()}, dict(run.summary)) == total
    for key, series in run.history().items():
        assert np.array_equal(series.steps, np.arange(total))
        assert np.array_equal(series.values, written(key, total))
    told = f"{reader.rounds} rounds; MiB for an answer: {reader.memory}; bytes read again: {reader.again}"
    record_property(f"{total * (width + 1)} points", told)
    assert max(reader.again.values()) < 2**19
    whole = reader.memory.pop(f"history({limits[-1]})")  # so many points that series are read whole
    assert max(reader.memory.values()) < 150
    assert whole < 600


@pytest.mark.proof
def test_tail_follows_what_is_written_as_fast_as_it_can_be(store: Path, tmp_path: Path) -> None:
    words = [sys.executable, *"-m autotrack tail written --json --key k0 --lines 3 --interval 0.1".split()]
    with writing(tmp_path, 300_000, 3) as end, open(tmp_path / "followed", "wb") as file:
        tail = subprocess.Popen(words, stdout=file, stderr=subprocess.DEVNULL)
        time.sleep(5)
        total = end()
        assert tail.wait(300) == 0
    found = [json.loads(line) for line in (tmp_path / "followed").read_text().splitlines()]
    assert check_lines(found, 1) == total
