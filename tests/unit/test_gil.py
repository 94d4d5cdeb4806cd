"""The helper thread gets the interpreter's lock from a training that gives it up for a microsecond a step only."""

import os
import threading
import types
from time import monotonic_ns

import pytest

import autotrack
from autotrack import background, gil
from autotrack.gil import PATIENCE_NS, PAUSE_SECONDS, Turn, turn


@pytest.fixture(autouse=True)
def on_an_idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is so slow that the next ones are left out, however busy the machine of the tests is."""
    monkeypatch.setattr(gil, "_BUSY_NS", 1 << 62)
    monkeypatch.setattr(turn, "_quiet", 0)


def compute() -> int:
    """Half a millisecond of nothing but the interpreter."""
    return sum(number & 7 for number in range(10_000))


@pytest.mark.parametrize("way", ["short", "long"])
def test_the_helper_thread_is_not_kept_waiting_by_who_logs_all_the_time(way: str) -> None:
    run = autotrack.init(project="gil")
    assert background.drain(60)
    done = threading.Event()

    def works() -> None:
        for _ in range(200):
            os.stat(".")  # wants the lock anew behind each call
        done.set()

    background.submit(works)
    steps = 0
    while not done.is_set() and steps < 3_000:
        compute()
        run.log({"loss": 0.5} if way == "short" else types.MappingProxyType({"loss": 0.5}), steps)
        steps += 1
    run.finish()
    assert done.is_set()


def test_a_pause_is_told_as_our_own_time() -> None:
    run = autotrack.init(project="gil")
    assert background.drain(60)
    journal = run.own_journal
    assert journal is not None
    before = journal.own_ns
    for _ in range(10):  # the helper thread may do something meanwhile, and is then due later
        turn.due = 0
        run.log({"loss": 0.5})
    run.finish()
    assert journal.own_ns - before > PAUSE_SECONDS * 1e9


def test_a_pause_that_nobody_takes_is_made_more_and_more_rarely() -> None:
    own = Turn()
    own.wake()
    pauses, now = 0, own.due
    last = now + 60 * 10**9
    while now < last:
        now = own.due + 1
        before = own.due
        own.give(now)
        pauses += own.due != before
    assert 10 < pauses < 120


def test_no_pause_is_due_once_the_helper_thread_rests() -> None:
    assert background.drain(60)
    own = Turn()
    assert own.due > monotonic_ns() + 10**15
    own.expect(1.0)
    assert own.due > monotonic_ns() + 900_000_000
    own.taken()
    assert own.due <= monotonic_ns() + PATIENCE_NS
    own.never()
    assert own.due > monotonic_ns() + 10**15


def test_who_logs_rarely_does_not_pause() -> None:
    own = Turn()
    own.wake()
    due = own.due
    for number in range(20):
        own.give(due + number * 10_000_000)
    assert own.due == due


def test_behind_a_slow_pause_no_other_follows_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gil, "_BUSY_NS", 0)
    own = Turn()
    own.wake()
    for _ in range(2):
        own.give(monotonic_ns())
    due = own.due
    own.give(monotonic_ns())
    assert own.due == due


def test_who_wakes_the_thread_again_and_again_does_not_put_off_its_turn() -> None:
    own = Turn()
    own.wake()
    due = own.due
    while monotonic_ns() < due:
        own.wake()
    assert own.due == due
    own.expect(60.0)
    own.wake()
    assert own.due <= monotonic_ns() + PATIENCE_NS


def test_the_helper_thread_itself_never_pauses() -> None:
    seen: list[int] = []

    def looks() -> None:
        before = turn.due
        turn.give(before + 1)
        turn.give(before + 1)
        seen.append(turn.due - before)

    background.submit(looks)
    assert background.drain(60)
    assert seen == [0]


def test_a_forked_child_expects_no_thread_of_its_parent() -> None:
    turn.wake()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if turn.due > monotonic_ns() + 10**15 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
