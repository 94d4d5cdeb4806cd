"""The parts of a checkpoint file, found by reading its headers: nothing is unpickled, and nothing is unpacked to the disk.

A torch file is a zip whose members are its tensors, stored uncompressed; a safetensors file has a header that says where each
tensor lies (https://github.com/huggingface/safetensors: 8 bytes of length, JSON, then the tensors without a gap between them);
an HDF5 file tells its own length (HDF5 File Format Specification 3.0, section II.A); a pickle ends with its STOP.
"""

import io
import os
import struct
import zipfile
from io import FileIO
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from autotrack.errors import NotWhole

MOST_PARTS = 1_000_000
_MOST_DIRECTORY = 32 * 1024 * 1024
_MOST_HEADER = 100_000_000
_LOCAL = struct.Struct("<4s5H3I2H")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_ENCRYPTED = 0x1
_SURE = (".keras", ".npz", ".h5", ".hdf5", ".skops")
"""Names that tell the format. A `.pt` or `.ckpt` may be anything."""
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}


class Part(NamedTuple):
    """A stretch of a file that has a name: a zip member or a tensor.

    `crc`: the CRC-32 that the file records of it, None where it records none. `packed`: how it is compressed in the zip
    (0: not at all), `unpacked`: its length then.
    """

    name: str
    offset: int
    length: int
    crc: int | None = None
    packed: int = 0
    unpacked: int = 0


class Structure(NamedTuple):
    """A file's format and its parts, in the order in which they lie; they do not overlap."""

    format: str
    parts: tuple[Part, ...]


def structure_of(file: FileIO, name: str = "") -> Structure:
    """The structure of a file that is open for reading; of one whose format is not known here "file", without parts.

    NotWhole where it is empty, cut off, encrypted, or says of itself what cannot be.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise NotWhole("it is empty")
    head = _read_at(file, 0, 64)
    if head.startswith(b"PK\x03\x04"):
        return _zip(file, size)
    if head.startswith(_HDF5):
        return _hdf5(head, size)
    if head.startswith(_OLD_TORCH):
        return Structure("torch before 1.6", ())
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        if _read_at(file, size - 1, 1) != b".":
            raise NotWhole("it is a pickle without an end: it was cut off")
        return Structure("pickle", ())
    if name.endswith(".safetensors") or (head[8:9] == b"{" and len(head) > 8):
        return _safetensors(file, size, name)
    if name.endswith(_SURE):
        raise NotWhole(
            "it does not begin as a file of this kind does: it was cut off, damaged or never written"
        )
    return Structure("file", ())


def _read_at(file: FileIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length) or b""


class _Bounded(io.RawIOBase):
    """A file of which nobody is given more than a directory may have, whatever the file says of itself."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:  # from the end record on, so a few bytes
            here = self._file.tell()
            size = self._file.seek(0, os.SEEK_END) - self._file.seek(here)
        if size > _MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory takes more than {_MOST_DIRECTORY} bytes")
        return self._file.read(size) or b""


def _zip(file: FileIO, size: int) -> Structure:
    try:
        # ZipFile takes any object with these methods; its stub asks for IO[bytes].
        bounded: Any = _Bounded(file)
        with zipfile.ZipFile(bounded) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OverflowError, struct.error, NotImplementedError) as error:
        raise NotWhole(
            f"its zip directory cannot be read, as in a file that was cut off ({error})"
        ) from error
    if len(members) > MOST_PARTS:
        raise NotWhole(f"it has {len(members)} members, and {MOST_PARTS} at most are looked at")
    parts = tuple(sorted((_member(file, size, one) for one in members), key=lambda part: part.offset))
    for one, next_one in pairwise(parts):
        if one.offset + one.length > next_one.offset:
            raise NotWhole(f"its members {one.name!r} and {next_one.name!r} lie over each other")
    return Structure(_kind_of_zip({one.filename for one in members}), parts)


