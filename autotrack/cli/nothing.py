"""What to say when no run fits: that the store is empty, or which word is not known here and what is near to it."""

import ast
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from autotrack.cli.columns import anywhere, known_words, meanings, near_words
from autotrack.cli.context import note
from autotrack.cli.output import clean, count_text

if TYPE_CHECKING:
    from autotrack.index import Index


def say_nothing_found(
    index: "Index", project: str | None, group: str | None, where: str | None, everywhere: bool
) -> None:
    """Say on standard error why no run is shown; `everywhere`: archived runs were looked at too."""
    if not index.count(archived=True):
        note("No runs yet. Record one with: autotrack run train.py")
        return
    reasons = [*_unknown_name(index, "project", project), *_unknown_name(index, "group", group)]
    if not reasons and where:
        reasons = list(_unknown_in_filter(index, where))
    for reason in reasons:
        note(reason)
    if reasons:
        return
    hidden = 0 if everywhere else index.count(project, where, archived=True, group=group)
    more = f" {count_text(hidden, 'archived or child run')} would; --all shows them." if hidden else ""
    note(f"No run matches.{more}")


def _unknown_name(index: "Index", what: str, name: str | None) -> Iterator[str]:
    if name is None or index.count(where=f"{what} == {name!r}", archived=True):
        return
    there = dict.fromkeys(getattr(run, what) for run in index.runs(archived=True))
    names = [str(one) for one in there if one]
    near = get_close_matches(name, names, 3, 0.5)
    listed = ", ".join(map(clean, near or names[:5]))
    if near:
        yield f"No {what} is called {name!r}. Near to it: {listed}."
    elif names:
        yield f"No {what} is called {name!r}. There {'is' if len(names) == 1 else 'are'}: {listed}{', …' * (len(names) > 5)}."
    else:
        yield f"No run of this store has a {what}."


def _unknown_in_filter(index: "Index", where: str) -> Iterator[str]:
    known: dict[str, str] = {}
    for name in _names_in(where):
        possible = meanings(name)
        if any(anywhere(index, meaning) for meaning in possible):
            continue
        known = known or known_words(index)
        near = near_words(name, possible, known)
        yield f"No run of this store has {name}." + (f" Near to it: {', '.join(near)}." if near else "")


def _names_in(where: str) -> Iterator[str]:
    """The config values and metrics that a filter names."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(where.strip(), mode="eval")):
        if id(node) in inside or not isinstance(node, ast.Attribute | ast.Subscript):
            continue
        inside |= {id(part) for part in ast.walk(node)}
        name = ast.unparse(node)
        if name.startswith(("config", "metrics", "summary")):
            yield name
