"""The journal's format: what docs/format.md says, on golden files and on single lines."""

import json
import math
import zlib
from pathlib import Path

import pytest

from autotrack.journal.format import decode, encode, event_of, spell, unspell

GOLDEN = Path(__file__).parent / "golden"


def test_a_line_is_a_json_array_with_the_crc_of_the_bytes_before_it() -> None:
    line = encode("m", 3, 77, 12, {"loss": 0.5})
    assert line == b'["m",3,77,12,{"loss":0.5},%d]\n' % zlib.crc32(b'["m",3,77,12,{"loss":0.5},')


def test_the_golden_journal_is_read_as_it_is_documented() -> None:
    lines = (GOLDEN / "vm-4711-1700000000000000000-0.0.jsonl").read_bytes().splitlines()
    events = [decode(line) for line in lines]
    # As text, in which a NaN equals itself.
    assert json.dumps(events, indent=1) == (GOLDEN / "expected.json").read_text()


def test_the_golden_lines_are_written_as_they_stand() -> None:
    for line in (GOLDEN / "vm-4711-1700000000000000000-0.0.jsonl").read_bytes().splitlines(keepends=True):
        event = decode(line.rstrip(b"\n"))
        if event is None:
            continue
        body = [event.body] if event.step is None else [event.step, event.body]
        body += [] if event.child is None else [event.child]
        assert encode(event.kind, event.seq, event.mono, *body) == line


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        2**64,
        -(2**63) - 1,
        pytest.param(10**5000, id="5001 digits"),
        {"$": "nan"},
        {"$": 1, "a": [math.inf]},
        "ü🔥",
    ],
)
def test_what_json_lacks_comes_back(value: object) -> None:
    assert unspell(json.loads(json.dumps(spell(value)))) == value


@pytest.mark.parametrize(
    "body",
    [{"$": "nan"}, {"a": [{"$": "int", "v": "12"}]}, {"a": None, "b": [{"c": -math.inf}]}, {"a": None}],
)
def test_a_config_comes_back_as_it_was_given_also_where_it_looks_like_our_spelling(body: object) -> None:
    event = decode(encode("config", 3, 77, {"values": body})[:-1])
    assert event is not None
    assert event.body == {"values": body}


def test_nan_comes_back() -> None:
    assert math.isnan(unspell(spell(math.nan)))


def test_every_single_flipped_bit_is_noticed() -> None:
    line = encode("m", 3, 77, 12, {"loss": 0.5, "lr": 1e-3})[:-1]
    whole = decode(line)
    for place in range(len(line)):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[place] ^= 1 << bit
            assert decode(bytes(damaged)) in (None, whole)


def test_a_line_cut_at_any_place_is_noticed() -> None:
    line = encode("m", 3, 77, 12, {"loss": 0.5})[:-1]
    assert all(decode(line[:place]) is None for place in range(len(line)))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["m"],
        {"a": 1},
        ["m", 1, 2, "x", {}, 0],
        ["m", 1, 2, 3, 4, 0],
        ["c", "1", 2, {}, 0],
        [1, 1, 2, {}, 0],
    ],
)
def test_an_array_of_another_shape_is_no_event(fields: object) -> None:
    assert event_of(fields) is None
