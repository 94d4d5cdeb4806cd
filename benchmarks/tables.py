"""The tables of README.md and docs/benchmarks.md, from benchmarks/results/peers.json.

python benchmarks/tables.py           write them
python benchmarks/tables.py --check   exit with 1 where a page has other tables than the results make
"""

import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FILE = HERE / "results" / "peers.json"
PEERS: dict[str, dict[str, Any]] = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
COLUMNS = [name for name in PEERS if name != "frameworks"]
OURS = "autotrack"
OTHERS = [name for name in COLUMNS if name not in ("floor", "unbuffered", OURS)]
TIE = 1.05
"""A peer is called better from here on: a difference of five percent is noise."""


@dataclass(frozen=True)
class Line:
    """One row: where its numbers lie, how a cell is written, whether less or more is better, whether the README has it."""

    title: str
    section: str
    key: str
    cell: Callable[[dict[str, Any], str], str] | None = None
    more: bool = False
    readme: bool = True
    floor: bool = True
    """Whether the floor is a floor here, and not only a file."""


def number(value: float) -> str:
    """Three digits, with commas."""
    if value and abs(value) < 100:
        return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1g}"
    digits = max(0, len(str(int(abs(value)))) - 3)
    return f"{round(value, -digits):,.0f}"


def kill_cell(found: dict[str, Any], _: str) -> str:
    return f"{number(found['lost'])} ({number(found['most_lost'])})"


def disk_cell(found: dict[str, Any], _: str) -> str:
    if found["hung_s"]:
        return f"hangs; {number(found['raised'])} / {number(found['lost'])}"
    return f"{number(found['raised'])} / {number(found['lost'])} / {number(found['longest_ms'])}"


def writers_cell(found: dict[str, Any], _: str) -> str:
    bad = found["errors"] + found["ended_badly"]
    p99 = "–" if found["p99_us"] is None else number(found["p99_us"])
    return f"{number(bad)} / {number(found['lost'])} / {p99}"


def listing_cell(found: dict[str, Any], _: str) -> str:
    return number(found["s_per_1000"]) + ("" if found["runs"] >= 1000 else f" (from {found['runs']})")


