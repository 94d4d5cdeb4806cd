"""Threads, contexts and several runs at once: every call goes to the right run, none is lost, and numbers are unique."""

from collections.abc import Callable

from oracle import Victim, read_store, statuses


def ended_well(one: Victim) -> None:
    code, _, errors = one.end()
    assert (code, errors) == (0, "")
    assert one.damage() == []


def test_a_hundred_thousand_calls_from_eight_threads_are_all_there(victim: Callable[..., Victim]) -> None:
    one = victim(
        """
sys.setswitchinterval(1e-5)
run = autotrack.init(project="p", name="run")
def work(key):
    for step in range(12_500):
        run.log({key: value(key, step)}, step=step)
    tell("done", run.id, key)
threads = [threading.Thread(target=work, args=(f"k{place}",)) for place in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    )
    one.wait_for(lambda one: len(one.said("done")) == 8)
    for run, key in one.said("done"):
        one.add([f"m {run} {key} {step}" for step in range(12_500)])
    ended_well(one)
    kept, _ = read_store(one.store)
    (events,) = kept.values()
    assert sum(event.kind == "m" for event in events) == 100_000
    numbers = [event.seq for event in events]
    assert numbers == list(range(len(numbers)))


def test_steps_that_are_not_given_are_unique_over_threads(victim: Callable[..., Victim]) -> None:
    one = victim(
        """
sys.setswitchinterval(1e-5)
run = autotrack.init(project="p")
def work():
    for _ in range(5_000):
        run.log({"a": 1.0})
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    )
    assert one.end()[0] == 0
    kept, wrong = read_store(one.store)
    steps = [event.step for events in kept.values() for event in events if event.kind == "m"]
    assert wrong == []
    assert sorted(step for step in steps if step is not None) == list(range(20_000))


def test_runs_of_threads_tasks_and_pools_get_what_belongs_to_them(victim: Callable[..., Victim]) -> None:
    one = victim(
        """
import asyncio, contextvars
from concurrent.futures import ThreadPoolExecutor
def current(key, step):
    autotrack.log({key: value(key, step)}, step=step)
    tell("m", autotrack.active_run().id, key, step)
def here(key, step):
    run = autotrack.active_run()
    current(key, step)
    assert autotrack.active_run() is run
def in_thread(place):
    with autotrack.init(project="p", name=f"thread{place}") as run:
        for step in range(50):
            here(f"thread{place}", step)
            time.sleep(0.0005)
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(contextvars.copy_context().run, here, f"pool{place}.{job}", 0) for job in range(8)]
            [job.result() for job in jobs]
    tell("run", f"thread{place}", run.id)
threads = [threading.Thread(target=in_thread, args=(place,)) for place in range(4)]
[thread.start() for thread in threads]
async def in_task(place):
    with autotrack.init(project="p", name=f"task{place}") as run:
        for step in range(20):
            here(f"task{place}", step)
            await asyncio.sleep(0.001)
        await asyncio.gather(*(asyncio.to_thread(here, f"to_thread{place}.{job}", 0) for job in range(4)))
    tell("run", f"task{place}", run.id)
async def main():
    await asyncio.gather(*(in_task(place) for place in range(4)))
asyncio.run(main())
[thread.join() for thread in threads]
outer = autotrack.init(project="p", name="outer")
with autotrack.init(project="p", name="inner") as inner:
    here("inner", 0)
here("outer", 0)
def nested(place):
    # The other thread opens its runs in between: the newest open one is not ours.
    with autotrack.init(project="p", name=f"nest{place}") as nest:
        tell("run", f"nest{place}", nest.id)
        for step in range(40):
            with autotrack.init(project="p", name=f"deep{place}.{step}"):
                time.sleep(0.001)
            here(f"nest{place}", step)
nests = [threading.Thread(target=nested, args=(place,)) for place in range(2)]
[thread.start() for thread in nests]
[thread.join() for thread in nests]
thread = threading.Thread(target=here, args=("newest", 0))
thread.start()
thread.join()
tell("run", "outer", outer.id)
tell("run", "inner", inner.id)
"""
    )
    ended_well(one)
    ids = dict(one.said("run"))
    for run, key, _ in one.said("m"):
        kind, place = key.rstrip("0123456789."), key.partition(".")[0].lstrip("abcdefghijklmnopqrstuvwxyz_")
        owner = {"pool": "thread", "to_thread": "task", "newest": "outer"}.get(kind, kind) + place
        assert ids[owner] == run, f"{key} went to another run than {owner}"
    assert len(statuses(one.store)) == 10 + 2 * 41
    assert set(statuses(one.store).values()) == {"finished"}


def test_a_dict_that_another_thread_changes_stops_nothing(victim: Callable[..., Victim]) -> None:
    one = victim(
        """
sys.setswitchinterval(1e-6)
run = autotrack.init(project="p")
shared, go = {str(key): 1.0 for key in range(3000)}, True
def change():
    place = 0
    while go:
        shared[f"new{place}"] = 1.0
        place += 1
        if place % 50 == 0:
            for key in range(place - 50, place):
                del shared[f"new{key}"]
thread = threading.Thread(target=change, daemon=True)
thread.start()
until = time.monotonic() + 1.5
while time.monotonic() < until:
    run.log(shared)
go = False
thread.join()
log(run, "last", 0)
"""
    )
    code, _, errors = one.end()
    assert (code, errors) == (0, "")
    kept, wrong = read_store(one.store)
    assert wrong == []
    assert any("last" in event.body for events in kept.values() for event in events)
