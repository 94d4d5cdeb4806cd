"""Reading journals: whole blocks at once, whatever they hold."""

import errno
import json
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard

from autotrack.journal import reader, sealed, source
from autotrack.journal.format import decode, encode
from autotrack.journal.lines import rows_of, split
from autotrack.journal.reader import Batch, count_points, parse, read
from autotrack.journal.source import Segment, blocks, content_size, find_segments, stretches

GOLDEN = Path(__file__).parent / "golden"
HEADER = {"format": 1, "run": "r", "wall": 1_700_000_000 * 10**9, "role": "run", "rank": 0}


def segment(path: Path) -> Segment:
    packed = path.name.endswith(".zst")
    name = path.name.removesuffix(".zst").removesuffix(".jsonl")
    return Segment(name, None if packed else path, path if packed else None)


def points(batches: list[Batch]) -> list[tuple[int, str | None, str, Any, float]]:
    """Every point as (seq, child, key, step, value), NaN as text."""
    found = []
    for batch in batches:
        for group in batch.groups:
            for row in range(len(group.seqs)):
                for column, key in enumerate(group.keys):
                    step = None if group.steps is None else int(group.steps[row])
                    value = float(group.values[row, column])
                    found.append(
                        (int(group.seqs[row]), group.child, key, step, "nan" if math.isnan(value) else value)
                    )
    return sorted(found, key=repr)


def test_the_golden_journal_is_read_as_it_is_documented() -> None:
    found, foreign = find_segments(GOLDEN)
    assert foreign == []
    expected = [one for one in json.loads((GOLDEN / "expected.json").read_text()) if one is not None]
    for one in found:
        batches = list(read(one))
        wanted = []
        for kind, seq, _, step, body, child in expected:
            if kind in "ms":
                wanted += [
                    (seq, child, key, step, "nan" if math.isnan(value) else float(value))
                    for key, value in body.items()
                ]
        assert points(batches) == sorted(wanted, key=repr)
        events = [(event.kind, event.seq) for batch in batches for event in batch.events]
        others = ("h", "m", "s", "beat", "later")
        assert events == [(kind, seq) for kind, seq, *_ in expected if kind not in others]
        assert sum(batch.damaged for batch in batches) == 1
        assert sum(batch.unknown for batch in batches) == 1
        assert batches[0].header is not None
        assert batches[0].header["run"] == "abcdefgh27"


def test_every_golden_line_reads_alone_as_in_a_block() -> None:
    for one in find_segments(GOLDEN)[0]:
        lines = one.path.read_bytes().splitlines(keepends=True)
        alone = [parse(line) for line in lines]
        assert points(alone) == points([parse(b"".join(lines))])


