"""Reading a checkpoint file once, from its beginning to its end: its digest, the CRC of each part, and that it is on the disk.

`torch.load` does not look at the CRCs of a torch file (pytorch/pytorch#28858), and a file saved without them has 0 there
(`torch.serialization.set_crc32_options(False)`): those parts count as not checked.
"""

import errno
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from io import FileIO
from typing import NamedTuple

from autotrack.digests import BREATH
from autotrack.errors import NotWhole
from autotrack.objects.structure import Part, Structure, structure_of
from autotrack.objects.torchnames import names_of
from autotrack.objects.writeback import sync_in_steps

Pace = Callable[[], object]
CHUNK = 1024 * 1024
_MOST_PICKLE = 64 * 1024 * 1024
_DEFLATED = 8


class Stretch(NamedTuple):
    """A part of a file, or what lies between two of them."""

    part: Part | None
    offset: int
    length: int


class Checked(NamedTuple):
    """A file that was read to its end: sha256 in hex and format.

    `problem`: what is amiss with it, None for one that is whole as far as its format tells. `unchecked`: how many bytes of
    its parts the file has no CRC of.
    """

    digest: str
    format: str
    problem: str | None = None
    unchecked: int = 0


def stretches(structure: Structure, size: int) -> Iterator[Stretch]:
    """The file from its first byte to its last."""
    end = 0
    for part in structure.parts:
        if part.offset > end:
            yield Stretch(None, end, part.offset - end)
        yield Stretch(part, part.offset, part.length)
        end = part.offset + part.length
    if end < size:
        yield Stretch(None, end, size - end)


def chunks_of(file: FileIO, stretch: Stretch, buffer: memoryview) -> Iterator[memoryview]:
    """The bytes of a stretch, at most 1 MiB at a time; OSError where the file ends before it.

    They are read into the buffer: one behind the other where it has room for all of them, else each is valid until the next.
    """
    file.seek(stretch.offset)
    whole = stretch.length <= len(buffer)
    done = 0
    while done < stretch.length:
        start = done if whole else 0
        view = buffer[start : start + min(CHUNK, stretch.length - done)]
        count = file.readinto(view)
        if not count:
            raise OSError(errno.ENODATA, "it became shorter while it was read")
        done += count
        yield view[:count]


def check(path: str, pace: Pace = bool, sync: bool = False) -> Checked:
    """Read a file to its end; OSError where it cannot be read.

    `sync`: it is also brought to the disk, in small steps, so that what else this thread has to sync waits for none of them long.
    """
    with open(path, "rb", buffering=0) as file:
        structure, problem = structure_and_problem(file, os.path.basename(path))
        whole, unchecked, paced = hashlib.sha256(), 0, _Paced(pace)
        buffer = memoryview(bytearray(CHUNK))
        for stretch in stretches(structure, os.fstat(file.fileno()).st_size):
            test = test_of(stretch.part)
            for view in chunks_of(file, stretch, buffer):
                whole.update(view)
                test.take(view)
                paced.read(len(view))
            problem = problem or problem_of(test, file, structure, stretch.part)
            unchecked += test.unchecked
        if sync and problem is None:
            sync_in_steps(file.fileno(), BREATH, pace)
        return Checked(whole.hexdigest(), structure.format, problem, unchecked)


def structure_and_problem(file: FileIO, name: str) -> tuple[Structure, str | None]:
    """The parts of a file; none of one that is damaged, and why."""
    try:
        return structure_of(file, name), None
    except NotWhole as error:
        return Structure("unknown", ()), str(error)


def problem_of(test: "Test", file: FileIO, structure: Structure, part: Part | None) -> str | None:
    """What is amiss with a part, all bytes of which were taken by its test."""
    why = test.amiss()
    return None if why is None else f"{label(file, structure, part)} is damaged: {why}"


def label(file: FileIO, structure: Structure, part: Part | None) -> str:
    """A part as its user knows it: the tensor 'encoder.weight', or else the part 'archive/data.pkl'."""
    if part is None:
        return "what lies between the parts"
    if structure.format == "safetensors":
        return f"the tensor {part.name!r}"
    name = tensor_names(file, structure).get(part.name)
    return f"the tensor {name!r}" if name else f"the part {part.name!r}"


def tensor_names(file: FileIO, structure: Structure) -> dict[str, str]:
    """By the name of a part that of the tensor in it; of a torch file from its pickle, which is read and never loaded."""
    if structure.format == "safetensors":
        return {part.name: part.name for part in structure.parts}
    pickle = next((part for part in structure.parts if part.name.endswith("data.pkl")), None)
    if structure.format != "torch" or pickle is None or pickle.packed or pickle.length > _MOST_PICKLE:
        return {}
    file.seek(pickle.offset)
    folder = pickle.name[: -len("data.pkl")] + "data/"
    return {folder + key: name for key, name in names_of(file.read(pickle.length) or b"").items() if name}


class _Paced:
    """Lets others pass now and then, however small the parts are."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._read = 0

    def read(self, count: int) -> None:
        self._read += count
        if self._read >= BREATH:
            self._read = 0
            self._pace()


class Test:
    """Whether bytes are what they should be; of these nothing is known."""

    def __init__(self, unchecked: int) -> None:
        self.unchecked = unchecked

    def take(self, view: memoryview) -> None:
        """The next bytes."""

    def amiss(self) -> str | None:
        """What is wrong with them, once all were taken."""
        return None


class _Crc(Test):
    """The bytes themselves."""

    def __init__(self, part: Part) -> None:
        super().__init__(0)
        self._wanted = part.crc
        self._crc = 0

    def take(self, view: memoryview) -> None:
        self._crc = zlib.crc32(view, self._crc)

    def amiss(self) -> str | None:
        return None if self._crc == self._wanted else "its CRC-32 is another"


class _Unpacked(_Crc):
    """What the bytes unpack to, a MiB at a time, and not more than the file says that it is."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._unpacking = zlib.decompressobj(-15)
        self._said = part.unpacked
        self._found = 0
        self._error: str | None = None

    def take(self, view: memoryview) -> None:
        data = bytes(view)
        while data and self._error is None:
            try:
                out = self._unpacking.decompress(data, CHUNK)
            except zlib.error as error:
                self._error = f"it cannot be unpacked ({error})"
                return
            if self._found + len(out) > self._said:
                self._error = f"it unpacks to more than the {self._said} bytes that it is said to have"
                return
            self._found += len(out)
            super().take(memoryview(out))
            data = self._unpacking.unconsumed_tail

    def amiss(self) -> str | None:
        if self._error is not None:
            return self._error
        rest = self._unpacking.flush()  # the last bytes, where a MiB was full when the input ended
        self._found += len(rest)
        super().take(memoryview(rest))
        if self._found != self._said:
            return f"it does not unpack to the {self._said} bytes that it is said to have"
        return super().amiss()


def test_of(part: Part | None) -> Test:
    """What the bytes of a part are to be given to, to know whether they are right."""
    if part is None:
        return Test(0)
    if part.crc is None:
        return Test(part.length)
    if part.packed == 0:
        return _Crc(part)
    # Deflate packs to a thousandth at best; what says that it unpacks to more is not worth the time it would take.
    return (
        _Unpacked(part)
        if part.packed == _DEFLATED and part.unpacked <= 1100 * part.length + 64
        else Test(part.length)
    )
