"""Measure what keeping checkpoints takes, beside others that keep them, each in an environment of its own, in one run on one machine.

    python benchmarks/checkpoints.py             everything; writes benchmarks/results/checkpoints.json and the tables
    python benchmarks/checkpoints.py --quick     small models, and one round of each; prints the results and writes nothing
    python benchmarks/checkpoints.py --keepers copy autotrack      only these; prints the results and writes nothing

docs/benchmarks.md says how each is measured. Linux only. The environments are those of checkpoints.toml.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import checkpoint_tables
import costs
import environments
import peers
from keepers import NAMES
from lab import Lab, Result, say
from stamp import git

SERIES = ("frozen", "lora", "adapter", "full")
SECONDS = 300  # for one workload
WORKER = "checkpoint_worker.py"


def main() -> int:
    wanted = arguments()
    names = wanted.keepers or NAMES
    known = {
        name: each
        for name, each in environments.peers("checkpoints.toml").items()
        if name in (*names, "training")
    }
    problems = made(wanted.environments, known)
    started, load, commit = time.monotonic(), os.getloadavg()[0], git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/autotrack", ":/integrations")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=wanted.work) as work:
        ready = [name for name in names if name not in problems]
        lab = Lab(wanted.environments, Path(work), ready, wanted.quick, wanted.seed, WORKER)
        found = {"series": series(lab), "keepers": keepers(lab), "disk": disk(lab), "hooks": hooks(lab)}
    found["keepers"] |= {name: {"error": problem} for name, problem in problems.items() if name != "training"}
    result = {
        "seed": wanted.seed,
        "machine": costs.machine() | {"kernel": platform.release(), "python": platform.python_version()},
        "measured": {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "commit": commit + ("+" if changed else ""),
            "load_before": round(load, 2),
            "seconds": round(time.monotonic() - started),
        },
        "versions": peers.versions(
            wanted.environments, [name for name in known if name not in problems], known
        ),
        **found,
    }
    hidden = (work, *(str(each) for each in (wanted.environments, environments.ROOT, Path.home())))
    text = json.dumps(peers.fit_to_keep(result, hidden), indent=1)
    if wanted.quick or wanted.keepers:
        print(text)
        return 0
    checkpoint_tables.FILE.write_text(text + "\n")
    checkpoint_tables.write(json.loads(text))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, default=environments.default_folder(), metavar="FOLDER",
                        help="where the environments are kept (default: %(default)s)")  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="FOLDER",
                        help="where to work: about 12 GB, on the disk that is to be measured (default: a temporary folder)")  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="small models; prints the results and writes nothing"
    )
    parser.add_argument("--keepers", nargs="+", choices=NAMES, metavar="KEEPER",
                        help=f"of {', '.join(NAMES)}; prints the results and writes nothing")  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the models (default: the clock)"
    )
    wanted = parser.parse_args()
    if sys.platform != "linux":
        parser.error("only Linux has what this needs (/proc)")
    return wanted


def made(folder: Path, known: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Make the environments; those that could not be made, and why."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = {name: environments.make(folder, name, wanted) for name, wanted in known.items()}
    problems = {name: problem for name, problem in problems.items() if problem}
    for name, problem in problems.items():
        say(name, problem)
    if "training" in problems:
        raise SystemExit(f"There is nothing to keep without a training: {problems['training']}")
    return problems


def series(lab: Lab) -> dict[str, Result]:
    """Train, and save; what there is to keep."""
    found = {}
    for name in SERIES:
        say("series", name)
        done = lab.do("training", "make", lab.work, SECONDS, series=f"series/{name}",
                      seed=lab.random.randrange(2**31), small=lab.quick)  # fmt: skip
        if "error" in done:
            raise SystemExit(f"the series {name} was not made: {done['error']}")
        found[name] = done
    return found


def keepers(lab: Lab) -> dict[str, dict[str, Result]]:
    """Everybody keeps every series, and fetches some of it back; ours all of it, and once with the best and last only."""
    found: dict[str, dict[str, Result]] = {name: {} for name in lab.names}
    for one in SERIES:
        for name in lab.names:
            say("keep", one, name)
            found[name][one] = kept(lab, name, one)
        if "autotrack" in lab.names:
            found["autotrack"][f"{one}, best and last"] = kept(lab, "autotrack", one, policy="best and last")
    return found


def kept(lab: Lab, name: str, one: str, **options: Any) -> Result:
    """One series with one keeper."""
    place, source = lab.place("keep", name), str(lab.work / "series" / one)
    found = lab.do(name, "keep", place, SECONDS, series=source, **options)
    if "error" not in found:
        saves = json.loads((lab.work / "series" / f"{one}.json").read_text())
        steps = [step for _, step, _ in saves]
        some = steps if name == "autotrack" else [steps[1], steps[len(steps) // 2], steps[-1]]
        if options:  # the last one is there, whichever is the best
            some = steps[-1:]
        fetched = lab.do(name, "fetch", place, SECONDS, series=source, steps=some)
        found |= {"fetch_error": fetched["error"]} if "error" in fetched else fetched
    lab.clear("keep")
    return found


def disk(lab: Lab) -> Result:
    """The disk's own speed beside ours, in turns: what was on the disk before, and what is written right before each save."""
    source = str(lab.work / "series" / "full")
    rounds: dict[str, list[Result]] = {key: [] for key in ("write", "write_twice", "ours", "ours_fresh")}
    for turn in range(lab.amount(3, 1)):
        say("disk", turn)
        for key, each in rounds.items():
            place = lab.place("disk", key)
            options: dict[str, Any] = {"series": source}
            if key.startswith("write"):
                done = lab.do("copy", "write", place, SECONDS, times=1 + (key == "write_twice"), **options)
            else:
                done = lab.do("autotrack", "keep", place, SECONDS, fresh=key == "ours_fresh", **options)
            if "error" in done:
                return done
            each.append(done)
            lab.clear("disk")
            os.sync()
    return speeds(rounds)


def speeds(rounds: dict[str, list[Result]]) -> Result:
    """MB/s, and the medians of ours against the disk's in the same round."""
    plain = rounds["write"][0]["bytes"]
    rate = {key: [times * plain / 1e6 / each["seconds"] for each in rounds[key]]
            for key, times in (("write", 1), ("write_twice", 2), ("ours", 1), ("ours_fresh", 2))}  # fmt: skip
    ratios = {
        "ratio": [ours / its for ours, its in zip(rate["ours"], rate["write"], strict=True)],
        "fresh_ratio": [
            ours / its for ours, its in zip(rate["ours_fresh"], rate["write_twice"], strict=True)
        ],
    }
    return {
        "rounds": len(rounds["write"]),
        "bytes": plain,
        "disk_mb_s": statistics.median(rate["write"]),
        "ours_mb_s": statistics.median(rate["ours"]),
        "fresh_mb_s": statistics.median(rate["ours_fresh"]) / 2,
        **{key: statistics.median(each) for key, each in ratios.items()},
        "all": rate | ratios,
        "cpu_s_a_gb": statistics.median(1e9 * each["cpu_s"] / plain for each in rounds["ours"]),
    }


def hooks(lab: Lab) -> Result:
    """Our own time on the training thread where a framework saves."""
    say("hooks")
    place = lab.place("hooks", "training")
    found = lab.do(
        "training", "hooks", place, SECONDS, series=str(lab.work / "series" / "frozen"), small=lab.quick
    )
    if "error" not in found:
        found |= lab.do("training", "stored", place, SECONDS)
    lab.clear("hooks")
    return found


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("git is needed: trackers look at the checkout that they run in")
    sys.exit(main())
