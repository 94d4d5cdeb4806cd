"""Journals to damage, ways to damage them, and what may be lost by it."""

import math
import random
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotrack.journal.format import encode
from autotrack.journal.reader import Batch, read
from autotrack.journal.source import Segment

SECTOR = 512
Point = tuple[int, str | None, str, Any, float | str]


def journal(count: int, seed: int = 0) -> list[bytes]:
    """The lines of a journal as a training writes it: metrics of many shapes, child runs, other events."""
    rng = random.Random(seed)
    header = {"format": 1, "run": "r", "wall": 1_700_000_000 * 10**9, "role": "run", "rank": 0}
    lines = [encode("h", 0, 5, header)]
    special = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 2**53 + 1, 2**70, 0, 1]
    for seq in range(1, count):
        mono = seq * 1_000_003
        kind = rng.random()
        if kind < 0.02:
            body = {"values": {"text": rng.choice(["[", '["', "a,b", "ü🔥", "\n"]) * 20, "n": [1, ["m", 2]]}}
            lines.append(encode("config", seq, mono, {**body, "source": "user"}))
        elif kind < 0.04:
            lines.append(encode("s", seq, mono, {"system/cpu": rng.random() * 100}))
        else:
            keys = rng.sample(["train/loss", "lr", "ü", "a/b", 'x["', "y]"], rng.randrange(1, 5))
            values = {key: rng.choice([rng.random(), rng.gauss(0, 1e9), rng.choice(special)]) for key in keys}
            child = ["kidkidkid2"] if rng.random() < 0.1 else []
            lines.append(encode("m", seq, mono, seq // 2, values, *child))
    return lines


def segment(path: Path) -> Segment:
    """A file as a segment."""
    sealed = path.name.endswith(".zst")
    name = path.name.removesuffix(".zst").removesuffix(".jsonl")
    return Segment(name, None if sealed else path, path if sealed else None)


def points(batches: Iterable[Batch]) -> set[Point]:
    """Every point as (seq, child, key, step, value), NaN as text and -0.0 told from 0.0."""
    found = set()
    for batch in batches:
        for group in batch.groups:
            steps = [None] * len(group.seqs) if group.steps is None else group.steps.tolist()
            for seq, step, row in zip(group.seqs.tolist(), steps, group.values.tolist(), strict=True):
                for key, value in zip(group.keys, row, strict=True):
                    found.add((seq, group.child, key, step, value.hex() if value == value else "nan"))
    return found


def facts(batches: Iterable[Batch]) -> set[tuple[int, str, str]]:
    """Every other event as (seq, kind, body as text)."""
    return {(event.seq, event.kind, repr(event.body)) for batch in batches for event in batch.events}


def read_all(path: Path) -> tuple[set[Point], set[tuple[int, str, str]], int, list[str]]:
    """Points, other events, how many lines are damaged, and the problems of a file."""
    batches = list(read(segment(path)))
    problems = [batch.problem for batch in batches if batch.problem]
    return points(batches), facts(batches), sum(batch.damaged for batch in batches), problems


def flip(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """Flip one bit; the bytes that were hit."""
    place = rng.randrange(len(data))
    data[place] ^= 1 << rng.randrange(8)
    return place, place + 1


def zero(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """Zero one sector of 512 bytes; the bytes that were hit."""
    start = rng.randrange(len(data)) // SECTOR * SECTOR
    end = min(start + SECTOR, len(data))
    data[start:end] = bytes(end - start)
    return start, end


def hit(starts: list[int], first: int, last: int) -> range:
    """Which lines, whose byte offsets are `starts`, have a byte from `first` up to `last`, which is not included."""
    return range(bisect_right(starts, first) - 1, bisect_right(starts, last - 1))
