"""Killed at each single system call, before it, in the middle of it, or after it, a process leaves a whole record behind."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from oracle import Victim, faults, read_store, statuses

import autotrack

CALLS = ",open,write,fsync,rename,close,unlink,mkdir,dup2,ftruncate,"
WAYS = ("before", "half", "after")

# Small segments, so that a few lines begin several. One run resumes what the victim before it left behind.
VICTIM = """
import autotrack.journal.writer as writer
writer.SEGMENT_BYTES = 2_000
import autotrack.session as session
session.TICK_SECONDS = 0.02
run = autotrack.init(project="p", name="run", config={"lr": 0.1})
other = autotrack.init(project="p", name="other")
child = other.child("child")
for step in range(25):
    log(run, "a", step)
    log(child, "b", step)
    config(run, f"c{step}", step)
    if step % 10 == 0:
        artifact(other, f"file{step}", 500)
    if step % 5 == 0:
        time.sleep(0.03)
child.finish()
other.finish()
tell("finished", other.id)
"""


def environment(library: Callable[[str], str], store: Path, at: int, how: str) -> dict[str, str]:
    return {
        "LD_PRELOAD": library("nth_call"),
        "NTH_UNDER": str(store),
        "NTH_CALLS": CALLS,
        "NTH_AT": str(at),
        "NTH_HOW": how,
    }


def kill_at(
    victim: Callable[..., Victim], library: Callable[[str], str], stores: Path, at: int, how: str
) -> tuple[bool, list[str]]:
    """(whether the victim got that far, what is wrong) for a victim that is killed at its call number `at`."""
    name = f"{at}-{how}"
    one = victim(VICTIM, into=name, **environment(library, stores / name, at, how))
    code, _, errors = one.end()
    assert code in (0, -9), errors
    found = one.damage(killed=code != 0) + half_named(one.store) + then_recorded_again(one.store)
    done = {words[0] for words in one.said("finished")}
    found += [f"{run} is not finished" for run in done if not is_finished(one.store, run)]
    shutil.rmtree(one.store)
    return code != 0, [f"at call {at}, {how}: {text}" for text in found]


def half_named(store: Path) -> list[str]:
    """Files under a final name that are not whole: an object is checked by its digest, a mark by its name alone."""
    if not store.exists():
        return []
    names = {path.name for path in store.iterdir()}
    return [f"{name} in the store" for name in names - {".gitignore", "runs", "open", "objects"}]


def then_recorded_again(store: Path) -> list[str]:
    """What was left behind stands in nobody's way: the next run in this store is recorded and read."""
    with autotrack.init(project="p", name="next", dir=store) as run:
        run.log({"x": 1.0}, step=1)
    found = statuses(store)
    wrong = [] if found.pop("next") == "finished" else ["the next run is not finished"]
    return wrong + [f"{name} is {status}" for name, status in found.items() if status == "running"]


def is_finished(store: Path, run: str) -> bool:
    kept, _ = read_store(store, killed=True)
    return any(
        event.kind == "finish" and event.child is None
        for (name, _), events in kept.items()
        for event in events
        if name == run
    )


def all_calls(victim: Callable[..., Victim], library: Callable[[str], str], stores: Path) -> int:
    """How many calls a victim makes that nobody kills."""
    one = victim(VICTIM, into="none", **environment(library, stores / "none", 0, "before"))
    assert one.end()[0] == 0
    assert one.damage() == []
    return int(one.said("calls")[0][0])


@pytest.fixture
def stores(tmp_path: Path, store: Path) -> Iterator[Path]:
    """Where the victims' stores lie."""
    return tmp_path / "stores"


def test_kills_at_some_system_calls_lose_nothing(
    victim: Callable[..., Victim], library: Callable[[str], str], stores: Path
) -> None:
    total = all_calls(victim, library, stores)
    assert total > 150
    killed, wrong = 0, []
    for place, at in enumerate([*range(1, 14, 2), *range(20, total, total // 7)]):
        reached, found = kill_at(victim, library, stores, at, WAYS[place % 3])
        killed += reached
        wrong += found
    assert wrong == []
    assert killed > 11


@pytest.mark.proof
def test_kills_at_every_system_call_lose_nothing(
    victim: Callable[..., Victim],
    library: Callable[[str], str],
    stores: Path,
    record_property: Callable[[str, object], None],
) -> None:
    total = all_calls(victim, library, stores)
    killed, wrong = 0, []
    for at in range(1, total + 10):
        for how in WAYS:
            reached, found = kill_at(victim, library, stores, at, how)
            killed += reached
            wrong += found
    record_property("calls", total)
    record_property("kills", killed)
    record_property("lost_or_wrong", len(wrong))
    assert wrong == []
    assert killed > 3 * 150


@pytest.mark.proof
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "close", "openat"])
def test_kills_by_the_kernel_at_every_nth_call_lose_nothing(
    victim: Callable[..., Victim], call: str, record_property: Callable[[str, object], None]
) -> None:
    """strace kills at the Nth call of each thread, whatever file it is on."""
    assert shutil.which("strace"), "this proof needs strace"
    killed, told, wrong = 0, 0, []
    most = {"write": 300, "close": 400, "openat": 400}.get(call, 12)
    for at in range(1, most + 1, 1 if most < 400 else 5):
        inject = f"inject={call}:signal=SIGKILL:when={at}"
        strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
        one = victim(VICTIM, *strace, into=f"{call}{at}")
        code, _, errors = one.end()
        assert code in (0, 137, -9), errors  # strace ends as what it traced, or says why it could not trace
        killed += not one.said("finished")
        told += len(one.told)
        wrong += [f"at {call} {at}: {text}" for text in faults(one.store, one.told, killed=True)]
        shutil.rmtree(one.store, ignore_errors=True)
    record_property("kills", killed)
    record_property("told", told)
    record_property("lost_or_wrong", len(wrong))
    assert wrong == []
    assert killed > 0
    assert told > most
