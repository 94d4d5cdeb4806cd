"""A disk that is slow or hangs: calls do not wait for it, a busy machine is not taken for one, and ends come in time."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import TIMED, events, failing, number, slugs
from oracle import Victim, statuses

Victims = Callable[..., Victim]
EVERYTHING = "write,fsync,open,unlink,mkdir,rename"
Library = Callable[[str], str]


def test_on_a_slow_disk_calls_take_microseconds_after_the_first_few(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
for step in range(250):
    timed(run, "a", step)
    time.sleep(0.01)
tell_times(skip=20)
""",
        **failing(
            library, tmp_path, "call=write path=.jsonl delay=20", "call=fsync path=/.autotrack delay=2000"
        ),
    )
    assert one.end()[0] == 0
    assert one.faults() == []
    # On a busy machine the slow disk may be taken for that at first, for a second each time. Without the ring it would be 5 s.
    assert number(one, "median") < 0.001
    assert number(one, "all") < 2.5
    assert "waited" in slugs(store)


def test_no_call_waits_while_the_helper_thread_writes(
    victim: Victims, library: Library, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
from autotrack import background
background.drain(60)
trouble(on=True)
for step in range(300):
    timed(run, "a", step)
    time.sleep(0.005)
tell_times(skip=4)
trouble(on=False)
wait_for(lambda: not run.waiting())
timed(run, "a", 300)
""",
        **failing(library, tmp_path, "call=write,fsync,open path=/.autotrack delay=400 while=SWITCH"),
    )
    assert one.end()[0] == 0
    assert one.faults() == []
    assert number(one, "longest") < 0.05
    assert number(one, "all") < 3.0


def test_a_busy_interpreter_is_not_taken_for_a_slow_disk(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    """Each write gives the interpreter's lock away, and a busy thread keeps it for 5 ms: no reason to hold lines back."""
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
until = time.monotonic() + 2.5
def work():
    while time.monotonic() < until:
        sum(range(1000))
for _ in range(3):
    threading.Thread(target=work).start()
step = 0
while time.monotonic() < until:
    timed(run, "a", step)
    assert not run.waiting()
    step += 1
tell_times()
""",
        **failing(library, tmp_path, "call=write path=.jsonl delay=1"),
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.faults() == []
    assert number(one, "longest") > 0.005
    assert events(store, "warning") == []


@pytest.mark.parametrize(
    ("calls", "how", "seconds"),
    [
        ("fsync", "sys.exit(3)", 5.0),
        ("fsync", "run.finish(); sys.exit(3)", 1.5),
        (EVERYTHING, "sys.exit(3)", 1.5),
        (EVERYTHING, "run.finish(); sys.exit(3)", 1.5),
    ],
)
def test_a_disk_that_hangs_keeps_no_process_from_its_end(
    victim: Victims, library: Library, store: Path, tmp_path: Path, calls: str, how: str, seconds: float
) -> None:
    one = victim(
        TIMED
        + f"""
session.EXIT_SECONDS = {seconds}
run = autotrack.init(project="p", name="end")
other = autotrack.init(project="p", name="other")
from autotrack import background
background.drain(60)
for step in range(100):
    timed(run, "a", step)
trouble(on=True)
tell("end")
{how}
""",
        **failing(library, tmp_path, f"call={calls} path=/.autotrack hang=1 while=SWITCH"),
    )
    one.wait_for(lambda one: one.said("end"))
    began = time.monotonic()
    code, _, errors = one.end()
    assert time.monotonic() - began < seconds * (2 if "finish" in how else 1) + 1.5
    assert code == 3
    assert "does not answer" in errors
    assert one.faults() == []
    if calls == "fsync":
        assert set(statuses(store).values()) == {"failed"} | ({"finished"} if "finish" in how else set())


def test_a_hang_of_a_few_seconds_is_over_at_the_end(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p", name="end")
from autotrack import background
background.drain(60)
trouble(on=True)
threading.Timer(1.5, trouble, (False,)).start()
for step in range(100):
    timed(run, "a", step)
""",
        **failing(library, tmp_path, "call=fsync,open,unlink path=/.autotrack hang=1 while=SWITCH"),
    )
    assert one.end() == (0, "", "")
    assert one.faults() == []
    assert statuses(store) == {"end": "finished"}


@pytest.mark.parametrize("rest", ["count=1", ""])
def test_a_sync_that_fails_begins_a_new_file_and_is_named(
    victim: Victims, library: Library, store: Path, tmp_path: Path, rest: str
) -> None:
    one = victim(
        TIMED
        + """
session.TICK_SECONDS = 0.02
run = autotrack.init(project="p", name="end")
for step in range(100):
    timed(run, "a", step)
    time.sleep(0.004)
""",
        **failing(library, tmp_path, f"call=fsync path=.jsonl {rest} errno=EIO"),
    )
    code, _, errors = one.end()
    assert code == 0
    assert errors.count("could not be synced") == 1
    assert one.faults() == []
    assert "disk" in slugs(store)
    assert statuses(store) == {"end": "finished"}
    assert len(list(store.glob("runs/*/*/*.jsonl*"))) == (2 if rest else 4)
