"""Packs that tell of what is not in them, and packs that are alike to the byte."""

import hashlib
import os
from pathlib import Path
from zlib import crc32

import pytest

from autotrack.digests import look_at
from autotrack.errors import NotWhole
from autotrack.objects.keep import Kept
from autotrack.objects.packs import PackWriter, packs_in, table_of
from autotrack.objects.rebuild import Shelf
from autotrack.objects.sweep import sweep


def write_piece(writer: PackWriter, data: bytes) -> None:
    writer.write(memoryview(data))
    writer.end(hashlib.sha256(data).digest())


def test_what_is_left_of_a_pack_may_be_another_pack_to_the_byte_and_is_not_lost(tmp_path: Path) -> None:
    kept, data = Kept(tmp_path / "objects"), b"x" * 8000
    (tmp_path / "x").write_bytes(data)
    kept.add("run", "save", str(tmp_path / "x"), look_at(str(tmp_path / "x")))
    [older] = packs_in(kept.packs)
    os.utime(older, (1, 1))
    writer = PackWriter(kept.packs)
    write_piece(writer, data)
    write_piece(writer, b"y" * 20_000)
    writer.close()
    sweep(kept, dry=False)
    shelf = Shelf(kept)
    recipe = shelf.recipe("run", "save")
    assert recipe is not None
    assert list(shelf.damages(recipe)) == []
    assert len(packs_in(kept.packs)) == 1


@pytest.mark.parametrize("start", [0, 2**63, 10_000])
def test_a_table_that_tells_of_pieces_outside_of_the_pack_is_refused(tmp_path: Path, start: int) -> None:
    writer = PackWriter(tmp_path / "packs")
    write_piece(writer, b"x" * 100)
    pack = writer.close()
    assert pack is not None
    data = pack.read_bytes()
    table = data[116:148] + start.to_bytes(8, "little") + data[156:164]
    pack.write_bytes(data[:116] + table + hashlib.sha256(table).digest() + data[196:])
    with pytest.raises(NotWhole, match="outside"):
        table_of(pack)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"format":1,"run":"r","save":"s","path":"p","digest":"","files":[{"name":"","size":Infinity,"digest":"","format":""}]}',
    ],
)
def test_a_recipe_of_what_cannot_be_is_refused(tmp_path: Path, body: bytes) -> None:
    kept = Kept(tmp_path / "objects")
    path = kept.recipe_path("run", "save")
    path.parent.mkdir(parents=True)
    data = b"[" + body + b","
    path.write_bytes(data + str(crc32(data)).encode() + b"]\n")
    with pytest.raises(NotWhole):
        Shelf(kept).recipe("run", "save")
