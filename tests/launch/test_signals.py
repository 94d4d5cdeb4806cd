"""Signals reach the script as they would without us, and the record says what happened."""

import signal
import sys
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

import pytest

SLEEPER = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
HANDLER = (
    "import signal, sys, time\n"
    "def stop(number, frame):\n    print('stopping', flush=True)\n    sys.exit(7)\n"
    "signal.signal(signal.SIGTERM, stop)\nsignal.signal(signal.SIGINT, stop)\n" + SLEEPER
)


def end(process: "Popen[str]", number: signal.Signals) -> tuple[int, str, str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # it is asleep by now
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("script", [SLEEPER, HANDLER], ids=["default", "handled"])
def test_a_signal_ends_the_script_as_without_us(
    work: Any, background: Callable[..., "Popen[str]"], script: str, number: signal.Signals
) -> None:
    work.write("train.py", script)
    plain = end(background(sys.executable, "train.py"), number)
    launched = end(background(work.autotrack, "run", "train.py"), number)
    assert launched == plain
    # Nobody asked Python to see a SIGTERM: the kernel ends the process, and it goes without a word.
    unseen = script is SLEEPER and number == signal.SIGTERM
    expected = "failed" if script is HANDLER else "died" if unseen else "interrupted"
    assert work.only_run().status == expected


def test_sigkill_loses_nothing_that_was_logged(work: Any, background: Callable[..., "Popen[str]"]) -> None:
    work.write(
        "train.py", "import autotrack\nfor i in range(100):\n    autotrack.log({'i': i}, step=i)\n" + SLEEPER
    )
    code, _, _ = end(background(work.autotrack, "run", "train.py"), signal.SIGKILL)
    assert code == -signal.SIGKILL
    run = work.only_run()
    assert (run.status, run.metrics["i"].count, run.summary["i"]) == ("died", 100, 99)
