"""The card of a checkpoint: what is known of it, and what only people can say, left open."""

from collections.abc import Iterator, Mapping
from typing import Any

from autotrack.catalog.find import Catalog, Target
from autotrack.catalog.trace import lineage
from autotrack.index import RunRecord

_MOST_ROWS = 200
OPEN = (
    ("Intended use", "what it is for, and what it is not for"),
    ("Limitations", "where it is known to fail"),
    ("Why this one", "what spoke for it, beside the numbers"),
)


def card_of(catalog: Catalog, target: Target) -> str:
    """The card as Markdown; every number in it is from the record of the run that is named in it."""
    return "\n".join(_lines(catalog, target)) + "\n"


def _lines(catalog: Catalog, target: Target) -> Iterator[str]:
    yield f"# {target}"
    yield ""
    yield from _table(_facts(target))
    measured = catalog.measured(target).save
    if measured is not None:
        yield from _section("Metrics (when it was saved)", measured.metrics)
    steps = lineage(catalog, target)
    yield from _decisions(catalog, target)
    if (run := _run(catalog, steps[0]["run"])) is not None:
        yield from ("", "## How it was made", "")
        yield from _table(_of_run(run, steps[0]))
        yield from _section("Metrics (last values)", dict(run.summary))
        yield from _section("Parameters", _flat(run.config))
    if len(steps) > 1 or steps[0]["from"]:
        yield from ("", "## What it came from", "")
        for step in steps:
            began = step["from"]
            if began:
                yield f"- {step['checkpoint']}: {began['how']} from `{began['path']}`"
    for title, what in OPEN:
        yield from ("", f"## {title}", "", f"*Open: {what}.*")


def _facts(target: Target) -> dict[str, Any]:
    save = target.save
    facts: dict[str, Any] = {
        "file": target.path,
        "format": target.format,
        "bytes": target.size,
        "sha256": target.digest,
    }
    if save is not None:
        facts |= {"saved": save.saved.isoformat(timespec="seconds"), "step": save.step, "epoch": save.epoch}
        if save.score is not None:
            facts[save.monitor or "score"] = save.score
    return facts


def _of_run(run: RunRecord, step: Mapping[str, Any]) -> dict[str, Any]:
    code = step["code"]
    return {
        "run": f"{run.id} ({run.name})",
        "project": run.project,
        "by": step["user"],
        "begun": run.created.isoformat(timespec="seconds"),
        "status": run.status,
        "code": code["commit"] and f"{code['commit']}{' with uncommitted changes' if code['dirty'] else ''}",
        "data": ", ".join(f"{one['path']} (sha256 {one['digest']})" for one in step["data"]) or None,
    }


def _decisions(catalog: Catalog, target: Target) -> Iterator[str]:
    made = [
        f"- {version}, registered by {version.by}{f': {version.note}' if version.note else ''}"
        for model in catalog.readable()[0]
        for version in model.versions
        if version.kept == target.kept
    ]
    if made:
        yield from ("", "## Named", "", *made)


def _section(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    if values:
        yield from ("", f"## {title}", "")
        yield from _table(dict(list(values.items())[:_MOST_ROWS]))


def _table(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, value in facts.items():
        if value is not None:
            yield f"| {_cell(name)} | {_cell(value)} |"


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= (
            _flat(value, f"{before}{key}.")
            if isinstance(value, Mapping) and value
            else {f"{before}{key}": value}
        )
    return found


def _run(catalog: Catalog, run: str | None) -> RunRecord | None:
    try:
        return None if run is None else catalog.index.get(run)
    except LookupError:
        return None
