"""Filters: text such as `config.lr < 0.01 and "best" in tags` becomes a parameterised SQL expression.

The text is parsed with Python's grammar and never evaluated; every part that is not on the list here is
refused with
a FilterError that names it. A comparison with a value that a run does not have is false; `!=` is `not ==`.
"""

import ast
import operator as op
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, or_, true

from autotrack.errors import FilterError
from autotrack.index.fields import Field, constant, field, place

LIMIT = 10_000
DEPTH = 60

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: op.lt,
    ast.LtE: op.le,
    ast.Gt: op.gt,
    ast.GtE: op.ge,
    ast.Eq: op.eq,
}
_SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


_EXAMPLES = {
    "filter": "Write for example: config.lr < 0.01 and status == 'finished'.",
    "ordering": "Write for example: -created or metrics['loss'].min.",
}


def where(text: str) -> ColumnElement[bool]:
    """The SQL expression of a filter over the table `runs`; FilterError says what is wrong, where, and what
    may stand there.
    """
    return _condition(parse(text, "filter"), text)


def order(text: str) -> tuple[Field, bool]:
    """The field of an ordering such as `-created` or `metrics["loss"].min`, and whether it goes downwards."""
    node = parse(text, "ordering")
    down = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    if isinstance(node, ast.UnaryOp) and down:
        node = node.operand
    return field(node, text), down


def parse(text: str, what: str) -> ast.expr:
    """The syntax tree of one expression, within the limits on length and depth."""
    if not isinstance(text, str) or not text.strip():
        wrong = "is empty" if isinstance(text, str) else f"is {text!r}, not text"
        raise FilterError(f"The {what} {wrong}. {_EXAMPLES[what]}")
    if len(text) > LIMIT:
        raise FilterError(f"The {what} has {len(text):,} characters, and may have {LIMIT:,}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        column = f" at character {error.offset}" if error.offset else ""
        why = "write == to compare" if re.search(r"[^=!<>]=([^=]|$)", text) else error.msg
        raise FilterError(
            f"The {what} {_short(text)} does not parse{column}: {why}. {_EXAMPLES[what]}"
        ) from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise FilterError(
            f"The {what} {_short(text)} does not parse: {error or 'it is nested too deeply'}. {_EXAMPLES[what]}"
        ) from None
    _check_depth(tree, what)
    return tree


def _check_depth(tree: ast.AST, what: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise FilterError(
        f"The {what} is nested more than {DEPTH} levels deep. Take some parentheses or dots out of it."
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _condition(node: ast.expr, text: str) -> ColumnElement[bool]:
    if isinstance(node, ast.BoolOp):
        parts = [_condition(value, text) for value in node.values]
        return and_(*parts) if isinstance(node.op, ast.And) else or_(*parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not_(_condition(node.operand, text))
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        pairs = zip(sides[:-1], node.ops, sides[1:], strict=True)
        return and_(*[_comparison(left, operator, right, text) for left, operator, right in pairs])
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return true() if node.value else false()
    if isinstance(node, (ast.Attribute, ast.Subscript, ast.Name)):
        return field(node, text).truth()
    raise FilterError(
        f"{place(node, text)} cannot stand in a filter. A filter is made of comparisons (<, <=, >, >=, ==, !=, in, not in) "
        "joined by and, or, not and parentheses."
    )


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr, text: str) -> ColumnElement[bool]:
    if isinstance(operator, (ast.In, ast.NotIn)):
        found = _membership(left, right, text)
        return not_(found) if isinstance(operator, ast.NotIn) else found
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise FilterError(f"{place(right, text)}: `is` is for None only; write == to compare.")
        found = field(left, text).equals(None)
        return not_(found) if isinstance(operator, ast.IsNot) else found
    if isinstance(operator, ast.NotEq):
        return not_(_compare(left, ast.Eq(), right, text))
    return _compare(left, operator, right, text)


_MIRRORED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.Gt(),
    ast.LtE: ast.GtE(),
    ast.Gt: ast.Lt(),
    ast.GtE: ast.LtE(),
}


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr, text: str) -> ColumnElement[bool]:
    """One comparison; a constant on the left is turned round."""
    if _is_constant(left):
        if _is_constant(right):
            raise FilterError(
                f"{place(left, text)}: two constants are compared; one side must be a field such as config.lr."
            )
        left, right, operator = right, left, _MIRRORED.get(type(operator), operator)
    one = field(left, text)
    compare = _COMPARE[type(operator)]
    if not _is_constant(right):
        return _true(one.against(field(right, text), compare))
    value = constant(right, text)
    if isinstance(operator, ast.Eq):
        return one.equals(value)
    if value is None or isinstance(value, list):
        raise FilterError(
            f"{place(right, text)} cannot be compared with {_SIGNS[type(operator)]}; use == or in."
        )
    return _true(one.compared(value, compare))


def _membership(left: ast.expr, right: ast.expr, text: str) -> ColumnElement[bool]:
    """`value in field` (a tag, or a piece of text), or `field in [values]`."""
    if not _is_constant(right):
        if not _is_constant(left):
            raise FilterError(
                f"{place(left, text)}: `in` needs a constant on one side, as in 'best' in tags."
            )
        return field(right, text).contains(constant(left, text))
    values = constant(right, text)
    if not isinstance(values, list):
        raise FilterError(
            f"{place(right, text)}: after `in` stands a list such as ['a', 'b'], tags, or a text field."
        )
    one = field(left, text)
    return or_(*[one.equals(value) for value in values]) if values else false()


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return _is_constant(node.operand)
    return isinstance(node, (ast.Constant, ast.List, ast.Tuple, ast.Set))


def _true(expression: Any) -> ColumnElement[bool]:
    """Two-valued: what is unknown counts as false."""
    return func.coalesce(expression, false())


def apply(query: Select[Any], text: str | None) -> Select[Any]:
    """A query over `runs`, narrowed by a filter."""
    return query if text is None else query.where(where(text))
