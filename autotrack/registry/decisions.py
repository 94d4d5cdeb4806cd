"""The decisions about a named model: one small file each, each with the digest of the one before, none ever changed.

`registry/<model>/<n>.json`; `docs/format.md` is the specification. That a file can be created only once is what lets two
people decide at the same time and only one of them win. A file is written and synced under another name first, and then linked to
its own (link(2) fails where the name is there), so that nobody ever sees a part of one.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from autotrack.errors import RegistryError
from autotrack.layout import make_private_folder, new_run_id, write_private
from autotrack.objects.packs import sync_folder

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FILE = re.compile(r"([1-9][0-9]{0,8})\.json")
_LIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "2": "z", "-": "", "_": "", ".": ""})


class Decision(NamedTuple):
    """One decision: its number from 1 on, the digest of its file, and what it says."""

    model: str
    number: int
    digest: str
    body: dict[str, Any]

    @property
    def action(self) -> str:
        """What was decided: register, alias, promote, unalias, withdraw."""
        return str(self.body.get("action"))


class Taken(Exception):
    """Somebody else has decided meanwhile."""


def check_name(name: str, what: str = "model") -> str:
    """The name itself; RegistryError for one that is no name: letters, digits, `.`, `_`, `-`, at most 100 and a letter or digit first."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or name.endswith(".tmp"):
        raise RegistryError(
            f"{str(name)[:60]!r} is no name for a{'n' if what[0] in 'aeiou' else ''} {what}. "
            "Use letters, digits, '.', '_' and '-', at most 100 of them, a letter or digit first."
        )
    return name


def models_in(registry: Path) -> list[str]:
    """The models that have decisions."""
    try:
        names = os.listdir(registry)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if _NAME.fullmatch(name) and any(decision_paths(registry / name)))


def refuse_look_alike(registry: Path, name: str) -> None:
    """RegistryError where another model has a name that a reader would take for this one."""
    for other in models_in(registry):
        if other != name and _looks(other) == _looks(name):
            raise RegistryError(
                f"{name!r} looks like {other!r}, which is a model already. Use that one, or a name that differs more."
            )


def _looks(name: str) -> str:
    return name.lower().translate(_LIKE)


def decisions_of(registry: Path, model: str) -> list[Decision]:
    """The decisions about a model in their order; RegistryError where one is missing, damaged or not of this chain."""
    found: list[Decision] = []
    for number, path in enumerate(decision_paths(registry / check_name(model)), start=1):
        decision = read(path, model)
        if decision.number != number or decision.body.get("before") != (found[-1].digest if found else None):
            raise RegistryError(
                f"{path} does not follow the decision before it; `autotrack audit verify` tells more."
            )
        found.append(decision)
    return found


def decision_paths(folder: Path) -> Iterator[Path]:
    """The files of the decisions, by number."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    numbers = sorted(int(match[1]) for name in names if (match := _FILE.fullmatch(name)))
    yield from (folder / f"{number}.json" for number in numbers)


def read(path: Path, model: str) -> Decision:
    """One decision; RegistryError where the file is damaged, or is that of another model or number."""
    try:
        data = path.read_bytes()
        body = orjson.loads(data)
        number = int(body["n"])
        same = body["format"] == FORMAT and body["model"] == model and f"{number}.json" == path.name
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not same:
        raise RegistryError(
            f"{path} says that it is decision {number} about {body['model']!r}, in format {body['format']}."
        )
    return Decision(model, number, hashlib.sha256(data).hexdigest(), body)


def decide(
    registry: Path, model: str, make: Callable[[list[Decision]], dict[str, Any]], *, new: bool = False
) -> Decision:
    """Add a decision. `make` is given those before it and returns what is decided, or raises where that cannot be.

    Where somebody else decides in the same moment it is asked again, with what they decided. `new`: the model may be a new one.
    """
    check_name(model)
    if not new and model not in models_in(registry):
        known = ", ".join(models_in(registry)[:10]) or "none yet"
        raise RegistryError(f"There is no model {model!r} here. There is: {known}.")
    if new:
        refuse_look_alike(registry, model)
    while True:
        before = decisions_of(registry, model)
        body = make(before)
        try:
            return _write(registry / model, model, before, body)
        except Taken:
            continue


def _write(folder: Path, model: str, before: list[Decision], body: dict[str, Any]) -> Decision:
    number = len(before) + 1
    head: dict[str, Any] = {
        "format": FORMAT,
        "model": model,
        "n": number,
        "before": before[-1].digest if before else None,
        "when": time.time_ns(),
    }
    data = orjson.dumps(head | _who() | body) + b"\n"
    if not folder.is_dir():
        make_private_folder(folder)
        sync_folder(folder.parent)
    temporary = folder / f"{os.getpid()}-{new_run_id()}.tmp"
    final = folder / f"{number}.json"
    try:
        write_private(temporary, data)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.link(temporary, final)
    except FileExistsError as error:
        raise Taken from error
    except OSError as error:
        raise RegistryError(
            f"The decision could not be written to {final}: {error.strerror or error}."
        ) from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    sync_folder(folder)
    return Decision(model, number, hashlib.sha256(data).hexdigest(), orjson.loads(data))


def _who() -> dict[str, Any]:
    import getpass

    from autotrack.process import host_name

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return {"who": user, "host": host_name()}
