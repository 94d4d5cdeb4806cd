"""Keeps secrets out of what is written: by the name of a setting, and by the shape of a value.

Nothing here raises for any text. A redacted part reads ``[redacted]``; redacting twice changes nothing more.
Regular expressions are compiled at their first use, and only after a plain substring test found a reason to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotrack import redact_rules as rules
from autotrack.redact_rules import REDACTED

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

_NO, _TEXT_LIKE, _SURE, _PASSWORD = range(4)


def is_secret_name(name: str) -> bool:
    """True where a setting, option, column or variable of this name holds a secret.

    ``api_key``, ``--wandb-key``, ``HF_TOKEN`` and ``dbPassword`` do; ``pad_token_id``, ``sort_key``,
    ``token_file`` and ``max_new_tokens`` do not.
    """
    return _kind(name) != _NO


def redact_value(key: str | None, text: str) -> str:
    """``text`` as it may be written under the name ``key`` (None: judged by its shape alone)."""
    kind = _NO if key is None else _kind(key)
    if kind == _NO or _harmless(text, kind):
        return redact_text(text)
    return REDACTED


def redact_text(text: str) -> str:
    """``text`` with the secrets in it replaced: known token shapes, URLs, private keys, ``password=…``."""
    if text in _HARMLESS:
        return text
    redacted = _redact(text)
    if redacted == text and len(text) <= 64:
        if len(_HARMLESS) > 4096:
            _HARMLESS.clear()
        _HARMLESS.add(text)
    return redacted


def _redact(text: str) -> str:
    for needles, pattern, replacement in rules.SHAPES:
        for needle in needles:
            if needle in text:
                text = _regex(pattern).sub(replacement, text)
                break
    if "://" in text:
        if _regex(rules.ONE_URL).fullmatch(text):
            return redact_url(text)
        text = _regex(rules.URL).sub(_url_match, text)
    if ("=" in text or ":" in text) and _speaks_of_secrets(text):
        text = _regex(rules.ASSIGNMENT).sub(_assignment_match, text)
    return text


def redact_url(url: str) -> str:
    """``url`` without user, password, tokens in the query and the secret paths of webhooks.

    The user of an ``ssh://`` address and of ``git@host:path`` stays: it opens nothing by itself.
    """
    starts = [match.start() for match in _regex(rules.SCHEME).finditer(url)]
    if not starts or starts[0] != 0:
        return redact_text(url)
    return "".join(_one_url(url[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True))


def redact_argv(argv: Iterable[str]) -> list[str]:
    """A command line's words without secrets: ``--token X``, ``--token=X``, ``hub.token=X``, ``sk-…``."""
    kept: list[str] = []
    pending: str | None = None
    for word in argv:
        if pending is not None and not _is_option(word):
            kept.append(redact_value(pending, word))
            pending = None
            continue
        pending = None
        name, equals, value = word.partition("=")
        bare = name.lstrip("-+~/")
        if equals and bare and _is_name(bare):
            kept.append(name + equals + redact_value(bare, value))
            continue
        kept.append(redact_text(word))
        if word.startswith("-") and bare and not _is_flag(bare):
            pending = bare
    return kept


def redact_mapping(nested: Any) -> Any:
    """A copy of nested dicts, lists, tuples and sets with the secrets redacted; the input stays as it is.

    Numbers, booleans and None stay under every name, save numbers under a password's. Under a secret name any
    object that is not a container is replaced whole. A container inside itself reads ``[cycle]``.
    """
    return _nested(None, nested, _NO, ())


def known_copy(values: dict[Any, Any]) -> dict[str, Any] | None:
    """What `redact_mapping` gives for a small dict of plain values whose names and texts were all looked at before; None for
    any other. The runs of a loop say the same again and again.
    """
    return _known(values, 4, [1000])


def _known(values: dict[Any, Any], depth: int, room: list[int]) -> dict[str, Any] | None:
    """`room`: so many more values may be copied."""
    room[0] -= len(values)
    if room[0] < 0 or not depth or "value" in values:
        return None
    copy: dict[str, Any] = {}
    for name, value in list(values.items()):
        if type(name) is not str or name not in _HARMLESS or _KINDS.get(name) != _NO:
            return None
        kind = type(value)
        if kind is dict:
            value = _known(value, depth - 1, room)
        elif kind is list:
            room[0] -= len(value)
            value = list(value) if room[0] >= 0 and all(type(item) in _PLAIN for item in value) else None
        elif kind not in _PLAIN and (kind is not str or value not in _HARMLESS):
            return None
        if value is None and kind is not type(None):
            return None
        copy[name] = value
    return copy


