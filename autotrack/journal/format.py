"""One line of a journal: how an event becomes bytes, and how bytes become an event again. Specification: docs/format.md."""

import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

FORMAT = 1
SEGMENT_BYTES = 64 * 1024 * 1024
SUFFIX = ".jsonl"
SEALED_SUFFIX = ".jsonl.zst"

_CRC_DIGITS = 10
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_FINITE = frozenset({type(None), bool, int, str})
_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Event(NamedTuple):
    """One decoded line: `step` is set for kind "m" only, `body` holds the values or the facts, `child` the child run."""

    kind: str
    seq: int
    mono: int
    step: int | None
    body: dict[str, Any]
    child: str | None


def encode(kind: str, seq: int, mono: int, *body: Any) -> bytes:
    """One whole line with its CRC-32 and newline; what JSON cannot hold in `body` is spelled out.

    Raises TypeError for a body that is not made of dicts, lists, strings, numbers, booleans and None.
    """
    try:
        data = orjson.dumps([kind, seq, mono, *body])
    except TypeError:
        data = orjson.dumps([kind, seq, mono, *map(spell, body)])
    else:
        if b'"$"' in data or (b"null" in data and _holds_non_finite(body)):
            data = orjson.dumps([kind, seq, mono, *map(spell, body)])
    line = data[:-1] + b","
    return b"%b%d]\n" % (line, zlib.crc32(line))


def _holds_non_finite(value: Any) -> bool:
    """Whether a NaN or an infinity is somewhere inside: orjson writes null for those, as it does for None."""
    if isinstance(value, float):
        return not math.isfinite(value)
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(_holds_non_finite(item) for item in inside if type(item) not in _FINITE)


def spell(value: Any) -> Any:
    """A copy in which non-finite numbers, integers beyond 64 bits and lone surrogates have a spelling of their own."""
    if isinstance(value, float):
        return (
            value
            if math.isfinite(value)
            else {"$": "nan" if value != value else "inf" if value > 0 else "-inf"}
        )
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if _INT_MIN <= value <= _INT_MAX else {"$": "int", "v": _digits(value)}
    if isinstance(value, str):
        return spell_text(value)
    if isinstance(value, Mapping):
        copy = {spell_text(key): spell(item) for key, item in value.items()}
        return {"$": "map", "v": copy} if "$" in copy else copy
    if isinstance(value, (list, tuple)):
        return [spell(item) for item in value]
    raise TypeError(f"{type(value).__name__} cannot stand in a journal line")


def spell_text(text: str) -> str:
    r"""Text that UTF-8 can hold: a lone surrogate becomes the six characters `\udXXX`."""
    if text.isascii():
        return str(text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unspell(value: Any) -> Any:
    """The inverse of `spell` for a decoded JSON value."""
    if isinstance(value, dict):
        word = value.get("$")
        if word is not None and len(value) <= 2:
            if word in _SPELLED and len(value) == 1:
                return _SPELLED[word]
            if word == "int" and isinstance(value.get("v"), str):
                return _integer(value["v"])
            if word == "map" and isinstance(value.get("v"), dict):
                return {key: unspell(item) for key, item in value["v"].items()}
        return {key: unspell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unspell(item) for item in value]
    return value


def check(line: bytes) -> bool:
    """Whether a line (without its newline) is whole: the CRC-32 at its end is that of the bytes before it."""
    line = line.rstrip(b"\r")
    place = line.rfind(b",") + 1
    tail = line[place:-1]
    if not (place > 0 and line[-1:] == b"]" and tail.isdigit() and len(tail) <= _CRC_DIGITS):
        return False
    return zlib.crc32(line[:place]) == int(tail)


def decode(line: bytes) -> Event | None:
    """The event of a line (without its newline), None if it is damaged."""
    if not check(line):
        return None
    try:
        return event_of(orjson.loads(line))
    except orjson.JSONDecodeError:
        return None


def event_of(fields: Any) -> Event | None:
    """The event of a checked line's JSON array, None if it has another shape."""
    if not isinstance(fields, list) or len(fields) < 5:
        return None
    kind, seq, mono = fields[:3]
    if not (isinstance(kind, str) and isinstance(seq, int) and isinstance(mono, int)):
        return None
    rest = fields[3:-1]
    step: int | None = None
    if kind == "m":
        step, rest = unspell(rest[0]), rest[1:]
        if not isinstance(step, int):
            return None
    if not rest or not isinstance(rest[0], dict):
        return None
    child = rest[1] if len(rest) > 1 and isinstance(rest[1], str) else None
    body = unspell(rest[0])
    return Event(kind, seq, mono, step, body if isinstance(body, dict) else rest[0], child)


def _digits(value: int) -> str:
    try:
        return str(int(value))
    except ValueError:
        # Beyond sys.get_int_max_str_digits(): hexadecimal has no such bound.
        return hex(value)


def _integer(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        return math.nan
