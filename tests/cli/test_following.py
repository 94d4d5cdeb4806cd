"""What `autotrack tail` reads of journals: the last lines from their ends, then each added line once."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

import autotrack
from autotrack.cli import follow
from autotrack.cli.follow import Feed, Line
from autotrack.journal.format import encode

Invoke = Callable[..., Any]
SECOND = 10**9
WALL = 1_700_000_000 * SECOND


class Hand:
    """Journals of two ranks in one folder, written by turns; the lines with a step as they should be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = random.Random(1)
        self.lines: list[Line] = []
        self._mono = 0
        self._seqs = [0, 0]
        self._segments = [-1, -1]

    def segments(self) -> None:
        """Both ranks begin a new segment."""
        for rank in (0, 1):
            self._segments[rank] += 1
            header = {
                "format": 1,
                "run": "run",
                "segment": self._segments[rank],
                "wall": WALL + self._mono + SECOND,
            }
            self._add(rank, "h", header)

    def some(self, count: int) -> None:
        for _ in range(count):
            rank = self.random.randrange(2)
            self._add(self.random.randrange(2), "s", {"system/cpu": 0.5})
            step, values = len(self.lines), {"loss": self.random.random()}
            if self.random.random() < 0.1:
                values["val"] = 1.0
            if self.random.random() < 0.05:
                values |= {f"layer/{number}": 0.5 for number in range(200)}
            self._add(rank, "m", step, values)
            wall = (WALL + self._mono) / 1e9
            self.lines.append(Line(wall, self._seqs[rank] - 1, step, values))

    def seal(self) -> None:
        for path in list(self.folder.glob("*.jsonl")):
            path.with_name(f"{path.name}.zst").write_bytes(zstandard.compress(path.read_bytes()))
            path.unlink()

    def _add(self, rank: int, kind: str, *body: Any) -> None:
        self._mono += SECOND
        with open(self.folder / f"host-{rank + 1}-{WALL}-{rank}.{self._segments[rank]}.jsonl", "ab") as file:
            file.write(encode(kind, self._seqs[rank], self._mono, *body))
        self._seqs[rank] += 1


def chosen(lines: list[Line], patterns: list[str]) -> list[Line]:
    keep = set(patterns)
    found = [
        line._replace(values={key: value for key, value in line.values.items() if not keep or key in keep})
        for line in lines
    ]
    return [line for line in found if line.values]


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hand:
    """Two sealed segments, two whole ones and two that are written."""
    monkeypatch.setattr(follow, "_WINDOW", 256)
    monkeypatch.setattr(follow, "_HEAD", 256)
    (tmp_path / "run").mkdir()
    hand = Hand(tmp_path / "run")
    for place in range(3):
        hand.segments()
        hand.some(40)
        if not place:
            hand.seal()
    return hand


@pytest.mark.parametrize("patterns", [[], ["val"], ["loss"], ["nothing"]])
@pytest.mark.parametrize("count", [0, 1, 5, 50, 100, 1000])
def test_the_last_lines_then_each_new_one_once(hand: Hand, count: int, patterns: list[str]) -> None:
    feed = Feed(hand.folder, "run", patterns)
    there = chosen(hand.lines, patterns)
    assert feed.last(count) == there[len(there) - min(count, len(there)) :]
    assert list(feed.new()) == []
    for place in range(3):
        before = len(hand.lines)
        hand.some(20)
        if place:
            hand.segments()
            hand.some(5)
        assert list(feed.new()) == chosen(hand.lines[before:], patterns)
    before = len(hand.lines)
    hand.some(3)
    hand.seal()
    assert list(feed.new()) == chosen(hand.lines[before:], patterns)
    assert list(feed.new()) == []


def test_tail_begins_with_the_last_lines_that_have_the_key(invoke: Invoke, store: Path) -> None:
    with autotrack.init(project="p", id="tailed2222") as run:
        for step in range(100):
            run.log({"loss": 1.0, "val": 2.0} if step % 30 == 0 else {"loss": 1.0}, step=step)
    shown = invoke("tail", "tailed2222", "--once", "--key", "val", "--lines", "3").stdout
    assert [line.split("  ", 1)[1] for line in shown.splitlines()] == [
        f"step {step}  val=2.0" for step in (30, 60, 90)
    ]
