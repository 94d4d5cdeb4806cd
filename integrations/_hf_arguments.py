"""transformers' HfArgumentParser, and TRL's copy of it: which of the values of dataclasses that it parsed tell something.

Of a dataclass that a library brings (TrainingArguments has 130 fields) those that have their default are left out: a Trainer
records them all by itself, and a program without one has not asked for them.
"""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from autotrack.guard import reason
from autotrack.integrations._commandline import is_users_code

CLASSES = ("transformers.hf_argparser", "trl.scripts._hf_argparser")
"""The modules that define the class."""


def chosen(parser: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that any parser has parsed, but for those that a library's dataclass has by default."""
    found = dict(values)
    kinds = getattr(parser, "dataclass_types", ())
    types = {action.dest: action.type for action in parser._actions} if kinds else {}
    for kind in kinds:
        for field in fields(kind):
            known = field.name in found and _is_librarys(kind, field)
            if known and found[field.name] in _defaults(field, types.get(field.name)):
                del found[field.name]
    return found


def completed(parser: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `parse_dict` makes of a dict: its values for the fields that there are, and defaults for the others."""
    names = [field.name for kind in parser.dataclass_types for field in fields(kind) if field.init]
    return {name: given[name] if name in given else parser.get_default(name) for name in names}


def _defaults(field: "Field[Any]", convert: Any) -> list[Any]:
    """The field's own default, and what argparse makes of it: it converts a default that is text, as it does with a word given."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    if not isinstance(default, str) or convert is None:
        return [default]
    return [default, reason(convert, default)[0]]


def _is_librarys(kind: type, field: "Field[Any]") -> bool:
    """Whether the class that declares a field, which a subclass inherits as it is, belongs to an installed library."""
    declared = [
        one for one in kind.__mro__ if vars(one).get("__dataclass_fields__", {}).get(field.name) is field
    ]
    module = declared[-1].__module__
    return not is_users_code(module, getattr(sys.modules.get(module), "__file__", None) or "")