def lines_of(count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    lines = [encode("h", 0, 0, HEADER)]
    for seq in range(1, count):
        keys = rng.sample(["loss", "lr", "ü", "a/b"], rng.randrange(1, 4))
        values = {key: rng.choice([rng.random(), 3, math.nan, math.inf, 2**70]) for key in keys}
        lines.append(encode("m", seq, seq * 10, seq, values, *(["kid"] if rng.random() < 0.2 else [])))
    return lines


@pytest.mark.parametrize("kind", ["plain", "frames", "one frame"])
@pytest.mark.parametrize("size", [100, 1_000, 10_000_000])
def test_pieces_and_offsets_change_nothing(tmp_path: Path, kind: str, size: int) -> None:
    data = b"".join(lines_of(500))
    path = tmp_path / ("h-1-2-0.0.jsonl" + ("" if kind == "plain" else ".zst"))
    written = {
        "plain": data,
        "frames": b"".join(sealed.compress(data)),
        "one frame": zstandard.compress(data),
    }
    path.write_bytes(written[kind])
    expected = points([parse(data)])
    batches = list(read(segment(path), size=size))
    assert points(batches) == expected
    assert batches[-1].end == len(data) == content_size(segment(path))
    halves: list[Batch] = []
    for batch in read(segment(path), size=size):
        halves.append(batch)
        if len(halves) == 2:
            break
    halves += read(segment(path), halves[-1].end, halves[-1].last_seq, size=size)
    assert points([half for half in halves if half.problem is None]) == expected


def test_a_cut_at_any_byte_costs_only_the_torn_line(tmp_path: Path) -> None:
    lines = lines_of(12)
    data = b"".join(lines)
    path = tmp_path / "h-1-2-0.0.jsonl"
    ends = np.cumsum([len(line) for line in lines])
    for cut in range(len(lines[0]), len(data)):
        path.write_bytes(data[:cut])
        whole = int((ends <= cut).sum())
        assert points(list(read(segment(path)))) == points([parse(b"".join(lines[:whole]))])
        assert read_end(path) == ends[whole - 1]


def test_a_line_that_another_thread_wrote_behind_a_torn_one_is_read_wherever_that_one_was_torn() -> None:
    facts = {
        "what": "git",
        "why": None,
        "facts": {"argv": ["a", ["m", 1]], "n": [["m", 1, 2, 3, {"a": 1.0}]]},
    }
    first = [
        encode("m", 38, 5, 7, {"loss": 0.5, "rate": 1e-3}),
        encode("capture", 38, 5, facts),
        encode("config", 38, 5, {"values": {"text": 'a ["m",[ "s"'}, "source": "user"}, "child"),
    ]
    second = [encode(kind, 39, *rest) for kind, _, *rest in (orjson.loads(line)[:-1] for line in first)]
    for torn in first:
        for cut in range(1, len(torn)):
            for line in second:
                rows, damaged = rows_of(split(torn[:cut] + line))
                assert (damaged, [row for row in rows if row[1] == 39]) == (1, [orjson.loads(line)])


def read_end(path: Path) -> int:
    return list(read(segment(path)))[-1].end


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_never_give_a_wrong_value(seed: int) -> None:
    rng = random.Random(seed)
    lines = lines_of(200, seed)
    good = set(points([parse(b"".join(lines))]))
    for _ in range(150):
        data = bytearray(b"".join(lines))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        batch = parse(bytes(data))
        found = points([batch])
        assert set(found) <= good
        assert batch.damaged >= 1
        assert len({one[0] for one in found}) >= 199 - 2 * batch.damaged - 6


def test_zeroed_sectors_and_rubbish_cost_only_what_they_cover() -> None:
    lines = lines_of(3_000)
    data = bytearray(b"".join(lines))
    data[5_000:9_096] = bytes(4_096)
    data[40_000:40_512] = random.Random(1).randbytes(512)
    batch = parse(bytes(data))
    hit = sum(1 for line in lines if line not in bytes(data))
    assert len({one[0] for one in points([batch])}) == len(lines) - 1 - hit
    assert batch.damaged >= 1


def test_lines_that_only_together_make_an_array_are_damaged() -> None:
    batch = parse(b'["m",1,2,3\n{"loss":1.0},4]\n' + encode("m", 5, 6, 7, {"loss": 1.0}) + b"]\n[\n\n")
    assert points([batch]) == [(5, None, "loss", 7, 1.0)]
    assert batch.damaged == 4


def whole_line(text: bytes) -> bytes:
    """A line with a right checksum, whatever it says."""
    import zlib

    return b"%b%d]\n" % (text, zlib.crc32(text))


@pytest.mark.parametrize(
    "text",
    [
        b'["m",1,2,3,{"loss":"abc"},',
        b'["m",1,2,3,{"loss":null},',
        b'["m",1,2,3,{"loss":[1]},',
        b'["m",1,2,3,[1],',
        b'["m",1,2,null,{"loss":1},',
        b'["m",1.5e300,2,3,{"loss":1},',
        b'["m",99999999999999999999,2,3,{"loss":1},',
        b'["m",1,2,9223372036854775808,{"loss":1},',
        b'["m",1,2,3,{"loss":1},["child"],',
        b'["m",1,2,3,{"loss":1},7,',
        b'["m",1,2,3,{},',
        b'["m",1,',
        b'[["m"],1,2,3,{"loss":1},',
        b'[{"m":1},1,2,{},',
        b'["s",1,2,"x",',
        b'["config",1,2,[],',
        b'["start",1,99999999999999999999,{},',
        b"[null,null,null,null,",
        b"[",
    ],
)
def test_odd_lines_with_a_right_checksum_are_no_trouble(text: bytes) -> None:
    line = whole_line(text)
    good = encode("m", 2**40, 6, 7, {"loss": 1.0})
    assert points([parse(line + good)]) == [(2**40, None, "loss", 7, 1.0)]
    assert points([parse(good + line + good)]) == [(2**40, None, "loss", 7, 1.0)]


def test_a_hundred_thousand_keys_in_one_line() -> None:
    values = {f"k{number}": float(number) for number in range(100_000)}
    batch = parse(encode("m", 1, 2, 3, values) + encode("m", 2, 3, 4, values))
    assert count_points([batch]) == 200_000


def test_a_line_longer_than_a_piece_is_read(tmp_path: Path) -> None:
    path = tmp_path / "h-1-2-0.0.jsonl"
    line = encode("config", 1, 1, {"values": {"text": "x" * 100_000}})
    path.write_bytes(encode("h", 0, 0, HEADER) + line)
    assert [len(block) for block in blocks(segment(path), 0, 1_000)][-1] > 100_000
    events = [event for batch in read(segment(path), size=1_000) for event in batch.events]
    assert len(events) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello\nworld\n", "is not a journal"),
        (b"\x00" * 5_000 + b"\n", "is not a journal"),
        (encode("h", 0, 0, {"format": 2, "by": "autotrack 9.9"}), "format 2, written by autotrack 9.9"),
        (encode("h", 0, 0, {"format": "x"}), "names no format"),
    ],
)
def test_files_that_are_no_journals_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "h-1-2-0.0.jsonl"
    path.write_bytes(data)
    batches = list(read(segment(path)))
    assert [batch.end for batch in batches] == [0]
    assert batches[0].problem is not None
    assert message in batches[0].problem
    assert path.name in batches[0].problem


