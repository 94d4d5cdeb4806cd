"""Keeping checkpoints: reading one into packs piece by piece, and linking one that is about to be deleted.

`kept/<run>/<save>.json` is the recipe of a kept checkpoint; it is written last, so what has none is not kept.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from mmap import mmap
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from autotrack.digests import BREATH, Look, digest_of_files, look_at
from autotrack.errors import NotWhole
from autotrack.layout import make_private_folder, new_run_id, write_private
from autotrack.objects.clone import clone
from autotrack.objects.packs import NEWEST, PackWriter, Pieces, holding, holding_file, sync_folder
from autotrack.objects.reading import (
    CHUNK,
    Pace,
    Stretch,
    chunks_of,
    problem_of,
    stretches,
    structure_and_problem,
    tensor_names,
    test_of,
)
from autotrack.objects.recipe import KeptFile, Piece, Recipe, read_recipe, write_recipe
from autotrack.objects.seal import Seal, seal_from
from autotrack.objects.structure import Part
from autotrack.objects.writeback import sync_in_steps

Taker = Callable[[memoryview], object]
INLINE = 4096
"""Bytes between parts up to this many stand in the recipe itself."""
_SLICE = 4 * 1024 * 1024
"""What has no parts is cut into pieces of this size."""
_SMALL = 64 * 1024
_GIVE_WAY_SECONDS = 0.001
_NEXT_TO_NOTHING = 1e-6
_IN_MEMORY = 16 * 1024 * 1024


class Added(NamedTuple):
    """What keeping a checkpoint took: its recipe, and how many bytes of pieces were new."""

    recipe: Recipe
    new: int


class Changed(OSError):
    """What lies at the path is not what was to be kept."""


class Kept:
    """The kept checkpoints of a store: `packs/` and `kept/` in its folder of objects."""

    def __init__(self, objects: Path) -> None:
        self.packs = objects / "packs"
        self.folder = objects / "kept"

    def recipe_path(self, run: str, save: str) -> Path:
        """Where the recipe of a save lies, whether it is there or not."""
        return self.folder / run / f"{save}.json"

    def beside(self, run: str, save: str) -> Path:
        """The folder of the bytes that were linked."""
        return self.folder / run / save

    def has(self, run: str, save: str) -> bool:
        """Whether the save is kept."""
        return self.recipe_path(run, save).is_file()

    def pin_path(self, run: str, save: str) -> Path:
        """The mark that keeps a save from being dropped."""
        return self.folder / run / f"{save}.pin"

    def add(
        self,
        run: str,
        save: str,
        path: str,
        look: Look,
        name: str | None = None,
        pace: Pace = bool,
        known: tuple[KeptFile, ...] = (),
        take: Callable[[Seal], object] | None = None,
    ) -> Added:
        """Read what was seen at a path into a pack, and write its recipe.

        `name`: the path that the recipe tells of, where the bytes lie elsewhere by now. `known`: what was found when the same
        look was read before; those files are hashed piece by piece only. `take`: it has not been read before, so it is also
        checked and brought to the disk, and this is told what was found before anything is kept. OSError where it cannot be read
        or written (`Changed` where something else lies there by now), NotWhole where it is damaged and `take` was told so; then
        nothing is left behind.
        """
        with holding(self.packs, alone=False) as held:
            pieces = Pieces(self.packs, NEWEST)
            if held:  # else somebody may be removing what we would rely on
                pieces.look()
            packing = _Packing(PackWriter(self.packs), pieces, pace, look.size, tested=take is not None)
            digests = {file.name: file.digest for file in known}
            try:
                files = tuple(packing.file(path, stamp, digests) for stamp in sorted(look.stamps))
                if not look.is_whole() or look_at_same(path, look) != look:
                    raise Changed(f"{path} was changed while it was read")
                if take is not None:
                    take(seal := packing.seal(path, look, files))
                    if seal.problem is not None:
                        raise NotWhole(seal.problem)
                size = packing.writer.size
                packing.writer.close()
            finally:
                packing.writer.discard()
            recipe = Recipe(run, save, name or path, _digest(files), files)
            self._settle(recipe)
        return Added(recipe, size)

    def link(self, run: str, save: str, path: str, look: Look) -> Path:
        """Give the files at a path a second name here, for they are about to lose their first. OSError where that cannot be.

        FileExistsError where they are reflinks here already, which stay.
        """
        folder = self.beside(run, save)
        try:
            _fill(folder, os.link, path, look)
        except FileExistsError:
            raise
        except OSError:
            self.unlink(run, save)
            raise
        return folder

    def clone(self, run: str, save: str, path: str, look: Look, files: tuple[KeptFile, ...]) -> Recipe:
        """Keep the files at a path, whose digests are known, as reflinks here; they stay what they are when the others are written to.

        OSError where the file system has none, where something else lies there by now (`Changed`), and where the files
        were linked meanwhile; then nothing is left of it.
        """
        folder = self.beside(run, f"{save}.{new_run_id()}.tmp")
        with holding(self.packs, alone=False) as held:
            if not held:  # somebody sweeps, and would take this for something left behind
                raise BlockingIOError(errno.EWOULDBLOCK, "packs are being swept")
            try:
                _fill(folder, clone, path, look)
                if look_at_same(path, look) != look:
                    raise Changed(f"{path} was changed while it was read")
                for inner, _, _ in os.walk(folder):
                    sync_folder(Path(inner))
                os.rename(folder, self.beside(run, save))
            finally:
                remove_below(folder)
        return self.settle_linked(run, save, path, files)

    def has_reflinks(self, path: str, look: Look) -> bool:
        """Whether what was seen at a path can be kept as reflinks: one of its files is tried."""
        if not self.packs.is_dir():
            make_private_folder(self.packs)
        probe = self.packs / f"{os.getpid()}-{new_run_id()}.tmp"
        try:
            clone(os.path.join(path, look.stamps[0][0]) if look.stamps[0][0] else path, probe)
            os.unlink(probe)
        except (OSError, IndexError):
            return False
        return True

    def move_linked(self, run: str, save: str, to: str) -> None:
        """What was linked is that of another save."""
        self.unlink(run, to)
        os.rename(self.beside(run, save), self.beside(run, to))

    def settle_linked(self, run: str, save: str, path: str, files: tuple[KeptFile, ...]) -> Recipe:
        """Write the recipe of what was linked, its digests being known."""
        recipe = Recipe(run, save, path, _digest(files), files)
        self._settle(recipe)
        return recipe

    def put(self, run: str, save: str, path: str, file: KeptFile, data: bytes) -> Recipe:
        """Keep a file that is in memory, under the last part of its path. OSError where it cannot be written; then nothing is left."""
        folder = self.beside(run, save)
        make_private_folder(folder)
        recipe = Recipe(run, save, path, file.digest, (file,))
        try:
            target = folder / os.path.basename(path)
            write_private(target, data)
            with open(target, "rb") as written:
                os.fsync(written.fileno())
            sync_folder(folder)
            self._settle(recipe)
        except OSError:
            self.unlink(run, save)
            raise
        return recipe

    def unlink(self, run: str, save: str) -> None:
        """Drop the bytes that were linked."""
        remove_below(self.beside(run, save))

    def aside(self, run: str, save: str) -> Path:
        """Where the recipe of a save lies while it is dropped."""
        return self.folder / run / f"{save}.dropping"

    def drop(self, run: str, save: str) -> bool:
        """Keep a checkpoint no longer, unless it is pinned; its pieces go with the next sweep. False where it stays.

        The recipe is put aside first and looked for by who pins: one of the two always sees the other.
        """
        recipe, aside = self.recipe_path(run, save), self.aside(run, save)
        with holding_file(recipe) as held:
            if not held:
                return False
            os.replace(recipe, aside)
            return not self._end_drop(run, save, self.pin_path(run, save).exists())

    def end_drop(self, run: str, save: str, stays: Callable[[Recipe], bool]) -> bool | None:
        """End a drop that a process has begun that died: True where the checkpoint is back in its place, for `stays` says so.

        False where it is dropped, None where somebody else is at it, or nobody has begun one.
        """
        aside = self.aside(run, save)
        with holding_file(aside) as held:
            if not held:
                return None
            try:
                is_to_stay = stays(read_recipe(aside))
            except NotWhole:
                is_to_stay = False
            return self._end_drop(run, save, is_to_stay)

    def _end_drop(self, run: str, save: str, stays: bool) -> bool:
        if stays:
            os.replace(self.aside(run, save), self.recipe_path(run, save))
            return True
        self.unlink(run, save)
        self.aside(run, save).unlink(missing_ok=True)
        return False

    def _settle(self, recipe: Recipe) -> None:
        place = self.recipe_path(recipe.run, recipe.save)
        if not place.parent.is_dir():
            make_private_folder(place.parent)
            sync_folder(self.folder)
        write_recipe(place, recipe)


def remove_below(folder: Path) -> None:
    """Remove a folder and what is in it; nothing where there is none."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for each in names:
            os.unlink(os.path.join(parent, each))
        for each in folders:
            os.rmdir(os.path.join(parent, each))
    with suppress(FileNotFoundError):
        os.rmdir(folder)


