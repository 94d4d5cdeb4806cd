"""click, and Typer, which carries a copy of it: what the script parsed from its command line becomes the run's config.

Recorded are the parameters of the command that runs and of the groups above it, of the user's own program only; the chosen
sub-command as `subcommand`. Types stay as they are; prompts that hide their input, and secrets, are redacted.
Observed is `Command.make_context`, which has returned before the user's function is called.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

from autotrack.integration import Integration
from autotrack.integrations._commandline import is_users_code, record_arguments
from autotrack.patcher import Call
from autotrack.redact_rules import REDACTED


class ClickIntegration(Integration):
    """Watches `click.Command` and Typer's copy of it."""

    name: ClassVar[str] = "click"
    targets: ClassVar[tuple[str, ...]] = ("click.core", "typer._click.core")
    supports: ClassVar[Mapping[str, str]] = {"click": ">=8.1,<9", "typer": ">=0.12.4,<1"}

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(module.Command, "make_context", _Watch(module.__name__).make_context)


class _Watch:
    """What one installation has seen: the invocation that is recorded, by its outermost context."""

    def __init__(self, module: str) -> None:
        self.source = "typer" if module.startswith("typer") else "click"
        self.root: Any = None

    def make_context(self, call: Call) -> Callable[[Call], object]:
        """`make_context` parses; the commands below a group are parsed later, with the group's context as parent."""
        return self._parsed

    def _parsed(self, call: Call) -> None:
        context = call.result
        if call.error is not None or context.resilient_parsing:
            return
        root = context.find_root()
        if self.root is not None and self.root is not root:
            return
        if not any(_is_users(callback) for callback in (context.command.callback, root.command.callback)):
            return
        self.root = root
        chain = [context]
        while chain[0].parent is not None:
            chain.insert(0, chain[0].parent)
        values: dict[str, Any] = {}
        for link in chain:
            values.update(_parameters(link))
        if len(chain) > 1:
            values.setdefault("subcommand", " ".join(str(link.info_name) for link in chain[1:]))
        record_arguments(self.source, values)


def _is_users(callback: Any) -> bool:
    if callback is None:
        return False
    for _ in range(16):
        callback = getattr(callback, "__wrapped__", callback)
    code = getattr(callback, "__code__", None)
    return code is not None and is_users_code(getattr(callback, "__module__", None), code.co_filename)


def _parameters(context: Any) -> dict[str, Any]:
    hidden = {param.name for param in context.command.params if getattr(param, "hide_input", False)}
    values = dict(context.params)
    for key in hidden & values.keys():
        values[key] = REDACTED
    return values
