"""A call of `log` that a Ctrl-C or a signal's handler breaks off: what raised goes on its way, and the record stays whole."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle import Victim, statuses

import autotrack
import autotrack.run
from autotrack.verify import verify

STORM = """
run = autotrack.init(project="p", name="run")
inside = broken = step = 0
returned = []

def ring(*_):
    global rung
    rung = 1
    if inside:
        raise {error}

rung = 1
signal.signal(signal.SIGALRM, ring)
until = time.monotonic() + 1
while time.monotonic() < until:
    if rung:
        rung = 0
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + step % 97 * 1e-6)
    try:
        inside = 1
        run.log({{"a": value("a", step)}}, step=step)
        inside = 0
        returned.append(step)
    except {caught}:
        inside, broken = 0, broken + 1
    step += 1
signal.setitimer(signal.ITIMER_REAL, 0)
for each in returned:
    tell("m", run.id, "a", each)
tell("broken", broken)
run.finish()
"""


@pytest.mark.parametrize(
    ("error", "caught"),
    [
        ("TimeoutError('too slow')", "TimeoutError"),
        pytest.param("KeyboardInterrupt", "KeyboardInterrupt", marks=pytest.mark.proof),
    ],
)
def test_what_breaks_off_a_call_reaches_the_caller_and_leaves_no_hole(
    victim: Callable[..., Victim], error: str, caught: str
) -> None:
    one = victim(STORM.format(error=error, caught=caught))
    code, _, errors = one.end()
    assert (code, errors) == (0, "")
    assert int(one.said("broken")[0][0]) > 50
    # A value that was written when the call was broken off may be there.
    assert [fault for fault in one.damage() if not fault.startswith("never told")] == []
    assert statuses(one.store) == {"run": "finished"}


def test_a_handlers_own_error_is_not_taken_for_the_disks(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = autotrack.init(project="p")
    write = os.write

    def broken(fd: int, line: bytes) -> int:
        monkeypatch.setattr(autotrack.run, "_write", write)
        raise TimeoutError("the epoch took too long")

    monkeypatch.setattr(autotrack.run, "_write", broken)
    with pytest.raises(TimeoutError, match="epoch"):
        run.log({"a": 1.0})
    assert not run.waiting()
    run.log({"a": 2.0})
    run.finish()
    assert findings(store) == [("note", "interrupted")]
    assert autotrack.get_run(run.id).warnings == []


@pytest.mark.parametrize("where", ["dumps", "crc32", "_write"])
def test_a_ctrl_c_in_the_middle_of_a_call_is_told_as_a_note(
    store: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run = autotrack.init(project="p")
    right = getattr(autotrack.run, where)

    def broken(*_: Any) -> Any:
        monkeypatch.setattr(autotrack.run, where, right)
        raise KeyboardInterrupt

    monkeypatch.setattr(autotrack.run, where, broken)
    with pytest.raises(KeyboardInterrupt):
        run.log({"a": 1.0})
    run.log({"a": 2.0})
    run.finish()
    assert findings(store) == [("note", "interrupted")]
    assert autotrack.get_run(run.id).summary["a"] == 2.0


def findings(store: Path) -> list[tuple[str, str]]:
    return [(one.state, one.what) for one in verify(store).findings]
