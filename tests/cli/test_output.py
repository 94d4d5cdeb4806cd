"""Text helpers: nothing that a terminal could act on gets through, and numbers keep their meaning."""

import json
import math
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from autotrack.cli.output import (
    age_text,
    clean,
    clean_lines,
    cut,
    duration_text,
    flatten,
    json_text,
    matches,
    nanoseconds_text,
    number_text,
    size_text,
    sparkline,
    text_width,
    value_text,
)

UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name", "plain name"),
        ("größe 中文 🔥", "größe 中文 🔥"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("tab\there", "tab\\there"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028sep", "line\\u2028sep"),
        ("lone \ud800", "lone \\ud800"),
        ("[red]markup[/red]", "[red]markup[/red]"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_clean_makes_what_a_terminal_would_act_on_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_leaves_no_unsafe_character_of_the_whole_of_unicode() -> None:
    everything = "".join(map(chr, range(0x110000)))
    assert not {unicodedata.category(char) for char in clean(everything)} & UNSAFE


def test_clean_keeps_joiners_where_scripts_and_emoji_need_them() -> None:
    for text in ("می‌خواهم", "👩‍🔬", "क्‍ष"):
        assert clean(text) == text
    assert clean("a\u200db") == "a\\u200db"


def test_clean_cuts_piles_of_combining_marks() -> None:
    assert len(clean("a" + "\u0301" * 500)) == 5


def test_clean_lines_splits_at_newlines_only() -> None:
    assert clean_lines("a\r\nb\u2028c\x1b\n\td") == ["a", "b\\u2028c\\x1b", "    d"]


@pytest.mark.parametrize("text", ["train/very/long/name/of/a/loss", "中文指标的名字很长很长", "🔥" * 20, "x"])
@pytest.mark.parametrize("middle", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 10, 40])
def test_cut_never_exceeds_the_width(text: str, middle: bool, width: int) -> None:
    assert text_width(cut(text, width, middle)) <= width


def test_cut_keeps_both_ends_of_a_key() -> None:
    short = cut("train/very/long/name/of/a/loss", 12, middle=True)
    assert short.startswith("tra")
    assert short.endswith("a/loss")


def test_numbers_are_short_and_say_what_they_are() -> None:
    shown = [
        number_text(value)
        for value in (3, 3.0, 0.1134567, 3e-5, 1e20, math.nan, -math.inf, None, True, 10**400)
    ]
    assert shown == ["3", "3.0", "0.11346", "3e-05", "1e+20", "nan", "-inf", "-", "True", "inf"]
    assert [number_text(value) for value in (0.9999999, -1.0000001, 123456.7, 1234567.89, 99999.94)] == [
        "1.0000",
        "-1.0000",
        "123457",
        "1234568",
        "100000",
    ]
    assert number_text(0.123456, 4) == "0.1235"


def test_durations_sizes_and_nanoseconds() -> None:
    times = [duration_text(value) for value in (0, 0.21, 4.2, 42, 185, 7440, 284400, None, math.nan, 59.7)]
    assert times == ["0 ms", "210 ms", "4.20 s", "42 s", "3m 05s", "2h 04m", "3d 07h", "-", "-", "1m 00s"]
    assert [size_text(value) for value in (0, 812, 1434, 3 * 2**20, None)] == [
        "0 B",
        "812 B",
        "1.4 KiB",
        "3.0 MiB",
        "-",
    ]
    assert [nanoseconds_text(value) for value in (740, 2300, 4.1e6, 1.2e9)] == [
        "740 ns",
        "2.3 µs",
        "4.1 ms",
        "1.20 s",
    ]


def test_ages() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seconds = (8, 185, 5 * 3600, 86400, 3 * 86400)
    ages = [age_text(now - timedelta(seconds=one), now) for one in seconds]
    assert ages == ["8 s ago", "3 min ago", "5 h ago", "1 day ago", "3 days ago"]
    assert age_text(now - timedelta(days=30), now).startswith("2026-01-")
    assert age_text(now + timedelta(hours=30), now).startswith("2026-03-")


def test_noise_does_not_hide_the_course_of_a_sparkline() -> None:
    falls = [2 * 0.99**step + (-1) ** step * 0.3 for step in range(1000)]
    assert sparkline(falls) == "▆▄▃▂▂▂▂▁▁▁▁▁▁▁▁▁"
    steps = [*range(100), 1000]
    assert (
        sparkline([*[0.0, 1.0] * 50, 0.5], 4, steps=steps) == sparkline([*[0.0, 1.0] * 50, 0.5], 4) == "▅▅▅▅"
    )
    halves = [0, *range(1, 500, 100), *range(500, 1000, 250), 999]
    assert sparkline([0.0] * 6 + [1.0] * 3, 2, steps=halves) == "▁█"
    assert sparkline([(-1.0) ** step for step in range(1000)]) == "▅" * 16


def test_a_sparkline_shows_course_spike_and_what_is_not_finite() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], unicode=False) == "_.-~=+*#"
    assert sparkline([1.0] * 3) == "▄▄▄"
    assert sparkline([0.0] * 500 + [1.0] + [0.0] * 500, 10) == "▁▁▁▁▁▅▁▁▁▁"
    assert sparkline([1.0] * 500 + [0.0] + [1.0] * 500, 10) == "█████▅████"
    assert sparkline([1.0, math.nan, 2.0]) == "▁×█"
    assert sparkline([math.inf, math.nan], unicode=False) == "xx"
    assert sparkline([]) == ""
    assert len(sparkline([-1.7e308, 1.7e308, 0.0])) == 3


def test_json_has_no_token_that_is_not_json_and_nothing_but_ascii() -> None:
    text = json_text(
        {
            "a": math.nan,
            "b": [math.inf, -math.inf],
            "c": "\x1b\u202e\x7fé",
            1: datetime(2026, 1, 1, tzinfo=UTC),
        }
    )
    assert text.isascii()
    assert not {char for char in text if ord(char) < 32 or ord(char) == 127} - {"\n"}
    read = json.loads(text, parse_constant=lambda token: pytest.fail(token))
    assert read == {"a": "nan", "b": ["inf", "-inf"], "c": "\x1b\u202e\x7fé", "1": "2026-01-01T00:00:00Z"}


def test_config_is_flattened_and_shown_in_one_line() -> None:
    config = {"lr": 0.1, "optimizer": {"name": "sgd", "empty": {}}, "layers": [1, {"a": None}]}
    assert flatten(config) == {
        "lr": 0.1,
        "optimizer.name": "sgd",
        "optimizer.empty": {},
        "layers": [1, {"a": None}],
    }
    assert value_text([1, {"a": None}]) == '[1, {"a": null}]'
    assert value_text("a\nb") == "a\\nb"
    assert value_text(1e9) == "1000000000.0"


def test_patterns_choose_keys() -> None:
    assert matches("val/loss", [])
    assert matches("val/loss", ["train*", "val*"])
    assert not matches("val/loss", ["train*"])
