"""`log()` in the middle of anything: finalizers, weak references, signal handlers, functions of the exit, warnings."""

from collections.abc import Callable

from oracle import Victim

BEGIN = """
import atexit, gc, weakref
gc.set_threshold(20, 2, 2)
run = autotrack.init(project="p")
counts = {}
def count(key):
    step = counts[key] = counts.get(key, -1) + 1
    log(run, key, step)
"""


def ended_well(one: Victim, *expected: str) -> None:
    code, _, errors = one.end()
    assert code == 0, errors
    assert "Exception ignored" not in errors
    assert one.damage() == []
    seen = {words[1] for words in one.said("m")}
    assert seen >= set(expected), f"only {seen} were logged"


def test_finalizers_and_weak_references_that_log(victim: Callable[..., Victim]) -> None:
    one = victim(
        BEGIN
        + """
class Cycle:
    def __init__(self):
        self.me = self
        weakref.finalize(self, count, "finalize")
        self.reference = weakref.ref(self, lambda _: None)
    def __del__(self):
        count("del")
kept = []
class Plain:
    pass
for step in range(1500):
    Cycle()
    plain = Plain()
    kept.append(weakref.ref(plain, lambda _: count("callback")))
    log(run, "main", step)
    config(run, f"c{step}", step)
last = Cycle()
"""
    )
    ended_well(one, "del", "finalize", "callback", "main")


def test_signal_handlers_that_do_everything_in_the_middle_of_everything(
    victim: Callable[..., Victim],
) -> None:
    """The handler logs, warns, keeps files and opens child runs while the main thread does the same."""
    one = victim(
        BEGIN
        + """
place, busy = [0], []
def handler(*_):
    if busy:
        return
    busy.append(1)
    work()
    busy.pop()
def work():
    place[0] += 1
    count("alarm")
    autotrack.log({f"bad{place[0]}": "text"})
    config(run, f"h{place[0]}", place[0])
    if place[0] % 20 == 0:
        artifact(run, f"alarm{place[0]}", 100)
        run.child(f"child{place[0]}").finish()
import warnings
warnings.simplefilter("always")
signal.signal(signal.SIGALRM, handler)
autotrack.log  # loads what a handler may need
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
until, step = time.monotonic() + 1.5, 0
while time.monotonic() < until:
    log(run, "main", step)
    run.log({f"worse{step}": "text"})
    artifact(run, f"main{step}", 100)
    run._journal._suspend("the test asks for it", quiet=True)
    log(run, "ring", step)
    run._journal.tick()
    step += 1
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    )
    ended_well(one, "alarm", "main", "ring")


def test_functions_of_the_exit_log_before_and_after_ours(victim: Callable[..., Victim]) -> None:
    one = victim(
        """
import atexit, weakref
atexit.register(lambda: log(run, "before_import", 0))
class Thing:
    def __del__(self, tell=tell, log=log):
        log(run, "at_the_end", 0)
"""
        + BEGIN
        + """
atexit.register(lambda: log(run, "after_init", 0))
class Held:
    pass
held = Held()
weakref.finalize(held, log, run, "finalize", 0)
thing = Thing()
late = threading.Thread(target=lambda: (time.sleep(0.3), log(run, "late_thread", 0)))
late.start()
"""
    )
    ended_well(one, "before_import", "after_init", "finalize", "late_thread")
