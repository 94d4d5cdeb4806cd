"""Columns of `ls`: what a name means, in the words of the filter language, and the value that a run has there."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from autotrack.cli.output import flatten

if TYPE_CHECKING:
    from autotrack.index import Index, RunRecord

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
    "opened_by",
    "archived",
    "attempts",
    "error",
)
UNSORTED = ("tags", "children", "error")
_BRACKETS = re.compile(r"""(metrics|summary|config)\[(?:"([^"]*)"|'([^']*)')\](?:\.(\w+))?""")
_PIECES = re.compile(r"""(?:\["[^"]*"\]|\['[^']*'\]|[^,])+""")
_NEAR_RUNS = 200


class Meaning(NamedTuple):
    """What the name of a column stands for: a field of a run, a config value, or a number of a metric."""

    kind: str
    key: str
    statistic: str = ""

    @property
    def ordering(self) -> str:
        """It in the filter language."""
        if self.kind == "field":
            return self.key
        return f"{self.kind}[{self.key!r}]" + (f".{self.statistic}" if self.kind == "metrics" else "")

    @property
    def title(self) -> str:
        """It as the head of a column."""
        if self.kind == "config":
            return f"config.{self.key}"
        return self.key if self.statistic in ("", "last") else f"{self.key}.{self.statistic}"


def names(text: str | None) -> list[str]:
    """The names in `a,config.b,metrics["c,d"].min`."""
    return [piece.strip() for piece in _PIECES.findall(text or "") if piece.strip()]


def meanings(name: str) -> list[Meaning]:
    """What a name may stand for, the likeliest first."""
    if name in FIELDS:
        return [Meaning("field", name)]
    base, dot, rest = name.partition(".")
    found = _BRACKETS.fullmatch(name)
    if found:
        key = found[2] if found[2] is not None else found[3]
        if found[1] == "config":
            return [] if found[4] else [Meaning("config", key)]
        return [Meaning("metrics", key, found[4] or "last")] if (found[4] or "last") in STATISTICS else []
    if base == "config" and dot:
        return [Meaning("config", rest)]
    inside = _metrics(rest) if base in ("metrics", "summary") and dot else []
    return inside + _metrics(name)


def _metrics(name: str) -> list[Meaning]:
    stem, _, last = name.rpartition(".")
    short = [Meaning("metrics", stem, last)] if stem and last in STATISTICS else []
    return [Meaning("metrics", name, "last"), *short]


def value(run: "RunRecord", meaning: Meaning) -> Any:
    """What a run has there; None without."""
    if meaning.kind == "field":
        return run.child_count if meaning.key == "children" else getattr(run, meaning.key)
    if meaning.kind == "config":
        return flatten(run.config).get(meaning.key)
    metric = run.metrics.get(meaning.key)
    return None if metric is None else getattr(metric, meaning.statistic)


def resolve(index: "Index", name: str, runs: Iterable["RunRecord"], option: str) -> Meaning:
    """What a name stands for in this store; wrong usage, with names near to it, where it stands for nothing.

    `runs` are looked at first, because that is quicker than asking the store.
    """
    possible = meanings(name)
    if possible and possible[0].kind == "field":
        return possible[0]
    seen = list(runs)
    here = (meaning for meaning in possible if any(_has(run, meaning) for run in seen))
    elsewhere = (meaning for meaning in possible if anywhere(index, meaning))
    for meaning in chain(here, elsewhere):
        return meaning
    raise typer.BadParameter(_unknown(index, name, possible), param_hint=option)


def ordering(index: "Index", text: str) -> tuple[Meaning, str]:
    """What `-loss.min` stands for, and how the index orders by it: `-metrics['loss'].min`."""
    sign, name = ("-", text[1:]) if text.startswith("-") else ("", text)
    if name in UNSORTED:
        raise typer.BadParameter(
            f"runs cannot be sorted by {name}; by {', '.join(field for field in FIELDS if field not in UNSORTED)}, "
            "config.KEY or a metric they can.",
            param_hint="--sort",
        )
    meaning = resolve(index, name, (), "--sort")
    return meaning, sign + meaning.ordering


def _has(run: "RunRecord", meaning: Meaning) -> bool:
    return meaning.key in (flatten(run.config) if meaning.kind == "config" else run.metrics)


def anywhere(index: "Index", meaning: Meaning) -> bool:
    """Whether a run of the store has it."""
    there = meaning if meaning.kind == "config" else meaning._replace(statistic="count")
    return bool(index.count(where=f"{there.ordering} is not None", archived=True))


def _unknown(index: "Index", name: str, possible: Sequence[Meaning]) -> str:
    known = known_words(index)
    near = near_words(name, possible, known)
    if near:
        return f"{name!r} is no field, and no run of this store has it. Did you mean {' or '.join(near)}?"
    return (
        f"{name!r} is no field, and no run of this store has it. Fields: {', '.join(FIELDS)}; "
        "config.KEY; a metric's key, or KEY.min and the like."
    )


def known_words(index: "Index") -> dict[str, str]:
    """The words that could be meant, and how each is written."""
    words = {field: field for field in FIELDS}
    for run in index.runs(limit=_NEAR_RUNS, archived=True):
        words |= {f"config.{key}": f"config.{key}" for key in flatten(run.config)}
        words |= {key: key for key in run.metrics}
    return words


def near_words(name: str, possible: Sequence[Meaning], known: dict[str, str]) -> list[str]:
    """Words like a name that is not known, as they are written."""
    if f"config.{name}" in known:
        return [f"config.{name}"]
    looked_for = [name, *(meaning.key for meaning in possible if meaning.kind == "metrics")]
    inside = sorted(
        (word for word in known for part in looked_for if len(part) > 1 and part in word), key=len
    )
    close = [near for part in looked_for for near in get_close_matches(part, known, 2, 0.7)]
    return [known[near] for near in dict.fromkeys(close + inside)][:3]
