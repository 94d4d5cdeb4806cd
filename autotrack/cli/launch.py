"""`autotrack run`: starts Python on somebody's script as if they had typed `python script.py`, with the recording armed.

The launcher puts AUTOTRACK_LAUNCH into the environment and becomes that Python (exec); `autotrack.pth` in
site-packages sees the variable and imports `autotrack._boot` before the script starts.
"""

import importlib.util
import os
import signal
import site
import subprocess
import sys
import sysconfig
from typing import Annotated, Any, NoReturn

import typer

from autotrack.cli.context import Command
from autotrack.process import start_ticks

_WITH_VALUE = frozenset({"--project", "--name", "--tag", "--group", "-p", "-n", "-t", "-g"})

SETTINGS = {"allow_interspersed_args": False}


class RunCommand(Command):
    """Everything behind the script, or behind `-m module`, belongs to the script."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse our options only, and leave the rest as it stands."""
        return super().parse_args(ctx, close_options(args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """How the words of the command line follow each other."""
        return [self.options_metavar or "", "SCRIPT [ARGS]..."]


def close_options(args: list[str]) -> list[str]:
    """Put `--` behind `-m module`; a script ends our options by itself."""
    index = 0
    while index < len(args):
        word = args[index]
        if word == "-m":
            return [*args[: index + 2], "--", *args[index + 2 :]]
        if word.startswith("-m") and not word.startswith("--"):
            return [*args[:index], "-m", word[2:], "--", *args[index + 1 :]]
        if not word.startswith("-") or word in {"-", "--"}:
            return args
        index += 2 if word in _WITH_VALUE else 1
    return args


def command(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCRIPT [ARGS]...", help="The script and its own arguments.", show_default=False
        ),
    ] = None,
    module: Annotated[
        str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as `python -m` does.")
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", metavar="NAME", help="The project (default: the folder's name)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", metavar="NAME", help="The run's name (default: the script's)."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", "-t", metavar="TAG", help="A tag; may be given several times."),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", "-g", metavar="NAME", help="The group that the run belongs to.")
    ] = None,
) -> None:
    """Run a Python script, and record what it trains. Our options stand before the script."""
    rest = list(words or [])
    if module is None and not rest:
        raise typer.BadParameter("give a script, or -m MODULE: autotrack run train.py --epochs 3", ctx=ctx)
    env = dict(os.environ)
    env.pop("AUTOTRACK_LAUNCH", None)
    store = (ctx.parent.params.get("store") if ctx.parent is not None else None) or None
    if store:
        env["AUTOTRACK_DIR"] = os.path.abspath(store)
    target = module if module is not None else rest[0]
    if _exists(module, target):
        options = {
            "name": name or _name(module, target),
            "project": project,
            "tags": tag or [],
            "group": group,
        }
        env["AUTOTRACK_LAUNCH"] = _variable({key: value for key, value in options.items() if value})
        _check_pth()
    arguments = ["-m", module, *rest] if module is not None else rest
    become_python(arguments, env)


def become_python(arguments: list[str], env: dict[str, str]) -> NoReturn:
    """Replace this process by `python arguments…`; where that is impossible (Windows), wait for it and leave with its code."""
    words = [sys.executable, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(sys.executable, words, env)
    child = subprocess.Popen(words, env=env)
    # Ctrl-C reaches the child through the console; it decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    sys.exit(child.wait())


def _exists(module: str | None, target: str) -> bool:
    """Whether Python will find something to run; if not, its own message is all that is wanted, and no run."""
    if module is None:
        if target == "-":
            return True
        return os.path.isfile(os.path.join(target, "__main__.py") if os.path.isdir(target) else target)
    sys.path[:1] = [os.getcwd()]
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _name(module: str | None, target: str) -> str:
    if module is not None:
        return module
    if target == "-":
        return "stdin"
    return os.path.basename(os.path.abspath(target))


def _variable(options: dict[str, Any]) -> str:
    """AUTOTRACK_LAUNCH: the options, and the process that they are meant for: this one, which keeps its id through exec."""
    import json

    owner = {"pid": os.getpid(), "started": start_ticks(os.getpid())}
    return json.dumps({**owner, **options}, ensure_ascii=True)


def hook_folders() -> list[str]:
    """The folders in which Python looks for autotrack.pth at its start."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return folders


def _check_pth() -> None:
    """Say so when Python will not find autotrack.pth at its start (PYTHONPATH or `pip install --target`)."""
    folders = hook_folders()
    if any(os.path.isfile(os.path.join(folder, "autotrack.pth")) for folder in folders):
        return
    print(
        f"autotrack: nothing will be recorded: autotrack.pth lies in none of {', '.join(sorted(set(folders)))}. "
        "Install autotrack-ml with pip into this Python's environment.",
        file=sys.stderr,
    )