LINES = [
    Line("`log()` of 4 scalars, median µs", "calls", "median_us"),
    Line("… 99th percentile, µs", "calls", "p99_us"),
    Line("… CPU of all processes a step, µs", "calls", "cpu_us"),
    Line("CPU added to a step of 1 ms, all processes, µs", "calls", "step_cpu_us"),
    Line("… CPU on the caller's thread, µs", "calls", "step_caller_cpu_us", readme=False),
    Line("… time (the median step), µs", "calls", "step_added_us", readme=False, floor=False),
    Line("start and finish of a run, second on, ms", "calls", "start_finish_ms", floor=False),
    Line("import, beyond bare Python, ms", "processes", "import_ms", floor=False),
    Line("… memory, MiB", "processes", "memory_mib", readme=False, floor=False),
    Line("a whole script of 10 steps, beyond bare Python, ms", "processes", "short_ms", floor=False),
    Line(
        "steps lost when killed, of 10,000 at 1,000 a second: median (most)",
        "kill",
        "lost",
        kill_cell,
        floor=False,
    ),
    Line(
        "disk full for 4 s in 1,500 steps: exceptions / steps lost / longest call in ms",
        "disk_full",
        "lost",
        disk_cell,
        floor=False,
    ),
    Line(
        "8 writers at once: errors / steps lost / 99th percentile in µs",
        "writers",
        "p99_us",
        writers_cell,
        floor=False,
    ),
    Line("points a second from `log()` to a reader", "ingest", "points_per_s", more=True),
    Line("… the reader's part alone", "ingest", "reader_points_per_s", more=True, readme=False),
    Line("bytes a point", "ingest", "bytes_a_point"),
    Line("a series of 100,000 points read, ms", "series", "ms"),
    Line("… of 1,000,000 points, ms", "series", "long_ms", readme=False),
    Line("1,000 runs listed with parameters and last metrics, s", "listing", "s_per_1000", listing_cell),
    Line("… the first time, s", "listing", "first_s", readme=False),
]
OWN = [
    ("10,000 runs listed, s", ("listing", OURS, "more_s")),
    ("10,000 runs listed the first time, s", ("listing", OURS, "more_first_s")),
    ("… how many there were", ("listing", OURS, "more_runs")),
    ("a series of 100,000 points read again from a run at hand, ms", ("series", OURS, "again_ms")),
    ("200 writers at once: errors", ("writers", OURS, "more_errors")),
    ("200 writers at once: steps lost", ("writers", OURS, "more_lost")),
    ("200 writers at once: 99th percentile of a call, µs", ("writers", OURS, "more_p99_us")),
    ("`autotrack run` before a script, beyond bare Python, ms", ("processes", OURS, "launcher_ms")),
    *(
        (
            f"a step of {title}: our own time on the training's thread, µs",
            ("frameworks", framework, OURS, "own_us"),
        )
        for framework, title in (
            ("lightning", "Lightning"),
            ("transformers", "transformers"),
            ("keras", "Keras"),
        )
    ),
    (
        "a scikit-learn fit that is a run: our own time on the caller's thread, ms",
        ("frameworks", "sklearn", OURS, "own_ms"),
    ),
    (
        "… what its `score()` takes (ours: a prediction, and the formula without the checks), ms",
        ("frameworks", "sklearn", OURS, "score_ms"),
    ),
]
ALONE = "log() alone"
LINE = "JSON line"
FRAMEWORKS = [
    ("lightning", "Lightning, CPU of a step", "step_cpu_us", "µs"),
    ("lightning", "Lightning, time of a step", "step_us", "µs"),
    ("transformers", "transformers, CPU of a step", "step_cpu_us", "µs"),
    ("transformers", "transformers, time of a step", "step_us", "µs"),
    ("keras", "Keras, CPU of a step", "step_cpu_us", "µs"),
    ("keras", "Keras, time of a step", "step_us", "µs"),
    ("sklearn", "scikit-learn, time of a fit", "fit_ms", "ms"),
]


def found_of(result: dict[str, Any], section: str) -> dict[str, Any]:
    """What one section found, by tracker; nothing where it has not been measured."""
    found: dict[str, Any] = result["sections"].get(section, {}).get("results", {})
    return found


def cell(result: dict[str, Any], line: Line, name: str) -> str:
    """One cell: a number, `failed`, or a dash where there is nothing to measure."""
    if name == "floor" and line.section == "processes":
        return "0"
    found = found_of(result, line.section).get(name)
    if found is None:
        return "–"
    if "error" in found and line.key not in found:
        return "failed"
    if line.cell is not None:
        return line.cell(found, name)
    value = found.get(line.key)
    return "–" if value is None else number(value)


def peers_table(result: dict[str, Any], readme: bool) -> str:
    """All trackers beside one another."""
    titles = [PEERS[name]["title"] for name in COLUMNS]
    rows = [["", *titles], ["---", *["---:"] * len(titles)]]
    for line in LINES:
        if readme and not line.readme:
            continue
        rows.append([line.title, *(cell(result, line, name) for name in COLUMNS)])
        if line is LINES[0]:
            rows.append(["… as a ratio to the JSON line", *(ratio(result, line, name) for name in COLUMNS)])
    return table(rows)


def ratio(result: dict[str, Any], line: Line, name: str) -> str:
    """A value as a multiple of the floor's, measured in the same run."""
    found = found_of(result, line.section)
    mine, base = found.get(name, {}).get(line.key), found.get("floor", {}).get(line.key)
    return f"{mine / base:.2f}" if mine is not None and base else "–"


