"""What a filter or an ordering may name: columns of a run, its tags, its config, its metrics; and the
constants beside them.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, Double, and_, cast, exists, false, func, literal, or_, select

from autotrack.errors import FilterError
from autotrack.index.schema import config_values, keys, metrics, runs, tags
from autotrack.index.status import STATUSES

Value = str | float | int | bool | None | list[Any]
STATISTICS = (
    "first",
    "last",
    "min",
    "max",
    "mean",
    "count",
    "nonfinite",
    "first_step",
    "last_step",
    "min_step",
    "max_step",
)
_TEXT = ("id", "name", "project", "status", "group", "framework", "notes", "parent", "opened_by")
_NUMBERS = ("duration", "attempts")
_MOMENTS = ("created", "finished")
NAMES = (*_TEXT, *_NUMBERS, *_MOMENTS, "archived", "tags", "config", "metrics", "summary")


@dataclass
class Field:
    """One thing that a run has: as a number, as text, or as either (config); `moment` is Unix nanoseconds."""

    label: str
    number: ColumnElement[Any] | None = None
    text: ColumnElement[Any] | None = None
    kind: str = "number"

    def compared(self, value: Any, compare: Callable[[Any, Any], Any]) -> Any:
        """This field beside a constant."""
        if self.kind == "moment":
            return compare(self.number, _moment(value, self.label))
        if self.kind == "tags":
            raise FilterError(f"tags cannot be compared with {value!r}. Write {value!r} in tags.")
        if isinstance(value, str):
            if self.text is None:
                raise FilterError(
                    f"{self.label} is a number, and {value!r} is text. Write the number without quotes."
                )
            return compare(self.text, value)
        if self.number is None:
            raise FilterError(f"{self.label} is text, and {value!r} is not. Put it in quotes: '{value}'.")
        return compare(self.number, _as_float(value))

    def against(self, other: "Field", compare: Callable[[Any, Any], Any]) -> Any:
        """This field beside another one: as numbers where both may be numbers, else as text."""
        if self.number is not None and other.number is not None:
            return compare(self.number, other.number)
        if self.text is not None and other.text is not None:
            return compare(self.text, other.text)
        raise FilterError(
            f"{self.label} and {other.label} cannot be compared: one is a number, the other text. "
            f"Where {other.label} is meant as text, put it in quotes: {other.label!r}."
        )

    def equals(self, value: Value) -> ColumnElement[bool]:
        """Whether this field has a value; None: it has none."""
        if value is None:
            return and_(*[column.is_(None) for column in (self.number, self.text) if column is not None])
        if isinstance(value, list):
            if self.kind != "config" or self.text is None:
                raise FilterError(
                    f"{self.label} is no list, and is compared with one. Write {self.label} in {value!r}."
                )
            import orjson

            return func.coalesce(self.text == orjson.dumps(value).decode(), false())
        if self.label == "status" and value not in STATUSES:
            raise FilterError(f"No run has the status {value!r}. It is one of: {', '.join(STATUSES)}.")
        return func.coalesce(self.compared(value, lambda column, constant: column == constant), false())

    def contains(self, value: Value) -> ColumnElement[bool]:
        """Whether a tag is there, or a piece of text is in a text field."""
        if not isinstance(value, str):
            raise FilterError(f"{value!r} in {self.label}: what stands before `in` must be text.")
        if self.kind == "tags":
            return exists(select(tags.c.tag).where(tags.c.run == runs.c.pk, tags.c.tag == value))
        if self.text is None:
            raise FilterError(
                f"{self.label} is a number and holds no text; `in` is for tags, text fields and lists."
            )
        return func.coalesce(func.instr(self.text, value) > 0, false())

    def truth(self) -> ColumnElement[bool]:
        """A field that stands alone, such as `archived` or `config.use_amp`."""
        if self.kind == "tags":
            return exists(select(tags.c.tag).where(tags.c.run == runs.c.pk))
        parts = [self.number != 0] if self.number is not None else []
        parts += [self.text != ""] if self.text is not None else []
        return func.coalesce(or_(*[func.coalesce(part, false()) for part in parts]), false())


def field(node: ast.expr, text: str) -> Field:
    """The field that a part of a filter names."""
    base, path = _path(node, text)
    if base == "config":
        return _config(".".join(name for name, _ in path), node, text)
    if base in ("metrics", "summary"):
        return _metric(base, path, node, text)
    if path:
        raise FilterError(f"{place(node, text)}: {base} has no parts. Only config, metrics and summary have.")
    if base == "tags":
        return Field("tags", kind="tags")
    if base in _MOMENTS:
        return Field(base, number=runs.c[base], kind="moment")
    if base in _NUMBERS:
        return Field(base, number=runs.c[base])
    if base == "archived":
        return Field(base, number=cast(runs.c.archived, Double))
    if base in _TEXT:
        return Field(base, text=runs.c[base], kind="text")
    near = get_close_matches(base, NAMES, 1)
    hint = (
        f" Did you mean {near[0]}?"
        if near
        else f" Text stands in quotes: {base!r}. A config value is written config.{base}, a metric metrics[{base!r}].last."
    )
    raise FilterError(f"{place(node, text)} is not known.{hint} Known are: {', '.join(NAMES)}.")


def _path(node: ast.expr, text: str) -> tuple[str, list[tuple[str, bool]]]:
    """`metrics["a/b"].min` as its first name and the parts behind it; True for those in brackets."""
    parts: list[tuple[str, bool]] = []
    current: ast.expr = node
    while not isinstance(current, ast.Name):
        if isinstance(current, ast.Attribute):
            parts.append((current.attr, False))
            current = current.value
        elif isinstance(current, ast.Subscript):
            key = current.slice
            if not (isinstance(key, ast.Constant) and isinstance(key.value, (str, int))):
                raise FilterError(
                    f'{place(key, text)}: in brackets stands a name in quotes, as in metrics["train/loss"].'
                )
            parts.append((str(key.value), True))
            current = current.value
        elif isinstance(current, ast.BinOp):
            raise FilterError(
                f"{place(current, text)} cannot stand here: nothing is calculated in a filter. A name with a slash or a dash stands in "
                'brackets and quotes, as in metrics["train/loss"] or config["batch-size"].'
            )
        else:
            raise FilterError(
                f"{place(current, text)} cannot stand here. A field (config.lr, metrics['loss'].min, status), a number, "
                "text in quotes, True, False, None or a list of those may."
            )
    return current.id, parts[::-1]


def _config(key: str, node: ast.expr, text: str) -> Field:
    if not key:
        raise FilterError(
            f"{place(node, text)}: say which value of config, as in config.lr or config['optimizer.lr']."
        )

    def column(name: str) -> ColumnElement[Any]:
        query = select(config_values.c[name]).where(
            config_values.c.run == runs.c.pk, config_values.c.key == key
        )
        return query.correlate(runs).scalar_subquery()

    return Field(f"config.{key}", number=column("number"), text=column("text"), kind="config")


def _metric(base: str, path: list[tuple[str, bool]], node: ast.expr, text: str) -> Field:
    """`metrics["k"].min`, `metrics.k.min`, `metrics["k"]` (its last value) and `summary["k"]`."""
    if not path:
        raise FilterError(
            f"{place(node, text)}: say which metric, as in metrics['loss'].min or summary['loss']."
        )
    names, statistic = [name for name, _ in path], "last"
    last_name, quoted = path[-1]
    if base == "metrics" and len(path) > 1 and not quoted:
        if last_name not in STATISTICS:
            raise FilterError(
                f"{place(node, text)}: a metric has no {last_name!r}. It has: {', '.join(STATISTICS)}. "
                "A key with a dot or slash stands in brackets: metrics['a.b'].min."
            )
        names, statistic = names[:-1], last_name
    key = ".".join(names)
    query = (
        select(metrics.c[statistic])
        .join(keys, keys.c.pk == metrics.c.key)
        .where(metrics.c.run == runs.c.pk, keys.c.key == key)
    )
    return Field(f"{base}[{key!r}].{statistic}", number=query.correlate(runs).scalar_subquery())


def constant(node: ast.expr, text: str) -> Value:
    """The value of a constant, a signed number, or a list of constants."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = constant(node.operand, text)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise FilterError(f"{place(node, text)}: a sign stands before a number only.")
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [constant(item, text) for item in node.elts]
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (str, int, float))):
        return node.value
    raise FilterError(
        f"{place(node, text)} is not a constant. Numbers, text in quotes, True, False, None and lists are."
    )


def place(node: ast.expr, text: str) -> str:
    """A part of the text and where it stands, for messages."""
    piece = ast.get_source_segment(text.strip(), node) or ast.unparse(node)
    piece = piece if len(piece) <= 60 else piece[:57] + "..."
    return f"`{piece}` (at character {node.col_offset + 1})"


def _as_float(value: Any) -> Any:
    try:
        return literal(float(value), Double)
    except OverflowError:
        return literal(float("inf") if value > 0 else float("-inf"), Double)


def _moment(value: Any, label: str) -> int:
    """A date, a date with time, or Unix seconds, as Unix nanoseconds; without a zone it is local time."""
    if isinstance(value, str):
        try:
            return int(datetime.fromisoformat(value).timestamp() * 1e6) * 1000
        except (ValueError, OverflowError, OSError):
            raise FilterError(
                f"{label} is a time, and {value!r} is none. Write '2026-01-31' or '2026-01-31 18:00'."
            ) from None
    if isinstance(value, bool) or not abs(float(value)) < 9e9:
        raise FilterError(
            f"{label} is a time, and {value!r} is none. Write '2026-01-31', or seconds since 1970."
        )
    return int(float(value) * 1e9)