def _member(file: FileIO, size: int, info: zipfile.ZipInfo) -> Part:
    name = info.filename
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":":
        raise NotWhole(f"its member {name!r} would lie outside the folder that it is unpacked to")
    if info.flag_bits & _ENCRYPTED:
        raise NotWhole(f"its member {name!r} is encrypted, and cannot be checked")
    local = _read_at(file, info.header_offset, _LOCAL.size) if 0 <= info.header_offset < size else b""
    if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04":
        raise NotWhole(f"its member {name!r} does not begin where the directory says")
    fields = _LOCAL.unpack(local)
    if _read_at(file, info.header_offset + _LOCAL.size, fields[9]) != info.orig_filename.encode(
        "utf-8" if info.flag_bits & 0x800 else "cp437", "replace"
    ):
        raise NotWhole(f"its member {name!r} has another name where it begins")
    offset = info.header_offset + _LOCAL.size + fields[9] + fields[10]
    if offset + info.compress_size > size:
        raise NotWhole(f"its member {name!r} ends behind the end of the file: it was cut off")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise NotWhole(f"its member {name!r} has two different lengths")
    return Part(name, offset, info.compress_size, info.CRC or None, info.compress_type, info.file_size)


def _kind_of_zip(names: set[str]) -> str:
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "torch"
    if {"metadata.json", "config.json"} <= names:
        return "keras"
    if "schema.json" in names:
        return "skops"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "zip"


def _safetensors(file: FileIO, size: int, name: str) -> Structure:
    certain = name.endswith(".safetensors")
    try:
        return _tensors(file, size)
    except NotWhole:
        if certain:
            raise
        return Structure("file", ())


def _tensors(file: FileIO, size: int) -> Structure:
    length = int.from_bytes(_read_at(file, 0, 8), "little")
    if size < 8 or length > min(size - 8, _MOST_HEADER):
        raise NotWhole(
            f"its header says that it has {length} bytes, and the file has {size}: it was cut off or damaged"
        )
    try:
        header = orjson.loads(_read_at(file, 8, length))
        rows = [_tensor(name, row) for name, row in header.items() if name != "__metadata__"]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotWhole("its header cannot be read") from error
    parts, end = [], 0
    for name, start, stop in sorted(rows, key=lambda row: (row[1], row[2])):
        if start != end:
            raise NotWhole(f"its tensor {name!r} does not begin where the one before it ends")
        parts.append(Part(name, 8 + length + start, stop - start))
        end = stop
    if 8 + length + end != size:
        raise NotWhole(
            f"its tensors end at byte {8 + length + end}, and the file has {size}: it was cut off or damaged"
        )
    return Structure("safetensors", tuple(parts))


def _tensor(name: str, row: dict[str, Any]) -> tuple[str, int, int]:
    start, stop = row["data_offsets"]
    shape = row["shape"]
    if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
        raise ValueError(name)
    if (bits := _bits_of(str(row["dtype"]))) and (_count(shape) * bits + 7) // 8 != stop - start:
        raise NotWhole(f"its tensor {name!r} has {stop - start} bytes, which its shape and type do not make")
    return name, start, stop


def _count(shape: list[int]) -> int:
    """The values of a tensor; of more than any file can have only that they are too many, however long its shape is."""
    if 0 in shape:
        return 0
    count = 1
    for number in shape:
        count *= number
        if count >= 2**64:
            break
    return count


def _bits_of(dtype: str) -> int:
    """The bits of a value; 0 for a type that is not known here."""
    if dtype in _BITS:
        return _BITS[dtype]
    digits = dtype.lstrip("BFIU").partition("_")[0]
    return int(digits) if digits.isdigit() else 0


def _hdf5(head: bytes, size: int) -> Structure:
    """Superblocks 0 and 1 have the end of the file behind the base address and the free-space one, 2 and 3 behind two as well."""
    if len(head) < 48:
        raise NotWhole("its HDF5 superblock is cut off")
    version, wide = head[8], head[13] if head[8] < 2 else head[9]
    place = {0: 24, 1: 28, 2: 12, 3: 12}.get(version)
    if place is None or wide not in (4, 8):
        raise NotWhole(f"its HDF5 superblock is damaged, or of a version that is not known ({version})")
    base = int.from_bytes(head[place : place + wide], "little")
    end = int.from_bytes(head[place + 2 * wide : place + 3 * wide], "little")
    if base + end > size:
        raise NotWhole(f"it says that it has {base + end} bytes, and has {size}: it was cut off")
    return Structure("hdf5", ())
