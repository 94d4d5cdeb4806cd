"""Files, folders, figures, images and tables that belong to a run: into the object store, and one event each."""

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from autotrack.errors import AutotrackError, MissingExtra
from autotrack.journal.format import spell
from autotrack.objects import ObjectStore, Stored
from autotrack.values import plain


def anything(objects: ObjectStore, value: Any, name: str | None) -> dict[str, Any]:
    """Store a path's file or folder, or a figure."""
    if isinstance(value, (str, os.PathLike)):
        return file_or_folder(objects, Path(value), name)
    return figure(objects, value, name)


def file_or_folder(objects: ObjectStore, path: Path, name: str | None) -> dict[str, Any]:
    """Store a file or a folder; links to files are followed, other things in a folder (sockets, devices) are left out."""
    if path.is_dir():
        return folder(objects, path, name)
    if not path.is_file():
        raise AutotrackError(f"{path} is not there. Give the path of a file or a folder that exists.")
    stored = objects.put_file(path)
    return _body(name or path.name, "file", stored, path=str(path.absolute()))


def folder(objects: ObjectStore, path: Path, name: str | None) -> dict[str, Any]:
    """Store every file of a folder, and a listing of them, whose digest is the folder's."""
    files: list[dict[str, Any]] = []
    for parent, folders, names in os.walk(path):
        folders.sort()
        for each in sorted(names):
            source = Path(parent) / each
            if source.is_file():
                stored = objects.put_file(source)
                files.append(
                    {
                        "path": source.relative_to(path).as_posix(),
                        "digest": stored.digest,
                        "size": stored.size,
                    }
                )
    listing = objects.put_bytes(orjson.dumps(spell(files)))
    body = _body(name or path.absolute().name, "folder", listing, path=str(path.absolute()))
    return body | {"size": sum(file["size"] for file in files), "files": files}


def figure(objects: ObjectStore, value: Any, name: str | None) -> dict[str, Any]:
    """Store a Matplotlib figure as PNG, a Plotly one as HTML."""
    if hasattr(value, "savefig"):
        buffer = io.BytesIO()
        value.savefig(buffer, format="png")
        return _body(_suffixed(name or "figure", ".png"), "figure", objects.put_bytes(buffer.getvalue()))
    if hasattr(value, "to_html"):
        return _body(
            _suffixed(name or "figure", ".html"), "figure", objects.put_bytes(value.to_html().encode())
        )
    raise AutotrackError(
        f"log_artifact was given {_kind(value)}. Give a path, or a figure of Matplotlib or Plotly; "
        "for pictures there is log_image, for tables log_table."
    )


def image(objects: ObjectStore, name: str, value: Any) -> dict[str, Any]:
    """Store a picture: a path, a PIL image, or an array (H, W), (H, W, 1 | 3 | 4) or a tensor (1 | 3 | 4, H, W); floats are 0…1."""
    if isinstance(value, (str, os.PathLike)):
        body = file_or_folder(objects, Path(value), _suffixed(name, Path(value).suffix))
        return body | {"type": "image"}
    if hasattr(value, "savefig"):
        return figure(objects, value, name) | {"type": "image"}
    picture = value if hasattr(value, "save") and hasattr(value, "mode") else _picture(value)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return _body(_suffixed(name, ".png"), "image", objects.put_bytes(buffer.getvalue()))


def table(objects: ObjectStore, name: str, value: Any) -> dict[str, Any]:
    """Store a table as JSON {"columns": […], "data": [[…], …]}: a DataFrame, a mapping of columns, or a list of rows or mappings."""
    columns, rows = _columns_and_rows(value)
    data = orjson.dumps(spell({"columns": columns, "data": rows}))
    return _body(_suffixed(name, ".json"), "table", objects.put_bytes(data))


def _columns_and_rows(value: Any) -> tuple[list[str], list[list[Any]]]:
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        # pandas: orient="list"; polars: as_series=False. Both give {column: values}.
        value = value.to_dict(orient="list") if hasattr(value, "iloc") else value.to_dict(as_series=False)
    if isinstance(value, Mapping):
        series = {str(key): list(column) for key, column in value.items()}
        if len({len(column) for column in series.values()}) > 1:
            lengths = {key: len(column) for key, column in series.items()}
            raise AutotrackError(f"The columns of a table must be of one length, and these are {lengths}.")
        return list(series), [[_cell(cell) for cell in row] for row in zip(*series.values(), strict=True)]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if all(isinstance(row, Mapping) for row in value):
            names = list(dict.fromkeys(str(key) for row in value for key in row))
            return names, [[_cell(row.get(key)) for key in names] for row in value]
        if all(isinstance(row, Sequence) and not isinstance(row, (str, bytes)) for row in value):
            width = max((len(row) for row in value), default=0)
            return [str(place) for place in range(width)], [[_cell(cell) for cell in row] for row in value]
    raise AutotrackError(
        f"log_table was given {_kind(value)}. Give a DataFrame, a mapping of column names to values, or a list of rows."
    )


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else plain(value)


def _picture(value: Any) -> Any:
    try:
        import numpy
        from PIL import Image
    except ImportError as error:
        raise MissingExtra(
            "log_image needs Pillow for arrays: pip install 'autotrack-ml[images]'."
        ) from error
    channels_first = hasattr(value, "detach")
    array = numpy.asarray(value.detach().cpu() if channels_first else value)
    if channels_first and array.ndim == 3 and array.shape[0] in (1, 3, 4):
        array = numpy.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)) or array.size == 0:
        raise AutotrackError(
            f"log_image was given an array of shape {array.shape}. "
            "Give (height, width), (height, width, 3 or 4), or a tensor (1, 3 or 4, height, width)."
        )
    if array.dtype == bool or numpy.issubdtype(array.dtype, numpy.floating):
        array = numpy.nan_to_num(array.astype(float), nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0) * 255.0
    return Image.fromarray(array.round().clip(0, 255).astype("uint8"))


def _body(name: str, kind: str, stored: Stored, path: str | None = None) -> dict[str, Any]:
    return {"name": name, "type": kind, "size": stored.size, "digest": stored.digest, "path": path}


def _suffixed(name: str, suffix: str) -> str:
    return name if name.endswith(suffix) else name + suffix


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def input_facts(path: Path, role: str) -> dict[str, Any]:
    """The facts of a file or folder that was read: path, size, role, and the sha256 of a file."""
    body: dict[str, Any] = {"path": str(path), "digest": None, "size": None, "role": role}
    if path.is_file():
        with open(path, "rb") as source:
            body["digest"] = hashlib.file_digest(source, "sha256").hexdigest()
        body["size"] = path.stat().st_size
    elif path.is_dir():
        body["size"] = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return body
