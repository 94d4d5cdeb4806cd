"""Getting kept checkpoints back, byte for byte, and checking that they could be."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from autotrack.errors import NotWhole
from autotrack.layout import make_private_folder, new_run_id, open_private
from autotrack.objects.keep import Kept
from autotrack.objects.packs import Pieces
from autotrack.objects.reading import CHUNK, check
from autotrack.objects.recipe import KeptFile, Piece, Recipe, read_recipe

_CHANGES_ALWAYS = ".data/serialization_id"
"""A part of a torch file that is another each time it is saved (torch/serialization.py, `_save`)."""
Told = Callable[[int], object]
"""Is told how many more bytes are done."""


class Damage(NamedTuple):
    """What is damaged of a kept checkpoint: the file ("" where it is one file), the tensor or part ("" where none is meant), and how."""

    file: str
    part: str
    why: str

    def __str__(self) -> str:
        where = f"the tensor or part {self.part!r}" if self.part else "it"
        return f"{where}{f' of {self.file}' if self.file else ''} {self.why}"


class Shelf:
    """The kept checkpoints of a store, to be read; the tables of its packs are read once."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self._pieces: Pieces | None = None

    def recipe(self, run: str, save: str) -> Recipe | None:
        """The recipe of a save; None where it is not kept. NotWhole where it is damaged."""
        try:
            return read_recipe(self.kept.recipe_path(run, save))
        except FileNotFoundError:
            return None

    def recipes(self) -> Iterator[tuple[str, str]]:
        """Run and save of everything that is kept."""
        if not self.kept.folder.is_dir():
            return
        for run in sorted(self.kept.folder.iterdir()):
            if run.is_dir():
                yield from ((run.name, path.stem) for path in sorted(run.glob("*.json")))

    def pieces(self) -> Pieces:
        """Where the pieces lie."""
        if self._pieces is None:
            self._pieces = Pieces(self.kept.packs)
            self._pieces.look()
        return self._pieces

    def rebuild(self, recipe: Recipe, target: Path, tell: Told = bool) -> None:
        """Write a kept checkpoint to a path where nothing lies yet. NotWhole where a piece is damaged; then nothing is left there.

        It is written beside the target, synced, checked against its digest, and then given its name.
        """
        if os.path.lexists(target):
            raise FileExistsError(17, "there is something already", str(target))
        temporary = target.with_name(f".{target.name}.{new_run_id()}.tmp")
        try:
            if recipe.is_folder:
                make_private_folder(temporary)
                for file in recipe.files:
                    self._file(recipe, file, temporary / file.name, tell)
            else:
                make_private_folder(target.parent)
                self._file(recipe, recipe.files[0], temporary, tell)
            os.rename(temporary, target)
        finally:
            _remove(temporary)

    def _file(self, recipe: Recipe, file: KeptFile, target: Path, tell: Told) -> None:
        if not target.parent.is_dir():
            make_private_folder(target.parent)
        whole = hashlib.sha256()
        fd = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(fd, "wb") as out:
            for piece, data in self._chunks(recipe, file):
                if data is None:
                    raise NotWhole(
                        str(Damage(file.name, piece, "is damaged or gone; `checkpoint verify` tells more"))
                    )
                whole.update(data)
                out.write(data)
                tell(len(data))
            out.flush()
            os.fsync(out.fileno())
        if whole.hexdigest() != file.digest:
            damages = list(self.damages(recipe))
            raise NotWhole(
                "; ".join(map(str, damages))
                or f"{file.name or recipe.path}: its sha256 is another than was recorded"
            )

    def _chunks(self, recipe: Recipe, file: KeptFile) -> Iterator[tuple[str, bytes | None]]:
        """The bytes of a file with the part that they are of; None where a piece is not there."""
        if file.pieces is None:
            beside = self._beside(recipe, file)
            try:
                with open(beside, "rb") as source:
                    while data := source.read(CHUNK):
                        yield "", data
            except OSError:
                yield "", None
            return
        for piece in file.pieces:
            yield from ((piece.name, data) for data in self._of(piece))

    def _of(self, piece: Piece) -> Iterator[bytes | None]:
        if piece.inline is not None:
            yield piece.inline
            return
        found = self._open(piece)
        if found is None:
            yield None
            return
        left = piece.length
        with found as pack:
            while left:
                data = pack.read(min(CHUNK, left))
                if not data:
                    yield None
                    return
                left -= len(data)
                yield data

    def _open(self, piece: Piece) -> BinaryIO | None:
        """The pack that has a piece, at its beginning; a pack that has just been swept away has put it into another."""
        for _ in range(2):
            place = self.pieces().place(piece.digest)
            if place is None or place.length != piece.length:
                return None
            try:
                fd = os.open(
                    place.pack, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
                )
            except FileNotFoundError:
                self.pieces().look()
                continue
            except OSError:
                return None
            pack = os.fdopen(fd, "rb")
            pack.seek(place.offset)
            return pack
        return None

    def _beside(self, recipe: Recipe, file: KeptFile) -> Path:
        return self.kept.beside(recipe.run, recipe.save) / (file.name or os.path.basename(recipe.path))

    def damages(self, recipe: Recipe, tell: Told = bool) -> Iterator[Damage]:
        """Read all of a kept checkpoint again and name each tensor or part that is not what was kept."""
        for file in recipe.files:
            if file.pieces is None:
                yield from self._linked(recipe, file, tell)
                continue
            found = list(self._pieces_of(file, tell))
            yield from found
            whole = hashlib.sha256()
            if not found:
                for _, data in self._chunks(recipe, file):
                    whole.update(data or b"")
                if whole.hexdigest() != file.digest:
                    yield Damage(
                        file.name, "", "is put together wrongly: its sha256 is another than was recorded"
                    )

    def _linked(self, recipe: Recipe, file: KeptFile, tell: Told) -> Iterator[Damage]:
        try:
            checked = check(os.fspath(self._beside(recipe, file)))
        except OSError as error:
            yield Damage(file.name, "", f"cannot be read ({error.strerror or error})")
            return
        tell(file.size)
        if checked.digest != file.digest:
            why = checked.problem or "between its tensors or parts, or where the file has no CRC"
            yield Damage(file.name, "", f"is damaged: its sha256 is another than was recorded: {why}")

    def _pieces_of(self, file: KeptFile, tell: Told) -> Iterator[Damage]:
        for piece in file.pieces or ():
            if piece.inline is not None:
                continue
            digest, gone = hashlib.sha256(), False
            for data in self._of(piece):
                digest.update(data or b"")
                gone = gone or data is None
            tell(piece.length)
            if gone:
                yield Damage(
                    file.name, piece.name, "is gone: no pack has it, or its pack is damaged or cut off"
                )
            elif digest.digest() != piece.digest:
                yield Damage(file.name, piece.name, "is damaged: its sha256 is another than was recorded")


def changed_parts(before: Recipe, after: Recipe) -> tuple[list[str], int]:
    """The names of the tensors and parts that differ between two kept checkpoints, and how many are the same."""
    old, new = _parts(before), _parts(after)
    names = dict.fromkeys([*old, *new])
    changed = [name for name in names if old.get(name) != new.get(name)]
    return changed, len(names) - len(changed)


def _parts(recipe: Recipe) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in recipe.files:
        named = any(piece.name for piece in file.pieces or ())
        for number, piece in enumerate(file.pieces or ()):
            if piece.inline is None and (piece.name or not named) and piece.name != _CHANGES_ALWAYS:
                name = piece.name or f"bytes {number}"
                found[f"{file.name}: {name}" if file.name else name] = piece.digest
        if file.pieces is None:
            found[file.name] = bytes.fromhex(file.digest)
    return found


def _remove(path: Path) -> None:
    """Remove what we have written ourselves, if it is there."""
    if path.is_dir() and not path.is_symlink():
        for parent, folders, names in os.walk(path, topdown=False):
            for each in names:
                os.unlink(os.path.join(parent, each))
            for each in folders:
                os.rmdir(os.path.join(parent, each))
        os.rmdir(path)
    else:
        path.unlink(missing_ok=True)
