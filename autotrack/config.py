"""Settings from the environment, read when they are used and never at import."""

import os

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def setting(name: str, default: str | None = None) -> str | None:
    """The environment variable AUTOTRACK_<name>; an empty one counts as not set."""
    return os.environ.get("AUTOTRACK_" + name) or default


def flag(name: str, default: bool = False) -> bool:
    """AUTOTRACK_<name> as a switch: 1, true, yes, on / 0, false, no, off in any case; anything else is the default."""
    word = (setting(name) or "").strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    return default


def number_setting(name: str, default: float) -> float:
    """AUTOTRACK_<name> as a number; what is not a number is the default."""
    word = setting(name)
    if word is None:
        return default
    try:
        return float(word)
    except ValueError:
        return default


def is_disabled() -> bool:
    """AUTOTRACK_MODE=disabled switches all recording off."""
    return (setting("MODE") or "").strip().lower() == "disabled"
