"""Many processes at once in one store: its first start, two hundred writers, and two that continue the same run."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import Victim, faults, statuses

import autotrack

# Each victim says that it is ready, and begins when the gate is there.
GATE = """
from autotrack import opening, session
gate = os.environ["GATE"]
tell("ready")
while not os.path.exists(gate):
    time.sleep(0.0005)
"""


def at_once(victim: Callable[..., Victim], code: str, gate: Path, *names: str) -> list[Victim]:
    """One victim for each name, all let go at the same moment."""
    found = [victim(GATE + code, GATE=str(gate), NAME=name) for name in names]
    for one in found:
        one.wait_for(lambda one: one.said("ready"))
    gate.touch()
    return found


def all_told(victims: list[Victim]) -> list[list[str]]:
    return [words for one in victims for words in one.told]


def test_twenty_processes_that_start_a_new_store_at_once(
    victim: Callable[..., Victim], store: Path, tmp_path: Path
) -> None:
    code = """
run = autotrack.init(project="p", name=os.environ["NAME"], config={"lr": 0.1})
for step in range(20):
    log(run, "a", step)
artifact(run, "same", 1000)
"""
    victims = at_once(victim, code, tmp_path / "gate", *(f"run{place}" for place in range(20)))
    assert [one.end() for one in victims] == [(0, "", "")] * 20
    assert faults(store, all_told(victims)) == []
    assert statuses(store) == {f"run{place}": "finished" for place in range(20)}
    assert {path.name for path in store.iterdir()} >= {".gitignore", "runs", "open", "objects"}
    assert "*" in (store / ".gitignore").read_text().splitlines()
    assert not list(store.glob("**/*.tmp"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in (store, *store.iterdir()) if path.is_dir()} == {
        0o700
    }


PACED = """
run = autotrack.init(project="p", name=os.environ["NAME"])
waits = []
begun = time.monotonic()
for step in range(int(os.environ["STEPS"])):
    until = begun + step / 10
    while (now := time.monotonic()) < until:
        time.sleep(until - now)
    start = time.perf_counter()
    run.log({"a": value("a", step), "b": value("b", step)}, step=step)
    waits.append(time.perf_counter() - start)
    tell("m", run.id, "a", step)
    tell("m", run.id, "b", step)
tell("waits", *(round(1e6 * wait) for wait in waits))
"""


def record_at_once(victim: Callable[..., Victim], gate: Path, count: int, steps: int) -> list[int]:
    """Record ten times a second in `count` processes; how long each call took, in microseconds, sorted."""
    os.environ["STEPS"] = str(steps)
    victims = at_once(victim, PACED, gate, *(f"run{place}" for place in range(count)))
    for one in victims:
        code, _, errors = one.end(300)
        assert (code, errors) == (0, "")
    assert faults(victims[0].store, all_told(victims)) == []
    assert set(statuses(victims[0].store).values()) == {"finished"}
    return sorted(int(wait) for one in victims for wait in one.said("waits")[0])


def test_twenty_processes_that_record_at_once_lose_nothing(
    victim: Callable[..., Victim], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPS", "0")
    waits = record_at_once(victim, tmp_path / "gate", 20, 20)
    assert len(waits) == 400
    assert waits[len(waits) // 2] < 5_000


@pytest.mark.proof
def test_two_hundred_processes_that_record_at_once_lose_nothing(
    victim: Callable[..., Victim],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setenv("STEPS", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    begun = time.monotonic()
    waits = record_at_once(victim, tmp_path / "gate", 200, 150)
    record_property("calls", len(waits))
    record_property("seconds_in_all", round(time.monotonic() - begun, 1))
    record_property("p50_us", waits[len(waits) // 2])
    record_property("p99_us", waits[len(waits) * 99 // 100])
    record_property("worst_us", waits[-1])
    assert len(waits) == 30_000
    assert waits[len(waits) * 99 // 100] < 5_000


SAME = """
run = autotrack.init(project="p", name=os.environ["NAME"], id="same", resume=os.environ.get("RESUME"))
key = os.environ["NAME"]
tell("opened", run.id)
for step in range(200):
    log(run, key, step)
    time.sleep(0.001)
    if step == 150:
        tell("late")
if key == os.environ.get("STAY"):
    tell("staying")
    time.sleep(60)
"""


@pytest.mark.parametrize("resume", ["allow", "must"])
def test_two_processes_that_open_the_same_run_at_once_are_two_attempts(
    victim: Callable[..., Victim], store: Path, tmp_path: Path, resume: str
) -> None:
    """Each writes a journal of its own, so nothing is lost and nothing mixed; the run shows both."""
    if resume == "must":
        autotrack.init(project="p", name="first", id="same").finish()
    victims = at_once(victim, f"os.environ['RESUME'] = '{resume}'\n" + SAME, tmp_path / "gate", "one", "two")
    assert [one.end()[0] for one in victims] == [0, 0]
    assert faults(store, all_told(victims)) == []
    run = autotrack.get_run("same")
    assert (run.status, run.attempts) == ("finished", 2 + (resume == "must"))
    for key in ("one", "two"):
        assert run.history(attempts=True)[key].values.size == 200
        assert run.history()[key].values.size == 200


def test_a_run_goes_on_while_any_of_its_attempts_does(
    victim: Callable[..., Victim], store: Path, tmp_path: Path
) -> None:
    beating = "from autotrack import session\nsession.BEAT_SECONDS = 0.1\n"
    staying = victim(beating + SAME, NAME="one", STAY="one")
    staying.wait_for(lambda one: one.said("staying"))
    later = victim(SAME, NAME="two", RESUME="must")
    assert later.end()[0] == 0
    assert autotrack.get_run("same").status == "running"
    until = time.monotonic() + 5
    while not (store / "open" / "same").exists():
        assert time.monotonic() < until, "the run that goes on is not marked as open"
        time.sleep(0.05)
    staying.kill()
    assert autotrack.get_run("same").status == "finished"
    assert faults(store, all_told([staying, later]), killed=True) == []


def test_two_hosts_that_continue_the_same_run_are_two_attempts(
    victim: Callable[..., Victim], store: Path, library: Callable[[str], str], tmp_path: Path
) -> None:
    names = {"one": "node-1", "two": "node-2"}
    victims = [
        victim(
            GATE + SAME, GATE=str(tmp_path / "gate"), NAME=name, LD_PRELOAD=library("host"), HOST_NAME=host
        )
        for name, host in names.items()
    ]
    for one in victims:
        one.wait_for(lambda one: one.said("ready"))
    (tmp_path / "gate").touch()
    assert [one.end()[0] for one in victims] == [0, 0]
    assert faults(store, all_told(victims)) == []
    stems = {
        path.name.rpartition("-")[0].rpartition("-")[0].rpartition("-")[0]
        for path in (store / "runs/p/same").iterdir()
    }
    assert stems == {"node_1", "node_2"}
    assert autotrack.get_run("same").attempts == 2
