"""Where a run is recorded: in the store if that takes it, else in the fallback store, else in memory until one of them does."""

import errno
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from autotrack import background, marks, session
from autotrack.config import setting
from autotrack.errors import StoreError
from autotrack.guard import warn
from autotrack.journal.writer import Journal
from autotrack.layout import Layout, fallback_store, is_temporary
from autotrack.process import rank

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

_checked: dict[Path, Layout] = {}
"""Stores that this process has made or found usable."""


def usable(store: Path) -> Layout:
    """The store's layout with its folders made; where that cannot be, the fallback store, with one warning."""
    known = _checked.get(store)
    if known is not None and os.path.isdir(known.runs):
        return known
    layout = Layout(store)
    try:
        layout.create()
        if not os.access(layout.runs, os.W_OK | os.X_OK):
            raise StoreError(f"{store} may not be written by this user.")
    except StoreError as error:
        return _instead(layout, error)
    _checked[store] = layout
    if not setting("DIR") and is_temporary(store):
        warn(
            "temporary-store",
            f"The store {store} lies in a folder that the system empties; set AUTOTRACK_DIR to keep it.",
            key=str(store),
        )
    return layout


def journal_in(layout: Layout, project: str, run_id: str, role: str) -> Journal:
    """This process's journal of a run. A folder that refuses it only means that its first lines wait in memory."""

    def elsewhere() -> Path | None:
        other = Layout(fallback_store())
        with suppress(StoreError):
            other.create()
        return other.run_dir(project, run_id)

    def made_again() -> None:
        with suppress(StoreError, OSError):
            layout.create()
            if role == "run":
                marks.mark_open(layout, run_id, project)

    journal = Journal(
        layout.run_dir(project, run_id),
        run=run_id,
        project=project,
        role=role,
        rank=rank(),
        fallback=elsewhere,
    )

    def write_soon() -> None:
        journal.tick()
        session.hasten()

    journal.on_waiting = partial(background.submit, write_soon)
    journal.on_return = made_again
    journal.start()
    return journal


def _instead(layout: Layout, error: StoreError) -> Layout:
    """The fallback store; the refused one where a lack of descriptors, which passes, is all that is wrong."""
    key = str(layout.root)
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_DESCRIPTORS:
        warn("store", f"{error} Events are kept in memory until it can.", key=key)
        return layout
    other = Layout(fallback_store())
    try:
        other.create()
    except StoreError as second:
        warn(
            "store",
            f"{error} The fallback does not work either: {second} Events are kept in memory only.",
            key=key,
        )
        return layout
    warn("store", f"{error} This run is recorded in {other.root} instead.", key=key)
    return other
