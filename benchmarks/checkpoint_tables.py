"""The tables on checkpoints in docs/benchmarks.md and docs/checkpoints.md, from benchmarks/results/checkpoints.json.

python benchmarks/checkpoint_tables.py           write them
python benchmarks/checkpoint_tables.py --check   exit with 1 where a page has other tables than the results make
"""

import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import TIE, filled, number, table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FILE = HERE / "results" / "checkpoints.json"
KNOWN: dict[str, dict[str, Any]] = tomllib.loads((HERE / "checkpoints.toml").read_text(encoding="utf-8"))
COLUMNS = [name for name in KNOWN if name != "training"]
OURS, FLOOR = "autotrack", "copy"
MADE_BY = "benchmarks/checkpoints.py"
SERIES = {
    "frozen": "frozen backbone, `torch.save`",
    "lora": "LoRA with its base, safetensors and `optimizer.pt`",
    "adapter": "LoRA adapter alone",
    "full": "full fine-tuning, `checkpoint-N` of the Trainer",
}
SHARES = {"frozen": 20.0, "lora": 25.0, "full": 101.0}
"""The most that ten saves are to take of their plain size."""


def share(found: dict[str, Any]) -> float:
    """Per cent of the plain size."""
    return 100 * float(found["stored"]) / float(found["plain"])


@dataclass(frozen=True)
class Row:
    """One number of one keeper for one series, and how it is written."""

    title: str
    value: Callable[[dict[str, Any]], float]
    cell: Callable[[dict[str, Any]], str]


ROWS = [
    Row("stored, % of plain", share, lambda found: f"{share(found):.1f}"),
    Row(
        "time on the training thread a save, ms: median (longest)",
        lambda found: float(found["call_ms"]),
        lambda found: f"{number(found['call_ms'])} ({number(found['longest_ms'])})",
    ),
    Row(
        "ten saves until all is stored, s",
        lambda found: float(found["seconds"]),
        lambda found: number(found["seconds"]),
    ),
    Row(
        "… CPU of all processes, s", lambda found: float(found["cpu_s"]), lambda found: number(found["cpu_s"])
    ),
    Row(
        "one fetched, ms: median (the first)",
        lambda found: float(found["fetch_ms"]),
        lambda found: f"{number(found['fetch_ms'])} ({number(found['first_fetch_ms'])})",
    ),
]


def value(result: dict[str, Any], name: str, series: str, row: Row) -> float | None:
    """A number, or None where there is none."""
    try:
        return row.value(result["keepers"][name][series])
    except KeyError:
        return None


def cell(result: dict[str, Any], name: str, series: str, row: Row) -> str:
    """A number as it is written, or `failed`."""
    return "failed" if value(result, name, series, row) is None else row.cell(result["keepers"][name][series])


def keepers_table(result: dict[str, Any]) -> str:
    """All keepers beside one another, series by series."""
    rows = [["", *(KNOWN[name]["title"] for name in COLUMNS)], ["---", *["---:"] * len(COLUMNS)]]
    for series, title in SERIES.items():
        plain = result["keepers"][FLOOR][series]["plain"] / 1e6
        rows.append([f"**{title}**, {number(plain)} MB plain", *[""] * len(COLUMNS)])
        rows += [[row.title, *(cell(result, name, series, row) for name in COLUMNS)] for row in ROWS]
    return table(rows)


def targets_table(result: dict[str, Any]) -> str:
    """What was to be shown, and what was measured."""
    ours, disk, hooks = result["keepers"][OURS], result["disk"], result["hooks"]
    rows = [["", "to be", "measured", ""], ["---", "---:", "---:", "---"]]
    for series, most in SHARES.items():
        found = share(ours[series])
        rows.append(
            [f"{SERIES[series]}: ten saves, % of plain", f"≤ {most:g}", f"{found:.2f}", met(found <= most)]
        )
    found = share(ours["full, best and last"])
    rows.append(["… full fine-tuning with `log_model=True` (the best and the last)", "–", f"{found:.2f}", ""])
    rows.append(
        [
            "stored bytes a second, of the disk's own writing",
            "≥ 0.8",
            number(disk["ratio"]),
            met(disk["ratio"] >= 0.8),
        ]
    )
    rows.append(
        ["… of files that are not on the disk yet, theirs counted too", "–", number(disk["fresh_ratio"]), ""]
    )
    calls = [ours[series][key] for series in SERIES for key in ("call_ms", "longest_ms")]
    rows.append(
        [
            "training thread a save, the longest of `log_checkpoint`, ms",
            "≤ 5",
            number(max(calls)),
            met(max(calls) <= 5),
        ]
    )
    for name in ("torch.save", "Trainer"):
        longest = hooks[name]["longest_ms"]
        rows.append([f"… the longest of our hook in {name}, ms (median)", "≤ 5",
                     f"{number(longest)} ({number(hooks[name]['hook_ms'])})", met(longest <= 5)])  # fmt: skip
    exact, all_ = (sum(each.get(key, 0) for each in ours.values()) for key in ("exact", "fetched"))
    rows.append(["fetched byte for byte", "all", f"{exact} of {all_}", met(exact == all_)])
    return table(rows)


