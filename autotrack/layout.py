"""Where things lie on disk, how they are named, and who may read them."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from autotrack.config import setting
from autotrack.errors import StoreError

STORE = ".autotrack"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_GITIGNORE = "# Made by autotrack: the records of runs do not belong in git.\n*\n"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def new_run_id() -> str:
    """Ten random base32 characters from the system's generator; no random state of the process is touched."""
    bits = int.from_bytes(os.urandom(7), "big")
    return "".join(_ALPHABET[(bits >> (5 * place)) & 31] for place in range(10))


def is_run_id(text: str) -> bool:
    """Whether a text may name a run's folder: letters, digits, - and _, at most 64, the first a letter or digit."""
    return _RUN_ID.fullmatch(text) is not None


@lru_cache(maxsize=256)
def encode_project(project: str) -> str:
    """A project's name as one folder name: percent-encoded, never empty, never starting with a dot, at most 255 bytes."""
    data = project.encode("utf-8", "surrogatepass") or b" "
    text = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) <= 255:
        return text
    raise StoreError(
        f"The project name {project[:40]!r}… is too long: encoded it takes {len(text)} characters, and a folder may have 255. "
        "Give a shorter project=."
    )


def decode_project(folder: str) -> str:
    """The project that `encode_project` made this folder name from."""
    if "%" not in folder:
        return folder
    parts = re.split(r"%([0-9A-Fa-f]{2})", folder)
    data = bytearray()
    for place, part in enumerate(parts):
        data += bytes([int(part, 16)]) if place % 2 else part.encode("utf-8", "surrogateescape")
    text = data.decode("utf-8", "surrogatepass")
    return "" if text == " " else text


def git_root(start: Path) -> Path | None:
    """The nearest folder upwards that holds a `.git` (folder, or file as in worktrees and submodules)."""
    folder = _git_folder(start)
    return None if folder is None else Path(folder)


def _git_folder(start: str | Path) -> str | None:
    return next((folder for folder in _upwards(start) if os.path.lexists(os.path.join(folder, ".git"))), None)


def find_store(start: str | Path | None = None) -> Path:
    """The store: AUTOTRACK_DIR, else the nearest `.autotrack` upwards, else at the git root, else in the working folder."""
    override = setting("DIR")
    if override:
        return absolute(override)
    start = _working_folder() if start is None else start
    root = None
    for folder in _upwards(start):
        store = os.path.join(folder, STORE)
        if os.path.isdir(store):
            return _path(store)
        if root is None and os.path.lexists(os.path.join(folder, ".git")):
            root = folder
    return _path(os.path.join(root or start, STORE))


def default_project(start: Path | None = None) -> str:
    """The name of the git root's folder, else of the working folder."""
    place = _working_folder() if start is None else os.fspath(start)
    return os.path.basename(_git_folder(place) or place) or "default"


def absolute(path: str) -> Path:
    """A path from the root on, `~` and `..` resolved, also when the working folder was deleted under us."""
    place = os.path.expanduser(path)
    return _path(os.path.normpath(place if os.path.isabs(place) else os.path.join(_working_folder(), place)))


@lru_cache(maxsize=64)
def _path(text: str) -> Path:
    """The path, as one object each time: it keeps its hash and its text."""
    return Path(text)


def _working_folder() -> str:
    """The working folder, also when it was deleted under us."""
    try:
        return os.getcwd()
    except OSError:
        return os.environ.get("PWD") or "/"


def state_folder() -> Path:
    """The user's state folder (XDG_STATE_HOME, else ~/.local/state, else the temporary folder) for what finds no other place."""
    return _user_folder("XDG_STATE_HOME", ".local/state")


def cache_folder() -> Path:
    """The user's cache folder (XDG_CACHE_HOME, else ~/.cache, else the temporary folder)."""
    return _user_folder("XDG_CACHE_HOME", ".cache")


def fallback_store() -> Path:
    """Where runs go when the store refuses them: AUTOTRACK_FALLBACK, else the user's state folder, else the temporary one."""
    given = setting("FALLBACK")
    if given:
        return absolute(given)
    place = state_folder()
    return (place if _may_be_written(place) else _temporary_folder()) / "store"


