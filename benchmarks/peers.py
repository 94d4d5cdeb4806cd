"""Measure autotrack beside its peers, each in an environment of its own, in one run on one machine.

    python benchmarks/peers.py                    everything; writes benchmarks/results/peers.json and the tables
    python benchmarks/peers.py --only kill calls  these sections; the others keep their results
    python benchmarks/peers.py --quick            a few seconds of each, to see whether it works; writes nothing

The tables of README.md and docs/benchmarks.md are made from the results at the end (`tables.py`). Linux only.
docs/benchmarks.md says how each is measured.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import costs
import environments
import faults
import frameworks
import tables
from adapters import FLOORS, NAMES
from framework_tasks import VARIANTS
from lab import Lab, say
from stamp import git
from tables import FILE
from workloads import Caught

SECTIONS = {
    "calls": costs.calls,
    "processes": costs.processes,
    "ingest": costs.ingest,
    "series": costs.series,
    "listing": costs.listing,
    "kill": faults.kill,
    "disk_full": faults.disk_full,
    "writers": faults.writers,
    "frameworks": frameworks.frameworks,
}


def main() -> int:
    wanted = arguments()
    names = [name for name in NAMES if name in (*FLOORS, *(wanted.peers or NAMES))]
    problems = made(wanted.environments, [*names, "frameworks"] if "frameworks" in wanted.only else names)
    ready = [name for name in names if name not in problems]
    result = json.loads(FILE.read_text()) if FILE.is_file() and not wanted.quick else {}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=wanted.work) as work:
        lab = Lab(wanted.environments, Path(work), ready, wanted.quick, wanted.seed)
        sections = {name: measured(lab, name, problems) for name in SECTIONS if name in wanted.only}
    result = {
        "seed": wanted.seed,
        "machine": costs.machine() | {"kernel": platform.release(), "python": platform.python_version()},
        "versions": result.get("versions", {})
        | versions(wanted.environments, [*ready, "frameworks"], environments.peers()),
        "sections": result.get("sections", {}) | sections,
    }
    hidden = (work, *(str(each) for each in (wanted.environments, environments.ROOT, Path.home())))
    if wanted.quick or wanted.peers:
        print(json.dumps(fit_to_keep(sections, hidden), indent=1))
        return 0
    FILE.write_text(json.dumps(fit_to_keep(result, hidden), indent=1) + "\n")
    tables.write(json.loads(FILE.read_text()))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, default=environments.default_folder(), metavar="FOLDER",
                        help="where the environments are kept (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="where to record (default: a temporary folder)"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--peers", nargs="+", choices=NAMES, metavar="PEER",
                        help=f"of {', '.join(NAMES)}; prints the results and writes nothing")  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="small amounts; prints the results and writes nothing"
    )
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the random times (default: the clock)"
    )
    wanted = parser.parse_args()
    if sys.platform != "linux":
        parser.error("only Linux has what this needs (/proc, mount namespaces)")
    return wanted


def made(folder: Path, names: list[str]) -> dict[str, str]:
    """Make the environments; those that could not be made, and why."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: environments.make(folder, name, environments.peers()[name]) for name in names}
    problems = {name: problem for name, problem in found.items() if problem}
    for name, problem in problems.items():
        say(name, problem)
    return problems


def measured(lab: Lab, name: str, problems: dict[str, str]) -> dict[str, Any]:
    """One section, with the time and the commit at which it was measured."""
    started, load = time.monotonic(), os.getloadavg()[0]
    if name == "frameworks" and "frameworks" in problems:
        found = {each: {"error": problems["frameworks"]} for each in VARIANTS}
    else:
        found = {}
        with (caught := Caught()):
            found = SECTIONS[name](lab)
        if caught.count:  # the other sections are measured nonetheless
            say(name, caught.first)
            found = {
                each: {"error": caught.first} for each in (VARIANTS if name == "frameworks" else lab.names)
            }
    if name != "frameworks":
        found |= {each: {"error": problem} for each, problem in problems.items() if each != "frameworks"}
    dirty = (
        "+"
        if git("status", "--porcelain", "--untracked-files=no", "--", ":/autotrack", ":/integrations")
        else ""
    )
    about = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": git("rev-parse", "HEAD") + dirty,
        "load_before": round(load, 2),
        "seconds": round(time.monotonic() - started),
    }
    return {"measured": about, "results": found}


def versions(folder: Path, names: list[str], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The versions of what the table asks for, and all of what lies in our environment."""
    found = {}
    for name in names:
        if not environments.python(folder, name).exists():
            continue
        wanted = known[name]
        installed = environments.versions(folder, name)
        asked = {word.partition("==")[0] for word in [*wanted.get("first", []), *wanted["requirements"]]}
        found[name] = {key: installed[key] for key in sorted(asked) if key in installed}
        if wanted.get("checkout"):
            found[name] |= {
                key: installed[key] for key in ("autotrack-ml", "numpy", "orjson") if key in installed
            }
    return found


def fit_to_keep(value: Any, hidden: tuple[str, ...]) -> Any:
    """Four digits, which is more than any of this is good for, and no folder of this machine."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: fit_to_keep(each, hidden) for key, each in value.items()}
    if isinstance(value, str):
        for folder in hidden:
            value = value.replace(folder, "…")
    return value


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("git is needed: trackers look at the checkout that they run in")
    sys.exit(main())
