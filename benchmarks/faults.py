"""What is lost: a process killed, a disk that is full for a while, many writers at once."""

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from lab import HERE, Lab, Result, say

PER_SECOND = 1000


def kill(lab: Lab) -> dict[str, Result]:
    """10,000 steps at 1,000 a second, SIGKILLed at a random time; the daemons of a tracker stay alive."""
    turns = [(name, turn) for turn in range(lab.amount(10, 2)) for name in lab.names]
    turns = [(name, turn) for name, turn in turns if name == "autotrack" or turn < lab.amount(3, 1)]
    lab.together(
        [
            partial(lab.do, name, "run", lab.place("kill", name), 60, name="warm", steps=10)
            for name in lab.names
        ],
        2,
    )
    jobs = [
        partial(one_kill, lab, name, turn, lab.random.uniform(0.5, lab.amount(5.0, 1.0)))
        for name, turn in turns
    ]
    say("kill:", len(jobs), "kills")
    rounds: dict[str, list[Result]] = {name: [] for name in lab.names}
    for (name, _), result in zip(turns, lab.together(jobs, 3), strict=True):
        rounds[name].append(result)
    lab.clear("kill")
    return {name: summed(each) for name, each in rounds.items()}


def one_kill(lab: Lab, name: str, turn: int, seconds: float) -> Result:
    folder = lab.place("kill", name)
    acknowledged = folder / f"acknowledged-{turn}"
    run = f"victim-{turn}"
    command = lab.command(
        name, "victim", folder, folder / "unused.json",
        name=run, steps=10_000, per_second=PER_SECOND, acknowledged=str(acknowledged),
    )  # fmt: skip
    process = lab.start(command, folder)
    limit = time.monotonic() + 60
    while steps_of(acknowledged) == 0 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(seconds)
    if process.poll() is not None:
        return {"error": f"the victim ended by itself: {lab.said(process)}"}
    process.kill()
    process.wait()
    logged = steps_of(acknowledged)
    lab.end(process)  # its daemons have their time to write what they hold
    read = lab.do(name, "recovered", folder, 120, names=[run])
    if "error" in read:
        return read
    return {"steps": logged, "lost": max(0, logged - read["steps"][run]), "problem": read["problem"]}


def steps_of(path: Path) -> int:
    """The number that the victim wrote last."""
    try:
        data = path.read_bytes()
    except OSError:
        return 0
    return int(struct.unpack_from("<q", data)[0]) if len(data) >= 8 else 0


def summed(rounds: list[Result]) -> Result:
    for each in rounds:
        if "error" in each:
            return each
    lost = [each["lost"] for each in rounds]
    problems = [each["problem"] for each in rounds if each["problem"]]
    found = {"kills": len(rounds), "steps": sum(each["steps"] for each in rounds)}
    found |= {"lost": statistics.median(lost), "most_lost": max(lost), "all_lost": sum(lost)}
    return found | ({"problem": problems[0]} if problems else {})


def disk_full(lab: Lab) -> dict[str, Result]:
    """1,500 steps at 100 a second on a file system of 8 MB that is full for 4 seconds in between."""
    alone = unshared()
    if alone is None:
        reason = "not measured: no file system can be mounted here (neither root nor user namespaces)"
        return {name: {"error": reason} for name in lab.names}
    say("disk full")
    names = lab.names[::-1]  # those that take longest begin
    jobs = [partial(one_disk, lab, name, alone) for name in names]
    found = dict(zip(names, lab.together(jobs, 4), strict=True))
    lab.clear("disk")
    return found


def unshared() -> list[str] | None:
    """The words before a command that may mount a file system of its own, seen by nobody else."""
    for words in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        with tempfile.TemporaryDirectory() as folder:
            command = [*words, "mount", "-t", "tmpfs", "tmpfs", folder]
            try:
                done = subprocess.run(command, capture_output=True, check=False)
            except FileNotFoundError:
                return None
            if done.returncode == 0:
                return words
    return None