def ratios_table(result: dict[str, Any]) -> str:
    """The rows that have a floor, as multiples of it."""
    titles = [PEERS[name]["title"] for name in COLUMNS]
    rows = [["", *titles], ["---", *["---:"] * len(titles)]]
    with_floor = [line for line in LINES if line.floor]
    rows += [[title_of(line), *(ratio(result, line, name) for name in COLUMNS)] for line in with_floor]
    return table(rows)


def frameworks_table(result: dict[str, Any]) -> str:
    """What each logger adds to a step, or to a fit, of each framework; what one call of `log()` a step does, and one JSON line."""
    rows = [
        ["", "bare", "autotrack adds", f"`{ALONE}`", LINE, "others add"],
        ["---", "---:", "---:", "---:", "---:", "---"],
    ]
    for framework, title, key, unit in FRAMEWORKS:
        found = found_of(result, "frameworks").get(framework, {})
        if "bare" not in found:
            rows.append([title, "failed" if "error" in found else "–", "", "", "", ""])
            continue
        bare = found["bare"].get(key)
        others = [f"{name} {added(found[name], key)}" for name in others_in(found)]
        base = ("failed" if "error" in found["bare"] else "–") if bare is None else f"{number(bare)} {unit}"
        ours = [added(found.get(name, {}), key, f" {unit}") for name in (OURS, ALONE, LINE)]
        rows.append([title, base, *ours, f"{'; '.join(others)} ({unit})"])
    return table(rows)


def others_in(found: dict[str, Any]) -> list[str]:
    """The loggers of a framework that are not ours."""
    known = ("bare", OURS, ALONE, LINE)
    return [name for name in found if name not in known and isinstance(found[name], dict)]


def added(found: dict[str, Any], key: str, unit: str = "") -> str:
    """What is added to the bare framework, with the ratio to it."""
    if "error" in found:
        return "failed"
    if f"added_{key}" not in found:
        return "–"
    return f"{number(found[f'added_{key}'])} ({found[f'ratio_{key}']:.2f} ×){unit}"


def table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def worse(result: dict[str, Any]) -> str:
    """Every row in which a peer was better than ours, whichever the limit."""
    lines = []
    for line in LINES:
        found = found_of(result, line.section)
        mine = found.get(OURS, {}).get(line.key)
        better = [name for name in OTHERS if is_better(found.get(name, {}).get(line.key), mine, line)]
        if better:
            names = ", ".join(f"{PEERS[name]['title']} {cell(result, line, name)}" for name in better)
            title = title_of(line)
            lines.append(f"- {title}: ours {cell(result, line, OURS)}; {names}")
    for framework, title, key, _ in FRAMEWORKS:
        found = found_of(result, "frameworks").get(framework, {})
        mine = found.get(OURS, {}).get(f"added_{key}")
        better = [
            name for name in others_in(found) if mine and found[name].get(f"added_{key}", mine) * TIE < mine
        ]
        if better:
            names = ", ".join(f"{name} {added(found[name], key)}" for name in better)
            lines.append(f"- {title}: ours adds {added(found[OURS], key)}; {names}")
    return "\n".join(lines) or "In no row of this run."


def title_of(line: Line) -> str:
    """A row's title, with the one that it goes on from."""
    titles = [each.title for each in LINES]
    place = titles.index(line.title)
    if not line.title.startswith("… "):
        return line.title
    head = next(title for title in reversed(titles[:place]) if not title.startswith("… "))
    return f"{head.partition(', ')[0]}: {line.title[2:]}"


def is_better(theirs: float | None, ours: float | None, line: Line) -> bool:
    if theirs is None or ours is None:
        return False
    return theirs > ours * TIE if line.more else theirs * TIE < ours


def own_table(result: dict[str, Any]) -> str:
    """What was measured of ours alone."""
    rows = [["", "autotrack"], ["---", "---:"]]
    for title, (section, *path) in OWN:
        value: Any = found_of(result, section)
        for key in path:
            value = value.get(key, {})
        rows.append([title, number(value) if isinstance(value, int | float) else "–"])
    return table(rows)