def _fill(folder: Path, make: Callable[[str, Path], object], path: str, look: Look) -> None:
    """Make what was seen at a path anew in a folder of ours, file by file."""
    make_private_folder(folder)
    for stamp in look.stamps:
        target = folder / (stamp[0] or os.path.basename(path))
        if stamp[0] and not target.parent.is_dir():
            make_private_folder(target.parent)
        make(os.path.join(path, stamp[0]) if stamp[0] else path, target)


def look_at_same(path: str, look: Look) -> Look:
    """Look at a path again, at those files only that were seen before."""
    if look.files is None:
        return look_at(path)
    found = [(name, os.lstat(os.path.join(path, name))) for name, *_ in look.stamps]
    stamps = tuple((name, one.st_size, one.st_mtime_ns, one.st_ino) for name, one in found)
    return Look(look.size, look.files, stamps)


def _digest(files: tuple[KeptFile, ...]) -> str:
    if [file.name for file in files] == [""]:
        return files[0].digest
    return digest_of_files({file.name: file.digest for file in files})


class _Packing:
    """The reading of one checkpoint into a pack."""

    def __init__(
        self, writer: PackWriter, known: Pieces, pace: Pace, size: int, tested: bool = False
    ) -> None:
        self.writer = writer
        self._known = known
        self._pace = pace
        self._read = 0
        self._gave_way = 0.0
        self._tested = tested
        self._problems: dict[str, str | None] = {}
        # Not a bytearray: filling 16 MiB with zeros keeps the interpreter, and the training, waiting for more than 10 ms.
        self._buffer = memoryview(mmap(-1, max(CHUNK, min(_IN_MEMORY, size))))

    def file(self, path: str, stamp: tuple[str, int, int, int], digests: Mapping[str, str]) -> KeptFile:
        """`digests`: of files that have been read before."""
        name = stamp[0].replace(os.sep, "/")
        digest = digests.get(name)
        place = os.path.join(path, stamp[0]) if stamp[0] else path
        with open(place, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            structure, problem = structure_and_problem(file, os.path.basename(place))
            names = tensor_names(file, structure)
            whole = hashlib.sha256()
            pieces = []
            for stretch in (piece for each in stretches(structure, size) for piece in _cut(each)):
                test = test_of(stretch.part if self._tested else None)
                takers = (test.take,) if digest else (test.take, whole.update)
                pieces.append(
                    self._piece(file, stretch, _name(stretch.part, names, structure.format), takers)
                )
                problem = problem or problem_of(test, file, structure, stretch.part)
            self._problems[name] = problem
            if self._tested:
                sync_in_steps(file.fileno(), BREATH, self._pace)
        return KeptFile(name, size, digest or whole.hexdigest(), structure.format, tuple(pieces))

    def seal(self, path: str, look: Look, files: tuple[KeptFile, ...]) -> Seal:
        """What was found in reading all files, each to its end."""
        return seal_from(
            path, look, [(file._replace(pieces=None), self._problems[file.name]) for file in files]
        )

    def _piece(self, file: FileIO, stretch: Stretch, name: str, takers: Sequence[Taker]) -> Piece:
        self._pause(stretch.length)
        if stretch.part is None and stretch.length <= INLINE:
            for view in chunks_of(file, stretch, self._buffer):
                for take in takers:
                    take(view)
            return Piece(b"", stretch.length, "", bytes(self._buffer[: stretch.length]))
        digest, at_once = hashlib.sha256(), stretch.length <= len(self._buffer)
        for view in chunks_of(file, stretch, self._buffer):
            digest.update(view)
            for take in takers:
                take(view)
            if not at_once:  # whether it is known is seen at its end, so it is written in the meantime
                self.writer.write(view)
                self._pause(len(view))
        key = digest.digest()
        if self.writer.has(key) or self._known.has(key, stretch.length):
            self.writer.forget()
        else:
            if at_once:
                self.writer.write(self._buffer[: stretch.length])
            self.writer.end(key)
        return Piece(key, stretch.length, name)

    def _pause(self, count: int) -> None:
        self._read += count
        if self._read >= BREATH:
            self._read = 0
            self._pace()
        elif count < _SMALL and (now := monotonic()) > self._gave_way + _GIVE_WAY_SECONDS:
            # Large pieces are read and hashed without the interpreter; of small ones a training would wait for thousands.
            sleep(_NEXT_TO_NOTHING)
            self._gave_way = now


def _name(part: Part | None, names: dict[str, str], format: str) -> str:
    """The tensor's name, else that of the part: of a torch file's without its root, which is the name that the file had."""
    if part is None:
        return ""
    _, slash, rest = part.name.partition("/")
    return names.get(part.name) or (rest if format == "torch" and slash else part.name)


def _cut(stretch: Stretch) -> list[Stretch]:
    """What is no part is cut into slices, so that damage to it can be told more closely and equal beginnings are kept once."""
    if stretch.part is not None or stretch.length <= _SLICE:
        return [stretch]
    return [
        Stretch(None, stretch.offset + done, min(_SLICE, stretch.length - done))
        for done in range(0, stretch.length, _SLICE)
    ]