def one_disk(lab: Lab, name: str, alone: list[str]) -> Result:
    """The whole thing happens in a mount namespace (`full_disk.py`); what is left on the disk is copied out and read."""
    folder = lab.place("disk", name)
    rescued = folder.parent / f"{name}-rescued"
    steps = lab.amount(1500, 700)
    options = {
        "python": lab.python(name), "tracker": name, "folder": str(folder), "rescued": str(rescued),
        "steps": steps, "per_second": 100, "full_after": lab.amount(300, 100), "full_for": 4.0, "patience": lab.amount(15.0, 6.0),
    }  # fmt: skip
    process = lab.start([*alone, sys.executable, str(HERE / "full_disk.py"), json.dumps(options)], folder)
    found = lab.ended(process, rescued.with_suffix(".json"), 180)
    if "error" in found and "steps" not in found:
        return found
    read = lab.do(name, "recovered", rescued, 60, names=["main"])
    recovered = read["steps"]["main"] if "steps" in read else 0
    found["recovered"] = recovered
    found["lost"] = max(0, found["steps"] - found["raised"] - recovered)
    found["problem"] = read.get("problem") or read.get("error") or ""
    return found


def writers(lab: Lab) -> dict[str, Result]:
    """Eight processes that record at once, 200 steps a second each; of ours also 200 at ten."""
    found = {}
    for name in lab.names:
        say("writers", name)
        found[name] = at_once(lab, name, 8, lab.amount(2.0, 0.5), 200)
    if "autotrack" in lab.names:
        say("many writers")
        more = at_once(lab, "autotrack", lab.amount(200, 20), lab.amount(5.0, 1.0), 10)
        found["autotrack"] |= {f"more_{key}": value for key, value in more.items()}
    lab.clear("writers")
    return found


def at_once(lab: Lab, name: str, count: int, seconds: float, per_second: int) -> Result:
    folder = lab.place("writers", name)
    first = lab.do(name, "run", folder, 60, name=f"warm-{count}", steps=10)
    if "error" in first:
        return first
    go = folder / f"go-{count}"
    started = []
    for number in range(count):
        options = {
            "name": f"writer-{count}-{number}", "seconds": seconds, "per_second": per_second,
            "ready": str(folder / f"ready-{count}-{number}"), "go": str(go),
        }  # fmt: skip
        result = folder / f"result-{count}-{number}.json"
        started.append(
            (lab.start(lab.command(name, "writer", folder, result, **options), folder), result, options)
        )
    limit = time.monotonic() + 90
    while not all(os.path.exists(str(each["ready"])) for _, _, each in started) and time.monotonic() < limit:
        if any(process.poll() is not None for process, _, _ in started):
            break
        time.sleep(0.05)
    time.sleep(1)
    go.touch()
    ended = [lab.ended(process, result, 90) for process, result, _ in started]
    return joined(lab, name, folder, [str(each["name"]) for _, _, each in started], ended)


def joined(lab: Lab, name: str, folder: Path, runs: list[str], ended: list[Result]) -> Result:
    """Errors, latencies and losses of all writers together."""
    broken = [each["error"] for each in ended if "steps" not in each]
    ended = [each for each in ended if "steps" in each]
    took = sorted(each for one in ended for each in one["took_us"])
    read = lab.do(name, "recovered", folder, 120, names=runs)
    if "error" in read:
        return read
    errors = sum(each["errors"] for each in ended)
    found = {
        "writers": len(runs), "steps": sum(each["steps"] for each in ended), "errors": errors, "ended_badly": len(broken),
        "median_us": took[len(took) // 2] if took else None, "p99_us": took[len(took) * 99 // 100] if took else None,
        "lost": max(0, sum(each["steps"] for each in ended) - errors - sum(read["steps"].values())),
    }  # fmt: skip
    said = [*broken, *(each["problem"] for each in ended if each["problem"]), read["problem"]]
    return found | ({"problem": next(filter(None, said))} if any(said) else {})
