"""The oracle of the crash tests: a victim tells, through a pipe that its killer holds, every call that returned to it.

`PRELUDE` is put before a victim's code. `log`, `config` and `artifact` record one thing and tell of it when the call has
returned; every value follows from its key and step, so that nothing has to be sent along. `faults` then compares what was
told with what the journals hold: everything told is there, with its value, once, in order; nothing else is there; no
line is damaged but one that a kill cut off at the very end of a file.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotrack.index import open_index
from autotrack.journal.format import Event, check, decode, event_of
from autotrack.journal.lines import rescued_rows
from autotrack.journal.source import Segment, blocks, find_segments
from autotrack.verify import verify

PRELUDE = """
import os, signal, sys, threading, time, zlib
import autotrack
TOLD = int(os.environ["TOLD_FD"])
def value(key, step):
    return zlib.crc32(f"{key}:{step}".encode()) / 1024
def tell(*words):
    os.write(TOLD, (" ".join(map(str, words)) + "\\n").encode())
def log(run, key, step):
    run.log({key: value(key, step)}, step=step)
    tell("m", run.id, key, step)
def config(run, key, step):
    run.update_config({key: value(key, step)})
    tell("c", run.id, key, step)
def artifact(run, name, size):
    import hashlib
    from pathlib import Path
    data = f"{name}:".encode() * size
    path = Path(os.environ["WORK"], name)
    path.write_bytes(data)
    run.log_artifact(path)
    tell("a", run.id, name, hashlib.sha256(data).hexdigest())
