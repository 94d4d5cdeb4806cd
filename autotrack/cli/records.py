"""What a run looks like in JSON, and how columns find their values in it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotrack.cli.output import flatten

if TYPE_CHECKING:
    from autotrack.index import RunRecord

STATISTICS = (
    "last",
    "first",
    "min",
    "max",
    "mean",
    "count",
    "nonfinite",
    "min_step",
    "max_step",
    "last_step",
    "first_step",
)
FIELDS = (
    "id",
    "name",
    "project",
    "status",
    "created",
    "finished",
    "duration",
    "tags",
    "notes",
    "group",
    "parent",
    "children",
    "framework",
    "archived",
    "attempts",
    "error",
)
_INDEXED = re.compile(r"""(metrics|summary|config)\[(?:"([^"]*)"|'([^']*)')\](?:\.(\w+))?""")
_LESS_IS_BETTER = re.compile(
    r"loss|err|mae\b|mse|rmse|mape|perplexity|ppl|nll|_time|time\b|latency|brier|divergence|fid\b|wer\b|cer\b"
)
_MORE_IS_BETTER = re.compile(
    r"acc|score|f1|auc|precision|recall|r2|iou|dice|bleu|rouge|map\b|psnr|ssim|samples_per_second|reward|return"
)


def brief(run: "RunRecord") -> dict[str, Any]:
    """A run as `ls --json` gives it."""
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "status": run.status,
        "created": run.created,
        "finished": run.finished,
        "duration": run.duration,
        "framework": run.framework,
        "tags": list(run.tags),
        "notes": run.notes,
        "group": run.group,
        "parent": run.parent,
        "archived": run.archived,
        "attempts": run.attempts,
        "error": run.error,
        "config": run.config,
        "summary": dict(run.summary),
    }


def complete(run: "RunRecord") -> dict[str, Any]:
    """A run as `show --json` gives it: everything that its record has."""
    return {
        **brief(run),
        "dir": str(run.dir),
        "metrics": {key: statistics(metric) for key, metric in run.metrics.items()},
        "children": [child.id for child in run.children],
        "artifacts": [
            {name: getattr(one, name) for name in ("name", "type", "size", "digest", "step", "path", "files")}
            for one in run.artifacts
        ],
        "inputs": [
            {name: getattr(one, name) for name in ("path", "role", "size", "digest")} for one in run.inputs
        ],
        "environment": run.environment,
        "capture_report": run.capture_report,
        "warnings": run.warnings,
        "gaps": run.gaps,
        "damaged": run.damaged,
        "own_ns": run.own_ns,
    }


def statistics(metric: Any) -> dict[str, Any]:
    """The summary of one metric as a mapping."""
    return {name: getattr(metric, name) for name in STATISTICS}


def column_value(run: "RunRecord", column: str) -> Any:
    """The value of a field, `config.KEY`, a metric's key, or `KEY.min` and the like; None without."""
    if column in FIELDS:
        value = getattr(run, column)
        return len(value) if column == "children" else value
    source, key, statistic = _split(column)
    if source == "config" or column.startswith("config."):
        return flatten(run.config).get(key if source == "config" else column[7:])
    metrics = run.metrics
    if key in metrics:
        return getattr(metrics[key], statistic)
    stem, _, last = column.rpartition(".")
    if stem in metrics and last in STATISTICS:
        return getattr(metrics[stem], last)
    return None


def sort_key(column: str) -> str:
    """A column as the index orders by it: a metric's key becomes `metrics['key'].last`."""
    sign, name = ("-", column[1:]) if column.startswith("-") else ("", column)
    if name in FIELDS or name.startswith("config.") or _INDEXED.fullmatch(name):
        return column
    stem, _, last = name.rpartition(".")
    key, statistic = (stem, last) if stem and last in STATISTICS else (name, "last")
    return f"{sign}metrics[{key!r}].{statistic}"


def _split(column: str) -> tuple[str, str, str]:
    found = _INDEXED.fullmatch(column)
    if found is None:
        return "", column, "last"
    statistic = found.group(4) or "last"
    return (
        found.group(1),
        found.group(2) or found.group(3) or "",
        statistic if statistic in STATISTICS else "last",
    )


def interesting_metrics(runs: Iterable["RunRecord"], most: int = 4) -> list[str]:
    """The metrics that tell most in a list of runs: in many of them, on validation or scores; ours if no others."""
    seen: Counter[str] = Counter()
    for run in runs:
        seen.update(key for key in run.metrics if not key.startswith(("system/", "rank.")))
    often = max(seen.values(), default=0)

    def rank(key: str) -> tuple[bool, bool, int, str]:
        quality = bool(re.search(r"val|eval|test", key)) + bool(better(key) and not key.endswith("time"))
        return key.startswith("auto/"), seen[key] * 2 < often, -quality, key

    wanted = sorted((key for key in seen if seen[key] * 8 >= often), key=rank)
    users = [key for key in wanted if not key.startswith("auto/")]
    return (users or wanted)[:most]


def better(key: str) -> str:
    """Which value of a metric is the better one by its name: "min", "max", or "" where it does not say."""
    word = key.lower()
    if _LESS_IS_BETTER.search(word):
        return "min"
    return "max" if _MORE_IS_BETTER.search(word) else ""


def best_places(values: Sequence[Any], direction: str) -> set[int]:
    """The places of the best finite numbers in a row; none where all are equal or only one is there."""
    finite = {
        place: value
        for place, value in enumerate(values)
        if isinstance(value, int | float) and abs(value) != float("inf") and value == value
    }
    if len(finite) < 2 or len(set(finite.values())) < 2 or direction not in ("min", "max"):
        return set()
    best = min(finite.values()) if direction == "min" else max(finite.values())
    return {place for place, value in finite.items() if value == best}


def differences(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The keys of several flat mappings: those that differ (or are missing somewhere), those that agree."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    differing = [key for key in keys if any(key not in row or row[key] != rows[0].get(key) for row in rows)]
    return differing, [key for key in keys if key not in set(differing)]
