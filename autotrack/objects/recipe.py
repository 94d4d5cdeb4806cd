"""Recipes: what a kept checkpoint is made of. One small JSON file each; `docs/format.md` is the specification."""

import json
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from autotrack.errors import NotWhole
from autotrack.layout import new_run_id, write_private
from autotrack.objects.packs import sync_folder

FORMAT = 1


class Piece(NamedTuple):
    """A stretch of a file: its sha256, its length, and the tensor or part that it is; or the few bytes themselves."""

    digest: bytes
    length: int
    name: str
    inline: bytes | None = None


class KeptFile(NamedTuple):
    """A file of a kept checkpoint: its name in the folder ("" for a checkpoint that is a file), and its pieces.

    `pieces` None: its bytes lie beside the recipe as a file, which the training had saved and rotation was about to remove.
    """

    name: str
    size: int
    digest: str
    format: str
    pieces: tuple[Piece, ...] | None


class Recipe(NamedTuple):
    """A kept checkpoint: of which run and which save, where it was, its digest, and its files."""

    run: str
    save: str
    path: str
    digest: str
    files: tuple[KeptFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def is_folder(self) -> bool:
        """Whether the checkpoint is a folder."""
        return [file.name for file in self.files] != [""]


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe so that readers see all of it or none, and so that it is on the disk when this returns."""
    body = json.dumps(_plain(recipe), separators=(",", ":")).encode()
    data = b"[" + body + b","
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{new_run_id()}.tmp")
    try:
        write_private(temporary, data + str(crc32(data)).encode() + b"]\n")
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; FileNotFoundError, NotWhole."""
    data = path.read_bytes()
    head, comma, tail = data.rpartition(b",")
    if tail != str(crc32(head + comma)).encode() + b"]\n":
        raise NotWhole(f"the recipe {path} is damaged")
    try:
        return _recipe(json.loads(data)[0])
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        raise NotWhole(f"the recipe {path} is of another format ({error})") from error


def _plain(recipe: Recipe) -> dict[str, Any]:
    files = [
        {"name": file.name, "size": file.size, "digest": file.digest, "format": file.format}
        | ({} if file.pieces is None else {"pieces": [_plain_piece(piece) for piece in file.pieces]})
        for file in recipe.files
    ]
    return {"format": FORMAT, **recipe._asdict(), "files": files}


def _plain_piece(piece: Piece) -> list[Any]:
    if piece.inline is not None:
        return ["", piece.length, b64encode(piece.inline).decode()]
    return [piece.digest.hex(), piece.length, piece.name]


def _recipe(body: dict[str, Any]) -> Recipe:
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']}")
    return Recipe(
        str(body["run"]),
        str(body["save"]),
        str(body["path"]),
        str(body["digest"]),
        tuple(map(_file, body["files"])),
    )


def _file(body: dict[str, Any]) -> KeptFile:
    name = str(body["name"])
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\x00" in name:
        raise ValueError(f"a file named {name!r}")
    pieces = body.get("pieces")
    found = None if pieces is None else tuple(_piece(*piece) for piece in pieces)
    return KeptFile(name, int(body["size"]), str(body["digest"]), str(body["format"]), found)


def _piece(digest: str, length: int, text: str) -> Piece:
    if digest == "":
        return Piece(b"", int(length), "", b64decode(text, validate=True))
    return Piece(bytes.fromhex(digest), int(length), str(text))
