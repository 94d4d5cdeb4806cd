"""What a run looks like in JSON, which of the metrics of some runs tell most, and which of several values are the best."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotrack.cli.columns import STATISTICS
from autotrack.cli.words import interest, technical

if TYPE_CHECKING:
    from autotrack.index import RunRecord


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
        "checkpoints": [vars(one) for one in run.checkpoints],
        "inputs": [
            {name: getattr(one, name) for name in ("path", "role", "size", "digest", "run", "step")}
            for one in run.inputs
        ],
        "changes": [change._asdict() for change in run.changes],
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


def interesting_metrics(runs: Iterable["RunRecord"], most: int = 4) -> list[str]:
    """The metrics that tell most in a list of runs: in many of them, on validation or scores; ours if no others."""
    seen: Counter[str] = Counter()
    for run in runs:
        seen.update(key for key in run.metrics if not key.startswith(("system/", "rank.")))
    often = max(seen.values(), default=0)

    def rank(key: str) -> tuple[bool, bool, int, str]:
        ours, quality, name = interest(key)
        return ours, seen[key] * 2 < often, quality, name

    wanted = sorted((key for key in seen if seen[key] * 8 >= often), key=rank)
    users = [key for key in wanted if not key.startswith("auto/")]
    telling = [key for key in users if not technical(key)]
    return (telling or users or wanted)[:most]


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
    differing = {
        key: None for key in keys if any(key not in row or row[key] != rows[0].get(key) for row in rows)
    }
    return list(differing), [key for key in keys if key not in differing]
