"""A process group that is killed at a random instant loses nothing that a call returned from.

Each victim has two runs and a child run, logs from three threads, changes configs and keeps artifacts all the while.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import Victim, random_delays, statuses

VICTIM = """
first = autotrack.init(project="p", name="first", config={"lr": 0.1})
second = autotrack.init(project="q", name="second")
child = second.child("child")
def work(run, key):
    step = 0
    while True:
        log(run, key, step)
        step += 1
for run in (first, second, child):
    threading.Thread(target=work, args=(run, f"of.{run.name}"), daemon=True).start()
step = 0
while True:
    log(first, "main", step)
    config(child, f"c{step}", step)
    artifact(second, f"a{step}", 1000)
    step += 1
"""


def kill_many(
    delays: list[float], victim: Callable[..., Victim], status_every: int = 1
) -> tuple[int, list[str]]:
    """Kill a victim after each delay, counted from its first value; (how much they told, what is wrong)."""
    total, wrong = 0, []
    for place, delay in enumerate(delays):
        one = victim(VICTIM, into=str(place))
        one.wait_for(lambda one: one.said("m"))
        try:
            one.process.wait(delay)
        except subprocess.TimeoutExpired:
            pass
        one.kill()
        total += len(one.told)
        found = one.damage(killed=True)
        if place % status_every == 0 and set(statuses(one.store).values()) != {"died"}:
            found.append(f"states {statuses(one.store)}")
        wrong += [f"kill {place} after {delay:.4f} s: {text}" for text in found]
    return total, wrong


def test_ten_kills_lose_nothing(victim: Callable[..., Victim]) -> None:
    total, wrong = kill_many(random_delays(10, 0.15), victim, status_every=5)
    assert wrong == []
    assert total > 200


@pytest.mark.proof
def test_a_thousand_kills_lose_nothing(
    victim: Callable[..., Victim], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    total, wrong = kill_many(random_delays(1000, 0.15), victim, status_every=20)
    record_property("kills", 1000)
    record_property("told", total)
    record_property("lost_or_wrong", len(wrong))
    assert wrong == []
    assert total > 25_000
