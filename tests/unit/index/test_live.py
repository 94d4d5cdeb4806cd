"""From the recording side to the reading side and back, with nothing made by hand."""

import itertools
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotrack
from autotrack.index import open_index, unread
from autotrack.journal.reader import read


def test_what_a_run_recorded_is_what_is_read(store: Path) -> None:
    config = {"lr": 0.01, "opt": {"name": "sgd", "betas": [0.9, 0.99]}, "seed": 2**70, "limit": math.inf}
    with autotrack.init(project="p/ü", name="first", config=config, tags=["a"], group="g", notes="n") as run:
        for step in range(100):
            run.log(
                {"loss": 1 / (step + 1), "train/acc": step, "odd": math.nan if step == 3 else 0.5}, step=step
            )
        run.log({"loss": -1.0})
        assert run.summary["loss"] == -1.0
        assert run.history("loss")["loss"].steps.tolist() == list(range(101))
    found = autotrack.get_run(run.id[:6])
    assert (found.id, found.name, found.project, found.status, found.group) == (
        run.id,
        "first",
        "p/ü",
        "finished",
        "g",
    )
    assert found.config == config
    assert found.tags == ["a"]
    assert found.metrics["loss"].count == 101
    assert found.metrics["odd"].nonfinite == 1
    assert np.array_equal(found.history()["train/acc"].values, np.arange(100.0))
    assert [
        one.id for one in autotrack.runs(project="p/ü", where="config.opt.name == 'sgd' and 'a' in tags")
    ] == [run.id]


def test_a_killed_process_loses_nothing_and_died(store: Path) -> None:
    code = (
        "import autotrack, os, signal\n"
        "run = autotrack.init(project='p')\n"
        "for step in range(1000): run.log({'loss': step, 'acc': 1.0}, step=step)\n"
        "print(run.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    run = autotrack.get_run(done.stdout.strip())
    assert run.status == "died"
    assert run.history()["loss"].values.tolist() == [float(step) for step in range(1000)]
    assert not (store / "open" / run.id).exists()


def test_a_run_is_sealed_once_its_process_is_gone(store: Path) -> None:
    code = (
        "import autotrack\n"
        "with autotrack.init(project='p') as run:\n"
        "    for step in range(500): run.log({'loss': step / 3}, step=step)\n"
        "print(run.id)\n"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    run = autotrack.get_run(done.stdout.strip())
    before = run.history()["loss"].values.tolist()
    names = [path.name for path in run.dir.iterdir()]
    assert [name for name in names if name.endswith(".jsonl.zst")] == [
        name for name in names if "jsonl" in name
    ]
    with open_index(store) as index:
        index.rebuild()
        again = index.get(run.id)
        assert again.history()["loss"].values.tolist() == before == [step / 3 for step in range(500)]
        assert again.status == "finished"


def test_a_run_is_followed_while_it_goes_on(store: Path) -> None:
    code = (
        "import autotrack, sys\n"
        "run = autotrack.init(project='p')\n"
        "for line in sys.stdin: run.log({'loss': float(line)}); print(run.id, flush=True)\n"
    )
    command = [sys.executable, "-c", code]
    process: Any = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process, process_index(store) as index:
        for number in range(1, 6):
            process.stdin.write(f"{number}\n")
            name = process.stdout.readline().strip()
            index.sync()
            run = index.get(name)
            assert run.status == "running"
            assert run.history()["loss"].values.tolist()[-1] == float(number)
        process.stdin.close()
        process.wait(timeout=60)
        index.sync()
        assert index.get(name).status == "finished"


def process_index(store: Path) -> Any:
    """The index, as soon as the process has made the store."""
    end = time.monotonic() + 60
    while not store.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return open_index(store)


def test_a_long_run_that_has_just_ended_keeps_no_question_waiting_for_its_sealing(store: Path) -> None:
    code = """
import autotrack
with autotrack.init(project="p", name="long") as run:
    for step in range(20_000):
        run.log({"loss": 1 / (step + 1)}, step=step)
with autotrack.init(project="p", name="short") as run:
    run.log({"loss": 1.0}, step=0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    run, short = autotrack.runs(order_by="created")
    assert len(run.history("loss")["loss"].steps) == 20_000
    autotrack.runs()
    assert [path.suffix for path in run.dir.iterdir()] == [".jsonl"]
    assert [path.suffix for path in short.dir.iterdir()] == [".zst"]
    with open_index(store) as index:
        index.sync(seal_seconds=10)
    assert [path.suffix for path in run.dir.iterdir()] == [".zst"]


def test_a_look_at_a_run_that_is_written_as_fast_as_it_is_read_comes_to_an_end(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = autotrack.init(project="p")
    steps = itertools.count()

    def write(lines: int) -> None:
        for step in itertools.islice(steps, lines):
            run.log({"loss": step}, step=step)

    def read_slowly(*words: Any) -> Any:
        """While a block is read, more than a block is written."""
        for batch in read(*words, size=1000):
            write(50)
            yield batch

    write(200)

    monkeypatch.setattr(unread, "read", read_slowly)
    with open_index(store) as index:
        index.sync()
        first = index.get(run.id).history("loss")["loss"].values
        index.sync()
        second = index.get(run.id).history("loss")["loss"].values
    assert 200 <= len(first) < len(second)
    assert second.tolist() == [float(step) for step in range(len(second))]
    run.finish()
