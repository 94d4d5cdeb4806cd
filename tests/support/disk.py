"""What the tests of failing disks share: the preloaded library's rules, a prelude that times each call, and two looks at a store."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oracle import Victim, read_store

from autotrack.journal.format import Event

# `timed` is the oracle's `log` with a look at the clock around the call alone, less the time in which other processes had the
# processor; the longest calls are told at the end.
TIMED = """
import atexit, resource
from autotrack.journal import place, writer
from autotrack import session
times = []
def queued():
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:  # no descriptor left
        return 0.0
def timed(run, key, step):
    values, waited = {key: value(key, step)}, queued()
    began = time.perf_counter()
    run.log(values, step=step)
    took = time.perf_counter() - began
    times.append(max(0.0, took - (queued() - waited)))
    tell("m", run.id, key, step)
def tell_times(skip=0):
    ordered = sorted(times[skip:])
    tell("longest", ordered[-1])
    tell("median", ordered[len(ordered) // 2])
    tell("p99", ordered[int(len(ordered) * 0.99)])
    tell("all", sum(times))
SWITCH = os.environ.get("SWITCH", "")
def trouble(on):
    if on:
        open(SWITCH, "w").close()
    else:
        os.unlink(SWITCH)
def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
"""


def failing(library: Callable[[str], str], folder: Path, *rules: str) -> dict[str, str]:
    """The environment of a victim whose disk fails by these rules (tests/support/faults.c); SWITCH stands for a file of its own."""
    switch = folder / "trouble"
    text = ";".join(rules).replace("SWITCH", str(switch))
    return {"LD_PRELOAD": library("faults"), "FAULTS": text, "SWITCH": str(switch)}


def number(one: Victim, word: str) -> float:
    """A number that the victim told."""
    return float(one.said(word)[-1][0])


def events(store: Path, kind: str) -> list[Event]:
    """Every event of a kind in a store, whatever else is in its files."""
    return [event for found in read_store(store)[0].values() for event in found if event.kind == kind]


def slugs(store: Path) -> list[str]:
    """The warnings in a store's records."""
    return [event.body["slug"] for event in events(store, "warning")]


def unexplained(store: Path) -> list[str]:
    """Sequence numbers that are neither in a journal nor in one of its gaps, or in both."""
    wrong = []
    for (run, _), found in read_store(store)[0].items():
        kept = {event.seq for event in found}
        dropped: set[int] = set()
        for event in found:
            if event.kind == "gap":
                numbers = set(range(event.body["from"], event.body["to"] + 1))
                if len(numbers) != event.body["dropped"]:
                    wrong.append(f"a gap of {len(numbers)} numbers says {event.body['dropped']}")
                dropped |= numbers
        wrong += [f"{seq} of {run} is there and dropped" for seq in sorted(kept & dropped)[:3]]
        missing = set(range(max(kept) + 1)) - kept - dropped
        wrong += [f"{seq} of {run} is missing, unexplained" for seq in sorted(missing)[:3]]
    return wrong


def merge(source: Path, target: Path) -> int:
    """Copy the runs of one store into another one, as `rsync` does; how many journals that are."""
    paths = list(source.glob("runs/*/*/*.jsonl"))
    for path in paths:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return len(paths)


def cli(*words: str, **environment: str) -> tuple[str, str]:
    """What a command of ours prints: (standard output, standard error)."""
    import os

    done = subprocess.run(
        [sys.executable, "-m", "autotrack", *words],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ) | environment,
    )
    return done.stdout, done.stderr


def shown(store: Path) -> list[dict[str, Any]]:
    """The runs of a store, as `ls --json` tells them."""
    found: list[dict[str, Any]] = json.loads(cli("--store", str(store), "ls", "--json")[0])
    return found
