"""That much of everything costs little of anything: statements, opened files, points. Sizes that take minutes are in tests/scale."""

import math
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from autotrack.index.series import CHUNK


@pytest.fixture
def statements(bench: Any) -> Any:
    """The statements that the index is asked, as they come."""
    seen: list[str] = []
    event.listen(bench.index._database.engine, "before_cursor_execute", lambda *said: seen.append(said[2]))
    return seen


def small_runs(bench: Any, count: int) -> None:
    for number in range(count):
        hand = (
            bench.journal(f"run{number:06}").start().event("config", {"values": {"n": number, "a": {"b": 1}}})
        )
        hand.metrics(0, loss=number / 2, acc=1.0).metrics(1, loss=number / 4, acc=0.5).event(
            "s", {"system/cpu": 1.0}
        )
        hand.finish()


def test_many_runs_come_in_with_few_statements(bench: Any, statements: list[str]) -> None:
    small_runs(bench, 300)
    bench.index.sync(seal_seconds=0)
    assert len(statements) < 200
    assert len(bench.index.runs()) == 300


def test_a_list_of_runs_asks_few_questions_however_long_it_is(bench: Any, statements: list[str]) -> None:
    small_runs(bench, 300)
    bench.index.sync(seal_seconds=0)
    statements.clear()
    found = bench.index.runs(order_by="config.n")
    assert [record.config["n"] for record in found] == list(range(300))
    assert [record.summary["loss"] for record in found] == [number / 4 for number in range(300)]
    assert list(found[0].summary) == ["acc", "loss"]
    assert sum(record.metrics["acc"].count for record in found) == 600
    assert len(statements) < 20


WATCH = """
import sys
from autotrack.index import open_index
touched = []
with open_index(sys.argv[1]) as index:
    index.sync(seal_seconds=0)
    def watch(event, arguments):
        if event in ("open", "os.scandir", "os.listdir") and "/run0" in str(arguments[0]):
            touched.append(arguments[0])
    sys.addaudithook(watch)
    index.sync(seal_seconds=0)
    print(len(index.runs()), len(touched))
"""


def test_finished_runs_are_listed_without_opening_their_folders(bench: Any) -> None:
    small_runs(bench, 50)
    time.sleep(2.1)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", WATCH, str(bench.root)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.split() == ["50", "0"]


def test_children_in_one_journal_come_in_together(bench: Any, statements: list[str]) -> None:
    hand = bench.journal().start()
    lines = []
    for number in range(1000):
        child = f"child{number:04}"
        lines += [
            hand.line("start", {"name": child, "project": "p", "parent": hand.run, "tags": ["t"]}, child),
            hand.line("config", {"values": {"n": number}, "source": "x"}, child),
            hand.line("m", 0, {"score": math.sin(number)}, child),
            hand.line("finish", {"status": "finished"}, child),
        ]
    hand.raw(b"".join(lines))
    run = bench.read()
    assert len(statements) < 200
    statements.clear()
    children = run.children
    assert [child.config["n"] for child in children] == list(range(1000))
    assert sum(child.summary["score"] for child in children) == pytest.approx(
        sum(math.sin(n) for n in range(1000))
    )
    best = bench.index.runs(where="config.n < 500", order_by='-metrics["score"].last', limit=3)
    expected = sorted(range(500), key=math.sin, reverse=True)[:3]
    assert [record.config["n"] for record in best] == expected
    assert len(statements) < 30


def test_many_keys_in_one_line_share_their_steps(bench: Any) -> None:
    hand = bench.journal().start()
    for step in range(2):
        hand.raw(hand.line("m", step, {f"key/{number}": number + step / 2 for number in range(5000)}))
        run = bench.read()
    assert len(run.summary) == 5000
    assert run.summary["key/4321"] == 4321.5
    assert run.metrics["key/77"].min == 77.0
    assert run.history("key/9")["key/9"].values.tolist() == [9.0, 9.5]
    with bench.index._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM axes").scalar() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM chunks").scalar() == 5000


def test_keys_that_part_and_meet_again_keep_their_points(bench: Any, describe: Any) -> None:
    hand = bench.journal().start()
    rng = np.random.default_rng(0)
    expected: dict[str, list[float]] = {key: [] for key in "abcd"}
    for _ in range(8):
        together = ["a", "b", "c", "d"][: int(rng.integers(1, 5))]
        lines = []
        for step in range(900):
            keys = together if step % 7 else ["a", "d"]
            values = {key: float(rng.normal()) for key in keys}
            lines.append(hand.line("m", step, values))
            for key, value in values.items():
                expected[key].append(value)
        hand.raw(b"".join(lines))
        bench.index.sync()
    run = bench.read()
    assert {key: series.values.tolist() for key, series in run.history().items()} == expected
    assert any(len(values) > CHUNK for values in expected.values())
    before = describe(run)
    with bench.index._database.reading() as connection:
        unused = "SELECT count(*) FROM axes WHERE pk NOT IN (SELECT axis FROM chunks)"
        assert connection.exec_driver_sql(unused).scalar() == 0
    bench.index.rebuild()
    assert describe(bench.index.get(run.id)) == before


