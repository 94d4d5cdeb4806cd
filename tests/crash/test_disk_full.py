"""A disk that refuses lines: no call raises or waits, nothing is lost once it takes them again, and what is lost is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
from disk import TIMED, cli, events, failing, merge, number, shown, slugs, unexplained
from oracle import Victim, statuses, value

from autotrack.index import open_index

FULL = "call=write,open,mkdir path=/.autotrack errno={} while=SWITCH"

Victims = Callable[..., Victim]
Library = Callable[[str], str]


def without_torn(wrong: list[str]) -> list[str]:
    """A torn line stays in the file: it is a damaged line, or an unfinished last one, that costs nothing."""
    return [text for text in wrong if "damaged line" not in text and "within a line" not in text]


def values_read(store: Path, one: Victim) -> list[str]:
    """What the index lacks of the metrics that a victim told: it also reads a whole line that is joined to a torn one."""
    index = open_index(store)
    try:
        index.sync()
        (run,) = index.runs()
        history = run.history()
        known = {
            (key, step, number)
            for key, series in history.items()
            for step, number in zip(series.steps.tolist(), series.values.tolist(), strict=True)
        }
    finally:
        index.close()
    told = {(key, int(step), value(key, int(step))) for _, key, step in one.said("m")}
    return [f"lost: {point}" for point in sorted(told - known)]


@pytest.fixture
def fallback(tmp_path: Path) -> Path:
    """The store that takes what the victim's store refuses."""
    return tmp_path / "state" / "autotrack" / "store"


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "ESTALE"])
def test_a_disk_that_refuses_for_a_while_loses_nothing(
    victim: Victims, library: Library, store: Path, tmp_path: Path, error: str
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
for step in range(450):
    if step in (50, 250):
        trouble(on=step == 50)
    timed(run, "a", step)
    time.sleep(0.002)
run.finish()
tell_times()
""",
        **failing(library, tmp_path, FULL.format(error)),
    )
    code, _, errors = one.end()
    assert code == 0
    assert errors.count("AutotrackWarning: ") == 1, errors
    assert one.faults() == []
    assert number(one, "longest") < 0.05
    assert events(store, "gap") == []
    assert slugs(store) == ["disk", "waited"]


def test_a_disk_that_stays_full_costs_nothing_that_the_fallback_folder_can_take(
    victim: Victims, library: Library, store: Path, fallback: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p", name="full", config={"lr": 0.1})
for step in range(400):
    if step == 100:
        trouble(on=True)
    timed(run, "a", step)
tell_times()
sys.exit(3)
""",
        **failing(library, tmp_path, FULL.format("ENOSPC")),
    )
    code, _, errors = one.end()
    assert code == 3
    assert "events are kept in memory" in errors
    assert f"they go to {fallback}" in errors
    assert number(one, "longest") < 0.05
    before = [run for run in shown(store) if run["name"] == "full"]
    assert len(before) == 1  # what was there before is read as ever
    assert f"1 more run in {fallback}" in cli("--store", str(store), "ls")[1]
    assert str(fallback) in cli("--store", str(store), "doctor")[0]
    assert merge(fallback, store) == 1
    assert one.faults() == []
    assert unexplained(store) == []
    assert statuses(store) == {"full": "failed"}


