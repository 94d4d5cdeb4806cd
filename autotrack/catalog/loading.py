"""Loading a checkpoint with the framework that made it, safely: no code in the file is run unless the caller says so.

What loads a format is found through the entry point group `autotrack.formats`: a function `load(path, pickle)`.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from autotrack.errors import AutotrackError, MissingExtra, NotWhole, PickleRefused
from autotrack.guard import warn
from autotrack.objects.reading import check

GROUP = "autotrack.formats"


def load_file(path: Path, pickle: bool = False, **options: Any) -> Any:
    """Load the file or folder at a path by its format; a folder of a model gives a dictionary of what is in its files.

    `pickle`: whether pickles may be loaded, which runs whatever they say; else a file that needs that is refused (AutotrackError).
    NotWhole where a file is damaged.
    """
    if path.is_dir():
        names = [one for one in sorted(path.rglob("*")) if one.is_file()]
        return dict(_loaded(path, names, pickle, options))
    return _load(path, pickle, options)


def _loaded(
    folder: Path, names: list[Path], pickle: bool, options: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What is in the files of a folder that something here can load; what only unpickling could is named in a warning."""
    left_out = []
    for one in names:
        name = one.relative_to(folder).as_posix()
        if check(str(one)).format not in formats():
            continue
        try:
            yield name, _load(one, pickle, options)
        except PickleRefused:
            left_out.append(name)
    if left_out:
        warn(
            "load",
            f"{', '.join(left_out)} of {folder} can be loaded only by running the code that they hold, and were left out. "
            "If you trust who made them: load(…, pickle=True).",
            key=str(folder),
        )


def _load(path: Path, pickle: bool, options: dict[str, Any]) -> Any:
    checked = check(str(path))
    if checked.problem is not None:
        raise NotWhole(f"{path} is not loaded: {checked.problem}.")
    loaders = formats()
    if checked.format not in loaders:
        known = ", ".join(sorted(loaders)) or "none"
        raise AutotrackError(
            f"{path} is of the format {checked.format!r}, which nothing here can load. There is: {known}."
        )
    try:
        return loaders[checked.format]()(path, pickle, **options)
    except ImportError as error:
        raise MissingExtra(
            f"Loading {path} needs {error.name or 'a package'}, which is not installed here."
        ) from error


def formats() -> dict[str, Callable[[], Callable[..., Any]]]:
    """What loads each format, not imported yet."""
    return {point.name.replace("_", " "): point.load for point in entry_points(group=GROUP)}


def contents(loaded: Any, name: str = "", most: int = 10_000) -> list[tuple[str, str]]:
    """What is in something that was loaded: each tensor, number or object with its dotted name."""
    rows: list[tuple[str, str]] = []
    waiting = [(name, loaded)]
    looked = 0
    while waiting and looked < most:  # a list can be in itself
        path, value = waiting.pop()
        looked += 1
        if isinstance(value, dict) and value:
            waiting += [
                (f"{path}.{key}" if path else str(key), one) for key, one in reversed(list(value.items()))
            ]
        elif (
            isinstance(value, (list, tuple))
            and value
            and not all(isinstance(one, (int, float, str)) for one in value)
        ):
            waiting += [
                (f"{path}.{place}" if path else str(place), one)
                for place, one in reversed(list(enumerate(value)))
            ]
        else:
            rows.append((path, _what(value)))
    return rows


def _what(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    text = repr(value) if isinstance(value, (int, float, str, bool, type(None), list, tuple, dict)) else ""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return (text if len(text) <= 80 else f"{text[:79]}…") or kind