def long_run(bench: Any, values: Any, step: int = 1, keys: int = 1) -> Any:
    hand = bench.journal().start()
    lines = [
        hand.line("m", number * step, {f"k{key}": value + key for key in range(keys)})
        for number, value in enumerate(values.tolist())
    ]
    return hand.raw(b"".join(lines))


def places_in(shown: Any, whole: Any) -> list[int]:
    """Where the points of a thinned out series stand in the whole one; each is there exactly as it was recorded."""
    places = np.searchsorted(whole.times, shown.times)
    assert np.array_equal(whole.times[places], shown.times)
    assert np.array_equal(whole.steps[places], shown.steps)
    np.testing.assert_array_equal(whole.values[places], shown.values)
    return places.tolist()


@pytest.mark.parametrize("odd", [False, True])
def test_a_long_series_at_a_glance_keeps_its_extremes_and_odd_values(bench: Any, odd: bool) -> None:
    values = np.random.default_rng(3).normal(size=13 * CHUNK + 100)
    values[[5_000, 40_000]] = 50.0, -50.0
    if odd:
        values[[12_345, 20_000, 20_001, 30_000]] = math.nan, math.inf, -math.inf, math.nan
    long_run(bench, values, step=3)
    run = bench.read()
    whole = run.history()["k0"]
    np.testing.assert_array_equal(whole.values, values)
    assert run.metrics["k0"].count == len(values)
    for limit in (5, 8, 12, 20, 40, 1000, 5000, len(values)):
        shown = run.history(max_points=limit)["k0"]
        places = places_in(shown, whole)
        assert len(places) <= limit
        assert places == sorted(set(places))
        assert {0, len(values) - 1} <= set(places)
        if odd:
            assert {20_000, 20_001} <= set(places)
            assert np.isnan(shown.values).any()
        else:
            assert {5_000, 40_000} <= set(places)
    if odd:
        assert {12_345, 30_000} <= set(places_in(run.history(max_points=60)["k0"], whole))


def test_samples_of_the_system_at_a_glance_keep_their_numbers(bench: Any) -> None:
    hand = bench.journal().start()
    values = np.random.default_rng(3).normal(size=6 * CHUNK)
    hand.raw(b"".join(hand.line("s", {"system/cpu": value}) for value in values.tolist()))
    run = bench.read()
    whole, shown = run.history("system")["system/cpu"], run.history("system", max_points=10)["system/cpu"]
    places = places_in(shown, whole)
    assert shown.steps.tolist() == places
    assert {0, len(values) - 1, int(values.argmin()), int(values.argmax())} <= set(places)


def test_steps_that_repeat_stay_apart(bench: Any) -> None:
    hand = bench.journal().start()
    for turn in range(2):
        lines = [
            hand.line("m", step % 10, {"loss": float(step)})
            for step in range(turn * 3000, turn * 3000 + 3000)
        ]
        hand.raw(b"".join(lines))
        bench.index.sync()
    series = bench.read().history()["loss"]
    assert series.steps.tolist() == [step % 10 for step in range(6000)]
    assert series.values.tolist() == [float(step) for step in range(6000)]


def test_lines_out_of_order_across_chunks_are_put_in_order_however_they_were_read(
    bench: Any, describe: Any
) -> None:
    hand = bench.journal().start()
    lines = [hand.line("m", step, {"loss": math.sin(step)}) for step in range(3 * CHUNK)]
    order = np.argsort(np.arange(len(lines)) + np.random.default_rng(1).normal(scale=300, size=len(lines)))
    for part in np.array_split(order, 7):
        hand.raw(b"".join(lines[place] for place in part.tolist()))
        bench.index.sync()
    run = bench.read()
    assert run.history()["loss"].steps.tolist() == list(range(3 * CHUNK))
    places_in(run.history(max_points=8)["loss"], run.history()["loss"])
    before = describe(run)
    bench.index.rebuild()
    assert describe(bench.index.get(run.id)) == before


