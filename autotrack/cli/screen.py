"""What puts text on the terminal, by way of Rich: width, colour, Unicode, tables that fit."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from autotrack.cli.output import clean, clean_lines, cut, text_width

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
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


@dataclass
class Column:
    """One column of a table: cells are (text, style) and are cleaned when they are shown."""

    title: str
    cells: list[tuple[str, str]] = field(default_factory=list)
    right: bool = False
    narrowest: int = 6
    keep: bool = False
    """Kept when columns have to go because the terminal is too narrow."""
    middle: bool = False
    """Cut in the middle instead of at the end."""

    def add(self, text: object, style: str = "") -> None:
        """Add a cell."""
        self.cells.append((clean(text), style))

    def natural(self) -> int:
        """The width that shows every cell whole."""
        return max([text_width(self.title), *(text_width(text) for text, _ in self.cells)])


class Screen:
    """The terminal or pipe that a command writes to."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self.width = shutil.get_terminal_size().columns if self.terminal else WIDE
        self.unicode = _speaks_unicode(self.stream)
        self.color = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.mark = "…" if self.unicode else "..."
        self._console: Console | None = None
        self._kept: list[Sequence[tuple[str, str]]] | None = None

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
    def kept(self) -> Iterator[list[Sequence[tuple[str, str]]]]:
        """Keep the lines that are written meanwhile, as (text, style) parts, instead of showing them."""
        lines: list[Sequence[tuple[str, str]]] = []
        self._kept = lines
        try:
            yield lines
        finally:
            self._kept = None

    def line(self, *parts: tuple[str, str] | str, cut_to_width: bool = True) -> None:
        """One line of (text, style) parts; cut at the terminal's width unless told otherwise."""
        room = self.width if cut_to_width else WIDE
        shown = []
        for part in parts:
            text, style = (part, "") if isinstance(part, str) else part
            text = cut(self.spell(clean(text)), room, mark=self.mark)
            room -= text_width(text)
            shown.append((text, style))
        self._write(shown)

    def text(self, text: str, style: str = "", indent: int = 0) -> None:
        """A text of several lines, wrapped at words in a terminal and as it is in a pipe."""
        for line in clean_lines(text):
            for piece in _wrap(self.spell(line), self.width - indent):
                self._write([(" " * indent + piece, style)])

    def wrapped(self, head: Sequence[tuple[str, str]], text: str) -> None:
        """A head and a text behind it, which goes on below its own beginning where it is too long."""
        start = min(sum(text_width(part) for part, _ in head), self.width // 2)
        first = " " * sum(text_width(part) for part, _ in head)
        pieces = (
            _wrap(first + self.spell(clean(text)), self.width)
            if self.terminal
            else [first + self.spell(clean(text))]
        )
        self._write([*head, (pieces[0].removeprefix(first), "")])
        rest = " ".join(pieces[1:])
        for piece in _wrap(rest, self.width - start) if rest else []:
            self._write([(" " * start + piece, "")])

    def heading(self, title: str, remark: str = "") -> None:
        """A section's title, with an empty line above."""
        self._write([])
        self.line((title, "bold"), (f"  {remark}" if remark else "", "dim"))

    def pairs(self, rows: Sequence[tuple[str, str]], indent: int = 2, most: int = 28) -> None:
        """Name and value lines: names in one column, long values cut."""
        if not rows:
            return
        room = max(min(most, (self.width - indent) // 2), 4) if self.terminal else WIDE
        names = [cut(self.spell(clean(name)), room, middle=True, mark=self.mark) for name, _ in rows]
        wide = max(text_width(name) for name in names)
        for name, (_, value) in zip(names, rows, strict=True):
            self.line(" " * indent, (name.ljust(wide + len(name) - text_width(name)), "dim"), "  ", value)

    def table(self, columns: Sequence[Column], indent: int = 0, header: bool = True) -> list[str]:
        """A table that fits the width. Returns the titles of the columns that found no place."""
        if not self.unicode:
            for column in columns:
                column.cells = [(self.spell(text), style) for text, style in column.cells]
        shown, widths = fit(columns, self.width - indent)
        if header:
            titles = [(column.title, "bold") for column in shown]
            self._row(shown, widths, titles, indent)
        for row in zip(*(column.cells for column in shown), strict=True):
            self._row(shown, widths, row, indent)
        names = {id(column) for column in shown}
        return [column.title for column in columns if id(column) not in names]

    def _row(
        self, columns: Sequence[Column], widths: Sequence[int], cells: Sequence[tuple[str, str]], indent: int
    ) -> None:
        parts: list[tuple[str, str]] = [(" " * indent, "")]
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

    def _write(self, parts: Sequence[tuple[str, str]]) -> None:
        if self._kept is not None:
            self._kept.append(parts)
            return
        if not self.color:
            self.stream.write("".join(text for text, _ in parts).rstrip() + "\n")
            return
        from rich.text import Text

        line = Text.assemble(*parts, end="\n")
        line.rstrip()
        self.console.print(line, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int]]:
    """Which columns are shown, and how wide: the widest give way first, then the last ones go."""
    shown = list(columns)
    while True:
        room = width - GAP * (len(shown) - 1)
        least = sum(min(column.narrowest, column.natural()) for column in shown)
        loose = [column for column in shown if not column.keep]
        if least <= room or not loose:
            break
        shown.remove(loose[-1])
    widths = [min(column.natural(), max(room, 1)) for column in shown]
    while sum(widths) > room:
        able = [
            place
            for place, column in enumerate(shown)
            if widths[place] > min(column.narrowest, column.natural())
        ] or [place for place in range(len(shown)) if widths[place] > 1]
        if not able:
            break
        widest = max(able, key=lambda place: widths[place])
        widths[widest] -= 1
    return shown, widths


def _speaks_unicode(stream: TextIO) -> bool:
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "▁█…×µ".encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _wrap(line: str, width: int) -> list[str]:
    if text_width(line) <= width:
        return [line]
    pieces: list[str] = []
    current = ""
    for word in line.split(" "):
        while text_width(word) > width:
            head = cut(word, max(width, 1), mark="") or word[0]
            pieces += [current, head] if current else [head]
            current, word = "", word[len(head) :]
        joined = f"{current} {word}" if current else word
        if text_width(joined) <= width:
            current = joined
        else:
            pieces.append(current)
            current = word
    return [*pieces, current]