def test_lines_that_another_thread_writes_behind_a_torn_one_are_not_lost_with_it(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    """The newline that closes a torn line comes late, and meanwhile what others write is joined to it."""
    writes = "call=write path=/.autotrack/runs while=SWITCH count=1"
    one = victim(
        TIMED
        + """
from autotrack import background
run = autotrack.init(project="p")
background.drain(60)
def others():
    time.sleep(0.3)
    log(run, "b", 0)
    config(run, "c", 0)
    trouble(on=False)
thread = threading.Thread(target=others)
trouble(on=True)
thread.start()
for step in range(5):
    log(run, "a", step)
thread.join()
""",
        **failing(library, tmp_path, f'{writes} head=["m", short=3', f"{writes} hang=1"),
    )
    code, _, errors = one.end()
    assert code == 0, errors
    damaged = [text for text in one.faults() if "damaged line" in text]
    assert len(damaged) == 1
    assert one.faults() == damaged
    assert unexplained(store) == []


def test_what_was_written_elsewhere_comes_back_when_the_disk_takes_files_again(
    victim: Victims, library: Library, store: Path, fallback: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
writer.LEAVE_SECONDS = 0.2
place.RETURN_SECONDS = 0.3
session.TICK_SECONDS = 0.05
run = autotrack.init(project="p", name="back")
home = run.dir
def work(steps):
    for step in steps:
        timed(run, "a", step)
        time.sleep(0.001)
work(range(100))
trouble(on=True)
work(range(100, 200))
wait_for(lambda: run._journal.folder != home)
work(range(200, 300))
assert not run.waiting()  # what is logged now is on a disk when the call returns
tell("away")
trouble(on=False)
wait_for(lambda: run._journal.folder == home)
work(range(300, 400))
""",
        **failing(library, tmp_path, FULL.format("ENOSPC")),
    )
    code, _, errors = one.end()
    assert (code, one.said("away")) == (0, [[]]), errors
    assert one.faults() == []
    assert unexplained(store) == []
    assert list(fallback.glob("runs/*/*")) == []
    assert statuses(store) == {"back": "finished"}


def test_a_store_that_is_full_from_the_start_takes_the_first_lines_later(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
autotrack.init(project="p", name="before").finish()
trouble(on=True)
run = autotrack.init(project="p", name="late", config={"lr": 0.5})
for step in range(50):
    timed(run, "a", step)
trouble(on=False)
wait_for(lambda: not run.waiting())
for step in range(50, 100):
    timed(run, "a", step)
""",
        **failing(library, tmp_path, FULL.format("ENOSPC")),
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.faults() == []
    assert statuses(store) == {"before": "finished", "late": "finished"}


@pytest.mark.parametrize("rest", ["count=1", "count=3", "count=1 short=2", "count=2 short=3"])
def test_no_write_that_fails_hides_what_comes_later(
    victim: Victims, library: Library, store: Path, tmp_path: Path, rest: str
) -> None:
    what = rest if "short" in rest else f"{rest} errno=ENOSPC"
    wrong = []
    for place in (1, 2, 3, 5, 8, 13, 21):
        one = victim(
            'run = autotrack.init(project="p")\nfor step in range(30):\n    log(run, "a", step)\n',
            into=f"at{place}",
            **failing(library, tmp_path, f"call=write path=.jsonl from={place} {what}"),
        )
        assert one.end()[0] == 0
        wrong += [f"at {place}: {text}" for text in without_torn(one.faults()) + unexplained(one.store)]
    assert wrong == []


@pytest.mark.parametrize("every", [1, 3])
def test_a_disk_that_takes_only_half_of_each_write_loses_nothing(
    victim: Victims, library: Library, store: Path, tmp_path: Path, every: int
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
def work(key):
    for step in range(400):
        timed(run, key, step)
        time.sleep(0.001)
threads = [threading.Thread(target=work, args=(f"t{place}",)) for place in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
run.finish()
tell_times()
""",
        **failing(library, tmp_path, f"call=write path=.jsonl every={every} short=2 from=2"),
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert values_read(store, one) == []
    assert number(one, "longest") < 0.1


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
def test_storms_of_interrupted_calls_lose_nothing(
    victim: Victims, library: Library, store: Path, fallback: Path, tmp_path: Path, error: str
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
for step in range(500):
    timed(run, "a", step)
run.finish()
tell_times()
""",
        **failing(
            library, tmp_path, f"call=write,fsync,open path=/.autotrack every=2 count=900 errno={error}"
        ),
    )
    assert one.end()[0] == 0
    merge(fallback, store)
    assert one.faults() == []
    assert number(one, "longest") < 0.1


def test_a_limit_on_the_size_of_files_loses_nothing(victim: Victims, store: Path) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p")
from autotrack import background
background.drain(60)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for step in range(1_000):
    timed(run, "a", step)
    time.sleep(0.0005)
run.finish()
tell_times()
"""
    )
    assert one.end()[0] == 0
    assert without_torn(one.faults()) == []
    assert number(one, "longest") < 0.05
    assert max(path.stat().st_size for path in store.glob("runs/*/*/*.jsonl")) <= 20_000


@pytest.mark.parametrize("megabytes", [8, pytest.param(64, marks=pytest.mark.proof)])
def test_what_no_memory_and_no_folder_can_hold_is_named_exactly(
    victim: Victims, library: Library, store: Path, tmp_path: Path, megabytes: int
) -> None:
    one = victim(
        TIMED
        + f"megabytes = {megabytes}\n"
        + """
run = autotrack.init(project="p", name="gap")
run._journal._ring.capacity = megabytes * 2**20
from autotrack import background
background.drain(60)
values = {f"{key:060d}": key / 7 for key in range(100)}
def memory():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
run.log(values)
trouble(on=True)
before = memory()
for _ in range(140 * megabytes):  # 8.7 kB each
    run.log(values)
tell("memory", memory() - before)
trouble(on=False)
wait_for(lambda: not run.waiting())
trouble(on=True)
for _ in range(140 * megabytes):
    run.log(values)
trouble(on=False)
wait_for(lambda: not run.waiting())
run.log(values)
run.finish()
""",
        AUTOTRACK_FALLBACK=str(tmp_path / "none" / ".autotrack"),
        **failing(library, tmp_path, FULL.format("ENOSPC")),
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert "were dropped" in errors
    assert number(one, "memory") < megabytes * 1_100_000 + 4_000_000
    assert unexplained(store) == []
    gaps = events(store, "gap")
    assert len(gaps) >= 2
    assert 16 < sum(gap.body["dropped"] for gap in gaps) / megabytes < 94
    assert statuses(store) == {"gap": "finished"}
    assert "gap" in slugs(store) or "dropped" in slugs(store)


def test_a_fallback_folder_that_refuses_too_leaves_no_number_unexplained(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
writer.LEAVE_SECONDS = 0.0
run = autotrack.init(project="p", name="run")
from autotrack import background
background.drain(60)
trouble(on=True)
for step in range(10):
    timed(run, "a", step)
    run._journal.tick()
trouble(on=False)
wait_for(lambda: not run.waiting())
timed(run, "a", 10)
run.finish()
""",
        AUTOTRACK_FALLBACK=str(tmp_path / "none" / ".autotrack"),
        **failing(library, tmp_path, FULL.format("ENOSPC")),
    )
    assert one.end()[0] == 0
    assert one.damage() == []
    assert unexplained(store) == []


def test_how_a_run_ended_is_kept_when_its_metrics_no_longer_are(
    victim: Victims, library: Library, store: Path, fallback: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
writer.LEAVE_SECONDS = 1_000
run = autotrack.init(project="p", name="end")
from autotrack import background
background.drain(60)
run._journal._leave_if_due = int
run._journal._ring.capacity = 8 * 2**20
values = {f"{key:060d}": key / 7 for key in range(100)}
trouble(on=True)
for _ in range(1_120):
    run.log(values)
raise ValueError("the training's own")
""",
        **failing(library, tmp_path, FULL.format("ENOSPC")),
    )
    code, _, errors = one.end()
    assert code == 1
    assert "ValueError: the training's own" in errors
    merge(fallback, store)
    assert unexplained(store) == []
    assert sum(gap.body["dropped"] for gap in events(store, "gap")) > 60
    assert statuses(store) == {"end": "failed"}
