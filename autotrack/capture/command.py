"""With what the training was started: the command line and its script, the Python, the host and the place among the ranks."""

import os
import sys
from typing import Any, ClassVar

from autotrack.capture.base import Capture
from autotrack.notebook import in_notebook, notebook_path
from autotrack.process import host_name
from autotrack.redact import redact_argv, redact_text, redact_value

_LONGEST_WORD = 10_000
_OPTIONS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_VARIABLES = frozenset(
    "CUDA_VISIBLE_DEVICES OMP_NUM_THREADS RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT PYTHONHASHSEED "
    "CUBLAS_WORKSPACE_CONFIG XLA_FLAGS KERAS_BACKEND".split()
)
_PREFIXES = ("SLURM_", "TORCH_", "HF_")
_RANKS = {
    "rank": ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"),
    "world_size": ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"),
    "local_rank": ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "local_world_size": ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    "node_rank": ("GROUP_RANK", "SLURM_NODEID"),
    "nodes": ("SLURM_NNODES",),
    "job": ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"),
}


class Command(Capture):
    """The command line without its secrets, the script or module, and the working folder."""

    name: ClassVar[str] = "command"

    def collect(self) -> dict[str, Any]:
        """`command` is what a shell would take, `argv` its words."""
        import shlex

        words = [_cut(word) for word in redact_argv(sys.orig_argv or [sys.executable, *sys.argv])]
        kind, target = started_as(sys.orig_argv)
        facts = {"command": shlex.join(words), "argv": words, "folder": _folder()}
        script = None if kind in ("-c", "-", "notebook") else script_path()
        if script is not None:
            facts["script"] = redact_text(script)
        else:
            self.note = "script: " + _NO_SCRIPT.get(kind, "the main module comes from no file")
        if kind == "-m":
            facts["module"] = target
        notebook = notebook_path() if kind == "notebook" else None
        if notebook:
            facts["notebook"] = redact_text(notebook)
        return facts


_NO_SCRIPT = {
    "-c": "the code was given with -c",
    "-": "the code was typed in or came from the standard input",
    "notebook": "a notebook's cells are no script",
}


class Python(Capture):
    """The interpreter."""

    name: ClassVar[str] = "python"

    def collect(self) -> dict[str, Any]:
        """Version, implementation, executable, prefix, and the virtual environment where there is one."""
        facts = {
            "version": sys.version.split()[0],
            "implementation": sys.implementation.name,
            "executable": sys.executable,
            "prefix": sys.prefix,
        }
        environment = sys.prefix if sys.prefix != sys.base_prefix else os.environ.get("CONDA_PREFIX")
        if environment:
            facts["virtualenv"] = environment
        return facts


class Host(Capture):
    """Where the process runs: host, user, system, ranks, and the variables that change what a training does."""

    name: ClassVar[str] = "host"

    def collect(self) -> dict[str, Any]:
        """`ranks` and `variables` are there only where the launcher or the user set some."""
        facts: dict[str, Any] = {
            "name": host_name(),
            "user": _user(),
            "pid": os.getpid(),
            "platform": _platform(),
            "system": _distribution(),
        }
        ranks = rank_facts()
        if ranks:
            facts["ranks"] = ranks
        variables = chosen_variables()
        if variables:
            facts["variables"] = variables
        return {key: value for key, value in facts.items() if value is not None}


def started_as(argv: list[str]) -> tuple[str, str]:
    """How Python was started, from its own words: ("script", path), ("-m", module), ("-c", code), ("-", "") for the
    standard input and the prompt, ("notebook", "").
    """
    if in_notebook():
        return "notebook", ""
    words = iter(argv[1:])
    for word in words:
        if word in _OPTIONS_WITH_VALUE:
            next(words, None)
        elif word == "-":
            return "-", ""
        elif word.startswith("--") or not word.startswith("-"):
            if word.startswith("--"):
                continue
            return "script", word
        else:
            found = _short_options(word[1:], words)
            if found is not None:
                return found
    return "-", ""


def _short_options(letters: str, words: Any) -> tuple[str, str] | None:
    """`-um module`, `-cprint(1)`: the first letter that takes a value ends the word."""
    for place, letter in enumerate(letters):
        rest = letters[place + 1 :]
        if letter in "cm":
            return "-" + letter, rest or next(words, "")
        if letter in "WX":
            if not rest:
                next(words, None)
            return None
    return None


def script_path() -> str | None:
    """The absolute path of the main module's file, also while the interpreter still starts; None without one."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        kind, target = started_as(sys.orig_argv)
        path = target if kind == "script" else None
    if not isinstance(path, str) or not path:
        return None
    return path if os.path.isabs(path) else os.path.join(_folder() or "", os.path.normpath(path))


def rank_facts() -> dict[str, Any]:
    """What torchrun, SLURM or MPI say about this process's place: `launcher`, and numbers under the names of `_RANKS`."""
    launcher = next((name for mark, name in _LAUNCHERS.items() if mark in os.environ), None)
    if launcher is None:
        return {}
    facts: dict[str, Any] = {"launcher": launcher}
    for name, variables in _RANKS.items():
        word = next((os.environ[one] for one in variables if os.environ.get(one)), None)
        if word is not None:
            facts[name] = int(word) if word.isascii() and word.isdigit() else redact_value(None, word)
    return facts


_LAUNCHERS = {
    "TORCHELASTIC_RUN_ID": "torchrun",
    "SLURM_JOB_ID": "slurm",
    "OMPI_COMM_WORLD_RANK": "mpi",
    "RANK": "environment",
}


def chosen_variables() -> dict[str, str]:
    """The environment variables that change what a training does, without secrets; no others are read."""
    return {
        key: _cut(redact_value(key, value))
        for key, value in sorted(os.environ.items())
        if key in _VARIABLES or key.startswith(_PREFIXES)
    }


def _user() -> str | None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if os.environ.get(variable):
            return os.environ[variable]
    if not hasattr(os, "getuid"):
        return None
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _platform() -> str:
    if hasattr(os, "uname"):
        system = os.uname()
        return f"{system.sysname} {system.release} {system.machine}"
    import platform

    return platform.platform()


def _distribution() -> str | None:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            lines = file.read(16_384).splitlines()
    except OSError:
        return None
    names = [line.partition("=")[2].strip("\"'") for line in lines if line.startswith("PRETTY_NAME=")]
    return names[0] if names else None


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _cut(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else word[:_LONGEST_WORD] + "…"