class Layout:
    """The places inside one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.open = root / "open"
        self.objects = root / "objects"
        self.registry = root / "registry"
        self.index = root / "index.db"

    def run_dir(self, project: str, run_id: str) -> Path:
        """The folder of one run."""
        return self.runs / encode_project(project) / run_id

    def create(self) -> None:
        """Make the store's folders (0700, group-readable where the store is setgid); StoreError says what stands in the way."""
        try:
            ours = self.root.name == STORE or not self.root.is_dir() or not os.listdir(self.root)
            if not self.root.is_dir():
                make_private_folder(self.root)
            for folder in (self.runs, self.open):
                if not folder.is_dir():
                    make_private_folder(folder)
            if ours:  # in a folder with other things in it, git would ignore those too
                self._write_gitignore()
        except FileExistsError as error:
            raise StoreError(
                f"{error.filename} is a file, and autotrack needs a folder there. {_ELSEWHERE}"
            ) from error
        except NotADirectoryError as error:
            raise StoreError(f"{self.root} lies below a file. {_ELSEWHERE}") from error
        except PermissionError as error:
            raise StoreError(f"{self.root} may not be written by this user. {_ELSEWHERE}") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoreError(f"{str(self.root)!r} cannot be used: {why}. {_ELSEWHERE}") from error

    def _write_gitignore(self) -> None:
        path = self.root / ".gitignore"
        if not path.exists():
            with suppress(FileExistsError):
                write_private(path, _GITIGNORE.encode())


_ELSEWHERE = "Set AUTOTRACK_DIR (or dir=) to a folder that you can write to."


def check_store(root: Path) -> None:
    """StoreError, with what to do, where there is no store to read."""
    if not os.path.lexists(root):
        raise StoreError(
            f"There is no store at {root}. Record a run first (autotrack run train.py), "
            "or name the store with --store DIR or AUTOTRACK_DIR."
        )
    if not root.is_dir():
        what = "is a file, not a folder, so it cannot be a store"
    elif os.path.lexists(root / "runs") and not (root / "runs").is_dir():
        what = "is no store: its `runs` is not a folder"
    elif root.name != STORE and not (root / "runs").is_dir():
        what = "is no store: it has no folder `runs`"
    else:
        return
    raise StoreError(f"{root} {what}. Name another with --store or AUTOTRACK_DIR.")


def make_private_folder(path: str | Path) -> bool | None:
    """Make a folder and its parents: 0700, or as the parent where that is setgid (a team's store). Whether it is setgid; None: it
    was there before.
    """
    parent = os.path.dirname(path)
    try:
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            if parent in ("", os.fspath(path)):
                raise
            make_private_folder(parent)
            os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return None
    if not _is_setgid(parent):
        return False
    os.chmod(path, 0o2750)
    return _is_setgid(path)  # not where this user is not of the team


def open_private(path: str | Path, flags: int, setgid: bool | None = None) -> int:
    """Open a file for us alone (0600; 0640 in a setgid folder), close-on-exec; the descriptor is returned."""
    if setgid is None:
        setgid = _is_setgid(os.path.dirname(path))
    mode = 0o640 if setgid else 0o600
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), mode)


def _is_setgid(folder: str | Path) -> bool:
    return os.name == "posix" and os.stat(folder or ".").st_mode & stat.S_ISGID != 0


def write_private(path: Path, data: bytes) -> None:
    """Write a small new file, the whole of it or none; FileExistsError when it is there."""
    fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    whole = False
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        whole = True
    finally:
        os.close(fd)
        if not whole:
            with suppress(OSError):
                os.unlink(path)


def replace_private(path: Path, data: bytes) -> None:
    """Write a small file by way of a temporary one beside it, so that readers see the old or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{new_run_id()}.tmp")
    try:
        write_private(temporary, data)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def is_temporary(path: Path) -> bool:
    """Whether a path lies in a folder that the system empties."""
    import tempfile

    place = os.path.realpath(path)
    return any(
        place == folder or place.startswith(folder + os.sep)
        for folder in map(os.path.realpath, {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"})
    )


def _upwards(start: str | Path) -> Iterator[str]:
    """A folder and those above it, as text: paths as objects take several times as long."""
    folder, below = os.fspath(start), ""
    while folder != below:
        yield folder
        folder, below = os.path.dirname(folder), folder


def _user_folder(variable: str, below_home: str) -> Path:
    given = os.environ.get(variable)
    if given:
        return Path(given) / "autotrack"
    home = os.path.expanduser("~")
    if home not in ("~", "", "/"):
        return Path(home) / below_home / "autotrack"
    return _temporary_folder()


def _may_be_written(place: Path) -> bool:
    """Whether a folder can be written to, or made."""
    nearest = next(
        folder for folder in (place, *place.parents) if os.path.lexists(folder) or folder == folder.parent
    )
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _temporary_folder() -> Path:
    import tempfile

    return Path(tempfile.gettempdir()) / f"autotrack-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
