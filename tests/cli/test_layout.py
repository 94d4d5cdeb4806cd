"""Tables and lines on terminals of any width and in any encoding."""

import io

import pytest

from autotrack.cli.output import text_width
from autotrack.cli.screen import Screen, wrap
from autotrack.cli.table import Column, fit


def columns() -> list[Column]:
    """An id, a long name, and numbers that must not be cut."""
    first, name = Column("id", whole=True, keep=True), Column("name", keep=True, narrowest=8)
    loss, note = Column("validation/loss", right=True, whole=True, middle=True), Column("notes", goes=1)
    for number in range(3):
        first.add(f"abcdefghi{number}")
        name.add("a name that is quite long")
        loss.add(0.12345 + number)
        note.add("words " * 10)
    return [first, name, loss, note]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 400])
def test_a_table_fits_and_cuts_no_number(width: int) -> None:
    shown, widths = fit(columns(), width)
    assert sum(widths) + 2 * (len(widths) - 1) <= width
    for column, wide in zip(shown, widths, strict=True):
        if column.whole:
            assert wide >= max(text_width(text) for text, _ in column.cells)


def test_columns_go_in_their_order_when_the_terminal_is_narrow() -> None:
    assert [column.title for column in fit(columns(), 36)[0]] == ["id", "name", "validation/loss"]
    assert [column.title for column in fit(columns(), 24)[0]] == ["id", "name"]


def test_even_an_absurd_width_gives_a_table() -> None:
    shown, widths = fit(columns(), 3)
    assert len(shown) == 2
    assert all(wide >= 1 for wide in widths)


def test_in_a_pipe_nothing_is_cut_and_no_space_ends_a_line() -> None:
    stream = io.StringIO()
    left_out = Screen(stream).table(columns())
    assert left_out == []
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert ("words " * 10).strip() in lines[1]
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in stream.getvalue()


def test_an_encoding_without_unicode_gets_ascii() -> None:
    raw = io.BytesIO()
    screen = Screen(io.TextIOWrapper(raw, "ascii", write_through=True))
    assert not screen.unicode
    column = Column("name")
    column.add("größe 中 … µ")
    screen.table([column])
    screen.line("größe …")
    screen.text("größe …")
    assert raw.getvalue().decode("ascii").splitlines()[1:] == [
        "gr\\xf6\\xdfe \\u4e2d ... u",
        "gr\\xf6\\xdfe ...",
        "gr\\xf6\\xdfe ...",
    ]


@pytest.mark.parametrize("width", [1, 5, 12, 33])
@pytest.mark.parametrize(
    "text", ["    def f(x): return x  # and a long comment", "中文" * 30, "x" * 50, "", "a b c"]
)
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(text: str, width: int) -> None:
    pieces = wrap(text, width)
    assert all(text_width(piece) <= max(width, 2) for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_wrapping_keeps_the_indentation() -> None:
    assert wrap("    return a + b", 10)[0].startswith("    return")
