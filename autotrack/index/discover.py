"""Finds run folders, and tells cheaply which of them may hold anything new."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from autotrack.guard import warn
from autotrack.index.known import FolderRow, Place
from autotrack.journal.source import suffix_of
from autotrack.layout import Layout, decode_project

_COARSE_NS = 2_000_000_000
LOOSE_SECONDS = 0.1


class Stamp(NamedTuple):
    """When a folder last gained or lost a file, and when anything of it last changed; a copy keeps the first, not the second."""

    mtime: int
    ctime: int


class Found(NamedTuple):
    """What lies in the store: folders to look at, the names of all, and the projects that could not be listed (None: not one)."""

    places: list[Place]
    keys: set[tuple[str, str]]
    refused: set[str] | None


def discover(layout: Layout, known: Mapping[tuple[str, str], FolderRow]) -> Found:
    """Every run's folder. Those that are settled and unchanged are listed, and not opened."""
    places: list[Place] = []
    keys: set[tuple[str, str]] = set()
    refused: set[str] = set()
    loose: list[tuple[Place, int]] = []
    projects = _folders_in(layout.runs)
    if projects is None:
        return Found([], keys, None)
    for entry in projects:
        project = decode_project(entry.name)
        below = _folders_in(Path(entry.path))
        if below is None:
            refused.add(project)
            continue
        for run in below:
            key = project, run.name
            keys.add(key)
            there = known.get(key)
            try:
                same = (
                    there is not None and there.settled and _stamp(run.stat()) == (there.mtime, there.ctime)
                )
            except OSError:
                refused.add(project)
                continue
            if not same or there is None:
                places.append(Place(Path(run.path), project, run.name))
            elif there.loose:
                loose.append((Place(Path(run.path), project, run.name), there.size))
    places += _grown(loose)
    return Found(places, keys, refused)


def _grown(loose: list[tuple[Place, int]]) -> Iterator[Place]:
    """The copies whose journals have another size than when they were read; as many as the time allows, from another
    one on each time.
    """
    end = time.monotonic() + LOOSE_SECONDS
    start = time.time_ns() // 1000 % len(loose) if loose else 0
    for place, size in loose[start:] + loose[:start]:
        if time.monotonic() > end:
            return
        if journal_bytes(place.path) != size:
            yield place


def journal_bytes(path: Path) -> int:
    """How many bytes the journals in a folder take; -1 for one that cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries if suffix_of(entry.name))
    except OSError:
        return -1


def folder_stamp(path: Path) -> Stamp:
    """A folder's stamp; zeros for the last two seconds, in which the clocks of file systems are too coarse."""
    stamp = _stamp(os.stat(path))
    now = time.time_ns()
    return Stamp(0, 0) if any(abs(now - moment) < _COARSE_NS for moment in stamp) else stamp


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_mtime_ns, status.st_ctime_ns)


def _folders_in(path: Path) -> list[os.DirEntry[str]] | None:
    """The folders in a folder; none where there is no such folder, None where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            found = [entry for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); its runs are not brought up to date."
        warn("unreadable-folder", message, key=path)
        return None
    return sorted(found, key=lambda entry: entry.name)
