"""The connection to the index: pragmas, transactions, and the healing of an index that is broken, locked or
old.
"""

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, RootTransaction, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import NullPool, Pool, QueuePool, StaticPool

from autotrack.guard import warn
from autotrack.index import schema
from autotrack.index.place import index_paths, writable
from autotrack.index.schema import Broken
from autotrack.layout import STORE, Layout
from autotrack.mounts import on_network

WAIT_SECONDS = 20.0
BATCH_SECONDS = 0.25
T = TypeVar("T")


# SQLite's messages quote what stands in the file, and are decoded as UTF-8 before they become errors.
ERRORS = (DBAPIError, sqlite3.Error, UnicodeDecodeError, Broken)
_engines: "WeakSet[Engine]" = WeakSet()
_of_the_parent: list[Pool] = []
_of_files: OrderedDict[tuple[Path, float], Engine] = OrderedDict()
"""Used last, last."""
_FILES_MOST = 16


class Database:
    """One index, in a file or in memory. A connection that was used waits for the next question; a fork inherits none."""

    def __init__(self, layout: Layout, wait: float = WAIT_SECONDS) -> None:
        self._layout = layout
        self._wait = wait
        self._local = threading.local()
        self.path: Path | None = None
        self._file: tuple[int, int] | None = None
        self.refill: Callable[[], None] = lambda: None
        self.engine = self._open()

    def is_current(self) -> bool:
        """Whether the index still is the file in the store that was opened, nobody has removed or replaced it, and no question of
        this thread is going on.
        """
        return self.path == self._layout.index and self._file == _identity(self.path) and self._held() is None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the index."""
        held = self._held()
        if held is None:
            with self.engine.connect() as connection:
                yield connection
            return
        begun = held.in_transaction()
        try:
            yield held
        finally:
            if not begun:
                held.rollback()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that other writers wait for; in a batch a part of a longer one, undone by itself."""
        held = self._held()
        if held is None:
            with self.engine.connect() as connection, begin_writing(connection):
                yield connection
            return
        if not held.in_transaction():
            begin_writing(held)
            self._local.since = time.monotonic()
        with held.begin_nested():
            yield held
        if time.monotonic() - self._local.since > BATCH_SECONDS:
            held.commit()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Do many small readings and writings on one connection, and in few transactions, each a quarter of a second long."""
        held = self._held()
        if held is not None:
            yield
            held.commit()
            return
        with self.engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA user_version").scalar() != schema.VERSION:
                raise Broken("the index is another one than was opened")
            connection.rollback()
            self._local.connection = connection
            try:
                yield
                connection.commit()
            finally:
                self._local.connection = None

    def _held(self) -> Connection | None:
        return getattr(self._local, "connection", None)

    def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer of a function that reads; from an index built again, if this one is damaged."""

        def answer() -> T:
            with self.reading() as connection:
                return question(connection)

        return self.repaired(answer)

    def together(self, action: Callable[[], T]) -> T:
        """Run an action of several questions on one connection: opening one takes longer than most questions do."""

        def batched() -> T:
            with self.batch():
                return action()

        return self.repaired(batched)

    def repaired(self, action: Callable[[], T]) -> T:
        """Run an action; after an error of the database once more on a new index, then once more on one in
        memory. A part of a longer one is left to that: its connection is the broken one.
        """
        if self._held() is not None:
            return action()
        try:
            return action()
        except ERRORS as error:
            self._repair(error)
        try:
            self.refill()
            return action()
        except ERRORS:
            self.engine.dispose()
            self._use_memory()
        self.refill()
        return action()

    def _repair(self, error: Exception) -> None:
        """Open an index that can be used: another file in place of a damaged one, memory where others hold
        the file.
        """
        self.engine.dispose()
        if (
            self.path is None
            or is_locked(error)
            or not self._remove(self.path, isinstance(error, Broken | UnicodeDecodeError))
        ):
            self._tell_locked(error)
            self._use_memory()
        else:
            self.engine = self._open()

    def _tell_locked(self, error: Exception) -> None:
        if is_locked(error):
            warn(
                "index-locked",
                f"The index {self.path} is held by another process; it is built in memory this time.",
            )

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def empty(self) -> None:
        """Drop everything; the tables are there again afterwards."""
        with self.writing() as connection:
            schema.metadata.drop_all(connection)
            schema.metadata.create_all(connection)

    def _open(self) -> Engine:
        for path in index_paths(self._layout):
            for _ in range(3):
                if not writable(path) or self._is_foreign(path):
                    break
                engine = _file_engine(path, self._wait)
                try:
                    _prepare(engine)
                except ERRORS as error:
                    engine.dispose()
                    if is_locked(error):
                        warn(
                            "index-locked",
                            f"The index {path} is held by another process; it is built in memory this time.",
                        )
                        return self._use_memory()
                    if not self._remove(path):
                        break
                else:
                    self.path, self._file = path, _identity(path)
                    return engine
        return self._use_memory()

    def _use_memory(self) -> Engine:
        self.path = None
        self.engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        _listen(self.engine)
        _prepare(self.engine)
        return self.engine

    def _remove(self, path: Path, surely: bool = False) -> bool:
        """Delete a broken index, unless another process has replaced it meanwhile. Whether it may be opened
        again.
        """
        with _alone(path):
            if not surely and self._is_sound(path):
                return True
            try:
                for suffix in ("-wal", "-shm", "-journal"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            except OSError:
                return False
        return True

    def _is_foreign(self, path: Path) -> bool:
        """Whether a file under the index's name, in a folder that does not bear our name, has none of our tables."""
        if path != self._layout.index or self._layout.root.name == STORE or path.stat().st_size == 0:
            return False
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                names = connection.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall()
        except sqlite3.Error:
            return True
        return not {str(name) for (name,) in names} & set(schema.metadata.tables)

    def _is_sound(self, path: Path) -> bool:
        engine = _file_engine(path, self._wait)
        try:
            _prepare(engine)
            with engine.connect() as connection:
                return connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
        except ERRORS:
            return False
        finally:
            engine.dispose()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def begin_writing(connection: Connection) -> RootTransaction:
    """Begin a transaction that takes the index for writing at once, so that it never has to give up half way."""
    connection.info["autotrack_write"] = True
    return connection.begin()


def is_locked(error: Exception) -> bool:
    """Whether the error says that another process holds the index."""
    origin = error if isinstance(error, sqlite3.Error) else getattr(error, "orig", None)
    code = getattr(origin, "sqlite_errorcode", 0) or 0
    return isinstance(origin, sqlite3.OperationalError) and code & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def _file_engine(path: Path, wait: float) -> Engine:
    """One engine a file: it holds the statements that were compiled for it, and one connection that nobody uses just now.

    Of more files than are worked with at a time the connections are closed: who leaves that to the collector is warned (Python 3.13).
    """
    engine = _of_files.pop((path, wait), None) or _new_engine(path, wait)
    _of_files[path, wait] = engine
    while len(_of_files) > _FILES_MOST:
        _of_files.popitem(last=False)[1].dispose()
    return engine


def _new_engine(path: Path, wait: float) -> Engine:
    url = URL.create("sqlite", database=str(path))
    options = {"timeout": wait, "check_same_thread": False}
    if on_network(path):
        engine = create_engine(url, poolclass=NullPool, connect_args=options)
    else:
        engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=-1, connect_args=options)
        _keep_one(engine, path, wait)
    _listen(engine)
    return engine