def test_numbers_at_the_ends_of_what_a_double_holds_come_back(bench: Any) -> None:
    """A metric is a 64-bit float: whole numbers are exact up to 2^53, and the nearest double beyond; config keeps all digits."""
    values = [2**53, 2**53 + 1, 2**64 - 1, 2**64 + 1, -(2**63), 10**300, 5e-324, -0.0, 1.7976931348623157e308]
    hand = bench.journal().start().event("config", {"values": {"exact": 2**53 + 1, "long": 2**70 + 1}})
    for step, value in enumerate(values):
        hand.metrics(step, x=value)
    for step, value in enumerate([1e308, 1e308, 1e308, -1e308, -1e308, -1e308, math.inf, -math.inf]):
        hand.metrics(step, y=value)
    run = bench.read()
    assert run.history()["x"].values.tolist() == [float(value) for value in values]
    assert math.copysign(1, run.history()["x"].values[7]) == -1
    assert run.config == {"exact": 2**53 + 1, "long": 2**70 + 1}
    assert (run.metrics["x"].min, run.metrics["x"].max) == (-(2.0**63), 1.7976931348623157e308)
    y = run.metrics["y"]
    assert (y.count, y.nonfinite, y.min, y.max, y.last) == (8, 2, -1e308, 1e308, -math.inf)
    assert bench.index.runs(where="config.exact == 9007199254740993")[0].id == run.id


def test_the_first_look_is_shared_by_twenty_processes(bench: Any) -> None:
    """All begin at one moment, with no index there; each has the whole answer, from a file, without a warning."""
    small_runs(bench, 400)
    bench.index.close()
    for path in bench.root.glob("index.db*"):
        path.unlink()
    code = (
        "import multiprocessing, sys, warnings\n"
        "from autotrack import guard\n"
        "from autotrack.index import open_index\n"
        "def look(start, answers):\n"
        "    warnings.simplefilter('error')\n"
        "    guard.STRICT['on'] = True\n"
        "    start.wait()\n"
        "    with open_index(sys.argv[1]) as index:\n"
        "        index.sync()\n"
        "        found = index.runs()\n"
        "        answers.put((len(found), sum(one.summary['loss'] for one in found), index.path is not None))\n"
        "context = multiprocessing.get_context('fork')\n"
        "start, answers = context.Barrier(20), context.Queue()\n"
        "readers = [context.Process(target=look, args=(start, answers)) for _ in range(20)]\n"
        "for reader in readers: reader.start()\n"
        "print({answers.get(timeout=120) for _ in readers})\n"
        "for reader in readers: reader.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bench.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert (done.stdout, done.stderr) == (f"{{(400, {sum(range(400)) / 4}, True)}}\n", "")
    assert bench.layout.index.exists()


def test_a_reader_that_is_killed_on_its_way_leaves_an_index_that_goes_on(bench: Any) -> None:
    small_runs(bench, 600)
    bench.index.close()
    for path in bench.root.glob("index.db*"):
        path.unlink()
    code = (
        "import os, signal, sys\n"
        "from autotrack.index import open_index\n"
        "stop = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == int(sys.argv[2]) else None\n"
        "open_index(sys.argv[1]).sync(stop)\n"
    )
    for done in (1, 201, 450):
        subprocess.run([sys.executable, "-c", code, str(bench.root), str(done)], check=False, timeout=60)
    assert bench.layout.index.exists()
    bench.index.sync()
    found = bench.index.runs()
    assert sorted(record.summary["loss"] for record in found) == [number / 4 for number in range(600)]
    assert {record.status for record in found} == {"finished"}


def test_a_reader_waits_for_no_training_and_a_training_for_no_reader(store: Any) -> None:
    """While another process holds the index for good, a run goes on recording at its usual pace."""
    import autotrack
    from autotrack.index import open_index

    run = autotrack.init(project="p")
    with open_index(store) as index:
        index.sync()
        assert index.path is not None
        code = (
            "import sqlite3, sys\n"
            "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "held.execute('BEGIN EXCLUSIVE')\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        command = [sys.executable, "-c", code, str(index.path)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            begun = time.process_time()
            for step in range(2000):
                run.log({"loss": step}, step=step)
            run.finish()
            assert time.process_time() - begun < 2
            holder.communicate()
        index.sync()
        assert index.get(run.id).metrics["loss"].count == 2000
    assert os.listdir(store / "open") == []


def test_what_cannot_be_read_is_not_written_down_again_each_time(bench: Any, statements: list[str]) -> None:
    hand = bench.journal(pid=os.getpid(), started=None).start().metrics(0, loss=1.0)
    for name in ("whatever.jsonl", "empty-1-2-0.0.jsonl", "other-1-2-0.0.jsonl.zst"):
        (hand.folder / name).write_bytes(b"no journal" if name.endswith("zst") else b"")
    bench.index.sync()
    assert len(bench.index.problems()) == 3
    statements.clear()
    bench.index.sync()
    assert [one for one in statements if not one.startswith(("SELECT", "PRAGMA", "BEGIN"))] == []
    assert bench.index.get(hand.run).summary["loss"] == 1.0
