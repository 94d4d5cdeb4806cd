"""How the code that calls spells an argument: "X_test" in `model.score(X_test, y_test)`.

Read from the source at the position of the call (PEP 657). No variable is looked at: a frame that is asked for them keeps them alive.
What is a parameter of the function that calls is followed to where that was called, `LEVELS` deep.
"""

import ast
import linecache
from itertools import islice
from types import CodeType, FrameType

LEVELS = 3
LONGEST = 40
_MOST_LINES = 50
_PARTS = (
    ast.Name,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.Slice,
    ast.Tuple,
    ast.UnaryOp,
    ast.USub,
    ast.Load,
)


Site = tuple[CodeType, int]
"""A place in the code where a call is made: the code, and the offset of the instruction."""


def sites(frame: FrameType | None) -> tuple[Site, ...]:
    """Where this frame calls, and where it was called from."""
    found: list[Site] = []
    while frame is not None and len(found) < LEVELS:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def spelled(chain: tuple[Site, ...], place: int, name: str) -> str | None:
    """The argument of the call that is given by this position or name, where it is short and no computation, else None."""
    call = _call(chain[0]) if chain else None
    argument = _argument(call, place, name) if call is not None else None
    if not isinstance(argument, ast.Name):
        return _text(argument)
    outer = _parameter(chain, argument.id)
    return (outer and spelled(chain[1:], *outer)) or argument.id


def _parameter(chain: tuple[Site, ...], name: str) -> tuple[int, str] | None:
    """Position and name of a parameter of the function that calls, if it was called by its own name."""
    code = chain[0][0]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    call = _call(chain[1]) if name in names and len(chain) > 1 else None
    called = getattr(call.func, "attr", None) or getattr(call.func, "id", None) if call is not None else None
    if called != code.co_name:
        return None
    positional = code.co_varnames[: code.co_argcount]
    place = positional.index(name) if name in positional else len(names)
    return place - (names[0] in ("self", "cls")), name


def _call(site: Site) -> ast.Call | None:
    code, offset = site
    position = next(islice(code.co_positions(), offset // 2, None), None)
    if position is None:
        return None
    first, last, begin, end = position
    if first is None or last is None or begin is None or end is None or last - first > _MOST_LINES:
        return None
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]
    if len(lines) != last - first + 1:
        return None
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    text = b"".join(lines)
    if b"\\" in text:  # an escape that Python does not know would be warned of
        return None
    try:
        node = ast.parse(b"(" + text + b")", mode="eval").body
    except (SyntaxError, ValueError):  # the file was changed since it was loaded
        return None
    return node if isinstance(node, ast.Call) else None


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    before = call.args[: place + 1]
    if len(before) <= place or any(isinstance(argument, ast.Starred) for argument in before):
        return None
    return before[place]


def _text(argument: ast.expr | None) -> str | None:
    if not isinstance(argument, ast.Attribute | ast.Subscript):
        return None
    if isinstance(argument, ast.Subscript) and isinstance(argument.slice, ast.Constant):
        key = argument.slice.value
        if isinstance(key, str) and len(key) <= LONGEST:
            return key
    if not all(isinstance(part, _PARTS) for part in ast.walk(argument)):
        return None
    text = ast.unparse(argument).removeprefix("self.")
    return text if len(text) <= LONGEST else None