def _keep_one(engine: Engine, path: Path, wait: float) -> None:
    """A connection is used again if the file still is the one that was opened; meanwhile it holds no memory and no lock."""
    _engines.add(engine)

    @event.listens_for(engine, "do_connect")
    def opening(dialect: Any, record: Any, words: Any, options: Any) -> None:
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "connect")
    def opened(connection: sqlite3.Connection, record: Any) -> None:
        if record.info["file"] is None:  # SQLite has made it just now
            record.info["file"] = _identity(path)
        _use_wal(connection, wait)

    @event.listens_for(engine, "checkout")
    def taken(connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
        if record.info["file"] != _identity(path):
            raise DisconnectionError("the index was replaced")

    @event.listens_for(engine, "checkin")
    def given_back(connection: sqlite3.Connection | None, record: Any) -> None:
        if connection is None:
            return
        if connection.total_changes:  # its statements hold on to all that was written
            record.invalidate()
        else:
            connection.execute("PRAGMA shrink_memory")


def _close_waiting() -> None:
    """Before a fork: SQLite in the child would take the locks of a connection that it inherits for its own, which they are not."""
    for engine in list(_engines):
        engine.dispose()


def _forked() -> None:
    """What another thread of the parent was using is neither used nor closed: https://www.sqlite.org/howtocorrupt.html, 2.6."""
    for engine in list(_engines):
        _of_the_parent.append(engine.pool)
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_waiting, after_in_child=_forked)


def _use_wal(connection: sqlite3.Connection, wait: float) -> None:
    """Let readers and a writer go on side by side. SQLite does not wait by itself while others make the same change."""
    end = time.monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() >= end:
                raise
        time.sleep(0.01)


def _listen(engine: Engine) -> None:
    """Transactions begin as SQLAlchemy says, at once for writers, not when the driver thinks fit."""

    @event.listens_for(engine, "connect")
    def plain(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-65536")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.info.pop("autotrack_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _prepare(engine: Engine) -> None:
    """Make the tables in an empty file; Broken for a file with another schema."""
    with engine.connect() as connection:
        if _is_current(connection):
            return
    with engine.connect() as connection, begin_writing(connection):
        if _is_current(connection):
            return
        schema.metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version={schema.VERSION}")


def _is_current(connection: Connection) -> bool:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar()
    tables = {
        str(row[0]) for row in connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type='table'")
    }
    if version == schema.VERSION and tables >= set(schema.metadata.tables):
        return True
    if version == 0 and not tables:
        return False
    raise Broken(f"the index has schema {version} and {len(tables)} tables")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time, where the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
