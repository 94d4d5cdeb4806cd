"""Which rows of a run's config are shown, and in which order; and why its training ended, which stands there too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from autotrack.cli.output import flatten

if TYPE_CHECKING:
    from autotrack.index import RunRecord

Flat = dict[str, Any]
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class Part(NamedTuple):
    """The first rows of a group of settings, by dotted key; of the rest how many there are. `name`: "" for what has no group."""

    name: str
    rows: Flat
    more: int


def parts_of(config: Mapping[str, Any], most: int | None = None) -> list[Part]:
    """What stands by itself, then the groups, the shortest first; in each what is empty comes last.

    Of at most so many rows half are for what stands by itself; the groups share what is left, and a long one is cut.
    """
    alone = {key: value for key, value in config.items() if not _is_group(value)}
    groups = {key: flatten({key: value}) for key, value in config.items() if _is_group(value)}
    groups = dict(sorted(groups.items(), key=lambda named: len(named[1])))
    sizes = [len(rows) for rows in groups.values()]
    if most is None or len(alone) + sum(sizes) <= most:
        return [_part(name, rows, len(rows)) for name, rows in ({"": alone} | groups).items()]
    first = min(len(alone), max(most // 2, most - sum(sizes)))
    found = [_part("", alone, first)]
    for place, (name, rows) in enumerate(groups.items()):
        left = most - sum(len(part.rows) for part in found)
        found.append(_part(name, rows, left // (len(groups) - place)))
    return found


def why_ended(run: "RunRecord") -> str | None:
    """Why its training ended, in one line; None where nothing tells, or the run has not ended."""
    config = run.config
    places = [config, config.get(run.framework or "")]
    found = [place.get("stopped") for place in places if isinstance(place, Mapping)]
    told = next((one for one in found if isinstance(one, Mapping) and isinstance(one.get("by"), str)), None)
    if told is None or run.finished is None:
        return None
    reason = str(told.get("reason") or "").partition("\n")[0]
    return f"{told['by']}: {reason}" if reason else str(told["by"])


def _part(name: str, rows: Flat, most: int) -> Part:
    ordered = sorted(rows.items(), key=lambda row: row[1] in _EMPTY)
    return Part(name, dict(ordered[:most]), max(0, len(rows) - most))


def _is_group(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)