def met(yes: bool) -> str:
    return "met" if yes else "**missed**"


def disk_table(result: dict[str, Any]) -> str:
    """The disk's own speed and ours."""
    disk = result["disk"]
    rows = [["MB/s, medians of rounds in turns", ""], ["---", "---:"]]
    rows.append(["the disk: the same bytes written to new files, an fsync each", number(disk["disk_mb_s"])])
    rows.append(["ours: ten saves that are on the disk, until all is stored", number(disk["ours_mb_s"])])
    rows.append(
        [
            "ours: each written right before its save, so that the disk takes it twice",
            number(disk["fresh_mb_s"]),
        ]
    )
    each = ", ".join(f"{one:.2f}" for one in disk["all"]["ratio"])
    rows.append(["ours as a ratio to the disk's, round by round", each])
    rows.append(["CPU of all our threads, s a GB", number(disk["cpu_s_a_gb"])])
    return table(rows)


def worse(result: dict[str, Any]) -> str:
    """Every row in which another one is better than ours by more than five per cent."""
    lines = []
    for series, title in SERIES.items():
        for row in ROWS:
            mine = value(result, OURS, series, row)
            others = {name: value(result, name, series, row) for name in COLUMNS if name != OURS}
            better = [
                name
                for name, its in others.items()
                if mine is not None and its is not None and its * TIE < mine
            ]
            if better:
                names = ", ".join(
                    f"{KNOWN[name]['title']} {cell(result, name, series, row)}" for name in better
                )
                lines.append(
                    f"- {title}: {row.title.removeprefix('… ')}: ours {cell(result, OURS, series, row)}; {names}"
                )
    return "\n".join(lines) or "In no row of this run."


def failures(result: dict[str, Any]) -> str:
    """What could not be done, with what was said."""
    said: dict[tuple[str, str], list[str]] = {}
    for name, found in result["keepers"].items():
        if "error" in found:
            said.setdefault((name, str(found["error"])), [])
            continue
        for series, each in found.items():
            for word in ("error", "fetch_error"):
                if word in each:
                    said.setdefault((name, str(each[word])), []).append(series)
    lines = []
    for (name, text), series in said.items():
        where = f", {', '.join(series)}" if series else ""
        lines.append(f"- {KNOWN[name]['title']}{where}: `{' '.join(text.replace('`', '').split())}`")
    return "\n".join(lines) or "Nothing."


def measured_with(result: dict[str, Any]) -> str:
    """Machine, date, versions and settings."""
    machine, measured = result["machine"], result["measured"]
    head = (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, {machine['system']}"
        f" {machine['kernel']}, Python {machine['python']}; {measured['date']}; commit {measured['commit'][:12]}"
        f"{'+' if measured['commit'].endswith('+') else ''}; seed {result['seed']}; {measured['seconds']} s in all; load"
        f" average before {measured['load_before']}.\n\n"
    )
    rows = [["", "versions", "set up as"], ["---", "---", "---"]]
    for name, wanted in KNOWN.items():
        versions = ", ".join(f"{key} {each}" for key, each in result["versions"].get(name, {}).items())
        rows.append([wanted["title"], versions, wanted["setup"]])
    models = "\n".join(f"- {SERIES[name]}: {each['about']}" for name, each in result["series"].items())
    return f"{head}{table(rows)}\n\n{models}"


def short(result: dict[str, Any]) -> str:
    """What ten saves take, for docs/checkpoints.md."""
    rows = [["ten saves of", *(KNOWN[name]["title"] for name in COLUMNS)], ["---", *["---:"] * len(COLUMNS)]]
    rows += [
        [SERIES[series], *(f"{cell(result, name, series, ROWS[0])} %" for name in COLUMNS)]
        for series in SERIES
    ]
    return table(rows)


def blocks(result: dict[str, Any]) -> dict[Path, dict[str, str]]:
    """What stands between which marks of which page."""
    page = {
        "checkpoints-machine": measured_with(result),
        "checkpoints-targets": targets_table(result),
        "checkpoints": keepers_table(result),
        "checkpoints-disk": disk_table(result),
        "checkpoints-worse": worse(result),
        "checkpoints-failures": failures(result),
    }
    docs = ROOT / "docs"
    return {docs / "benchmarks.md": page, docs / "checkpoints.md": {"checkpoints-short": short(result)}}


def pages(result: dict[str, Any]) -> dict[Path, str]:
    """Both pages as they should be."""
    return {
        path: filled(path.read_text(encoding="utf-8"), contents, MADE_BY)
        for path, contents in blocks(result).items()
    }


def write(result: dict[str, Any]) -> None:
    """Put the tables into both pages."""
    for path, text in pages(result).items():
        path.write_text(text, encoding="utf-8")


def main() -> int:
    result = json.loads(FILE.read_text(encoding="utf-8"))
    if sys.argv[1:] != ["--check"]:
        write(result)
        return 0
    other = [path for path, text in pages(result).items() if path.read_text(encoding="utf-8") != text]
    for path in other:
        print(
            f"{path.name} has other tables than {FILE.name}: run python benchmarks/checkpoint_tables.py",
            file=sys.stderr,
        )
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
