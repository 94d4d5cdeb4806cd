"""Freeing what no kept checkpoint needs any more: packs of which nothing is used, and the unused parts of others."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from autotrack.errors import NotWhole
from autotrack.objects.budget import size_below
from autotrack.objects.keep import Kept, remove_below
from autotrack.objects.packs import PackWriter, holding, packs_in, table_of
from autotrack.objects.reading import CHUNK, Pace
from autotrack.objects.recipe import read_recipe

_WORTH = 0.5
"""A pack is written anew when more than this share of it is used by nobody."""


class _Plan(NamedTuple):
    """A pack, what is used of it (sha256, offset, length), and the bytes that are not."""

    pack: Path
    used: list[tuple[bytes, int, int]]
    freed: int


class Waste(NamedTuple):
    """What nobody needs, as far as freeing it is worth it: of each pack how many of its bytes, and
    what a process left behind that died while it wrote.
    """

    packs: dict[Path, int]
    leftovers: dict[Path, int]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.packs.values()) + sum(self.leftovers.values())


class NotNow(Exception):
    """Somebody is keeping a checkpoint just now, or the file system has no locks."""


def sweep(kept: Kept, *, dry: bool, without: Collection[tuple[str, str]] = (), pace: Pace = bool) -> Waste:
    """Free what no recipe refers to; `dry`: only tell, as if these recipes (run, save) were not there.

    NotNow; NotWhole where a recipe is damaged, for then nothing is certain. Nobody adds to the packs meanwhile, and who finds it
    going on keeps all of its pieces itself.
    """
    with holding(kept.packs, alone=True) as alone:
        if not alone:
            raise NotNow
        needed = _needed(kept, without, pace)
        plans = list(_plans(kept.packs, needed))
        waste = Waste({plan.pack: plan.freed for plan in plans}, dict(_leftovers(kept)))
        if dry:
            return waste
        for path in waste.leftovers:
            if path.is_dir():
                remove_below(path)
            else:
                path.unlink(missing_ok=True)
        written: set[Path | None] = set()
        for plan in plans:
            pace()
            if plan.pack not in written:  # what is left of one pack may be another, to the byte
                written.add(_carry_out(kept.packs, plan))
        return waste


def _needed(kept: Kept, without: Collection[tuple[str, str]], pace: Pace) -> set[bytes]:
    """The pieces that recipes refer to, those that are being dropped just now included.

    One that is put aside and back while this looks is found under its name before, or after.
    """
    found: set[bytes] = set()
    read: set[tuple[str, str]] = set(without)
    for names in ("*/*.json", "*/*.dropping", "*/*.json"):
        for recipe in kept.folder.glob(names):
            pace()
            key = (recipe.parent.name, recipe.stem)
            if key in read:
                continue
            try:
                files = read_recipe(recipe).files
            except FileNotFoundError:
                continue
            read.add(key)
            found.update(piece.digest for file in files for piece in file.pieces or ())
    return found


def _plans(packs: Path, needed: set[bytes]) -> Iterator[_Plan]:
    """What to do with each pack that is worth it. A piece that several packs have is needed in the newest one only."""
    seen: set[bytes] = set()
    for pack in packs_in(packs):
        try:
            rows = table_of(pack)
        except NotWhole:
            continue  # what can be read of it is for verify to tell, and for its owner to decide
        used = [row for row in rows if row[0] in needed and row[0] not in seen]
        seen.update(row[0] for row in rows)
        size = sum(length for _, _, length in rows)
        freed = size - sum(length for _, _, length in used)
        if not used or freed > _WORTH * size:
            yield _Plan(pack, used, freed)


def _leftovers(kept: Kept) -> Iterator[tuple[Path, int]]:
    """Temporary files and folders; whoever wrote them is gone, for we are alone."""
    for path in (*kept.packs.glob("*.tmp"), *kept.folder.glob("*/*.tmp")):
        yield path, size_below(path) if path.is_dir() else path.stat().st_size


def _carry_out(packs: Path, plan: _Plan) -> Path | None:
    """Write what is used of a pack into a new one, which is returned, and remove the pack then."""
    new = None
    if plan.used:
        writer = PackWriter(packs)
        try:
            with open(plan.pack, "rb") as source:
                for digest, offset, length in plan.used:
                    _copy(source, writer, offset, length)
                    writer.end(digest)
            new = writer.close()
        finally:
            writer.discard()
    os.unlink(plan.pack)
    return new


def _copy(source: BinaryIO, writer: PackWriter, offset: int, length: int) -> None:
    source.seek(offset)
    while length:
        data = source.read(min(CHUNK, length))
        if not data:
            raise NotWhole(f"{source.name} is cut off")
        writer.write(memoryview(data))
        length -= len(data)
