"""What puts text on the terminal, by way of Rich: width, colour, Unicode, tables that fit."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from autotrack.cli.output import clean, clean_lines, cut, text_width
from autotrack.cli.table import GAP, Cell, Column, fit

if TYPE_CHECKING:
    from rich.console import Console

_TITLE = 12
WIDE = 1_000_000
"""The width of a pipe: nothing is cut there."""
STATUS_STYLES = {
    "running": "cyan",
    "finished": "green",
    "failed": "red",
    "died": "red",
    "interrupted": "yellow",
    "stale": "yellow",
}


class Screen:
    """The terminal or pipe that a command writes to."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self.width = terminal_size(self.stream)[0] if self.terminal else WIDE
        self.unicode = _speaks_unicode(self.stream)
        self.color = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.mark = "…" if self.unicode else "..."
        self._console: Console | None = None
        self._kept: list[Sequence[Cell]] | None = None

    @property
    def console(self) -> "Console":
        """The Rich console behind it; without colour it writes no escape sequence at all."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                file=self.stream,
                width=self.width,
                color_system="auto" if self.color else None,
                force_terminal=self.terminal,
                markup=False,
                emoji=False,
                highlight=False,
                legacy_windows=False,
            )
        return self._console

    @contextmanager
    def kept(self) -> Iterator[list[Sequence[Cell]]]:
        """Keep the lines that are written meanwhile, as (text, style) parts, instead of showing them."""
        lines: list[Sequence[Cell]] = []
        self._kept = lines
        try:
            yield lines
        finally:
            self._kept = None

    def line(self, *parts: Cell | str, cut_to_width: bool = True) -> None:
        """One line of (text, style) parts; cut at the terminal's width unless told otherwise."""
        room = self.width if cut_to_width else WIDE
        shown = []
        for part in parts:
            text, style = (part, "") if isinstance(part, str) else part
            text = cut(self.spell(clean(text)), room, mark=self.mark)
            room -= text_width(text)
            shown.append((text, style))
        self._write(shown)

    def titled(self, title: str, *parts: Cell | str) -> None:
        """One line that begins with a title; the title is cut, where there is too little room, and the parts are not."""
        rest = [(part, "") if isinstance(part, str) else part for part in parts]
        room = max(self.width - sum(text_width(self.spell(text)) for text, _ in rest), _TITLE)
        name = cut(self.spell(clean(title)), room, middle=True, mark=self.mark)
        self.line((name, "bold"), *rest)

    def text(self, text: str, style: str = "", indent: int = 0) -> None:
        """A text of several lines, wrapped at words in a terminal and as it is in a pipe."""
        for line in clean_lines(text):
            for piece in wrap(self.spell(line), self.width - indent):
                self._write([(" " * indent + piece, style)])

    def wrapped(self, head: Sequence[Cell], text: str, hang: int) -> None:
        """A head and a text behind it; where it is too long it goes on below, `hang` cells in."""
        first, *rest = wrap(self.spell(clean(text)), self.width - hang, width_of(head) - hang)
        self._write([*head, (first, "")])
        for piece in rest:
            self._write([(" " * hang + piece, "")])

    def heading(self, title: str, remark: str = "") -> None:
        """A section's title, with an empty line above."""
        self._write([])
        self.line((title, "bold"), (f"  {remark}" if remark else "", "dim"))

    def pairs(self, rows: Sequence[Cell], indent: int = 2, most: int = 40) -> None:
        """Name and value lines: names in one column, long values cut."""
        if not rows:
            return
        room = max(min(most, (self.width - indent) // 2), 4) if self.terminal else WIDE
        names = [cut(self.spell(clean(name)), room, middle=True, mark=self.mark) for name, _ in rows]
        wide = max(text_width(name) for name in names)
        for name, (_, value) in zip(names, rows, strict=True):
            self.line(" " * indent, (name.ljust(wide + len(name) - text_width(name)), "dim"), "  ", value)

    def table(
        self,
        columns: Sequence[Column],
        indent: int = 0,
        header: bool = True,
        sections: Mapping[int, tuple[str, str]] | None = None,
    ) -> list[str]:
        """A table that fits the width; `sections`: headings (title, remark) before the rows with these numbers.

        Returns the titles of the columns that found no place.
        """
        if not self.unicode:
            for column in columns:
                column.cells = [(self.spell(text), style) for text, style in column.cells]
        shown, widths = fit(columns, self.width - indent)
        if header:
            self._row(shown, widths, [(column.title, "bold") for column in shown], indent)
        for number, row in enumerate(zip(*(column.cells for column in shown), strict=True)):
            if sections and number in sections:
                self.heading(*sections[number])
            self._row(shown, widths, row, indent)
        names = {id(column) for column in shown}
        return [column.title for column in columns if id(column) not in names]

    def _row(
        self, columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Cell], indent: int
    ) -> None:
        parts: list[Cell] = [(" " * indent, "")]
        for place, (column, width, (text, style)) in enumerate(zip(columns, widths, cells, strict=True)):
            text = cut(clean(text), width, column.middle, self.mark)
            space = " " * (width - text_width(text))
            last = place == len(columns) - 1
            if column.right:
                parts += [(space, ""), (text, style)]
            else:
                parts += [(text, style), ("" if last else space, "")]
            parts.append(("" if last else " " * GAP, ""))
        self._write(parts)

    def spell(self, text: str) -> str:
        """A text in characters that the stream can carry."""
        if self.unicode or text.isascii():
            return text
        plain = text.replace("…", "...").replace("µ", "u").replace("×", "x").replace("–", "-")
        encoding = getattr(self.stream, "encoding", None) or "ascii"
        return plain.encode(encoding, "backslashreplace").decode(encoding, "replace")

    def _write(self, parts: Sequence[Cell]) -> None:
        if self._kept is not None:
            self._kept.append(parts)
            return
        if not self.unicode:
            parts = [(self.spell(text), style) for text, style in parts]
        if not self.color:
            self.stream.write("".join(text for text, _ in parts).rstrip() + "\n")
            return
        from rich.text import Text

        line = Text.assemble(*parts, end="\n")
        line.rstrip()
        self.console.print(line, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal behind a stream; COLUMNS and LINES overrule it."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((80, 24))
    columns, lines = (os.environ.get(name, "") for name in ("COLUMNS", "LINES"))
    return (
        max(int(columns) if columns.isdecimal() else size.columns, 20),
        max(int(lines) if lines.isdecimal() else size.lines, 5),
    )


def width_of(parts: Sequence[Cell]) -> int:
    """The cells that the parts of a line take."""
    return sum(text_width(text) for text, _ in parts)


def _speaks_unicode(stream: TextIO) -> bool:
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "▁█…×µ".encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def wrap(line: str, width: int, first: int = 0) -> list[str]:
    """A line in pieces of at most `width` cells, broken at spaces; `first` cells of the first line are taken."""
    pieces: list[str] = []
    rest, room = line, max(width - first, 1)
    while text_width(rest) > room:
        head = cut(rest, room, mark="") or rest[0]
        space = head.rfind(" ") if rest[len(head) : len(head) + 1] != " " else len(head)
        if space > 0 and head[:space].strip():
            head = head[:space]
        pieces.append(head)
        rest, room = rest[len(head) :].lstrip(" "), max(width, 1)
    return [*pieces, rest]
