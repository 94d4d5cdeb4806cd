"""Damaged journals: only the damaged lines are lost, no value is wrong, the reader never crashes."""

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import damage
import numpy as np
import pytest
from oracle import seed

from autotrack.journal import sealed as sealing
from autotrack.journal.format import encode
from autotrack.journal.reader import read
from autotrack.journal.source import content_size

NAME = "h-1-2-0.0.jsonl"
Property = Callable[[str, object], None]


def damage_often(times: int, folder: Path, chosen: int) -> dict[str, int]:
    """Hit a plain and a sealed journal in random places, one at a time; what that cost. Every oracle is asserted here."""
    rng = random.Random(chosen)
    lines = damage.journal(500, chosen)
    content = b"".join(lines)
    starts = [0, *itertools.accumulate(map(len, lines))][:-1]
    plain, packed = folder / NAME, folder / f"{NAME}.zst"
    plain.write_bytes(content)
    good, events, nothing, _ = damage.read_all(plain)
    assert nothing == 0
    compressed = b"".join(sealing.compress(content))
    costs = dict.fromkeys(("lost_most_plain", "lost_most_sealed", "lost_sealed", "bytes_lost_most_sealed"), 0)
    for number in range(times):
        way = (damage.flip, damage.zero)[number % 2]
        data = bytearray(content)
        touched = damage.hit(starts, *way(data, rng))
        plain.write_bytes(data)
        found, kept, damaged, problems = damage.read_all(plain)
        assert not problems or 0 in touched, (number, problems)
        assert found <= good, (number, sorted(found - good)[:3])
        assert kept <= events, (number, sorted(kept - events)[:3])
        lost = {one[0] for one in (good - found) | (events - kept)}
        assert lost <= set(touched), (number, sorted(lost), touched)
        assert damaged or bytes(data) == content or len(lines) - 1 in touched, number
        costs["lost_most_plain"] = max(costs["lost_most_plain"], len(lost))

        data = bytearray(compressed)
        way(data, rng)
        packed.write_bytes(data)
        found, kept, damaged, problems = damage.read_all(packed)
        assert not problems, (number, problems)
        assert found <= good, (number, sorted(found - good)[:3])
        assert kept <= events, (number, sorted(kept - events)[:3])
        lost = {one[0] for one in (good - found) | (events - kept)}
        assert damaged or not lost, number
        costs["lost_sealed"] += len(lost)
        costs["lost_most_sealed"] = max(costs["lost_most_sealed"], len(lost))
        size = sum(len(lines[seq]) for seq in lost)
        assert size <= 2 * sealing.FRAME, (number, size)
        costs["bytes_lost_most_sealed"] = max(costs["bytes_lost_most_sealed"], size)
        assert content_size(damage.segment(packed)) == list(read(damage.segment(packed)))[-1].end
        packed.unlink()
    return costs


def test_sixty_hits_cost_only_the_lines_that_they_touch(tmp_path: Path) -> None:
    costs = damage_often(60, tmp_path, seed())
    assert costs["lost_most_plain"] <= 20
    assert costs["lost_sealed"] > 0


def test_a_frame_is_missed_when_its_first_bytes_are_zeroed_and_the_last_of_the_one_before(
    tmp_path: Path,
) -> None:
    content = b"".join(damage.journal(500))
    compressed = b"".join(sealing.compress(content))
    packed = tmp_path / f"{NAME}.zst"
    packed.write_bytes(compressed)
    good, _, nothing, _ = damage.read_all(packed)
    assert nothing == 0
    for frame in sealing.frames(compressed)[1:]:
        for skipped in range(-12, 12):
            data = bytearray(compressed)
            first, last = frame.start + skipped, min(frame.start + skipped + damage.SECTOR, frame.end)
            data[first:last] = bytes(last - first)
            packed.write_bytes(data)
            found, _, damaged, problems = damage.read_all(packed)
            assert not problems
            assert found < good
            assert damaged, (frame, skipped)


