"""What every tracker is made to do; each function is one workload, and returns what was seen as JSON."""

import math
import os
import random
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple

import cpu
from adapters import Row, Tracker

CONFIG: dict[str, float | str] = {"lr": 0.1, "batch": 32, "optimizer": "adam", "layers": 4}
KEYS = ("train/loss", "lr", "accuracy", "grad_norm")
WARM = 1.2  # seconds of a first run, in which whatever happens once a process happens
REST = 2.5  # seconds after which file systems tell a later change from the last one
SETTLE = 1.5  # seconds after the start of a run, until what it does in the background once is over


class Caught:
    """A block whose exceptions are counted and not raised; the first is kept in words."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self.count += 1
        self.first = self.first or f"{type(error).__name__}: {error}"[:200]
        return True


def rows(count: int, seed: int = 1) -> list[Row]:
    """Rows of four scalars as a training has them: single precision with noise, as of `tensor.item()`, and a smooth rate."""
    rng, found = random.Random(seed), []
    for step in range(count):
        part = step / count
        noisy = (
            2 * math.exp(-3 * part) + 0.05 * rng.random(),
            0.1 + 0.8 * part + 0.02 * rng.random(),
            3 * rng.random(),
        )
        loss, accuracy, norm = struct.unpack("<3f", struct.pack("<3f", *noisy))
        values = (loss, 0.0005 * (1 + math.cos(math.pi * part)), accuracy, norm)
        found.append(dict(zip(KEYS, values, strict=True)))
    return found


def run(tracker: Tracker, name: str, steps: int) -> dict[str, Any]:
    """One whole run of some steps, as fast as they go; the seconds that it took without the start."""
    found = rows(min(steps, 50_000))
    tracker.open(name, CONFIG)
    started = time.perf_counter()
    for step in range(steps):
        tracker.log(found[step % len(found)], step)
    logged = time.perf_counter() - started
    tracker.finish()
    return {"seconds": time.perf_counter() - started, "log_seconds": logged, "steps": steps}


def calls(tracker: Tracker, budget: float, most: int, paced: int) -> dict[str, Any]:
    """`log` in a tight loop and in steps of a millisecond, and the starting and finishing of further runs."""
    name = f"calls-{os.getpid()}"
    tracker.open(f"{name}-first", CONFIG)
    time.sleep(WARM)
    tracker.finish()
    few = _cpu_of(tracker, f"{name}-few", 10, budget)
    many = _cpu_of(tracker, f"{name}-many", most, budget)
    found: dict[str, Any] = many.pop("calls")
    found["cpu_us"] = (many["cpu"] - few["cpu"]) / (found["calls"] - 10) * 1e6
    found |= _paced(tracker, f"{name}-paced", paced, few["finish_cpu"])
    return found | _starts(tracker, name, budget)


def _cpu_of(tracker: Tracker, name: str, most: int, budget: float) -> dict[str, Any]:
    before = cpu.seconds()
    tracker.open(name, CONFIG)
    time.sleep(SETTLE)
    timed = _timed(tracker, rows(most), budget)
    finishing = cpu.seconds()
    tracker.finish()
    after = cpu.seconds()
    return {"cpu": after - before, "finish_cpu": after - finishing, "calls": timed}


def _timed(tracker: Tracker, found: list[Row], budget: float) -> dict[str, float]:
    """Each call by itself, until all rows are logged or the budget (seconds) is spent; at least eleven."""
    took, clock, end = [], time.perf_counter_ns, time.perf_counter_ns() + int(budget * 1e9)
    for step, row in enumerate(found):
        started = clock()
        tracker.log(row, step)
        ended = clock()
        took.append(ended - started)
        if ended > end and step > 10:
            break
    took.sort()
    return {
        "calls": len(took),
        "median_us": took[len(took) // 2] / 1000,
        "p99_us": took[min(len(took) * 99 // 100, len(took) - 1)] / 1000,
        "longest_us": took[-1] / 1000,
    }


class Steps(NamedTuple):
    """What a step took: the median (seconds), and the CPU seconds beside the work, of the caller and of everybody."""

    steps: int
    median: float
    caller: float
    everybody: float


def _paced(tracker: Tracker, name: str, steps: int, finish_cpu: float) -> dict[str, float]:
    """What a step of a millisecond of work takes more with `log` than without, measured alike."""
    work, found = _work(0.001), rows(steps)
    few = found[: max(steps // 6, 20)]
    before = _steps(work, _nothing, _nothing, few)
    tracker.open(name, CONFIG)
    time.sleep(SETTLE)
    logged = _steps(work, tracker.log, tracker.finish, found)
    after = _steps(work, _nothing, _nothing, few)
    return {
        "step_calls": logged.steps,
        "step_added_us": (logged.median - (before.median + after.median) / 2) * 1e6,
        "step_caller_cpu_us": (logged.caller - (before.caller + after.caller) / 2) * 1e6,
        "step_cpu_us": (
            logged.everybody - finish_cpu / logged.steps - (before.everybody + after.everybody) / 2
        )
        * 1e6,
    }


def _steps(work: Any, log: Any, end: Any, found: list[Row]) -> Steps:
    took, caller, busy = [], 0.0, 0.0
    clock, thread = time.perf_counter, time.thread_time
    before, limit = cpu.seconds(), clock() + 2 * len(found) / 1000
    for step, row in enumerate(found):
        started, own = clock(), thread()
        work()
        logging = thread()
        log(row, step)
        ended = thread()
        took.append(clock() - started)
        busy += logging - own
        caller += ended - logging
        if clock() > limit:
            break
    end()
    everybody = cpu.seconds() - before - busy
    count = len(took)
    return Steps(count, sorted(took)[count // 2], caller / count, everybody / count)


def _nothing(*_: object) -> None:
    return


def _work(seconds: float) -> Any:
    """A function that computes for about so long, always the same amount."""

    def spin(turns: int) -> int:
        total = 0
        for turn in range(turns):
            total += turn & 7
        return total

    took = min(_seconds(lambda: spin(20_000)) for _ in range(20))
    turns = int(20_000 * seconds / took)
    return lambda: spin(turns)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _starts(tracker: Tracker, name: str, budget: float) -> dict[str, float]:
    took: list[float] = []
    while len(took) < 3 or (sum(took) < budget and len(took) < 20):
        started = time.perf_counter()
        tracker.open(f"{name}-start-{len(took)}", CONFIG)
        tracker.finish()
        took.append(time.perf_counter() - started)
    took.sort()
    return {"start_finish_ms": took[len(took) // 2] * 1000, "starts": len(took)}


def last(tracker: Tracker, name: str, warm: str, elsewhere: str) -> dict[str, Any]:
    """How long a reader takes to have the last value of every metric of a run that it has not seen before.

    It reads another run first, so that its imports are over; one with an index, which would take in both, reads it `elsewhere`.
    """
    if tracker.indexes:
        os.environ.update(tracker.settings(Path(elsewhere)))
        type(tracker)(Path(elsewhere)).last(warm)
        os.environ.update(tracker.settings(tracker.folder))
    else:
        tracker.last(warm)
    started = time.perf_counter()
    found = tracker.last(name)
    seconds = time.perf_counter() - started
    tracker.settle(60)
    return {"seconds": seconds, "values": [float(found[key]) for key in KEYS]}


def write_series(tracker: Tracker, name: str, points: int) -> dict[str, Any]:
    """One long series as a run."""
    started = time.perf_counter()
    tracker.write_series(name, "loss", [1 / (step + 1) for step in range(points)])
    return {"seconds": time.perf_counter() - started}


def read_series(tracker: Tracker, name: str, warm: str, budget: float) -> dict[str, Any]:
    """The whole series, read again and again; the imports are over."""
    tracker.series(warm, "train/loss")
    if tracker.indexes:  # brought into the index by now, as `ingest` measures it
        tracker.last(name)
        tracker.settle(60)
        time.sleep(REST)
    took: list[float] = []
    points = 0
    while not took or (sum(took) < budget and len(took) < 7):
        started = time.perf_counter()
        steps, values = tracker.series(name, "loss")
        took.append(time.perf_counter() - started)
        points = len(steps)
        if points and (steps[-1] != points - 1 or abs(values[-1] - 1 / points) > 1e-6):
            raise AssertionError(
                f"the series ends with step {steps[-1]}, value {values[-1]}, after {points} points"
            )
    took.sort()
    result: dict[str, Any] = {"ms": took[len(took) // 2] * 1000, "points": points, "readings": len(took)}
    if again := tracker.series_again(name, "loss"):
        took = sorted(_seconds(again) for _ in range(7))
        result["again_ms"] = took[3] * 1000
    return result


def many(tracker: Tracker, runs: int, budget: float, first: int = 0) -> dict[str, Any]:
    """Short runs, as many as the budget (seconds) allows."""
    end, found = time.perf_counter() + budget, rows(10)
    done = 0
    while done < runs and (done == 0 or time.perf_counter() < end):
        tracker.open(f"many-{first + done}", CONFIG | {"lr": 0.001 * (done + 1)})
        for step, row in enumerate(found):
            tracker.log(row, step)
        tracker.finish()
        done += 1
    return {"runs": done}


def listing(tracker: Tracker, budget: float, settle: float) -> dict[str, Any]:
    """All runs with parameters and last metrics: the first time, and again."""
    started = time.perf_counter()
    found = tracker.listing()
    first = time.perf_counter() - started
    started = time.perf_counter()
    tracker.settle(settle)
    settled = time.perf_counter() - started
    time.sleep(REST)
    took: list[float] = []
    while not took or (sum(took) < budget and len(took) < 5):
        started = time.perf_counter()
        found = tracker.listing()
        took.append(time.perf_counter() - started)
    complete = sum(1 for _, config, metrics in found if "lr" in config and KEYS[0] in metrics)
    took.sort()
    return {
        "first_s": first,
        "settle_s": settled,
        "s": took[len(took) // 2],
        "runs": len(found),
        "complete": complete,
    }


def victim(tracker: Tracker, name: str, steps: int, per_second: int, acknowledged: str) -> dict[str, Any]:
    """Steps at a pace; after each, its number goes to a file, which survives whatever happens to this process."""
    found = rows(1000)
    tracker.open(name, CONFIG)
    file = os.open(acknowledged, os.O_WRONLY | os.O_CREAT, 0o600)
    due = time.perf_counter()
    for step in range(steps):
        tracker.log(found[step % 1000], step)
        os.pwrite(file, struct.pack("<q", step + 1), 0)
        due = paced(due, per_second)
    tracker.finish()
    return {"steps": steps}


def recovered(tracker: Tracker, names: list[str]) -> dict[str, Any]:
    """How many steps of each run can be read; a run that cannot be read has none."""
    found = dict.fromkeys(names, 0)
    caught = Caught()
    for name in names:
        with caught:
            steps, _ = tracker.series(name, KEYS[0])
            found[name] = len({int(step) for step in steps})
    return {"steps": found, "problem": caught.first}


def enduring(tracker: Tracker, name: str, steps: int, per_second: int, progress: str) -> dict[str, Any]:
    """Steps at a pace whatever `log` raises; how often it raised, its longest call, and what `finish` did."""
    found, caught, longest = rows(1000), Caught(), 0.0
    tracker.open(name, CONFIG)
    file = os.open(progress, os.O_WRONLY | os.O_CREAT, 0o600)
    due = time.perf_counter()
    for step in range(steps):
        started = time.perf_counter()
        with caught:
            tracker.log(found[step % 1000], step)
        longest = max(longest, time.perf_counter() - started)
        os.pwrite(file, struct.pack("<qqd", step + 1, caught.count, longest), 0)
        due = paced(due, per_second)
    finish = Caught()
    with finish:
        tracker.finish()
    seen = {"steps": steps, "errors": caught.count, "longest_ms": longest * 1000}
    return seen | {"problem_of_log": caught.first, "problem_of_finish": finish.first}


def writer(
    tracker: Tracker, name: str, seconds: float, per_second: int, ready: str, go: str
) -> dict[str, Any]:
    """One of many processes that record at once: it says that its run is open, waits for the others, and records."""
    found, caught = rows(1000), Caught()
    took: list[float] = []
    with caught:
        tracker.open(name, CONFIG)
    Path(ready).touch()
    if caught.count:
        return {"steps": 0, "errors": 1, "problem": caught.first, "took_us": []}
    while not os.path.exists(go):
        time.sleep(0.02)
    due = time.perf_counter()
    end = due + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        with caught:
            tracker.log(found[len(took) % 1000], len(took))
        took.append(round((time.perf_counter() - started) * 1e6, 1))
        due = paced(due, per_second)
    with caught:
        tracker.finish()
    return {"steps": len(took), "errors": caught.count, "problem": caught.first, "took_us": took}


def paced(due: float, per_second: int) -> float:
    """Wait for the moment of the next step; one that is late is not made up for by more than a tenth of a second."""
    due = max(due + 1 / per_second, time.perf_counter() - 0.1)
    time.sleep(max(0.0, due - time.perf_counter()))
    return due
