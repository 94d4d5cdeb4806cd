"""Which distributions can be imported, read from the names in site-packages and cached by folder."""

from __future__ import annotations

import os
import sys
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from orjson import JSONDecodeError, dumps, loads

from autotrack.capture.base import Capture, Skip
from autotrack.layout import cache_folder, make_private_folder, replace_private
from autotrack.objects import ObjectStore
from autotrack.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from autotrack.layout import Layout

_FORMAT = 1
_ENDINGS = (".dist-info", ".egg-info", ".egg-link", ".egg")
_HEAD_BYTES = 4096
_YOUNG_NS = 2_000_000_000

Package = dict[str, Any]
"""{"name", "version"} and, where it was not installed from an index: "editable", "location", "commit"."""


class Packages(Capture):
    """Every distribution that can be imported. The list is an object of the store: JSON, `{"packages": [{"name", "version",
    …}, …]}` in the order of names.
    """

    name: ClassVar[str] = "packages"
    lasts: ClassVar[float] = 60.0

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._objects = ObjectStore(layout.objects)

    def holds(self, facts: dict[str, Any]) -> bool:
        """As long as the list is in the store."""
        return not facts or self._objects.has(facts["digest"])

    def collect(self) -> dict[str, Any]:
        """`count`, `digest` and `size` of the stored list, `fingerprint`, `editable` (names and where they lie), `cached`."""
        found, fingerprint, cached = installed(sys.path, cache_folder() / "packages")
        if not found:
            raise Skip("no distribution's metadata was found on sys.path")
        stored = self._objects.put_bytes(dumps({"packages": found}))
        facts: dict[str, Any] = {
            "count": len(found),
            "digest": stored.digest,
            "size": stored.size,
            "fingerprint": fingerprint,
            "cached": cached,
        }
        editable = {p["name"]: p["location"] for p in found if p.get("editable")}
        if editable:
            facts["editable"] = editable
        return facts


def installed(path: Iterable[str], cache: Path) -> tuple[list[Package], str, bool]:
    """(packages in the order of names, fingerprint of the folders, whether all of them came from `cache`).

    As with imports, the first folder on `path` that holds a distribution gives its version. Names and versions are those of
    `importlib.metadata`. The fingerprint is of each folder's path, time of change and number of entries.
    """
    by_name: dict[str, Package] = {}
    marks: list[list[Any]] = []
    from_cache = True
    for folder in dict.fromkeys(os.path.abspath(entry or ".") for entry in path):
        try:
            before = os.stat(folder)
            names = os.listdir(folder)
        except OSError:
            continue
        found = [name for name in names if name.endswith(_ENDINGS)]
        if not found:
            continue
        mark = [folder, before.st_mtime_ns, len(names)]
        packages = _read_cache(cache, mark)
        if packages is None:
            from_cache = False
            packages = [package for name in found for package in _describe(os.path.join(folder, name))]
            if time.time_ns() - before.st_mtime_ns > _YOUNG_NS:
                _write_cache(cache, mark, packages)
        marks.append(mark)
        for package in packages:
            by_name.setdefault(normal_name(package["name"]), package)
    return [by_name[name] for name in sorted(by_name)], _digest(marks), from_cache


def normal_name(name: str) -> str:
    """A distribution's name as it is compared: lower case, one dash for each run of `-`, `_` and `.`."""
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))


def _describe(path: str) -> list[Package]:
    if path.endswith(".egg-link"):
        return _linked(path)
    if path.endswith(".egg"):
        path = os.path.join(path, "EGG-INFO")
    package: Package = {}
    for name in ("METADATA", "PKG-INFO", ""):
        package = _head(os.path.join(path, name) if name else path)
        if package:
            break
    if not package:
        package = _from_file_name(os.path.basename(path))
    if package and path.endswith(".dist-info"):
        package |= _origin(path)
    return [package] if package else []


def _head(path: str) -> Package:
    """Name and version from a metadata file's head."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return {}
    fields: Package = {}
    for line in head.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            break
        key, colon, value = line.partition(b":")
        if colon and key in (b"Name", b"Version"):
            fields.setdefault(key.decode().lower(), value.strip().decode("utf-8", "replace"))
        if len(fields) == 2:
            return fields
    return {}


def _from_file_name(name: str) -> Package:
    stem = name.rpartition(".")[0]
    package, dash, version = stem.partition("-")
    return {"name": package, "version": version.partition("-")[0]} if dash and package else {}


def _origin(path: str) -> Package:
    """What direct_url.json says of a package that did not come from an index: editable, location, commit."""
    try:
        with open(os.path.join(path, "direct_url.json"), "rb") as file:
            origin = loads(file.read())
        location = redact_url(str(origin["url"]))
        facts: Package = {"location": location}
        if origin.get("dir_info", {}).get("editable"):
            facts["editable"] = True
        commit = origin.get("vcs_info", {}).get("commit_id")
        return facts | ({"commit": str(commit)} if commit else {})
    except (OSError, JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}


def _linked(path: str) -> list[Package]:
    """A `setup.py develop` link: its first line is the folder with the .egg-info."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            folder = file.readline().strip()
        names = os.listdir(folder)
    except OSError:
        return []
    packages = [p for n in names if n.endswith(".egg-info") for p in _describe(os.path.join(folder, n))]
    return [p | {"editable": True, "location": folder} for p in packages]


def _read_cache(cache: Path, mark: list[Any]) -> list[Package] | None:
    """The packages of a folder as they were at this mark; None for a missing, older or damaged file."""
    try:
        with open(_cache_file(cache, mark[0]), "rb") as file:
            content = loads(file.read())
        if content["format"] != _FORMAT or content["mark"] != mark:
            return None
        packages = content["packages"]
        if content["digest"] != _digest(packages):
            return None
        return packages if isinstance(packages, list) else None
    except (OSError, JSONDecodeError, KeyError, TypeError):
        return None


def _write_cache(cache: Path, mark: list[Any], packages: list[Package]) -> None:
    content = {"format": _FORMAT, "mark": mark, "digest": _digest(packages), "packages": packages}
    try:
        if not cache.is_dir():
            make_private_folder(cache)
        replace_private(_cache_file(cache, mark[0]), dumps(content))
    except OSError:
        return  # the next run reads the metadata again


def _cache_file(cache: Path, folder: str) -> Path:
    return cache / f"{_digest(folder)}.json"


def _digest(value: Any) -> str:
    return sha256(dumps(value)).hexdigest()[:32]