def _nested(name: str | None, value: Any, inherited: int, path: tuple[int, ...]) -> Any:
    kind = max(inherited, _NO if name is None else _kind(name))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float, complex)):
        return REDACTED if kind == _PASSWORD else value
    if isinstance(value, str):
        return redact_text(value) if kind == _NO or _harmless(value, kind) else REDACTED
    if isinstance(value, (bytes, bytearray)):
        return _bytes(value, kind)
    if not isinstance(value, (dict, list, tuple, set, frozenset)):
        return value if kind in (_NO, _TEXT_LIKE) else REDACTED
    if id(value) in path:
        return "[cycle]"
    return _container(value, kind, (*path, id(value)))


def _container(value: Any, kind: int, path: tuple[int, ...]) -> Any:
    if isinstance(value, dict):
        return _dict(value, kind, path)
    fields = getattr(value, "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple):
        return tuple(_nested(str(f), v, kind, path) for f, v in zip(fields, value, strict=False))
    if kind == _NO and isinstance(value, (list, tuple)) and _is_command_line(value):
        words = redact_argv(value)
        return words if isinstance(value, list) else tuple(words)
    items = [_nested(None, item, kind, path) for item in value]
    if isinstance(value, (set, frozenset)):
        return items if any(isinstance(i, (dict, list, set)) for i in items) else type(value)(items)
    return tuple(items) if isinstance(value, tuple) else items


def _dict(value: Mapping[Any, Any], kind: int, path: tuple[int, ...]) -> dict[Any, Any]:
    below = kind if kind >= _SURE else _NO
    pair = value.get("name")
    if not isinstance(pair, str):
        pair = value.get("key") if isinstance(value.get("key"), str) else None
    kept: dict[Any, Any] = {}
    for key, item in value.items():
        name = key if isinstance(key, str) else None
        label = key if name is None or name in _HARMLESS else redact_text(name)
        spare = 2
        while label in kept:
            label, spare = f"{REDACTED} {spare}", spare + 1
        named = pair if name == "value" and pair is not None and _kind(pair) >= _TEXT_LIKE else name
        plain = type(item) in _PLAIN and below == _NO and _KINDS.get(named) == _NO
        kept[label] = item if plain else _nested(named, item, below, path)
    return kept


def _bytes(value: bytes | bytearray, kind: int) -> Any:
    text = value.decode("latin-1")
    kept = redact_text(text) if kind == _NO or _harmless(text, kind) else REDACTED
    return value if kept == text else kept.encode("latin-1")


def _is_command_line(value: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(v, str) for v in value) and any(v.startswith("-") for v in value)


def _kind(name: str) -> int:
    """What a name says of its value: nothing, a token that may be a piece of text, a secret, a password."""
    if name in ("PWD", "OLDPWD"):  # the shell's working folder
        return _NO
    known = _KINDS.get(name)
    if known is None:
        if len(_KINDS) > 4096:
            _KINDS.clear()
        known = _KINDS[name] = _kind_of_words(_words(name)) if len(name) <= 512 else _NO
    return known


def _kind_of_words(words: list[str]) -> int:
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    if not words or words[-1] in rules.ABOUT:
        return _NO
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if any(w.endswith(("password", "passwd")) or w in rules.PASSWORDS for w in words) or (
        last == "pass" and before in rules.DOOR_PASSES
    ):
        return _PASSWORD
    if not rules.SECRETS.isdisjoint(words) or (last == "auth" and before in ("", "basic", "http", "proxy")):
        return _SURE
    if last == "id" and words[-3:-1] == ["access", "key"]:
        return _SURE
    if last in ("key", "keys"):
        return _SURE if before in rules.DOOR_KEYS else _NO
    if last == "token":
        return _NO if before in rules.TEXT_TOKENS else _SURE if before in rules.DOOR_TOKENS else _TEXT_LIKE
    return _SURE if last == "tokens" and before in rules.DOOR_TOKENS else _NO


def _words(name: str) -> list[str]:
    """The lower-case words of snake_case, kebab-case, dotted.names, camelCase and ACRONYMCase."""
    words: list[str] = []
    word = ""
    for i, char in enumerate(name):
        if not char.isalnum():
            words, word = ([*words, word] if word else words), ""
            continue
        upper_starts = char.isupper() and (word[-1:].islower() or name[i + 1 : i + 2].islower())
        digit_edge = word != "" and char.isdigit() != word[-1].isdigit() and len(word) > 1
        if word and (upper_starts or (digit_edge and char.isdigit())):
            words, word = [*words, word], ""
        word += char
    return [w.lower() for w in ([*words, word] if word else words)]


def _harmless(text: str, kind: int) -> bool:
    """Under a secret name: a value that cannot be the secret, such as ``None``, ``</s>``, a small number."""
    bare = text.strip()
    if bare.lower() in rules.HARMLESS:
        return True
    if kind == _PASSWORD:
        return False
    if len(bare) <= 4 and bare.replace(".", "", 1).isdigit():
        return True
    special = bare[0] in "<[{" and bare[-1] in ">]}"
    return kind == _TEXT_LIKE and (special or not any(c.isalnum() for c in bare))


def _is_option(word: str) -> bool:
    return word.startswith("--") or (word.startswith("-") and len(word) == 2)


def _is_flag(bare: str) -> bool:
    words = _words(bare)
    return not words or words[0] in rules.FLAGS


def _is_name(bare: str) -> bool:
    return len(bare) <= 200 and all(c.isalnum() or c in "_-.:/@+[]" for c in bare) and "://" not in bare


def _speaks_of_secrets(text: str) -> bool:
    low = text.lower()
    return any(w in low for w in ("pass", "pwd", "secret", "token", "key", "cred", "auth", "jwt", "cookie"))


def _known_shapes(text: str) -> str:
    for needles, pattern, replacement in rules.SHAPES:
        if any(needle in text for needle in needles):
            text = _regex(pattern).sub(replacement, text)
    return text


def _one_url(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    cut = userinfo_end(rest)
    if cut >= 0:
        keep = scheme.lower() in rules.USER_IS_NO_SECRET and ":" not in rest[:cut]
        rest = rest if keep else REDACTED + rest[cut:]
    if "=" in rest:
        rest = _regex(rules.PARAMETER).sub(_parameter_match, rest)
    for needle, pattern in rules.WEBHOOKS:
        if needle in rest:
            rest = _regex(pattern).sub(r"\1" + REDACTED, rest)
    return scheme + mark + _known_shapes(rest)


def userinfo_end(rest: str) -> int:
    """Where the ``@`` stands that ends user and password, or -1; a password may hold a raw ``/ ? #``."""
    ends = [i for i in (rest.find(c) for c in "/?#\\") if i >= 0]
    host = rest[: min(ends)] if ends else rest
    if "@" in host:
        return host.rindex("@")
    name, colon, port = host.partition(":")
    if colon and not port.isdigit() and not name.startswith("["):
        return rest.rfind("@")
    return -1


def _url_match(match: re.Match[str]) -> str:
    return redact_url(match.group())


def _parameter_match(match: re.Match[str]) -> str:
    mark, name, value = match.groups()
    plain = name.replace("%5F", "_").replace("%5f", "_").replace("%2D", "-").replace("%2d", "-")
    secret = (
        is_secret_name(plain) or plain.lower() in rules.QUERY_NAMES or plain.lower().endswith("-signature")
    )
    if secret or (plain == "key" and len(value) >= 16):
        return f"{mark}{name}={REDACTED if value else ''}"
    return match.group()


def _assignment_match(match: re.Match[str]) -> str:
    head, name, middle, quoted, bare = match.groups()
    value = quoted if quoted is not None else bare
    kept = value
    inner = value[1:-1] if quoted is not None else value
    kind = _kind(name)
    if kind != _NO and not _harmless(inner, kind) and not inner.startswith(REDACTED[:-1]):
        kept = value[0] + REDACTED + value[-1] if quoted is not None else REDACTED
    return f"{head}{name}{middle}{kept}"


def _regex(pattern: str) -> re.Pattern[str]:
    compiled = _COMPILED.get(pattern)
    if compiled is None:
        import re

        compiled = _COMPILED[pattern] = re.compile(pattern)
    return compiled


_COMPILED: dict[str, re.Pattern[str]] = {}
_PLAIN = frozenset({type(None), bool, int, float})
_KINDS: dict[str | None, int] = {}
_HARMLESS: set[str] = set()
"""Short texts that were looked at and hold no secret: the same names and values come with every run."""
