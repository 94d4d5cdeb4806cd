"""Run every benchmark and write what it printed to benchmarks/results/costs.json; with --readme, the README's table from it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stamp import RESULTS, stamp

HERE = Path(__file__).parent
NAMES = ("log_call", "processes", "fit", "reading")
BEGIN, END = "<!-- costs: made by benchmarks/measure.py -->", "<!-- end of costs -->"


def main() -> None:
    result = stamp()
    for name in NAMES:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", HERE / f"{name}.py"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        result[name] = json.loads(done.stdout)
        print(name, done.stdout.strip(), flush=True)
    (RESULTS / "costs.json").write_text(json.dumps(result, indent=2) + "\n")
    write_table(result)


def write_table(result: dict[str, Any]) -> None:
    """Put the table between its marks in the README."""
    readme = HERE.parent / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{table(result)}\n{END}{rest.partition(END)[2]}")


def table(result: dict[str, Any]) -> str:
    log, process, fit, reading = (result[name] for name in NAMES)
    rows = [
        (
            "`log()` of 4 scalars, in the kernel when it returns",
            f"{log['log_us']:.1f} µs: {log['ratio']:.2f} of a `json.dumps` line to a buffered file",
        ),
        ("`import autotrack`", f"{process['import_ms']:.0f} ms, {max(process['import_mib'], 0):.1f} MiB"),
        (
            "a whole short process that records 10 steps, capture included, beyond bare Python",
            f"{process['short_process_ms']:.0f} ms",
        ),
        ("`autotrack run` before a script, beyond bare Python", f"{process['launcher_ms']:.0f} ms"),
        (
            "a scikit-learn fit that is a run, beyond the fit",
            f"{fit['added_ms']:.1f} ms, of which the training score {fit['score_ms']:.1f} ms",
        ),
        (
            "reading: points brought into the index a second",
            f"{reading['ingest_points_per_s'] / 1e6:.1f} million",
        ),
        ("reading: a series of 100,000 points", f"{reading['series_100k_ms']:.0f} ms"),
    ]
    machine = f"{result['machine']['cores']} cores with Python {result['python']}"
    head = f"Measured on {machine} by `benchmarks/`; all figures: `benchmarks/results/costs.json`.\n\n"
    return head + "| what | cost |\n|---|---|\n" + "\n".join(f"| {what} | {cost} |" for what, cost in rows)


if __name__ == "__main__":
    main()
