"""The state of the user's git repository: commit, branch, remote, and whether files were changed since the commit."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from autotrack import background
from autotrack.capture import gitfiles
from autotrack.capture.base import Capture, Skip
from autotrack.capture.command import script_path
from autotrack.redact import redact_text, userinfo_end

if TYPE_CHECKING:
    import subprocess

TIMEOUT_SECONDS = 10.0
_OUTPUT_LIMIT = 1 << 20

# --no-optional-locks and the variable: the index is not refreshed. No file system monitor is started, no missing object
# is fetched, and the large-file filter, which copies what it looks at into .git, does not run.
_COMMAND = (
    *("git", "--no-optional-locks", "-c", "core.fsmonitor=false"),
    *("-c", "filter.lfs.clean=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"),
    *("status", "--porcelain", "-z", "--untracked-files=no"),
)
_SETTINGS = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class Git(Capture):
    """The repository of the script, else of the working folder: commit, branch and remote from its files;
    whether tracked files were changed, from `git status`.
    """

    name: ClassVar[str] = "git"
    lasts: ClassVar[float] = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._variables: dict[str, str] = {}

    def collect(self) -> dict[str, Any]:
        """`commit`, `branch` (None: detached), `dirty` (None: not known), `changed` (tracked files that differ), `remote`,
        `root`.
        """
        facts = self._read()
        status = Status(facts["root"], self._variables)
        status.wait()
        facts["changed"], self.note = status.answer()
        facts["dirty"] = None if facts["changed"] is None else facts["changed"] > 0
        return facts

    def _read(self) -> dict[str, Any]:
        try:
            folder = os.getcwd()
        except OSError:
            raise Skip("the working folder is gone") from None
        repository = _of_script() or gitfiles.find(folder)
        if repository is None:
            if os.environ.get("GIT_DIR"):
                raise Skip(f"GIT_DIR={redact_text(os.environ['GIT_DIR'])} is not a git repository")
            raise Skip(f"{folder} is not in a git repository")
        facts: dict[str, Any] = {"root": repository.root or repository.folder}
        if os.environ.get("GIT_DIR"):
            self._variables = {"GIT_DIR": repository.folder, "GIT_WORK_TREE": facts["root"]}
        try:
            commit, branch = gitfiles.head(repository)
        except gitfiles.Unreadable as error:
            raise Skip(f"the repository {repository.folder} is not understood: {error}") from None
        address = gitfiles.remote(repository, branch)
        facts |= {"branch": branch, "remote": None if address is None else clean_remote(address)}
        if commit is None:
            raise Skip(f"the branch {branch} has no commit yet")
        if repository.root is None:
            raise Skip("a bare repository, without a work tree")
        return facts | {"commit": commit}


class Status:
    """One `git status`, read without ever blocking for longer than asked."""

    def __init__(self, root: str, variables: dict[str, str]) -> None:
        self._output = bytearray()
        self._reads_while_running = False
        self._failure: str | None = None
        self._deadline = time.monotonic() + TIMEOUT_SECONDS
        self._process = self._start(root, variables)

    def wait(self) -> None:
        """Wait until it is done or its time is used up."""
        pause = 0.001
        while not self.done():
            background.idle(pause)
            pause = min(pause * 1.5, 0.05)

    def done(self) -> bool:
        """Whether it has answered, failed, or used up its time."""
        process = self._process
        if process is None:
            return True
        ended = process.poll() is not None
        if ended or self._reads_while_running:
            self._read(process)
        if not ended:
            if time.monotonic() > self._deadline:
                self._failure = f"git status took longer than {TIMEOUT_SECONDS:.0f} s"
                self.stop()
            return self._process is None
        if process.returncode != 0:
            self._failure = _refusal(process.stderr.read() if process.stderr else b"", process.returncode)
        self._close(process)
        return True

    def answer(self) -> tuple[int | None, str | None]:
        """(how many tracked files differ, None), or (None, why that is not known)."""
        if self._process is not None:
            return None, "git status has not answered yet"
        if self._failure is not None:
            return None, f"whether files were changed is not known: {self._failure}"
        return _count(bytes(self._output)), None

    def stop(self) -> None:
        """End it."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
            self._close(process)

    def _start(self, root: str, variables: dict[str, str]) -> subprocess.Popen[bytes] | None:
        import subprocess

        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_TRACE")}
        environment |= _SETTINGS | variables
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                _COMMAND, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
        except FileNotFoundError:
            self._failure = "git is not installed"
            return None
        except OSError as error:
            self._failure = f"git could not be started ({error.strerror or error})"
            return None
        if os.name == "posix" and process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
            self._reads_while_running = True
        return process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        while True:
            try:
                piece = os.read(process.stdout.fileno(), 65536)
            except BlockingIOError:
                return
            if not piece:
                return
            if len(self._output) < _OUTPUT_LIMIT:
                self._output += piece

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        self._process = None


def clean_remote(address: str) -> str:
    """A remote's address without user, password, query and fragment; the user of `ssh` and `git@host:path` stays."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        user, at, place = address.partition("@")
        return redact_text(place if at and ":" in user else address)
    cut = userinfo_end(rest)
    if cut >= 0 and not (scheme.lower().endswith("ssh") and ":" not in rest[:cut]):
        rest = rest[cut + 1 :]
    return redact_text(scheme + mark + rest.partition("?")[0].partition("#")[0])


def _of_script() -> gitfiles.Repository | None:
    """The repository that the script lies in; none for what is installed, and where GIT_DIR names another."""
    script = script_path()
    if script is None or os.environ.get("GIT_DIR"):
        return None
    if script.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)):
        return None
    return gitfiles.find(os.path.dirname(script))


def _refusal(message: bytes, code: int) -> str:
    text = message.decode("utf-8", "replace").strip()
    if "dubious ownership" in text:
        return "git refuses: the repository belongs to another user (dubious ownership)"
    line = text.partition("\n")[0]
    return line or f"git status ended with {code}"


def _count(output: bytes) -> int:
    """Entries of `git status --porcelain -z`: a rename is followed by the old path, which is not an entry."""
    parts = output.split(b"\0")
    count, i = 0, 0
    while i < len(parts) and parts[i]:
        count += 1
        i += 2 if parts[i][:1] in b"RC" or parts[i][1:2] in b"RC" else 1
    return count