"""


def value(key: str, step: int) -> float:
    """The value that a victim logs."""
    return zlib.crc32(f"{key}:{step}".encode()) / 1024


def seed() -> int:
    """The seed of this test, printed; AUTOTRACK_TEST_SEED replays one."""
    chosen = int(os.environ.get("AUTOTRACK_TEST_SEED") or time.time_ns() % 2**32)
    print(f"AUTOTRACK_TEST_SEED={chosen}")
    return chosen


class Victim:
    """A script that runs in a process group of its own, and what it told."""

    def __init__(
        self, code: str, folder: Path, store: Path, wrap: tuple[str, ...] = (), **environment: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / "victim.py"
        script.write_text(PRELUDE + code)
        read, write = os.pipe()
        told = {
            "TOLD_FD": str(write),
            "WORK": str(folder),
            "AUTOTRACK_DIR": str(store),
            "PYTHONFAULTHANDLER": "1",
        }
        self.store = store
        self.process = subprocess.Popen(
            [*wrap, sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(write,),
            env=dict(os.environ) | told | environment,
            start_new_session=True,
            cwd=folder,
        )
        os.close(write)
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read, args=(read,))
        self._reader.start()

    def _read(self, fd: int) -> None:
        while piece := os.read(fd, 65536):
            self._bytes += piece
        os.close(fd)

    @property
    def told(self) -> list[list[str]]:
        """What the victim has told so far, in words."""
        text = bytes(self._bytes)
        return [line.split(" ") for line in text[: text.rfind(b"\n") + 1].decode().splitlines()]

    def add(self, lines: list[str]) -> None:
        """Take it that the victim told these lines: one that tells of each call would be slowed down by it."""
        self._bytes += "".join(f"{line}\n" for line in lines).encode()

    def said(self, word: str) -> list[list[str]]:
        """What it told beginning with this word."""
        return [words[1:] for words in self.told if words[0] == word]

    def wait_for(self, condition: Callable[["Victim"], Any], seconds: float = 60.0) -> None:
        """Wait until what the victim told fulfils a condition."""
        until = time.monotonic() + seconds
        while not condition(self):
            assert self.process.poll() is None, f"the victim ended too early: {self.end()}"
            assert time.monotonic() < until, f"the victim is too slow; it told {self.told[-5:]}"
            time.sleep(0.002)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the victim alone."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for its whole process group, and the rest of what it told."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def end(self, seconds: float = 30.0) -> tuple[int, str, str]:
        """Wait for its end: (exit code, standard output, standard error)."""
        try:
            out, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # The stacks of its threads, from faulthandler, are in the message.
            os.killpg(self.process.pid, signal.SIGABRT)
            _, errors = self.process.communicate()
            raise AssertionError(f"the victim hung:\n{errors.decode()}") from None
        self._reader.join(seconds)
        return self.process.returncode, out.decode(), errors.decode()

    def faults(self, killed: bool = False) -> list[str]:
        """What its store lacks or has too much."""
        return faults(self.store, self.told, killed)

    def damage(self, killed: bool = False) -> list[str]:
        """Its faults, and what `autotrack verify` says of its store."""
        return self.faults(killed) + verified(self.store, killed)


def faults(store: Path, told: list[list[str]], killed: bool = False) -> list[str]:
    """What a store lacks or has too much, compared with what its writers told. `killed`: what was on its way may be there."""
    kept, wrong = read_store(store, killed)
    points: dict[tuple[str, str], dict[int, float]] = {}
    for (run, stem), events in kept.items():
        wrong += _out_of_order(stem, events)
        for event in events:
            for key, number in event.body.items() if event.kind == "m" else ():
                known = points.setdefault((event.child or run, key), {})
                assert event.step is not None
                if event.step in known:
                    wrong.append(f"{key} at step {event.step} of {run} is there twice")
                known[event.step] = number
    wrong += _compare_points(points, told, killed)
    wrong += _compare_configs(kept, told)
    return wrong + _compare_artifacts(store, kept, told)


def read_store(store: Path, killed: bool = False) -> tuple[dict[tuple[str, str], list[Event]], list[str]]:
    """The events of every journal by (run, journal), in the order of their sequence numbers, and which lines are damaged: whole
    ones in them, which another thread wrote behind a torn one, are events as for every reader.
    """
    kept: dict[tuple[str, str], list[Event]] = {}
    wrong = []
    for folder in sorted(store.glob("runs/*/*")):
        segments, foreign = find_segments(folder)
        wrong += [f"{folder / name} is no journal" for name in foreign]
        for segment in segments:
            lines = b"".join(blocks(segment)).split(b"\n")
            events = [decode(line) for line in lines if line]
            wrong += [f"{segment.path} has a damaged line" for event in events if event is None]
            events += [event_of(row) for line in lines if not check(line) for row in rescued_rows(line)]
            if _torn(segment) and not killed:
                wrong.append(f"{segment.path} ends within a line")
            own = kept.setdefault((folder.name, segment.stem), [])
            own += [event for event in events if event is not None]
    once = {place: list({event.seq: event for event in events}.values()) for place, events in kept.items()}
    return {place: sorted(events, key=lambda event: event.seq) for place, events in once.items()}, wrong


def statuses(store: Path) -> dict[str, str]:
    """The status of each run, by its name, as a reader works it out now."""
    index = open_index(store)
    try:
        index.sync()
        return {run.name: run.status for run in index.runs(children=True)}
    finally:
        index.close()


def _torn(segment: Segment) -> bool:
    return segment.plain is not None and not segment.plain.read_bytes().endswith(b"\n")


def _out_of_order(stem: str, events: list[Event]) -> list[str]:
    """Steps of one key come from one thread, upwards; so do monotonic times."""
    wrong, last = [], dict[str, int]()
    for event in events:
        for key in event.body if event.kind == "m" else ():
            if (event.step or 0) < last.get(key, -1):
                wrong.append(f"{key} at step {event.step} in {stem} stands behind step {last[key]}")
            last[key] = event.step or 0
    return wrong


def _compare_points(
    points: dict[tuple[str, str], dict[int, float]], told: list[list[str]], killed: bool
) -> list[str]:
    wrong = []
    expected: dict[tuple[str, str], set[int]] = {}
    for words in told:
        if words[0] == "m":
            expected.setdefault((words[1], words[2]), set()).add(int(words[3]))
    for (run, key), steps in expected.items():
        lost = sorted(steps - points.get((run, key), {}).keys())
        wrong += [f"lost: {key} at step {step} of {run}" for step in lost]
    for (run, key), known in points.items():
        wrong += [
            f"{key} at step {step} of {run} is {number}"
            for step, number in known.items()
            if number != value(key, step)
        ]
        never = known.keys() - expected.get((run, key), set())
        if len(never) > killed:
            wrong.append(f"never told: {key} at {sorted(never)[:3]} of {run}")
    return wrong


def _compare_configs(kept: dict[tuple[str, str], list[Event]], told: list[list[str]]) -> list[str]:
    values: dict[tuple[str, str], set[float]] = {}
    for (run, _), events in kept.items():
        for event in events:
            for key, number in (event.body.get("values") or {}).items() if event.kind == "config" else ():
                values.setdefault((event.child or run, key), set()).add(number)
    told_configs = [words[1:] for words in told if words[0] == "c"]
    return [
        f"lost: config {key} of {run}"
        for run, key, step in told_configs
        if value(key, int(step)) not in values.get((run, key), set())
    ]


def _compare_artifacts(
    store: Path, kept: dict[tuple[str, str], list[Event]], told: list[list[str]]
) -> list[str]:
    known = {
        (event.child or run, event.body["name"], event.body["digest"])
        for (run, _), events in kept.items()
        for event in events
        if event.kind == "artifact"
    }
    wrong = [
        f"lost: artifact {words[2]}" for words in told if words[0] == "a" and tuple(words[1:4]) not in known
    ]
    digests = {digest for _, _, digest in known}
    for path in (store / "objects").glob("??/*"):
        name = path.parent.name + path.name
        if hashlib.sha256(path.read_bytes()).hexdigest() != name:
            wrong.append(f"object {name} holds something else")
        digests.discard(name)
    return wrong + [f"an artifact's object {digest} is not there" for digest in sorted(digests)]


def verified(store: Path, killed: bool) -> list[str]:
    """What `autotrack verify` finds damaged or lost; of what was on its way when its process was killed it may say so."""
    if not (store / "runs").is_dir():
        return []
    on_its_way = ("missing", "cut", "header", "empty") if killed else ()
    damage = [
        each for each in verify(store).findings if each.state == "damage" and each.what not in on_its_way
    ]
    return [f"verify ({each.what}): {each.file}: {each.text}" for each in damage]


def random_delays(count: int, longest: float) -> list[float]:
    """Random waits in seconds, from the test's seed."""
    rng = random.Random(seed())
    return [rng.uniform(0.0, longest) for _ in range(count)]
