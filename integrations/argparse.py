"""argparse: what the script parsed from its command line becomes the run's config.

Recorded are the values of the user's own program: the first `parse_args`, and what `parse_known_args` calls gave before it.
Types stay as they are, secrets are redacted, and a sub-command is recorded as `subcommand` where the parser keeps no name for it.
Parsers of installed tools (pytest, torchrun, …) are left alone. Observed are `ArgumentParser.parse_args` and `.parse_known_args`,
and of transformers' HfArgumentParser, which calls the latter, `.parse_dict`.
"""

import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

from autotrack.integration import Integration
from autotrack.integrations import _hf_arguments
from autotrack.integrations._commandline import called_by_user, record_arguments
from autotrack.patcher import Call

_KNOWN_LIMIT = 4

End = Callable[[Call], object]


class ArgparseIntegration(Integration):
    """Watches `argparse.ArgumentParser`, and HfArgumentParser where it does without."""

    name: ClassVar[str] = "argparse"
    targets: ClassVar[tuple[str, ...]] = ("argparse", *_hf_arguments.CLASSES)
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        watch = _Watch()
        if module.__name__ in _hf_arguments.CLASSES:
            self.patcher.observe(vars(module)["HfArgumentParser"], "parse_dict", watch.parse_dict)
            return
        self.patcher.observe(module.ArgumentParser, "parse_args", watch.parse_args)
        self.patcher.observe(module.ArgumentParser, "parse_known_args", watch.parse_known_args)


class _Parse(threading.local):
    """The parse that goes on in this thread: its parser, and the sub-commands that it met."""

    parser: Any = None
    commands: tuple[str, ...] = ()


class _Watch:
    """What one installation has seen so far."""

    def __init__(self) -> None:
        self.done = False
        self.known = 0
        self.parse = _Parse()

    def parse_args(self, call: Call) -> End | None:
        """The parse that counts: the first one of the user's program ends the watch."""
        if self.done or self.parse.parser is not None or not called_by_user("argparse"):
            return None
        return self._begin(call, self._end_of_parse_args)

    def parse_known_args(self, call: Call) -> End | None:
        """Called by `parse_args`, by sub-parsers, and by programs that parse in two goes."""
        parser = self.parse.parser
        if parser is not None:
            if call.args and call.args[0] is not parser:
                self.parse.commands += (str(call.args[0].prog).rpartition(" ")[2],)
            return None
        if self.done or self.known >= _KNOWN_LIMIT or not called_by_user("argparse"):
            return None
        return self._begin(call, self._end_of_parse_known_args)

    def parse_dict(self, call: Call) -> End | None:
        """`HfArgumentParser.parse_dict(args)`, also of what its `parse_json_file` and `parse_yaml_file` have read."""
        if not called_by_user("argparse"):
            return None
        parser, given = call.args[0], (*call.args[1:], call.kwargs.get("args"))[0]

        def finish(call: Call) -> None:
            if call.error is None:
                self._record(parser, _hf_arguments.completed(parser, given))

        return finish

    def _begin(self, call: Call, end: Callable[[Any, Any], None]) -> End:
        parser = self.parse.parser = call.args[0]
        self.parse.commands = ()

        def finish(call: Call) -> None:
            self.parse.parser = None
            if call.error is None:
                end(parser, call.result)

        return finish

    def _end_of_parse_args(self, parser: Any, namespace: Any) -> None:
        self.done = True
        self._record(parser, vars(namespace))

    def _end_of_parse_known_args(self, parser: Any, result: Any) -> None:
        self.known += 1
        self._record(parser, vars(result[0]))

    def _record(self, parser: Any, parsed: Mapping[str, Any]) -> None:
        values = _hf_arguments.chosen(parser, parsed)
        commands = self.parse.commands
        if commands and not set(commands) <= {value for value in values.values() if isinstance(value, str)}:
            values.setdefault("subcommand", " ".join(commands))
        record_arguments("argparse", values)
