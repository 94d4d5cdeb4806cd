"""The environment of a run, as `autotrack show` tells it: machine, packages, code, command."""

from collections.abc import Mapping
from typing import Any

from autotrack.cli.output import clean, flatten, in_a_unit, text_width, value_text
from autotrack.cli.screen import Screen

_DETAILS = frozenset(
    "argv implementation prefix virtualenv digest size fingerprint cached interval gpu_why".split()
)
"""Facts that are shown with --all only."""


def show_environment(screen: Screen, environment: Mapping[str, Any], everything: bool) -> None:
    """One line for each side of the environment; with --all a section."""
    lines: list[tuple[str, str]] = []
    for what, facts in environment.items():
        flat = flatten(facts) if isinstance(facts, dict) else {"": facts}
        flat = {key: value for key, value in flat.items() if value not in (None, "", [], {})}
        if not everything:
            flat = {key: _short(key, value) for key, value in flat.items() if key not in _DETAILS}
        if flat and everything:
            screen.heading(_title(what))
            screen.pairs([(key, value_text(in_a_unit(key, value))) for key, value in flat.items()])
        elif flat:
            lines.append((_title(what), ", ".join(_fact(what, key, value) for key, value in flat.items())))
    if lines:
        screen.heading("Environment")
        wide = max(text_width(clean(title)) for title, _ in lines)
        for title, text in lines:
            head = [("  " + clean(title).ljust(wide + 2), "dim")]
            screen.wrapped(head, text, hang=wide + 4)


def _title(what: object) -> str:
    return "GPU" if what == "gpu" else str(what).replace("_", " ").capitalize()


def _fact(what: str, key: str, value: Any) -> str:
    word = key.rpartition(".")[2]
    if word in (what, "version"):
        return value_text(value)
    if word == "count":
        return f"{value_text(value)} {what}"
    return f"{word.replace('_', ' ') if word.islower() else word} {value_text(value)}".strip()


def _short(key: str, value: Any) -> Any:
    """A long list as its length, an amount of memory or disk in a unit."""
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} entries (--all)"
    return in_a_unit(key, value)
