"""What is installed beside us: entry points and versions, read from the metadata folders on `sys.path`.

`importlib.metadata` answers the same questions, but costs 30 ms to import and as much again to ask; this
costs about 2 ms.
It is still asked about what is no plain folder (a zip file on `sys.path`).
"""

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple


class Distribution(NamedTuple):
    """One installed distribution: its normalised name ("scikit-learn"), version ("" if unknown), entry points of
    ours, and the folder of its metadata ("" in a zip file).
    """

    name: str
    version: str
    entry_points: dict[str, dict[str, str]]
    path: str = ""


_folders: dict[str, tuple[int, list[Distribution]]] = {}


def entry_points(group: str) -> dict[str, str]:
    """The entry points of a group of ours ("autotrack.…"): name -> "module:attribute"; the first on
    `sys.path` wins.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for distribution in distributions():
        if distribution.name in seen:
            continue
        seen.add(distribution.name)
        for name, value in distribution.entry_points.get(group, {}).items():
            found.setdefault(name, value)
    return found


def load(value: str) -> Any:
    """The object that "module:attribute" names; raises what importing it raises."""
    from importlib import import_module

    module, _, attribute = value.partition(":")
    loaded: Any = import_module(module.strip())
    for part in attribute.split("[")[0].strip().split("."):
        loaded = getattr(loaded, part) if part else loaded
    return loaded


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution ("scikit-learn"), or None; nothing of it is imported."""
    wanted = normal(distribution)
    for found in distributions():
        if found.name == wanted:
            return found.version or None
    return None


def normal(name: str) -> str:
    """A distribution's name as they are compared: lower case, with "-" for "_" and "."."""
    return name.lower().replace("_", "-").replace(".", "-")


def distributions() -> Iterator[Distribution]:
    """Everything installed, in the order of `sys.path`."""
    for entry in sys.path:
        yield from in_folder(entry or os.curdir)


def in_folder(path: str) -> list[Distribution]:
    """What is installed in one folder (or zip file) of `sys.path`; read again only after it changed."""
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        return []
    key = os.path.abspath(path)
    known = _folders.get(key)
    if known is None or known[0] != changed:
        known = _folders[key] = (changed, list(_folder(path)))
    return known[1]


def _folder(path: str) -> Iterator[Distribution]:
    try:
        entries = list(os.scandir(path))
    except NotADirectoryError:
        yield from _zip_file(path)
        return
    except OSError:
        return
    for entry in entries:
        stem, _, kind = entry.name.rpartition(".")
        if kind in ("dist-info", "egg-info"):
            name, _, rest = stem.partition("-")
            version = rest if kind == "dist-info" else rest.partition("-py")[0]
            version = version or _version_in(entry.path)
            yield Distribution(normal(name), version, _entry_points_in(entry.path), entry.path)


def _entry_points_in(folder: str) -> dict[str, dict[str, str]]:
    try:
        with open(folder + "/entry_points.txt", "rb") as file:
            content = file.read()
    except OSError:
        return {}
    return _parse(content.decode("utf-8", "replace")) if b"[autotrack." in content else {}


def _parse(text: str) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            current = groups.setdefault(line[1:-1].strip(), {})
        elif line and line[0] not in "#;":
            name, equals, value = line.partition("=")
            if equals:
                current[name.strip()] = value.strip()
    return {group: values for group, values in groups.items() if group.startswith("autotrack.")}


def _version_in(folder: str) -> str:
    """The version of an .egg-info folder without one in its name (a checkout on `sys.path`)."""
    try:
        with open(folder + "/PKG-INFO", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("Version:"):
                    return line.partition(":")[2].strip()
                if not line.strip():
                    break
    except OSError:
        pass
    return ""


def _zip_file(path: str) -> Iterator[Distribution]:
    import importlib.metadata

    for found in importlib.metadata.distributions(path=[path]):
        text = found.read_text("entry_points.txt") or ""
        yield Distribution(normal(found.metadata["Name"] or ""), found.version, _parse(text))