def test_a_sealed_file_that_is_damaged_gives_what_comes_before(tmp_path: Path) -> None:
    data = b"".join(lines_of(20_000))
    path = tmp_path / "h-1-2-0.0.jsonl.zst"
    whole = zstandard.compress(data)
    path.write_bytes(whole[: len(whole) // 2])
    batches = list(read(segment(path)))
    good = {one[0] for one in points(batches)}
    assert good
    assert good <= set(range(20_000))
    path.write_bytes(b"\x00" * 100)
    assert "cannot be decompressed" in str(list(read(segment(path)))[-1].problem)


@pytest.mark.parametrize("count", [1, 300, 5_000])
def test_a_sealed_file_is_read_by_zstd_and_its_frames_hold_whole_lines(tmp_path: Path, count: int) -> None:
    long = encode("config", count, 1, {"values": {"text": "x" * 50_000}})
    lines = [*lines_of(count), long, *lines_of(3)]
    data = b"".join(lines) + b'["m",9'
    packed = list(sealed.compress(data))
    plain = zstandard.ZstdDecompressor().stream_reader(b"".join(packed), read_across_frames=True).read()
    assert plain == data
    assert [piece.data for piece in sealed.pieces(b"".join(packed))] == [
        zstandard.decompress(frame) for frame in packed
    ]
    assert sealed.content_size(b"".join(packed)) == len(data)
    for frame in packed[:-1]:
        content = zstandard.decompress(frame)
        assert content.endswith(b"\n")
        assert len(content) <= sealed.FRAME or content.count(b"\n") == 1
        assert zstandard.get_frame_parameters(frame).has_checksum


def test_what_the_reader_says_is_what_the_format_says() -> None:
    for line in lines_of(300):
        event = decode(line.rstrip(b"\n"))
        assert event is not None
        found = points([parse(line)])
        wanted = [
            (event.seq, event.child, key, event.step, "nan" if math.isnan(value) else float(value))
            for key, value in event.body.items()
            if event.kind == "m"
        ]
        assert found == sorted(wanted, key=repr)


@pytest.mark.parametrize("neighbour", ["rubbish", "unreadable"])
def test_a_damaged_first_line_beside_a_neighbour_that_cannot_be_read_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neighbour: str
) -> None:
    lines = lines_of(20)
    path = tmp_path / "h-1-2000-0.1.jsonl"
    path.write_bytes(b"".join([b"#" + lines[0][1:], *lines[1:]]))
    (tmp_path / "h-1-2000-0.0.jsonl.zst").write_bytes(b"\x01" * 100)
    if neighbour == "unreadable":

        def unreadable(path: Path, offset: int) -> None:
            raise OSError(errno.EIO, "an error of the device")

        monkeypatch.setattr(source, "_sealed_pieces", unreadable)
    further = tmp_path / "h-1-2000-0.2.jsonl"
    further.write_bytes(encode("h", 30, 7, HEADER | {"host": "the one"}))
    batches = list(read(segment(path)))
    assert [batch.problem for batch in batches] == [None]
    assert points(batches) == points([parse(b"".join(lines[1:]))])
    assert batches[0].header is not None
    assert batches[0].header["host"] == "the one"
    further.unlink()
    (batch,) = read(segment(path))
    assert (batch.problem, batch.damaged) == (None, 1)
    assert batch.header is not None
    assert batch.header["wall"] == 2000


@pytest.mark.parametrize("rubbish", [b"\x00" * 5_000, b"x" * 999 + b"\n", b'["m",1,2],3]\n'])
def test_a_file_whose_first_part_holds_no_whole_line_gives_what_comes_behind(
    tmp_path: Path, rubbish: bytes
) -> None:
    lines = lines_of(50)
    path = tmp_path / "h-1-2-0.0.jsonl"
    times = max(20, 3_000 // len(rubbish))
    path.write_bytes(rubbish * times + b"\n" + b"".join(lines[1:]))
    batches = list(read(segment(path), size=1_000))
    assert [batch.problem for batch in batches if batch.problem] == []
    assert points(batches) == points([parse(b"".join(lines[1:]))])
    assert sum(batch.damaged for batch in batches) == max(1, times * rubbish.count(b"\n"))
    assert batches[0].header is not None
    assert batches[-1].end == path.stat().st_size


def test_a_long_file_of_somebody_else_is_given_up_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_LOOKED_THROUGH", 10_000)
    path = tmp_path / "h-1-2-0.0.jsonl"
    path.write_bytes(b"somebody else's\n" * 10_000)
    seen: list[int] = []

    def noting(segment: Segment, offset: int, size: int) -> Iterator[tuple[bytes, int]]:
        for block, length in stretches(segment, offset, size):
            seen.append(length)
            yield block, length

    monkeypatch.setattr(reader, "stretches", noting)
    (batch,) = read(segment(path), size=1_000)
    assert batch.end == 0
    assert "is not a journal" in str(batch.problem)
    assert sum(seen) < 12_000


def written(path: Path, seqs: Iterable[int], padding: int = 40) -> int:
    """Add metric lines with these numbers to a journal; its size."""
    with open(path, "ab") as file:
        file.writelines(encode("m", seq, seq, seq, {"loss": float(seq), "x" * padding: 1.0}) for seq in seqs)
        return file.tell()


def again(one: Segment, offset: int, top: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], int]:
    """The numbers of what is read behind an offset, and how many bytes before it are read for that."""
    starts = [offset]

    def pieces(segment: Segment, start: int = 0, size: int = source.BLOCK) -> Any:
        starts.append(start)
        return stretches(segment, start, size)

    monkeypatch.setattr(reader, "stretches", pieces)
    found = sorted({seq for seq, *_ in points(list(read(one, offset, top)))})
    return found, offset - min(starts)


@pytest.mark.parametrize("padding", [40, 5000])
def test_a_line_that_another_thread_wrote_a_little_late_is_taken_and_little_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: int
) -> None:
    path = tmp_path / "h-1-1-0.0.jsonl"
    path.write_bytes(encode("h", 0, 0, HEADER))
    count = 4_000_000 // (padding + 60)
    late = count - 7
    size = written(path, (seq for seq in range(1, count) if seq != late), padding)
    written(path, [late, count, count - 3], padding)
    found, before = again(segment(path), size, count - 1, monkeypatch)
    assert found == [late, count]
    assert 0 < before < 1_000_000


@pytest.mark.parametrize(("count", "padding"), [(20_000, 40), (60, 100_000)])
def test_a_line_from_far_back_that_stands_there_twice_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, padding: int
) -> None:
    path = tmp_path / "h-1-1-0.0.jsonl"
    path.write_bytes(encode("h", 0, 0, HEADER))
    size = written(path, (seq for seq in range(1, count) if seq not in (5, 40)), padding)
    written(path, [6, 40, count - 1, 5, count - 9, count], padding)
    assert again(segment(path), size, count - 1, monkeypatch)[0] == [5, 40, count]
