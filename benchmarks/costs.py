"""The measurements that depend on time: each function measures one thing for every tracker, in turns."""

import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from adapters import FLOORS, kind
from lab import Lab, Result, say, size

ROUNDS = {"floor": 8, "unbuffered": 8, "autotrack": 8, "mlflow": 1, "dvclive": 1}  # of `calls`; else 2
INGESTS = 3  # of `ingest`; 1 of the slow ones
SLOW = ("aim", "mlflow", "dvclive")
MEMORY = "\nprint([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"


def calls(lab: Lab) -> dict[str, Result]:
    """`log()` of four scalars; the same in steps of a millisecond; start and finish of further runs."""
    budget, most, paced = lab.amount((0.8, 20_000, 6000), (0.1, 1000, 50))
    found: dict[str, list[Result]] = {name: [] for name in lab.names}
    for turn in range(lab.amount(max(ROUNDS.values()), 1)):
        for name in lab.names:
            rounds = ROUNDS.get(name, 2)
            if turn >= rounds:
                continue
            say("calls", turn, name)
            options = {"budget": budget, "most": most, "paced": paced if rounds < 4 else paced // 2}
            found[name].append(lab.do(name, "calls", lab.place("calls", name), 120, **options))
    lab.clear("calls")
    return {name: median_of(each) for name, each in found.items()}


def median_of(rounds: list[Result]) -> Result:
    """The medians over the rounds of what was found; an error if any round had one."""
    for each in rounds:
        if "error" in each:
            return each
    medians = {key: statistics.median([each[key] for each in rounds]) for key in rounds[0]}
    return {"rounds": len(rounds)} | medians


def processes(lab: Lab) -> dict[str, Result]:
    """An import and a whole short script, beyond a bare process; memory after the import."""
    commands: dict[str, dict[str, list[str]]] = {}
    for name in lab.names:
        adapter = kind(name)
        python = lab.python(name)
        commands[name] = {
            "import_ms": [python, "-c", f"import {adapter.module}" if name not in FLOORS else "pass"],
            "short_ms": [python, "-W", "ignore", "-c", adapter.script or "pass"],
        }
    if "autotrack" in commands:
        python = lab.python("autotrack")
        commands["autotrack"]["launcher_ms"] = [python, "-m", "autotrack", "run", "bare.py"]
        (lab.place("processes", "autotrack") / "bare.py").write_text("pass\n")
    found: dict[str, Result] = {name: {key: [] for key in commands[name]} for name in lab.names}
    for turn in range(-1, lab.amount(5, 1)):  # the first turn makes stores and caches, and is not counted
        for name in lab.names:
            if (turn >= 2 and name in SLOW) or "error" in found[name]:
                continue
            say("processes", turn, name)
            one_turn(lab, name, commands[name], found[name], counted=turn >= 0)
    return beyond_bare(lab, found)


def one_turn(lab: Lab, name: str, commands: dict[str, list[str]], found: Result, counted: bool) -> None:
    """Each command of one tracker once."""
    for key, command in commands.items():
        folder = lab.place("processes", name)
        env = lab.environment() | kind(name).settings(folder)
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it printed nothing"]
            found["error"] = f"{key}: {said[-1]}"[:300]
            return
        if counted:
            found[key].append((time.perf_counter() - started) * 1000)


def beyond_bare(lab: Lab, found: dict[str, Result]) -> dict[str, Result]:
    """Medians, less the bare process; with the memory that the import takes."""
    bare = statistics.median(found["floor"]["import_ms"])
    bare_memory = memory(lab, "floor", "pass")
    results: dict[str, Result] = {"floor": {"import_ms": bare, "short_ms": bare, "memory_mib": bare_memory}}
    for name in lab.names:
        if name == "floor":
            continue
        if "error" in found[name]:
            results[name] = {"error": found[name]["error"]}
            continue
        results[name] = {key: statistics.median(took) - bare for key, took in found[name].items()}
        results[name]["rounds"] = len(found[name]["import_ms"])
        results[name]["memory_mib"] = memory(lab, name, f"import {kind(name).module}") - bare_memory
    lab.clear("processes")
    return results


def memory(lab: Lab, name: str, text: str) -> float:
    """The most memory that a process with this text has held (MiB)."""
    folder = lab.place("processes", name)
    env = lab.environment() | kind(name).settings(folder)
    done = subprocess.run(
        [lab.python(name), "-W", "ignore", "-c", text + MEMORY],
        cwd=folder, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout.split()[-1]) / 1024


def ingest(lab: Lab) -> dict[str, Result]:
    """From the first `log()` until a reader in another process has the last value of all; bytes a point."""
    rounds: dict[str, list[Result]] = {name: [] for name in lab.names}
    for turn in range(lab.amount(INGESTS, 1)):
        for name in lab.names:
            if turn and (name in SLOW or "error" in rounds[name][0]):
                continue
            say("ingest", turn, name)
            rounds[name].append(one_ingest(lab, name))
            lab.clear("ingest")
            lab.clear("ingest-warm")
    return {name: median_of(each) for name, each in rounds.items()}


def one_ingest(lab: Lab, name: str) -> Result:
    """Record a run of about two seconds, and have its last values read by another process."""
    folder, elsewhere = lab.place("ingest", name), lab.place("ingest-warm", name)
    probe = lab.do(name, "run", folder, 60, name="warm", steps=30)
    if "error" in probe:
        return probe
    if probe["log_seconds"] / probe["steps"] < 0.001:  # the first calls of a process take longer
        probe = lab.do(name, "run", folder, 60, name="warm", steps=lab.amount(2000, 30))
    each = probe["log_seconds"] / probe["steps"]
    steps = max(50, min(lab.amount(250_000, 5000), int(lab.amount(2.0, 0.3) / each)))
    lab.do(name, "run", elsewhere, 60, name="warm", steps=30)
    before = size(folder)
    wrote = lab.do(name, "run", folder, 120, name="main", steps=steps)
    if "error" in wrote:
        return wrote
    read = lab.do(name, "last", folder, 120, name="main", warm="warm", elsewhere=str(elsewhere))
    if "error" in read:
        return read
    seconds = wrote["seconds"] + read["seconds"]
    return {
        "points": 4 * steps,
        "points_per_s": 4 * steps / seconds,
        "reader_points_per_s": 4 * steps / read["seconds"],
        "bytes_a_point": (size(folder) - before) / (4 * steps),
    }


def series(lab: Lab) -> dict[str, Result]:
    """A long series read back; of ten times the length where writing it takes no longer than half a minute."""
    points = lab.amount(100_000, 2000)
    places = {name: lab.place("series", name) for name in lab.names}
    jobs = [partial(lab.do, name, "run", places[name], 60, name="warm", steps=20) for name in lab.names]
    lab.together(jobs, 2)
    say("series: writing")
    wrote = written(lab, lab.names, "long", points)
    able = [name for name in lab.names if wrote[name].get("seconds", 99.0) < 2.5]
    longer = written(lab, able, "longer", 10 * points)
    found: dict[str, Result] = {}
    for name in lab.names:
        say("series", name)
        found[name] = read(lab, name, "long", wrote[name])
        if name in longer and "error" not in found[name]:
            more = read(lab, name, "longer", longer[name])
            found[name] |= {"long_ms": more.get("ms"), "long_points": more.get("points")}
    lab.clear("series")
    return found


def written(lab: Lab, names: list[str], run: str, points: int) -> dict[str, Result]:
    """Write a series with each tracker, two at a time: this is not timed. Those that take longest begin."""
    order = names[::-1]
    jobs = [
        partial(lab.do, name, "write_series", lab.place("series", name), 90, name=run, points=points)
        for name in order
    ]
    return dict(zip(order, lab.together(jobs, 2), strict=True))


def read(lab: Lab, name: str, run: str, wrote: Result) -> Result:
    if "error" in wrote:
        return wrote
    return lab.do(name, "read_series", lab.place("series", name), 120, name=run, warm="warm", budget=1.0)


def listing(lab: Lab) -> dict[str, Result]:
    """A thousand runs with parameters and last metrics, or as many as were made in the time; ten thousand of ours."""
    runs, budget = lab.amount(1000, 20), lab.amount(10.0, 1.0)
    say("listing: making runs")
    lab.together([partial(make_runs, lab, name, runs, budget) for name in lab.names[::-1]], 2)
    found = {}
    for name in lab.names:
        say("listing", name)
        found[name] = list_runs(lab, name, lab.place("listing", name), 30)
    if "autotrack" in lab.names:
        found["autotrack"] |= ten_thousand(lab)
    lab.clear("listing")
    return found


def make_runs(lab: Lab, name: str, runs: int, budget: float) -> Result:
    return lab.do(name, "many", lab.place("listing", name), 60 + budget, runs=runs, budget=budget)


def list_runs(lab: Lab, name: str, folder: Path, settle: float) -> Result:
    found = lab.do(name, "listing", folder, 120, budget=lab.amount(2.0, 0.2), settle=settle)
    if "error" not in found:
        found["s_per_1000"] = found["s"] * 1000 / max(1, found["runs"])
        if found["complete"] < found["runs"]:
            found["error"] = f"only {found['complete']} of {found['runs']} runs were complete"
    return found


def ten_thousand(lab: Lab) -> Result:
    """Ten thousand runs of ours, made by two processes, or as many as were made in the time."""
    half = lab.amount(5000, 30)
    folder = lab.place("listing-more", "autotrack")
    lab.together(
        [
            partial(lab.do, "autotrack", "many", folder, 90, runs=half, budget=35.0, first=first)
            for first in (0, half)
        ],
        2,
    )
    found = list_runs(lab, "autotrack", folder, 0)
    lab.clear("listing-more")
    wanted = ("runs", "first_s", "s", "error")
    return {f"more_{key}": found[key] for key in wanted if key in found}


def machine() -> dict[str, Any]:
    """Cores, processor, memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gib": round(memory / 2**30),
        "system": sys.platform,
    }
