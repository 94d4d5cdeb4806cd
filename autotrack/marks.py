"""How an open run is known from outside its process: a file in `open/`, and two environment variables for its children."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from autotrack.layout import Layout, write_private
from autotrack.process import is_descendant_of, this_process

RUN_ID = "AUTOTRACK_RUN_ID"
OWNER = "AUTOTRACK_OWNER"

_before: dict[str, str | None] = {}


class Owner(NamedTuple):
    """The run of a parent process, as its children see it."""

    run: str
    project: str
    store: Path
    pid: int
    by_user: bool = False
    shown: str = ""
    """The project that the run is in now; `project` is the one of its folder."""


def mark_open(layout: Layout, run_id: str, project: str) -> None:
    """Say that the run is live, so that nobody looks into the finished ones; where the disk refuses that, it is said later."""
    with suppress(OSError):
        write_private(layout.open / run_id, orjson.dumps({"project": project}))


def unmark_open(layout: Layout, run_id: str) -> None:
    """The run is no longer live."""
    with suppress(OSError):
        os.unlink(layout.open / run_id)


def export(run_id: str, project: str, store: Path, by_user: bool, shown: str | None = None) -> None:
    """Tell the processes that are started from here which run they belong to; another run that is told already stays."""
    if OWNER in os.environ and _owned_here() and os.environ.get(RUN_ID) != run_id:
        return
    facts = this_process()
    owner = {
        "pid": facts.pid,
        "host": facts.host,
        "started": facts.started,
        "project": project,
        "store": str(store),
        "by_user": by_user,
        "shown": shown or project,
    }
    with suppress(ValueError, UnicodeEncodeError):
        _before.setdefault(run_id, os.environ.get(RUN_ID))
        os.environ[OWNER] = orjson.dumps(owner).decode()
        os.environ[RUN_ID] = run_id


def withdraw(run_id: str) -> None:
    """Take the variables back, if they name this run and this process set them."""
    if os.environ.get(RUN_ID) == run_id and _owned_here():
        os.environ.pop(OWNER, None)
        before = _before.pop(run_id, None)
        if before is None:
            os.environ.pop(RUN_ID, None)
        else:
            os.environ[RUN_ID] = before


def owner() -> Owner | None:
    """The open run of an ancestor of this process, None without one. It counts only for descendants of its owner."""
    facts = _facts()
    run_id = os.environ.get(RUN_ID)
    here = this_process()
    if facts is None or not run_id or facts["pid"] == here.pid:
        return None
    if facts.get("host") != here.host or not is_descendant_of(facts["pid"]):
        return None
    by_user, shown = facts.get("by_user") is True, str(facts.get("shown") or facts["project"])
    return Owner(run_id, facts["project"], Path(facts["store"]), facts["pid"], by_user, shown)


def continued() -> str | None:
    """The run that this very process opened before it replaced itself by `exec`, None without one."""
    facts = _facts()
    if facts is None or facts["pid"] != os.getpid() or facts.get("started") != this_process().started:
        return None
    return os.environ.get(RUN_ID)


def _owned_here() -> bool:
    return os.environ.get(OWNER, "").startswith(f'{{"pid":{os.getpid()},')


def _facts() -> dict[str, Any] | None:
    text = os.environ.get(OWNER)
    if not text:
        return None
    try:
        facts = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("pid"), int):
        return None
    return facts if isinstance(facts.get("store"), str) and isinstance(facts.get("project"), str) else None
