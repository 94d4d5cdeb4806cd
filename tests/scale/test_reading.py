"""Reading when there is much of it: the answers, and how many questions to the index they take; how long, the proofs' result tells."""

import io
import math
import multiprocessing
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from questions import questions

import autotrack
from autotrack.cli.live import picture
from autotrack.cli.screen import Screen
from autotrack.cli.show import Page
from autotrack.index import open_index

Seconds = Callable[..., None]


def listed() -> tuple[int, int, float]:
    """What `autotrack ls` reads: every run with its parameters and last values."""
    found = autotrack.runs()
    return len(found), sum(len(one.config) for one in found), sum(one.summary["val/loss"] for one in found)


def settled(index: Any) -> None:
    time.sleep(2.1)
    index.sync(seal_seconds=0)
    index.sync(seal_seconds=0)


def test_a_thousand_runs(much: Any, seconds: Seconds) -> None:
    much.small(1000)
    with open_index(much.root) as index:
        seconds("first look at 1,000 runs", lambda: index.sync(seal_seconds=0))
        settled(index)
    assert listed() == (1000, 18_000, sum(range(1000)))
    seconds("1,000 runs with parameters and last values", listed, 5)


def test_a_list_takes_no_more_questions_to_the_index_where_it_is_longer(much: Any) -> None:
    asked = []
    for count in (10, 300):
        much.small(count)
        with open_index(much.root) as index:
            index.sync(seal_seconds=0)
            with questions() as told:
                found = index.runs(where="config.n >= 0", order_by="config.p1")
                assert len([(one.config, dict(one.summary)) for one in found]) == count
        asked.append(len(told))
    assert asked[0] == asked[1] > 0


@pytest.mark.proof
def test_ten_thousand_runs(much: Any, seconds: Seconds) -> None:
    much.small(10_000)
    with open_index(much.root) as index:
        seconds("first look at 10,000 runs", lambda: index.sync(seal_seconds=0))
        settled(index)
        seconds("second look", lambda: index.sync(seal_seconds=0), 3)

        def inside() -> float:
            found = index.runs()
            return sum(len(one.config) + one.summary["loss"] for one in found)

        seconds("10,000 runs with parameters and last values", inside, 3)
        where = "config.n >= 5000 and metrics['loss'].last < 0.5"
        seconds("filtered and sorted", lambda: index.runs(where=where, order_by="config.p1"), 3)


WATCH = """
import sys
from autotrack.index import open_index
touched = []
def watch(event, arguments):
    if event in ("open", "os.scandir", "os.listdir") and "/run0" in str(arguments[0]):
        touched.append(arguments[0])
with open_index(sys.argv[1]) as index:
    sys.addaudithook(watch)
    index.sync(seal_seconds=0)
    print(len(index.runs(limit=200)), index.count(), len(touched))
"""


@pytest.mark.proof
def test_a_hundred_thousand_run_folders_in_one_project(much: Any, seconds: Seconds) -> None:
    much.small(100_000, steps=1)
    with open_index(much.root) as index:
        seconds("first look at 100,000 folders", lambda: index.sync(seal_seconds=0))
        settled(index)
        seconds("second look", lambda: index.sync(seal_seconds=0), 3)
        seconds("the newest 50 of 100,000", lambda: index.runs(limit=50), 3)
        assert index.count() == 100_000
        wanted = index.runs(limit=1)[0].id
        seconds("one by its id", lambda: index.get(wanted), 3)
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(much.root)], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["200", "100000", "0"]


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.proof)])
def test_a_search_of_many_candidates(much: Any, seconds: Seconds, count: int) -> None:
    much.children("parent2222", count)
    with open_index(much.root) as index:
        seconds(f"first look at {count} candidates", lambda: index.sync(seal_seconds=0))
        run = index.get("parent2222")
        assert len(run.children) == count
        seconds("children", lambda: run.children, 3)
        best = run.children
        seconds("with config and summary", lambda: [(one.config, one.summary["score"]) for one in best])
        query = {"where": "config.p1 < 0.5", "order_by": "-metrics['score'].last"}
        seconds("filtered and sorted", lambda: index.runs(**query), 3)
        seconds("the ten best of them", lambda: index.runs(**query, limit=10), 3)
        scores = [one.summary["score"] for one in index.runs(**query)]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.proof)])
def test_many_keys_in_one_line(much: Any, seconds: Seconds, count: int) -> None:
    much.line("keys222222", {f"key/{number}": float(number) for number in range(count)})
    with open_index(much.root) as index:
        seconds(f"first look at {count} keys", lambda: index.sync(seal_seconds=0))
        run = index.get("keys222222")
        seconds("last values of all keys", lambda: len(run.summary))
        assert run.summary[f"key/{count - 1}"] == count - 1.0
        seconds("history of one key", lambda: run.history("key/77"), 3)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.proof)])
