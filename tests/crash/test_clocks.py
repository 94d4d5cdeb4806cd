"""The wall clock may say anything and jump at any time: order and durations come from the monotonic clock."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import Victim, faults, statuses

import autotrack

DAY, YEAR = 86_400, 365 * 86_400
SINCE_2001 = int(time.time()) - 980_000_000  # to January 2001

TRAIN = """
def set_clock(shift):
    with open(os.environ["SHIFT_FILE"], "r+") as file:
        file.write(f"{shift:+020d}")
run = autotrack.init(project="p", name=os.environ.get("NAME", "run"), id=os.environ.get("ID"))
jumps = [int(word) for word in os.environ["JUMPS"].split()]
first = int(os.environ.get("FIRST", 0))
for step in range(first, first + 50):
    if step % 10 == 0 and jumps:
        set_clock(jumps.pop(0))
    log(run, "a", step)
    time.sleep(0.002)
"""


@pytest.fixture
def train(
    victim: Callable[..., Victim], library: Callable[[str], str], tmp_path: Path
) -> Callable[..., Victim]:
    """Train for 0.1 s with a shifted clock (`at`, in seconds) that jumps while it goes (`jumps`); the victim, ended."""
    files = iter(tmp_path / f"shift{place}" for place in range(99))

    def start(at: int, *jumps: int, **environment: str) -> Victim:
        file = next(files)
        file.write_text(f"{at:+020d}")
        words = " ".join(map(str, jumps))
        environment |= {"SHIFT_FILE": str(file), "JUMPS": words, "LD_PRELOAD": library("shifted_clock")}
        one = victim(TRAIN, **environment)
        assert one.end() == (0, "", "")
        return one

    return start


@pytest.mark.parametrize(
    ("at", "jumps"),
    [
        (-SINCE_2001, ()),
        (-SINCE_2001, (-SINCE_2001, 0)),
        (0, (DAY, -DAY, 0)),
        (0, (YEAR, -YEAR, 3600)),
        (0, (0, -3600, 0, 1)),
        (40 * YEAR, (-60 * YEAR, 0)),
    ],
    ids=["2001", "from 2001 to now", "days", "years", "summer time and a leap second", "beyond 2038"],
)
def test_jumps_within_a_run_change_neither_order_nor_duration(
    train: Callable[..., Victim], at: int, jumps: tuple[int, ...]
) -> None:
    one = train(at, *jumps)
    assert one.damage() == []
    (run,) = autotrack.runs()
    series = run.history()["a"]
    assert series.steps.tolist() == list(range(50))
    assert (series.times[1:] >= series.times[:-1]).all()
    assert 0.09 < run.duration < 20
    assert run.finished is not None
    assert run.finished >= run.created
    assert run.status == "finished"


@pytest.mark.parametrize("back", [DAY, YEAR])
def test_an_attempt_under_an_earlier_clock_is_still_the_later_one(
    train: Callable[..., Victim], store: Path, back: int
) -> None:
    first = train(0, ID="same")
    second = train(-back, ID="same", FIRST="30")
    assert (
        faults(store, first.told + second.told)[:1] != []
    )  # steps 30 to 49 are there twice, as they should be
    run = autotrack.get_run("same")
    assert run.attempts == 2
    assert run.duration >= 0.18
    assert run.status == "finished"
    assert run.history()["a"].steps.tolist() == list(range(80))
    assert run.history(attempts=True)["a"].steps.size == 100


def test_runs_under_many_clocks_are_told_apart_and_live_ones_seen(
    train: Callable[..., Victim], store: Path
) -> None:
    shifts = {"old": -SINCE_2001, "now": 0, "later": YEAR}
    for name, shift in shifts.items():
        train(shift, NAME=name)
    assert statuses(store) == dict.fromkeys(shifts, "finished")
    assert [run.name for run in autotrack.runs()] == ["later", "now", "old"]
