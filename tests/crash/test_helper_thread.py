"""The helper thread may be ended at any moment: the training notices nothing, and what the thread did is taken up again."""

from collections.abc import Callable

from oracle import Victim

BEGIN = """
import ctypes
from autotrack import background, session
from autotrack.sampler import sampler
session.TICK_SECONDS = 0.02
sampler.FIRST_SECONDS = sampler.INTERVAL_SECONDS = 0.2
run = autotrack.init(project="p")
background.drain(60)
def helper():
    return background._state["helper"].thread
def end_helper():
    # A thread that is ended within Thread.start hangs its starter, whoever that is.
    wait_for(background._state["helper"].alive)
    thread = helper()
    if thread is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        background.submit(int)  # wakes it
    return thread
def wait_for(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
"""


def ended_well(one: Victim) -> None:
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.damage() == []


def test_syncing_goes_on_after_the_thread_was_ended(victim: Callable[..., Victim]) -> None:
    one = victim(
        BEGIN
        + """
for step in range(300):
    log(run, "a", step)
    if step % 3 == 0:
        end_helper()
    time.sleep(0.001)
before = end_helper()
before.join(60)
log(run, "a", 300)
wait_for(lambda: run._journal._synced == run._journal.own_ns)
assert helper() is not None and helper() is not before
assert sum(thread.name == "autotrack" for thread in threading.enumerate()) == 1
"""
    )
    ended_well(one)


def test_lines_that_wait_for_the_disk_are_written_by_the_next_thread(victim: Callable[..., Victim]) -> None:
    one = victim(
        BEGIN
        + """
for step in range(50):
    run._journal._suspend("the test asks for it", quiet=True)
    log(run, "a", step)
    end_helper()
wait_for(lambda: not run.waiting())
from oracle import read_store
from pathlib import Path
kept, wrong = read_store(Path(os.environ["AUTOTRACK_DIR"]))
assert wrong == []
assert [event.step for events in kept.values() for event in events if event.kind == "m"] == list(range(50))
""",
        PYTHONPATH=__file__.rpartition("/crash/")[0] + "/support",
    )
    ended_well(one)


def test_jobs_and_tasks_that_end_the_thread_end_nothing_else(victim: Callable[..., Victim]) -> None:
    one = victim(
        BEGIN
        + """
done, ticks = [], []
def fatal():
    ticks.append(time.monotonic())
    raise SystemExit
task = background.every(0.01, fatal)
for place in range(20):
    background.submit(sys.exit, 1)
    background.submit(done.append, place)
wait_for(lambda: len(done) == 20 and len(ticks) > 5)
assert done == list(range(20))
task.cancel()
log(run, "a", 0)
wait_for(lambda: run._journal._synced == run._journal.own_ns)
"""
    )
    ended_well(one)


def test_the_machine_is_sampled_on_after_the_thread_was_ended(victim: Callable[..., Victim]) -> None:
    one = victim(
        BEGIN
        + """
def samples():
    return b"".join(path.read_bytes() for path in run.dir.glob("*.jsonl")).count(b'["s",')
wait_for(lambda: samples() > 0)
for _ in range(5):
    before = end_helper()
    before.join(60)
count = samples()
wait_for(lambda: samples() > count)
"""
    )
    ended_well(one)


def test_where_no_thread_can_be_started_everything_is_recorded_all_the_same(
    victim: Callable[..., Victim],
) -> None:
    one = victim(
        """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
threading.stack_size(8 << 30)  # more than there is
run = autotrack.init(project="p", config={"lr": 0.1})
for step in range(100):
    log(run, "a", step)
artifact(run, "file", 10)
threading.stack_size(0)
log(run, "b", 0)
from autotrack import background
background.submit(int)
until = time.monotonic() + 10
while run._journal._synced != run._journal.own_ns:
    assert time.monotonic() < until, "the tasks did not begin"
    time.sleep(0.01)
"""
    )
    ended_well(one)
