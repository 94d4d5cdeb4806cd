"""Changing what is said of a run later: each change is an event in a journal of its own in the run's folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotrack.errors import StoreError
from autotrack.journal.writer import Journal


def edit_run(
    folder: Path, project: str, root_run_id: str, changes: dict[str, Any], child: str | None = None
) -> None:
    """Write an "edit" event: any of name, notes, group, project, add_tags, remove_tags, archived.

    `folder`: the folder of the root run; `child`: the child run in it that is meant. StoreError when it cannot be written.
    """
    append_events(folder, project, root_run_id, "edit", [changes], child)


def append_events(
    folder: Path,
    project: str,
    root_run_id: str,
    kind: str,
    bodies: Iterable[dict[str, Any]],
    child: str | None = None,
) -> None:
    """Write events of a run that is over, or another process's, to a journal of their own. StoreError where it cannot be written."""
    journal = Journal(folder, run=root_run_id, project=project, role="edit", rank=0, fallback=lambda: None)
    try:
        journal.open()
        for body in bodies:
            journal.append(kind, body, *(() if child is None else (child,)))
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written ({error.strerror}): the change was not recorded."
        ) from error
    waiting = journal.waiting()
    fd = journal.close(wait=True)
    if fd is not None:
        import os

        os.close(fd)
    if waiting:
        raise StoreError(f"{folder} takes no more data: the change was not recorded.")
