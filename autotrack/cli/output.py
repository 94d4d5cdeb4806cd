"""Text for a terminal: cleaning, cutting, sparklines, and the spelling of numbers, times and sizes.

Nothing here imports Rich; `screen` puts the text on the terminal.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

ELLIPSIS = "…"
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-~=+*#"
_BYTES = re.compile(r"system/(memory|process\.rss|gpu\.\w+\.memory|(?P<rate>(disk|net)\.\w+))")
_JOINERS = "\u200c\u200d"
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_COMBINING_MOST = 4


def clean(value: object) -> str:
    """A text without anything that a terminal could act on.

    Control characters (ANSI escapes, newlines, bells), direction overrides, invisible format characters and
    lone surrogates become visible escapes such as `\\x1b`, `\\n`, `\\u202e`. Joiners between letters stay.
    """
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable():
        return text
    if not _is_suspicious(text):
        return text
    return "".join(_clean_parts(text))


def _is_suspicious(text: str) -> bool:
    return any(unicodedata.category(char) in _UNSAFE or unicodedata.combining(char) for char in text)


def _clean_parts(text: str) -> Iterable[str]:
    stacked = 0
    for place, char in enumerate(text):
        stacked = stacked + 1 if unicodedata.combining(char) else 0
        if stacked > _COMBINING_MOST:
            continue
        if unicodedata.category(char) not in _UNSAFE or (char in _JOINERS and _joins(text, place)):
            yield char
        else:
            yield _SHORT.get(char) or _escape(char)


def _joins(text: str, place: int) -> bool:
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return len(around) == 2 and all(
        ord(char) > 0x2FF and unicodedata.category(char)[0] in "LMS" for char in around
    )


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def clean_lines(text: str) -> list[str]:
    """A text of several lines (notes, a traceback), each line cleaned; tabs become spaces."""
    return [clean(line.rstrip("\r").expandtabs(4)) for line in text.split("\n")]


def text_width(text: str) -> int:
    """How many terminal cells a text takes (East Asian wide characters and emoji take two)."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, middle: bool = False, mark: str = ELLIPSIS) -> str:
    """A cleaned text in at most `width` cells; what is left out (at the end, or in the middle) is marked."""
    if text_width(text) <= width:
        return text
    room = width - len(mark)
    if room <= 0:
        return mark[: max(width, 0)]
    if not middle:
        return _head(text, room) + mark
    tail = _head(text[::-1], room - room // 3)[::-1]
    return _head(text, room - text_width(tail)) + mark + tail


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[:width]
    taken = 0
    for place, char in enumerate(text):
        taken += text_width(char)
        if taken > width:
            return text[:place]
    return text


def number_text(value: object, digits: int = 5) -> str:
    """A number in few characters: `0.11346`, `3e-05`, `nan`; whole numbers in full; no value is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"{float_of(value):.{digits}g}"
    if not math.isfinite(value):
        return str(float(value))
    if value == int(value) and abs(value) < 10**9:
        return f"{value:.1f}"
    if 10**digits - 0.5 <= abs(value) < 10**9:
        return f"{value:.0f}"
    text = f"{value:.{digits}g}"
    return f"{value:.{digits - 1}f}" if text.lstrip("-") == "1" else text


def fitted(value: object, room: int) -> str:
    """A config value as `value_text` has it; a float that is too long for the room with fewer digits."""
    text = value_text(value)
    if isinstance(value, float):
        digits = 16
        while len(text) > room and digits > 2:
            digits -= 1
            text = f"{value:.{digits}g}"
    return text


def float_of(value: int) -> float:
    """A whole number as a float; one too large for it as infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def duration_text(seconds: float | None) -> str:
    """A duration: `210 ms`, `4.20 s`, `42 s`, `3m 05s`, `2h 04m`, `3d 07h`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def nanoseconds_text(value: float) -> str:
    """A number of nanoseconds: `740 ns`, `2.3 µs`, `4.1 ms`, `1.20 s`."""
    if value < 1e3:
        return f"{value:.0f} ns"
    if value < 1e6:
        return f"{value / 1e3:.1f} µs"
    if value < 1e9:
        return f"{value / 1e6:.1f} ms"
    return duration_text(value / 1e9)


def time_text(moment: datetime | None) -> str:
    """A time in the reader's zone: `2026-03-01 14:05:09`."""
    if moment is None:
        return "-"
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age_text(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago: `8 s ago`, `3 min ago`, `5 h ago`, `2 days ago`; the date when it is more than a week."""
    if moment is None:
        return "-"
    seconds = ((now or datetime.now(UTC)) - moment.astimezone(UTC)).total_seconds()
    if seconds < 0 or seconds > 7 * 86400:
        return moment.astimezone().strftime("%Y-%m-%d")
    if seconds < 60:
        return f"{int(seconds)} s ago"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h ago"
    days = int(seconds // 86400)
    return f"{days} day{'s' if days > 1 else ''} ago"


def size_text(size: int | None) -> str:
    """A number of bytes: `812 B`, `1.4 KiB`, `3.0 MiB`."""
    if size is None:
        return "-"
    if size < 1024:
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} PiB"


def in_a_unit(key: str, value: Any) -> Any:
    """A fact of the environment; an amount of memory or disk with its unit."""
    if isinstance(value, int) and value >= 2**20 and ("memory" in key or "disk" in key):
        return size_text(value)
    return value


def reading_text(key: str, value: float | None) -> str:
    """A value of a metric; what counts bytes of the machine has a unit (docs/json.md)."""
    found = _BYTES.fullmatch(key)
    if value is None or found is None or not math.isfinite(value):
        return number_text(value)
    return size_text(int(value)) + ("/s" if found["rate"] else "")


def count_text(number: int, noun: str, plural: str | None = None) -> str:
    """`1 run`, `3 runs`, `10,000 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def curve_points(width: int) -> int:
    """To how many points a series is thinned out for a sparkline: each character has the extremes of its stretch."""
    return 2 * width + 2


def sparkline(
    values: Sequence[float], width: int = 16, unicode: bool = True, steps: Sequence[int] | None = None
) -> str:
    """A series as one short text, one character a bucket of points: of equal parts of the steps where each part has any.

    A bucket shows the middle between its lowest and its highest value: noise does not hide the course, and a spike stays visible.
    A bucket with a value that is not finite is `×` (`x` without Unicode).
    """
    bars, bad = (_BARS, "×") if unicode else (_ASCII_BARS, "x")
    finite = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    if not finite:
        return bad * min(len(values), width)
    low, high = min(finite), max(finite)
    return "".join(_bar(bucket, low, high, bars, bad) for bucket in _buckets(values, width, steps))


def _bar(bucket: Sequence[float], low: float, high: float, bars: str, bad: str) -> str:
    if not all(math.isfinite(value) for value in bucket):
        return bad
    if high == low:
        return bars[3]
    value = min(bucket) / 2 + max(bucket) / 2
    share = (value / 2 - low / 2) / (high / 2 - low / 2)
    return bars[min(int(share * len(bars)), len(bars) - 1)]


def _buckets(values: Sequence[float], width: int, steps: Sequence[int] | None) -> Sequence[Sequence[float]]:
    count = min(len(values), width)
    if steps is not None:
        low, span = min(steps), max(steps) - min(steps) + 1
        parts: list[list[float]] = [[] for _ in range(count)]
        for step, value in zip(steps, values, strict=True):
            parts[(step - low) * count // span].append(value)
        if all(parts):
            return parts
    edges = [place * len(values) // count for place in range(count + 1)]
    return [values[start:end] for start, end in pairwise(edges)]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as one level with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, name + "."))
        else:
            flat[name] = value
    return flat


def value_text(value: object) -> str:
    """A config value in one line: texts as they are, numbers in full, the rest as JSON."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    return clean(json.dumps(plain_json(value), ensure_ascii=False))


def plain_json(value: object) -> Any:
    """A value that JSON can hold: NaN and the infinities become the strings "nan", "inf", "-inf"."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(one) for one in value]
    return str(value)


def json_text(value: object, indent: int | None = 2) -> str:
    """Strict JSON in ASCII: no NaN token, no control character, also when it is printed to a terminal."""
    return json.dumps(plain_json(value), indent=indent, allow_nan=False).replace("\x7f", "\\u007f")


def matches(key: str, patterns: Sequence[str]) -> bool:
    """Whether a key is one of the patterns, or like one (`*`, `?`, `[…]`); without patterns all are."""
    return not patterns or any(key == pattern or fnmatchcase(key, pattern) for pattern in patterns)