def test_a_bit_flipped_in_the_headers_of_a_frame_is_noticed_if_it_costs_lines(tmp_path: Path) -> None:
    compressed = b"".join(sealing.compress(b"".join(damage.journal(500))))
    packed = tmp_path / f"{NAME}.zst"
    packed.write_bytes(compressed)
    good, events, nothing, _ = damage.read_all(packed)
    assert nothing == 0
    for frame in sealing.frames(compressed):
        for bit in range(8 * 12):
            data = bytearray(compressed)
            data[frame.start + bit // 8] ^= 1 << bit % 8
            packed.write_bytes(data)
            found, kept, damaged, problems = damage.read_all(packed)
            assert not problems
            assert found <= good
            assert kept <= events
            assert damaged or (found, kept) == (good, events), (frame, bit)


@pytest.mark.proof
def test_ten_thousand_hits_cost_only_the_lines_that_they_touch(
    tmp_path: Path, record_property: Property
) -> None:
    chosen = seed()
    costs = damage_often(10_000, tmp_path, chosen)
    for name, value in {"seed": chosen, "hits": 20_000, "wrong_values": 0, **costs}.items():
        record_property(name, value)
    assert costs["lost_most_plain"] <= 20


def cut_everywhere(path: Path, size: int, every: int = 1) -> int:
    """Cut a journal at each of its last bytes, from behind; how many cuts. What stands before the cut is all read."""
    lines = [encode("h", 0, 1, {"format": 1, "run": "r", "wall": 10**18})]
    while sum(map(len, lines[-1_000:])) < size + 2_000 and len(lines) < 5_000:
        seq = len(lines)
        lines.append(encode("m", seq, seq * 1_000, seq, {"train/loss": seq / 7, "lr": 1e-3}))
    content = b"".join(lines)
    ends = np.cumsum([len(line) for line in lines])
    path.write_bytes(content)
    cuts = 0
    for length in range(len(content) - 1, max(len(content) - size, len(lines[0])) - 1, -every):
        os.truncate(path, length)
        whole = int((ends <= length).sum())
        (batch,) = read(damage.segment(path))
        assert batch.damaged == 0
        assert batch.end == ends[whole - 1]
        if whole == 1:
            assert batch.groups == []
            continue
        (group,) = batch.groups
        expected = np.arange(1, whole)
        assert np.array_equal(group.seqs, expected), length
        assert group.steps is not None
        assert np.array_equal(group.steps, expected), length
        assert np.array_equal(group.values[:, 0], expected / 7), length
        cuts += 1
    return cuts


def test_a_cut_at_each_of_the_last_bytes_loses_the_cut_line_only(tmp_path: Path) -> None:
    assert cut_everywhere(tmp_path / NAME, 3_000) > 2_000


@pytest.mark.proof
def test_a_cut_at_each_of_the_last_64_kib_loses_the_cut_line_only(
    tmp_path: Path, record_property: Property
) -> None:
    cuts = cut_everywhere(tmp_path / NAME, 64 * 1024)
    record_property("cuts", cuts)
    assert cuts >= 64 * 1024 - 400


def cut_sealed(folder: Path, every: int) -> int:
    """Cut a sealed journal in many places; the most bytes of lines lost before the cut."""
    lines = damage.journal(2_000, 1)
    frames = list(sealing.compress(b"".join(lines)))
    data = b"".join(frames)
    path = folder / f"{NAME}.zst"
    path.write_bytes(data)
    good, events, _, _ = damage.read_all(path)
    whole = [0, *itertools.accumulate(map(len, frames))]
    contents = [
        sum(1 for piece in sealing.pieces(frame) for _ in piece.data.splitlines()) for frame in frames
    ]
    for length in range(len(data) - 1, 5, -every):
        os.truncate(path, length)
        found, kept, _, _ = damage.read_all(path)
        assert found <= good
        assert kept <= events
        complete = sum(contents[: sum(end <= length for end in whole[1:])])
        assert {one[0] for one in good | events if one[0] < complete} <= {one[0] for one in found | kept}
    return len(range(len(data) - 1, 5, -every))


def test_a_sealed_journal_cut_anywhere_keeps_every_whole_frame(tmp_path: Path) -> None:
    assert cut_sealed(tmp_path, 1_801) > 10


@pytest.mark.proof
def test_a_sealed_journal_cut_at_every_19th_byte_keeps_every_whole_frame(tmp_path: Path) -> None:
    assert cut_sealed(tmp_path, 19) > 1_000


def test_a_hit_in_a_newline_costs_neither_of_its_lines(tmp_path: Path) -> None:
    lines = damage.journal(40)
    good = {one[0] for one in damage.points(read(damage.segment(_written(tmp_path, b"".join(lines)))))}
    for bit in range(8):
        data = bytearray(b"".join(lines))
        data[sum(map(len, lines[:20])) - 1] ^= 1 << bit
        found, _, damaged, _ = damage.read_all(_written(tmp_path, bytes(data)))
        assert {one[0] for one in found} == good
        assert damaged == 1


def test_an_array_inside_a_damaged_line_is_no_line(tmp_path: Path) -> None:
    inner = encode("m", 99, 5, 5, {"loss": -1.0})[:-1]
    outer = b'["config",3,9,{"values":{"x":[' + inner + b"," + inner + b'],"y":' + inner + b"}},12345]\n"
    path = _written(tmp_path, damage.journal(3)[0] + outer)
    assert damage.read_all(path)[0] == set()


def test_a_checksum_of_thousands_of_digits_is_only_wrong(tmp_path: Path) -> None:
    lines = damage.journal(3)
    bad = lines[1][:-2] + b"1" * 6_000 + b"]\n"
    found, _, damaged, _ = damage.read_all(_written(tmp_path, lines[0] + bad + lines[2]))
    assert damaged == 1
    assert {one[0] for one in found} <= {2}


def test_line_ends_of_another_system_are_read(tmp_path: Path) -> None:
    lines = damage.journal(600)
    good = damage.points(read(damage.segment(_written(tmp_path, b"".join(lines)))))
    for more in (b"", b"rubbish\r\n"):
        content = b"".join(lines).replace(b"\n", b"\r\n") + more
        assert damage.points(read(damage.segment(_written(tmp_path, content)))) == good


@pytest.mark.parametrize("size", [10_000_000, pytest.param(600_000_000, marks=pytest.mark.proof)])
def test_a_huge_line_of_rubbish_is_passed_over(tmp_path: Path, size: int) -> None:
    lines = damage.journal(200)
    good = damage.points(read(damage.segment(_written(tmp_path, b"".join(lines)))))
    path = _written(tmp_path, b"".join(lines[:100]))
    os.truncate(path, path.stat().st_size + size)  # sparse: zeros that take no room on the disk
    with open(path, "ab") as file:
        file.write(b"\n" + b"".join(lines[100:]))
    found, _, damaged, problems = damage.read_all(path)
    assert (found, damaged, problems) == (good, 1, [])
    assert list(read(damage.segment(path)))[-1].end == path.stat().st_size


@pytest.mark.parametrize("size", [3_000, 1_000_000])
def test_lines_that_stand_twice_are_taken_once_wherever_they_stand(tmp_path: Path, size: int) -> None:
    lines = damage.journal(1_000)
    good = damage.points(read(damage.segment(_written(tmp_path, b"".join(lines)))))
    path = _written(tmp_path, b"".join([*lines[:700], *lines[:300], *lines[650:], *lines[999:]]))
    batches = list(read(damage.segment(path), size=size))
    assert damage.points(batches) == good
    assert sum(group.values.size for batch in batches for group in batch.groups) == len(good)
    part = next(read(damage.segment(path), size=size))
    rest = list(read(damage.segment(path), part.end, part.last_seq, size=size))
    assert sum(group.values.size for batch in [part, *rest] for group in batch.groups) == len(good)


def test_lines_in_any_order_are_all_read(tmp_path: Path) -> None:
    lines = damage.journal(500)
    good = damage.points(read(damage.segment(_written(tmp_path, b"".join(lines)))))
    random.Random(1).shuffle(lines)
    path = _written(tmp_path, b"".join(lines))
    batches = list(read(damage.segment(path), size=2_000))
    assert damage.points(batches) == good
    assert sum(batch.damaged for batch in batches) == 0


def test_both_files_of_a_journal_damaged_in_different_places_give_all(tmp_path: Path) -> None:
    lines = damage.journal(1_500)
    content = b"".join(lines)
    good = damage.points(read(damage.segment(_written(tmp_path, content))))
    rng = random.Random(3)
    plain, packed = bytearray(content), bytearray(b"".join(sealing.compress(content)))
    for _ in range(5):
        damage.zero(plain, rng)
    packed[len(packed) // 2] ^= 1
    one = damage.segment(_written(tmp_path, bytes(plain)))
    (tmp_path / f"{NAME}.zst").write_bytes(packed)
    both = one._replace(sealed=tmp_path / f"{NAME}.zst")
    missing = good - damage.points(read(both))
    assert len(missing) < 10


def _written(folder: Path, content: bytes) -> Path:
    path = folder / NAME
    path.write_bytes(content)
    return path