def test_a_series_is_read_back_bit_for_bit(much: Any, seconds: Seconds, count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    much.long("series2222", ({"loss": value} for value in values.tolist()))
    with open_index(much.root) as index:
        index.sync(seal_seconds=0)
        run = index.get("series2222")
        seconds(f"a series of {count} points", lambda: run.history("loss"), 5)
        assert np.array_equal(run.history("loss")["loss"].values, values)


def rows(lines: int) -> Iterator[dict[str, float]]:
    """Loss and gradient norm of 32 bits with noise, a share of correct answers, a schedule: what a training logs."""
    source = np.random.default_rng(0)
    for begin in range(0, lines, 50_000):
        x = np.arange(begin, min(begin + 50_000, lines)) / lines
        loss = (
            (2 * np.exp(-3 * x) + 0.1 * source.normal(size=len(x))).astype(np.float32).astype(float).tolist()
        )
        norm = np.abs(source.normal(1, 0.3, size=len(x))).astype(np.float32).astype(float).tolist()
        right = (source.integers(100, 256, len(x)) / 256).tolist()
        rate = (0.05 * (1 + np.cos(np.pi * x))).tolist()
        for values in zip(loss, right, rate, norm, strict=True):
            yield dict(zip(("loss", "accuracy", "lr", "grad_norm"), values, strict=True))


def size_of(path: Path) -> int:
    return sum(os.stat(one).st_size for one in path.iterdir())


@pytest.mark.parametrize("points", [200_000, pytest.param(10_000_000, marks=pytest.mark.proof)])
def test_a_long_run_that_still_goes_on(
    much: Any, seconds: Seconds, record_property: Callable[[str, object], None], points: int
) -> None:
    lines = points // 4
    much.long("long222222", rows(lines), finished=False)
    with open_index(much.root) as index:
        seconds(f"first look at {points} points", lambda: index.sync(seal_seconds=0))
        run = index.get("long222222")
        seconds("list", lambda: [(one.config, dict(one.summary)) for one in index.runs()], 3)
        whole = run.history()
        seconds("history(max_points=2000) of all keys", lambda: run.history(max_points=2000), 3)
        for key, shown in run.history(max_points=2000).items():
            assert len(shown) <= 2000
            assert (shown.steps[0], shown.steps[-1]) == (0, lines - 1)
            assert np.array_equal(shown.values, whole[key].values[shown.steps])
            assert np.array_equal(shown.times, whole[key].times[shown.steps])
            assert (shown.values.min(), shown.values.max()) == (
                whole[key].values.min(),
                whole[key].values.max(),
            )
    folder = much.folder("long222222")
    plain = size_of(folder)
    end = max(folder.iterdir(), key=lambda path: int(path.name.split(".")[-2]))
    with open(end, "ab") as file:
        file.write(autotrack_finish(lines))
    with open_index(much.root) as index:
        seconds("seal", lambda: index.sync(seal_seconds=600))
    assert {path.name.rpartition(".")[2] for path in folder.iterdir()} == {"zst"}
    sealed, cache = size_of(folder), os.stat(much.layout.index).st_size
    record_property(
        "bytes a point",
        f"{plain / points:.1f} plain, {sealed / points:.2f} sealed, {cache / points:.2f} index",
    )
    assert (sealed + cache) / points < 16
    with open_index(much.root) as index:
        index.rebuild()
        again = index.get("long222222")
        assert again.status == "finished"
        for key, series in again.history().items():
            assert np.array_equal(series.values, whole[key].values)


def autotrack_finish(lines: int) -> bytes:
    """The last line of the long run's journal."""
    from autotrack.journal.format import encode

    return encode("finish", 10 * lines, 10**15, {"status": "finished", "exit_code": 0})


@pytest.mark.proof
def test_twenty_processes_make_an_index_of_two_thousand_runs(
    much: Any, record_property: Callable[[str, object], None]
) -> None:
    much.small(2000)
    context = multiprocessing.get_context("fork")
    begin, answers = context.Barrier(20), context.Queue()

    def look() -> None:
        warnings.simplefilter("error")
        begin.wait()
        begun = time.monotonic()
        with open_index(much.root) as index:
            index.sync()
            found = index.runs()
            total = sum(one.summary["val/loss"] for one in found)
            answers.put((len(found), total, index.path is not None, time.monotonic() - begun))

    readers = [context.Process(target=look) for _ in range(20)]
    for reader in readers:
        reader.start()
    given = [answers.get(timeout=300) for _ in readers]
    for reader in readers:
        reader.join()
    taken = [one[3] for one in given]
    record_property("20 processes, 2,000 runs", f"{min(taken):.1f} to {max(taken):.1f} s")
    assert {one[:3] for one in given} == {(2000, math.fsum(range(2000)), True)}


def test_the_curves_of_a_long_run_are_drawn_without_unpacking_its_series(much: Any) -> None:
    much.long("long222222", ({"loss": 1.0 / (step + 1)} for step in range(60_000)), finished=False)
    with open_index(much.root) as index:
        index.sync(seal_seconds=0)
        for show in (
            lambda run, screen: picture(run, screen, []),
            lambda run, screen: Page(run, screen, False).show(),
        ):
            run, shown = index.get("long222222"), io.StringIO()
            with questions() as told:
                show(run, Screen(shown))
            assert re.search("[#=]___", shown.getvalue())
            assert not any('"values"' in question for question in told)
