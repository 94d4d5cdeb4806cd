"""The index is a cache: wherever it lies and whatever happens to it, the answers are the same."""

import gc
import multiprocessing
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack.errors import AutotrackWarning, StoreError
from autotrack.index import open_index
from autotrack.index.database import Database
from autotrack.index.place import index_paths
from autotrack.index.schema import VERSION
from autotrack.layout import Layout


@pytest.fixture
def filled(bench: Any) -> Any:
    for number in range(3):
        hand = bench.journal(f"run{number}").start(tags=["t"]).event("config", {"values": {"n": number}})
        for step in range(300):
            hand.metrics(step, loss=step / (number + 1))
        hand.finish()
    bench.index.sync()
    return bench


def reopened(bench: Any) -> Any:
    with open_index(bench.root) as index:
        index.sync()
        return bench.everything(index), index.path


def test_an_index_that_is_deleted_is_built_again(filled: Any) -> None:
    expected = filled.everything()
    for path in filled.root.glob("index.db*"):
        path.unlink()
    assert reopened(filled) == (expected, filled.layout.index)


def corrupt(path: Path, part: str) -> None:
    data = bytearray(path.read_bytes())
    if part == "head":
        data[:100] = os.urandom(100)
    elif part == "middle":
        for page in range(1, len(data) // 4096):
            data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    elif part == "all":
        data[:] = os.urandom(len(data))
    elif part == "empty":
        data.clear()
    elif part == "text":
        data[:] = b"this is no database\n" * 100
    else:
        del data[len(data) // 2 :]
    for extra in ("-wal", "-shm"):
        Path(f"{path}{extra}").unlink(missing_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["head", "middle", "all", "empty", "text", "cut"])
def test_a_corrupt_index_is_built_again(filled: Any, part: str) -> None:
    expected = filled.everything()
    path = filled.layout.index
    filled.index.close()
    corrupt(path, part)
    assert reopened(filled) == (expected, path)


@pytest.mark.parametrize("part", ["head", "middle", "all", "empty", "text", "cut", "gone", "other", "file"])
def test_what_happens_to_the_index_between_two_questions_changes_no_answer(
    filled: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_DIR", str(filled.root))

    def ask() -> list[Any]:
        return [
            (run.name, dict(run.summary), run.history()["loss"].times.tolist()) for run in autotrack.runs()
        ]

    expected = ask()
    assert len(expected) == 3
    path = filled.layout.index
    if part == "gone":
        for each in filled.root.glob("index.db*"):
            each.unlink()
    elif part == "other":  # another process has replaced it
        os.rename(path, f"{path}.old")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE mine (x)")
    elif part == "file":
        path.unlink()
        path.mkdir()
    else:
        corrupt(path, part)
    assert ask() == expected
    assert ask() == expected


def test_the_store_is_looked_for_at_each_question(
    filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_DIR", str(filled.root))
    assert len(autotrack.runs()) == 3
    monkeypatch.setenv("AUTOTRACK_DIR", str(tmp_path / "other"))
    with pytest.raises(StoreError):
        autotrack.runs()
    with autotrack.init(project="p", name="mine"):
        pass
    assert [run.name for run in autotrack.runs()] == ["mine"]
    monkeypatch.setenv("AUTOTRACK_DIR", str(filled.root))
    assert len(autotrack.runs()) == 3


def test_an_index_that_a_newer_version_has_made_over_is_not_read(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_DIR", str(filled.root))
    assert len(autotrack.runs()) == 3
    connection = sqlite3.connect(filled.layout.index)
    connection.execute("UPDATE runs SET name = 'written otherwise'")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.commit()
    connection.close()
    assert {run.name for run in autotrack.runs()} == {"run0", "run1", "run2"}


def test_a_long_series_that_is_thinned_out_holds_on_to_what_is_shown_only(bench: Any) -> None:
    hand = bench.journal("long222222").start()
    for step in range(30_000):
        hand.metrics(step, loss=step % 7)
    hand.finish()
    run = bench.read("long222222")
    run.history("loss", max_points=100)  # what is imported and compiled once
    tracemalloc.start()
    try:
        history = run.history("loss", max_points=100)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        assert len(history["loss"].times) == 100
    finally:
        tracemalloc.stop()
    assert held < 200_000  # the series takes 960,000


def test_two_threads_may_ask_for_the_same_times(filled: Any) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(200):
            series = filled.index.runs()[0].history()["loss"]
            with ThreadPoolExecutor(2) as pool:
                assert len(set(pool.map(_first_time, [series, series], repeat(threading.Barrier(2))))) == 1
    finally:
        sys.setswitchinterval(before)


def test_threads_and_forked_processes_ask_for_themselves(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_DIR", str(filled.root))
    assert len(autotrack.runs()) == 3
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: len(autotrack.runs()), range(20))) == [3] * 20
    with multiprocessing.get_context("fork").Pool(3) as processes:
        assert processes.map(_count, range(6)) == [3] * 6
        processes.close()
        processes.join()


def _first_time(series: Any, barrier: threading.Barrier) -> float:
    barrier.wait()
    return float(series.times[0])


def _count(_: int) -> int:
    return len(autotrack.runs())


def test_an_index_that_breaks_while_it_is_open_is_built_again(filled: Any) -> None:
    expected = filled.everything()
    records = list(filled.index.runs())
    for path in filled.root.glob("index.db*"):
        path.unlink()
    assert [record.history()["loss"].values[-1] for record in records] == [299.0, 299 / 2, 299 / 3]
    assert filled.everything() == expected


@pytest.mark.parametrize("column", ["values", "times"])
def test_a_damaged_series_in_the_index_is_built_again(filled: Any, column: str) -> None:
    expected = filled.everything()
    table = "chunks" if column == "values" else "axes"
    connection = sqlite3.connect(filled.layout.index)
    connection.execute(
        f'UPDATE {table} SET "{column}" = CAST(substr("{column}", 1, 40) || zeroblob(20) AS BLOB)'
    )
    connection.commit()
    connection.close()
    assert filled.everything() == expected


def test_a_history_pickles_whole(filled: Any) -> None:
    history = filled.index.runs()[0].history()
    copy = pickle.loads(pickle.dumps(history))
    for name in ("steps", "times", "values"):
        assert getattr(copy["loss"], name).tolist() == getattr(history["loss"], name).tolist()


@pytest.mark.parametrize("version", [0, VERSION - 1 or 77, VERSION + 1])
def test_an_index_of_another_schema_is_built_again(filled: Any, version: int) -> None:
    expected = filled.everything()
    filled.index.close()
    connection = sqlite3.connect(filled.layout.index)
    connection.execute("DROP TABLE tags")
    connection.execute(f"PRAGMA user_version={version}")
    connection.commit()
    connection.close()
    assert reopened(filled) == (expected, filled.layout.index)


def test_an_index_that_somebody_holds_is_built_in_memory(filled: Any) -> None:
    expected = filled.everything()
    holder = sqlite3.connect(filled.layout.index, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    filled.journal("new4444444").start().finish()
    database = Database(filled.layout, wait=0.2)
    index = open_index(filled.root)
    index.close()
    index._database = database
    database.refill = lambda: None
    with pytest.warns(AutotrackWarning, match="held by another process"):
        index.sync()
    assert index.path is None
    assert [
        described for described in filled.everything(index) if described["id"] != "'new4444444'"
    ] == expected
    index.close()
    holder.rollback()
    holder.close()
    assert filled.layout.index.exists()


def test_the_index_is_for_its_owner_alone(filled: Any) -> None:
    for path in filled.root.glob("index.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_store_that_cannot_be_written_has_its_index_in_the_cache_folder(
    filled: Any, tmp_path: Path
) -> None:
    expected = filled.everything()
    filled.index.close()
    for path in filled.root.glob("index.db*"):
        path.unlink()
    # A folder in its place stands in the way of the file, for root too.
    filled.layout.index.mkdir()
    found, path = reopened(filled)
    assert found == expected
    assert path is not None
    assert path.is_relative_to(tmp_path / "cache")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && ! touch "$1/x" 2>/dev/null && exec "$2" -W error -c "$3" "$1"
"""
LOOK = """
import sys
from autotrack.index import open_index
for _ in range(2):
    with open_index(sys.argv[1]) as index:
        index.sync()
        print([run.summary["loss"] for run in index.runs(order_by="id")], index.path)
"""


@pytest.mark.proof
def test_a_store_on_a_read_only_disk_is_read_by_way_of_the_cache_folder(filled: Any, tmp_path: Path) -> None:
    filled.index.close()
    for path in filled.root.glob("index.db*"):
        path.unlink()
    command = ["unshare", "-rm", "sh", "-c", READ_ONLY, "sh", str(filled.root), sys.executable, LOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.startswith(f"[299.0, {299 / 2}, {299 / 3}] {tmp_path / 'cache'}")
    assert not filled.layout.index.exists()


def test_without_any_place_the_index_is_in_memory(
    filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled.everything()
    filled.index.close()
    for path in filled.root.glob("index.db*"):
        path.unlink()
    filled.layout.index.mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert reopened(filled) == (expected, None)


def test_two_stores_do_not_share_a_file_in_the_cache_folder(tmp_path: Path) -> None:
    assert index_paths(Layout(tmp_path / "a"))[-1] != index_paths(Layout(tmp_path / "b"))[-1]


def test_a_store_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*AUTOTRACK_DIR"):
        open_index(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        open_index(tmp_path / "file")


def test_the_folder_around_a_store_will_do(filled: Any) -> None:
    with open_index(filled.root.parent) as index:
        index.sync()
        assert len(index.runs()) == 3


READ = """
import sys
from autotrack import guard
from autotrack.index import open_index
guard.STRICT["on"] = True
with open_index(sys.argv[1]) as index:
    sys.stdin.readline()
    index.sync()
    runs = index.runs()
    print(len(runs), sum(run.metrics["loss"].count for run in runs), index.path is not None)
"""


def test_many_processes_make_and_fill_the_index_at_once(bench: Any) -> None:
    bench.index.close()
    for path in bench.root.glob("index.db*"):
        path.unlink()
    for number in range(20):
        hand = bench.journal(f"run{number:02}").start()
        for step in range(100):
            hand.metrics(step, loss=1.0)
        hand.finish()
    command = [sys.executable, "-W", "error", "-c", READ, str(bench.root)]
    readers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    answers = [reader.communicate("go\n", timeout=120) for reader in readers]
    assert answers == [("20 2000 True\n", "")] * 6


def test_threads_read_while_another_one_brings_in(filled: Any) -> None:
    hand = filled.journal("live222222").start()
    seen: list[int] = []

    def look() -> None:
        for _ in range(20):
            record = next((one for one in filled.index.runs() if one.id == "live222222"), None)
            seen.append(record.metrics["loss"].count if record and "loss" in record.metrics else 0)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(20):
        hand.metrics(step, loss=1.0)
        filled.index.sync()
    for thread in threads:
        thread.join()
    assert filled.index.get("live").metrics["loss"].count == 20
    assert len(seen) == 60


def _child(root: str, answers: Any) -> None:
    with open_index(root) as index:
        index.sync()
        answers.send([record.summary["loss"] for record in index.runs(order_by="id")])


def test_a_forked_child_may_read_too(filled: Any) -> None:
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(str(filled.root), theirs))
    process.start()
    assert ours.poll(60)
    assert ours.recv() == [299.0, 299 / 2, 299 / 3]
    process.join()


def test_of_many_stores_only_the_last_ones_are_held_open(tmp_path: Path) -> None:
    engines = []
    for number in range(20):
        root = tmp_path / str(number) / ".autotrack"
        root.mkdir(parents=True)
        database = Database(Layout(root))
        with database.reading():
            engines.append(database.engine)
    assert [engine.pool.checkedin() for engine in engines] == [0] * 4 + [1] * 16
