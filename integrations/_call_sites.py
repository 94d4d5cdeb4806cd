"""How the code that calls spells an argument: "X_test" in `model.score(X_test, y_test)`.

Read from the source at the position of the call (PEP 657). No variable is looked at: a frame that is asked for them keeps them alive.
What is a parameter of the function that calls is followed to where that was called, `LEVELS` deep.
"""

import ast
import linecache
from itertools import islice
from types import CodeType, FrameType

LEVELS = 4
LONGEST = 40
_MOST_LINES = 50
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
    """The argument of the call that is given by this position or name, None where the code does not say."""
    call = _call(chain[0]) if chain else None
    argument = _argument(call, place, name) if call is not None else None
    if not isinstance(argument, ast.Name):
        return _text(argument)
    return _given(chain, argument.id) or argument.id


def _given(chain: tuple[Site, ...], name: str) -> str | None:
    """What a parameter of the function that calls was given, if that was called by its own name, also through a decorator."""
    code = chain[0][0]
    positional = code.co_varnames[: code.co_argcount]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if name not in names:
        return None
    place = positional.index(name) if name in positional else len(names)
    for level in range(1, len(chain)):
        call = _call(chain[level])
        if call is not None and getattr(call.func, "attr", getattr(call.func, "id", None)) == code.co_name:
            return spelled(chain[level:], place - (names[0] in ("self", "cls")), name)
        if call is None or not any(isinstance(argument, ast.Starred) for argument in call.args):
            return None
    return None


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
    """As it is spelled; of what is long the name that it begins with, of what holds no name None."""
    if argument is None or not any(isinstance(part, ast.Name) for part in ast.walk(argument)):
        return None
    text = ast.unparse(argument).removeprefix("self.")
    if len(text) <= LONGEST:
        return text
    first = argument
    while isinstance(first, ast.Attribute | ast.Subscript | ast.Call):
        first = first.func if isinstance(first, ast.Call) else first.value
    return f"{first.id[: LONGEST - 1]}…" if isinstance(first, ast.Name) else None
