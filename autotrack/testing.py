"""For tests of integrations, ours and other people's: a store of one's own, and errors of ours that are raised, not swallowed.

    # conftest.py
    from autotrack.testing import strict, store

    # a test
    from autotrack.testing import only_run, points

`strict` lets the errors that autotrack would turn into warnings be raised. `store` is a fresh store that recording and
reading use while the test runs; runs that the test left open are finished after it. `only_run` and `points` look at
what was recorded.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotrack import background, face, guard, loads, sealing, session

if TYPE_CHECKING:
    from autotrack.index import RunRecord

_SWITCHES = (
    "PROJECT",
    "NAME",
    "GROUP",
    "TAGS",
    "RUN_ID",
    "RESUME",
    "MODE",
    "OWNER",
    "LAUNCH",
    "SILENT",
    "LOG_MODEL",
    "BUDGET",
)


@pytest.fixture
def strict() -> Iterator[None]:
    """Errors of autotrack are raised in this test instead of becoming warnings."""
    before = guard.STRICT["on"]
    guard.STRICT["on"] = True
    yield
    guard.STRICT["on"] = before


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh store, found through AUTOTRACK_DIR; every other switch of the environment is off."""
    for switch in _SWITCHES:
        monkeypatch.delenv(f"AUTOTRACK_{switch}", raising=False)
    folder = tmp_path / "store" / ".autotrack"
    monkeypatch.setenv("AUTOTRACK_DIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    guard.forget()
    yield folder
    close_runs()


def only_run() -> "RunRecord":
    """The run of the store, once the helper thread has done its part; ValueError where there is none, or more than one."""
    background.drain(sealing.LONGEST_WAIT)
    sealing.wait(sealing.LONGEST_WAIT)
    (run,) = face.runs()
    return run


def points(run: "RunRecord", key: str) -> list[tuple[int, float]]:
    """(step, value) of each point of a metric, in the order of its history."""
    series = run.history(keys=[key])[key]
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def close_runs() -> None:
    """Finish every open run of this process, newest first, and wait for the helper thread."""
    for run in reversed(session.open_runs()):
        run.end_with_process("finished", None, None)
    session.set_current(None)
    session.set_training(None)
    session.set_launched(None)
    background.drain(session.EXIT_SECONDS)
    loads.forget()
    for name in ("AUTOTRACK_RUN_ID", "AUTOTRACK_OWNER"):
        os.environ.pop(name, None)
