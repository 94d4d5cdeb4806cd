"""Tables: which columns find a place in a width, and how wide each of them is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autotrack.cli.output import clean, text_width

GAP = 2
_TITLE = 12

Cell = tuple[str, str]
"""A cleaned text and its style."""


@dataclass
class Column:
    """One column of a table; fill it before it is measured."""

    title: str
    right: bool = False
    narrowest: int = 6
    whole: bool = False
    """Cells are never cut: a number without its end would be another number."""
    keep: bool = False
    """Kept when columns have to go because the terminal is too narrow."""
    goes: int = 0
    """Of the columns that are not kept, those with the highest number go first, from the right."""
    middle: bool = False
    """Cut in the middle instead of at the end."""
    cells: list[Cell] = field(default_factory=list)

    def add(self, text: object, style: str = "") -> None:
        """Add a cell."""
        self.cells.append((clean(text), style))

    @cached_property
    def _content(self) -> int:
        return max((text_width(text) for text, _ in self.cells), default=0)

    @property
    def natural(self) -> int:
        """The width that shows everything."""
        return max(self._content, text_width(self.title))

    @property
    def least(self) -> int:
        """The width below which it does not go."""
        if self.whole:
            return max(self._content, min(text_width(self.title), _TITLE))
        return min(self.narrowest, self.natural)


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int]]:
    """Which columns are shown, and how wide: the widest give way first, then the last ones go."""
    shown = list(columns)
    while True:
        room = width - GAP * (len(shown) - 1)
        loose = [column for column in shown if not column.keep]
        if sum(column.least for column in shown) <= room or not loose:
            break
        highest = max(column.goes for column in loose)
        shown.remove([column for column in loose if column.goes == highest][-1])
    widths = [min(column.natural, max(room, 1)) for column in shown]
    while sum(widths) > room:
        able = [place for place, column in enumerate(shown) if widths[place] > column.least]
        able = able or [place for place in range(len(shown)) if widths[place] > 1]
        if not able:
            break
        widths[max(able, key=lambda place: widths[place])] -= 1
    return shown, widths
