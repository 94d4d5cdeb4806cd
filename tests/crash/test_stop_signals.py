"""Signals that stop a training, all at once or in two steps: it ends as without us, with all it recorded and the right state."""

import signal
import time
from collections.abc import Callable

import pytest
from oracle import Victim, statuses

TRAIN = """

from autotrack import background, session
session.EXIT_SECONDS = float(os.environ.get("EXIT", 5))
run = autotrack.init(project="p", name="run", config={"lr": 0.1})
"""
LOOP = """
step = 0
while True:
    log(run, "a", step)
    step += 1
"""
HANDLER = """
def stop(*_):
    for step in range(int(os.environ["GRACE"])):
        log(run, "last", step)
    tell("stopped")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
"""


def training(one: Victim) -> None:
    one.wait_for(lambda one: len(one.said("m")) > 20)


def test_sigterm_without_a_handler_ends_the_process_at_once(victim: Callable[..., Victim]) -> None:
    one = victim(TRAIN + LOOP)
    training(one)
    begun = time.monotonic()
    one.signal(signal.SIGTERM)
    assert one.end()[0] == -signal.SIGTERM
    assert time.monotonic() - begun < 10
    assert one.damage(killed=True) == []
    assert statuses(one.store) == {"run": "died"}


def test_a_handler_of_sigterm_has_its_grace_and_what_it_logs_is_there(victim: Callable[..., Victim]) -> None:
    """A scheduler sends SIGTERM and, after a grace of some seconds, SIGKILL: the record is whole before that."""
    one = victim(TRAIN + HANDLER + LOOP, GRACE="500")
    training(one)
    begun = time.monotonic()
    one.signal(signal.SIGTERM)
    code, _, errors = one.end()
    assert (code, errors) == (143, "")
    assert time.monotonic() - begun < 10
    assert one.said("stopped")
    assert one.damage(killed=True) == []
    assert statuses(one.store) == {"run": "interrupted"}


def test_a_grace_that_was_too_short_costs_no_value(victim: Callable[..., Victim]) -> None:
    one = victim(TRAIN + HANDLER + LOOP, GRACE="1000000000")
    training(one)
    one.signal(signal.SIGTERM)
    one.wait_for(lambda one: len([words for words in one.said("m") if words[1] == "last"]) > 20)
    one.kill()
    assert one.damage(killed=True) == []
    assert statuses(one.store) == {"run": "died"}


def test_a_hangup_of_the_terminal_costs_no_value(victim: Callable[..., Victim]) -> None:
    # Under `nohup` the tests' own processes inherit that it is ignored.
    one = victim("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n" + TRAIN + LOOP)
    training(one)
    one.signal(signal.SIGHUP)
    assert one.end()[0] == -signal.SIGHUP
    assert one.damage(killed=True) == []
    assert statuses(one.store) == {"run": "died"}


HUNG = """
others = [autotrack.init(project="p", name=f"other{place}") for place in range(2)]
background.drain(60)
background.submit(time.sleep, 60)  # a file system that answers no more
"""


def test_all_runs_together_wait_for_a_hung_part_once(victim: Callable[..., Victim]) -> None:
    one = victim(TRAIN + HUNG + "log(run, 'a', 0)\ntell('end')\n", EXIT="4")
    one.wait_for(lambda one: one.said("end"))
    begun = time.monotonic()
    code, _, errors = one.end()
    assert (code, errors) == (0, "")
    assert 3.5 < time.monotonic() - begun < 11.5
    assert one.damage() == []
    assert statuses(one.store) == {"run": "finished", "other0": "finished", "other1": "finished"}


def test_a_second_ctrl_c_ends_the_waiting_and_not_the_record(victim: Callable[..., Victim]) -> None:
    one = victim(TRAIN + HUNG + LOOP, EXIT="30")
    training(one)
    one.signal(signal.SIGINT)
    time.sleep(0.7)
    assert one.process.poll() is None, "there was nothing to wait for"
    begun = time.monotonic()
    one.signal(signal.SIGINT)
    code, _, errors = one.end()
    assert time.monotonic() - begun < 10
    assert code == -signal.SIGINT
    assert errors.count("Traceback") == 1
    assert one.damage(killed=True) == []
    assert set(statuses(one.store).values()) == {"interrupted"}


def test_ctrl_c_while_finish_waits_ends_the_run_all_the_same(victim: Callable[..., Victim]) -> None:
    code = """
log(run, "a", 0)
tell("finishing")
try:
    run.finish()
except KeyboardInterrupt:
    tell("interrupted")
"""
    one = victim(TRAIN + HUNG.partition("\n")[2] + code, EXIT="30")
    one.wait_for(lambda one: one.said("finishing"))
    time.sleep(0.3)
    begun = time.monotonic()
    one.signal(signal.SIGINT)
    one.wait_for(lambda one: one.said("interrupted"))
    one.signal(signal.SIGINT)
    one.end()
    assert time.monotonic() - begun < 15
    assert one.damage() == []
    assert statuses(one.store)["run"] == "finished"


def test_a_stopped_process_is_never_said_to_have_died(victim: Callable[..., Victim]) -> None:
    one = victim(TRAIN + LOOP.replace("    step += 1", "    step += 1\n    time.sleep(0.001)"))
    training(one)
    one.signal(signal.SIGSTOP)
    time.sleep(0.3)
    before = len(one.told)
    for _ in range(3):
        assert statuses(one.store) == {"run": "running"}
    one.signal(signal.SIGCONT)
    one.wait_for(lambda one: len(one.told) > before + 20)
    assert statuses(one.store) == {"run": "running"}
    one.signal(signal.SIGINT)
    one.end()
    assert one.damage(killed=True) == []
    assert statuses(one.store) == {"run": "interrupted"}


@pytest.mark.proof
def test_a_minute_of_stop_under_a_reader_costs_nothing(
    victim: Callable[..., Victim], record_property: Callable[[str, object], None]
) -> None:
    one = victim(TRAIN + LOOP.replace("    step += 1", "    step += 1\n    time.sleep(0.001)"))
    training(one)
    one.signal(signal.SIGSTOP)
    seen = set()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        seen |= set(statuses(one.store).values())
        time.sleep(0.2)
    one.signal(signal.SIGCONT)
    before = len(one.told)
    one.wait_for(lambda one: len(one.told) > before + 1000)
    one.kill()
    record_property("told", len(one.told))
    assert seen == {"running"}
    assert one.damage(killed=True) == []