def failures(result: dict[str, Any]) -> str:
    """What was not measured or went wrong, with what was said."""
    lines = []
    for section, each in result["sections"].items():
        for name, found in each["results"].items():
            inner = found if section == "frameworks" and "error" not in found else {name: found}
            for variant, one in inner.items():
                words = ("error", "more_error", "problem_of_log", "problem_of_finish", "problem")
                said = next((one[word] for word in words if one.get(word)), "")
                if said:
                    who = name if variant == name else f"{name}, {variant}"
                    lines.append(f"- {section}, {who}: `{' '.join(said.replace('`', '').split())}`")
    return "\n".join(lines) or "Nothing."


def measured_with(result: dict[str, Any]) -> str:
    """Machine, dates, versions and settings."""
    machine = result["machine"]
    dates = sorted({each["measured"]["date"] for each in result["sections"].values()})
    commits = sorted({each["measured"]["commit"][:12] for each in result["sections"].values()})
    seconds = sum(each["measured"]["seconds"] for each in result["sections"].values())
    loads = [each["measured"]["load_before"] for each in result["sections"].values()]
    head = (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, {machine['system']}"
        f" {machine['kernel']}, Python {machine['python']}; {' and '.join(dates)}; commit {' and '.join(commits)}"
        f" (a `+` marks changes that were not committed); seed {result['seed']}; {seconds} s in all; load average"
        f" before a section {min(loads)} to {max(loads)}.\n\n"
    )
    rows = [["", "versions", "set up as"], ["---", "---", "---"]]
    for name, wanted in PEERS.items():
        versions = ", ".join(f"{key} {each}" for key, each in result["versions"].get(name, {}).items())
        rows.append([wanted["title"], versions, wanted["setup"]])
    return head + table(rows)


def readme(result: dict[str, Any]) -> str:
    machine = result["machine"]
    dates = sorted({each["measured"]["date"] for each in result["sections"].values()})
    head = (
        f"Measured on {machine['cores']} cores with Python {machine['python']} ({' and '.join(dates)}), each row in one run:"
        " compare along a row, as a shared machine is not always as fast. Less is better, but for points a second."
        " `python benchmarks/peers.py` measures anew: it makes an environment for each tracker. How each is measured, all"
        " rows, and where ours is worse: `docs/benchmarks.md`.\n\n"
    )
    between = "\n\nWhat logging adds to a step or a fit of a framework:\n\n"
    return head + peers_table(result, readme=True) + between + frameworks_table(result)


def blocks(result: dict[str, Any]) -> dict[Path, dict[str, str]]:
    """What stands between which marks of which page."""
    page = {
        "machine": measured_with(result),
        "peers": peers_table(result, readme=False),
        "ratios": ratios_table(result),
        "own": own_table(result),
        "frameworks": frameworks_table(result),
        "worse": worse(result),
        "failures": failures(result),
    }
    return {ROOT / "README.md": {"costs": readme(result)}, ROOT / "docs" / "benchmarks.md": page}


def marks(name: str, by: str) -> tuple[str, str]:
    return f"<!-- {name}: made by {by} -->", f"<!-- end of {name} -->"


def filled(text: str, contents: dict[str, str], by: str = "benchmarks/peers.py") -> str:
    """A page with its blocks replaced; ValueError for one that has no place in it."""
    for name, content in contents.items():
        begin, end = marks(name, by)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no place for {name!r}: put {begin} and {end} into it")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


def pages(result: dict[str, Any]) -> dict[Path, str]:
    """Both pages as they should be."""
    return {
        path: filled(path.read_text(encoding="utf-8"), contents) for path, contents in blocks(result).items()
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
            f"{path.name} has other tables than {FILE.name}: run python benchmarks/tables.py", file=sys.stderr
        )
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())
