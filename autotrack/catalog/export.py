"""Taking a checkpoint out of the store: with a card that tells what it is, as an MLflow model, or as safetensors."""

import os
import shutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from autotrack.catalog.card import card_of
from autotrack.catalog.fetch import fetch
from autotrack.catalog.find import Catalog, Target
from autotrack.errors import AutotrackError, MissingExtra
from autotrack.layout import new_run_id
from autotrack.objects.reading import check
from autotrack.objects.rebuild import Told

GROUP = "autotrack.exports"
"""Entry points: a function `write(source, format, folder, pickle)` that makes a model out of the file at `source`."""


def export(
    catalog: Catalog,
    target: Target,
    folder: Path,
    kind: str = "files",
    pickle: bool = False,
    tell: Told = bool,
) -> Path:
    """Make a folder with a checkpoint and its card (README.md) in it; nothing may lie there yet.

    `kind`: "files" (as it was saved), or what an entry point of `autotrack.exports` makes of it: "mlflow", "safetensors". `pickle`:
    whether it may be unpickled where that is needed. The folder is there whole or not at all.
    """
    if os.path.lexists(folder):
        raise FileExistsError(17, "there is something already", str(folder))
    source = fetch(catalog, target, tell=tell)
    temporary = folder.with_name(f".{folder.name}.{new_run_id()}.tmp")
    temporary.mkdir(parents=True)
    try:
        if kind == "files":
            _copy(source, temporary)
        else:
            write = _writer(kind)
            try:
                write(source, _format(source), temporary, pickle)
            except ImportError as error:
                raise MissingExtra(
                    f"This export needs {error.name or 'a package'}, which is not installed here."
                ) from error
        (temporary / "README.md").write_text(card_of(catalog, target), encoding="utf-8")
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def kinds() -> list[str]:
    """What can be made."""
    return ["files", *sorted(point.name for point in entry_points(group=GROUP))]


def _writer(kind: str) -> Callable[..., Any]:
    for point in entry_points(group=GROUP, name=kind):
        found: Callable[..., Any] = point.load()
        return found
    raise AutotrackError(f"{kind!r} is not known. There is: {', '.join(kinds())}.")


def _format(source: Path) -> str:
    return "folder" if source.is_dir() else check(os.fspath(source)).format


def _copy(source: Path, folder: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder / source.name)
    else:
        shutil.copyfile(source, folder / source.name)
