"""A process that is killed loses nothing that `log()` returned from. Each victim tells what it logged through a pipe."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autotrack.journal.format import decode

VICTIM = """
import os, sys, autotrack
run = autotrack.init(project="p", config={"lr": 0.1})
step = 0
while True:
    run.log({"loss": step * 0.5, "again": step + 0.25}, step=step)
    os.write(1, b"%d\\n" % step)
    step += 1
"""


def kill_at(delay: float, store: Path, script: Path) -> tuple[int, list[str]]:
    """Start a victim, kill its process group `delay` seconds after its first value; (acknowledged steps, what is wrong)."""
    environment = dict(os.environ, AUTOTRACK_DIR=str(store))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    read = process.stdout.readline()
    until = time.monotonic() + delay
    os.set_blocking(process.stdout.fileno(), False)
    while time.monotonic() < until:
        read += process.stdout.read() or b""
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.set_blocking(process.stdout.fileno(), True)
    read += process.stdout.read()
    process.stdout.close()
    acknowledged = read.count(b"\n")
    return acknowledged, compare(store, acknowledged)


def compare(store: Path, acknowledged: int) -> list[str]:
    """What the journals lack or have too much, damaged lines before the last one included."""
    kept: dict[int, dict[str, float]] = {}
    wrong = []
    for path in store.glob("runs/*/*/*.jsonl"):
        lines = path.read_bytes().split(b"\n")
        for place, line in enumerate(lines):
            event = decode(line)
            if event is None and place < len(lines) - 1:
                wrong.append(f"damaged line {place} of {path.name}")
            if event is not None and event.kind == "m" and event.step is not None:
                kept[event.step] = event.body
    wrong += [f"lost step {step}" for step in range(acknowledged) if step not in kept]
    wrong += [
        f"wrong value at {step}"
        for step, body in kept.items()
        if body != {"loss": step * 0.5, "again": step + 0.25}
    ]
    if len(kept) > acknowledged + 1:
        wrong.append(f"{len(kept)} steps kept, {acknowledged} acknowledged")
    return wrong


def kill_many(times: int, folder: Path, seed: int) -> tuple[int, list[str]]:
    """Kill `times` victims at random instants; (all acknowledged steps, what is wrong)."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    script = folder / "victim.py"
    script.write_text(VICTIM)
    total, wrong = 0, []
    for place in range(times):
        delay = rng.uniform(0.0, 0.15)
        acknowledged, found = kill_at(delay, folder / f"store{place}", script)
        total += acknowledged
        wrong += [f"kill {place} after {delay:.4f} s: {text}" for text in found]
    return total, wrong


def test_a_hundred_kills_lose_no_point(store: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("AUTOTRACK_TEST_SEED") or time.time_ns() % 2**32)
    total, wrong = kill_many(100, tmp_path, seed)
    assert wrong == []
    assert total > 100


@pytest.mark.proof
def test_a_thousand_kills_lose_no_point(
    store: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("AUTOTRACK_TEST_SEED") or time.time_ns() % 2**32)
    total, wrong = kill_many(1000, tmp_path, seed)
    record_property("kills", 1000)
    record_property("acknowledged_steps", total)
    record_property("lost_or_wrong", len(wrong))
    assert wrong == []
    assert total > 1000
