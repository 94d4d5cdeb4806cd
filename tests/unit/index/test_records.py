"""Records, lists of them, and tables made of them."""

import math
import subprocess
import sys
from datetime import UTC
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from autotrack.errors import AmbiguousRun, RunNotFound, StoreError
from autotrack.index import get_run, runs
from autotrack.index.series import thin_out


@pytest.fixture
def two(bench: Any) -> Any:
    hand = (
        bench.journal("abc2222222")
        .start(name="first", tags=["t"])
        .event("config", {"values": {"a": {"b": 1}, "c": "x"}})
    )
    for step in range(100):
        hand.metrics(step, loss=1.0 / (step + 1), odd=math.nan if step == 50 else 1.0)
    hand.finish()
    bench.journal("abd2222222", wall=1_700_001_000 * 10**9).start(name="second").metrics(0, acc=0.5)
    bench.index.sync()
    return bench


def test_a_run_is_found_by_any_prefix_that_only_it_has(two: Any) -> None:
    assert two.index.get("abc").id == "abc2222222"
    assert two.index.get("ABC").id == "abc2222222"
    assert two.index.get(" abd2222222 ").name == "second"


def test_a_prefix_of_several_runs_names_them(two: Any) -> None:
    with pytest.raises(AmbiguousRun, match=r"abc2222222 \('first'.*abd2222222"):
        two.index.get("ab")


def test_an_id_that_is_the_beginning_of_another_is_itself(two: Any) -> None:
    two.journal("abc").start(name="short")
    assert two.read("abc").name == "short"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abx2222222", "Near to it: ab"),
        ("first", "a run has that name: abc2222222"),
        ("zzz", "autotrack ls"),
        ("", "is no run id"),
        ("a%", "autotrack ls"),
    ],
)
def test_an_unknown_id_names_what_is_near(two: Any, text: str, message: str) -> None:
    with pytest.raises(RunNotFound, match=message):
        two.index.get(text)


def test_a_missing_key_names_what_is_near(two: Any) -> None:
    run = two.index.get("abc")
    for mapping in (run.metrics, run.summary, run.history()):
        with pytest.raises(KeyError, match=r"Did you mean 'loss'\?"):
            mapping["los"]
        assert "los" not in mapping
        assert mapping.get("los") is None
    with pytest.raises(KeyError, match="no metric 'nope' in this run"):
        run.history("nope")


def test_history_takes_one_key_or_several(two: Any) -> None:
    run = two.index.get("abc")
    assert list(run.history("loss")) == ["loss"]
    assert list(run.history(["odd", "loss", "odd"])) == ["odd", "loss"]
    assert "loss" in repr(run.history())
    assert "100 points" in repr(run.history()["loss"])


def test_a_thinned_out_series_keeps_ends_extremes_and_nan() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=10_000)
    values[1234], values[7777], values[5000] = 50.0, -50.0, math.nan
    for limit in (3, 4, 5, 10, 100, 1000, 9_999):
        places = thin_out(values, limit)
        assert len(places) <= limit
        assert places[0] == 0
        assert places[-1] == 9_999
        assert np.all(np.diff(places) > 0)
        if limit >= 5:
            assert {1234, 7777, 5000} <= set(places.tolist())
    assert thin_out(values, 10_000).tolist() == list(range(10_000))
    assert thin_out(values, 1).tolist() == [9_999]
    assert thin_out(values, 2).tolist() == [0, 9_999]
    assert thin_out(np.full(50, math.nan), 8).tolist()[0] == 0
    with pytest.raises(ValueError, match="at least 1"):
        thin_out(values, 0)


def test_history_can_be_thinned_out(two: Any) -> None:
    series = two.index.get("abc").history(max_points=20)
    assert len(series["loss"]) <= 20
    assert math.isnan(min(series["odd"].values, key=lambda value: not math.isnan(value)))
    assert series["loss"].steps.tolist()[:: len(series["loss"]) - 1] == [0, 99]


def test_tables_of_runs(two: Any) -> None:
    found = two.index.runs()
    frame = found.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["id"].tolist() == ["abd2222222", "abc2222222"]
    assert frame["config.a.b"].tolist()[1] == 1
    assert frame["loss"].tolist()[1] == 0.01
    assert str(frame["created"].dt.tz) == "UTC"
    assert frame["finished"].isna().tolist() == [True, False]
    table = found.to_polars()
    assert isinstance(table, pl.DataFrame)
    assert table["config.c"].to_list() == [None, "x"]
    assert table["acc"].to_list() == [0.5, None]
    assert table["created"].dtype.time_zone == "UTC"
    assert two.index.runs(project="none").to_pandas().empty
    assert two.index.runs(project="none").to_polars().is_empty()


def test_tables_of_series(two: Any) -> None:
    history = two.index.get("abc").history("loss")
    frame = history.to_pandas()
    assert list(frame.columns) == ["key", "step", "time", "value"]
    assert len(frame) == 100
    assert frame["value"].tolist()[:2] == [1.0, 0.5]
    table = history.to_polars()
    assert table["step"].to_list() == list(range(100))
    assert table.schema["time"] == pl.Datetime("us", "UTC")
    assert two.index.get("abd").history([]).to_pandas().empty


def test_a_table_without_its_library_says_what_to_install(two: Any) -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from autotrack.index import open_index\n"
        f"index = open_index({str(two.root)!r}); index.sync(); index.runs().to_pandas()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'autotrack-ml[pandas]'" in done.stderr


def test_lists_are_sequences(two: Any) -> None:
    found = two.index.runs()
    assert len(found) == 2
    assert found[0].id == found[-2].id == "abd2222222"
    assert [record.id for record in found[1:]] == ["abc2222222"]
    assert "2 runs" in repr(found)
    assert "abc2222222" in repr(found[1])


def test_times_are_aware(two: Any) -> None:
    run = two.index.get("abc")
    assert run.created.tzinfo is not None
    assert run.created.astimezone(UTC).year == 2023
    assert run.duration == (run.finished - run.created).total_seconds() == 101.0 + 1.0


def test_artifacts_open_their_content(two: Any) -> None:
    hand = two.journal("art2222222").start()
    digest = "ab" + "c" * 62
    place = two.layout.objects / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"content")
    hand.event(
        "artifact", {"name": "f", "type": "file", "size": 7, "digest": digest, "step": None, "path": None}
    )
    files = [
        {"path": "x/y.txt", "digest": digest, "size": 7},
        {"path": "gone", "digest": "f" * 64, "size": 1},
    ]
    hand.event("artifact", {"name": "d", "type": "folder", "size": 8, "digest": "0" * 64, "files": files})
    hand.event("artifact", {"name": "odd", "digest": "../../etc/passwd"})
    file, folder, odd = two.read("art").artifacts
    with file.open() as opened:
        assert opened.read() == b"content"
    with folder.open("x/y.txt") as opened:
        assert opened.read() == b"content"
    with pytest.raises(StoreError, match="has no file 'z'"):
        folder.open("z")
    with pytest.raises(StoreError, match="cannot be read"):
        folder.open("gone")
    with pytest.raises(StoreError, match="without its content"):
        odd.open()


def test_the_module_functions_read_the_store_of_the_environment(two: Any) -> None:
    assert len(runs()) == 2
    assert [record.id for record in runs(where="'t' in tags")] == ["abc2222222"]
    assert get_run("abd").summary["acc"] == 0.5


def test_one_run_can_be_brought_up_to_date_alone(two: Any) -> None:
    live = two.journal("new2222222").start().metrics(0, loss=1.0)
    two.journal("other22222").start()
    two.index.sync(only=live.folder)
    assert two.index.get("new").summary["loss"] == 1.0
    with pytest.raises(RunNotFound):
        two.index.get("other")


def test_problems_are_none_in_a_sound_store(two: Any) -> None:
    assert two.index.problems() == []


def test_progress_counts_the_folders(two: Any) -> None:
    seen: list[tuple[int, int]] = []
    two.index.rebuild(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_progress_is_told_within_a_long_run(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotrack.index.ingest.BUNDLE_BYTES", 200_000)
    hand = bench.journal("long").start()
    for step in range(60_000):
        hand.metrics(step, loss=1 / (step + 1))
    hand.finish()
    plain: list[float] = []
    bench.index.sync(lambda done, total: plain.append(done / total), seal_seconds=0)
    bench.index.sync()
    sealed: list[float] = []
    bench.index.rebuild(lambda done, total: sealed.append(done / total))
    for seen in (plain, sealed):
        assert len(seen) > 3
        assert seen == sorted(seen)
        assert seen[-1] == 1
        assert 0 < seen[0] < 0.6


def saved(bench: Any, run: str, path: str, digest: str, pid: int, at: float = 1, **facts: Any) -> None:
    """A run that saves one checkpoint, which is read behind it, at so many seconds."""
    body = {"action": "saved", "path": path, "id": f"of-{run}", "size": 8, "step": pid} | facts
    hand = bench.journal(run, pid=pid).start().event("checkpoint", body, at=at)
    hand.event(
        "checkpoint", {"action": "sealed", "path": path, "save": f"of-{run}", "digest": digest}
    ).finish()


@pytest.mark.parametrize(
    ("path", "digest", "writer"),
    [
        ("/ck/a", "11", ("aaaa", 1)),
        ("/moved/a", "11", ("bbbb", 2)),  # of two that saved these bytes the later one
        ("/ck/b", "11", ("bbbb", 2)),
        ("/ck/a", "99", (None, None)),  # other bytes than any run has saved there
        ("/ck/a", None, ("aaaa", 1)),
        ("/ck/out", "99", ("dddd", 4)),  # what else lies in that folder is not of it
        ("/ck/late", "33", (None, None)),
        ("/ck/nowhere", None, (None, None)),
    ],
)
def test_who_wrote_a_checkpoint_that_a_run_has_loaded(
    bench: Any, path: str, digest: str | None, writer: tuple[str | None, int | None]
) -> None:
    saved(bench, "aaaa", "/ck/a", "11", 1)
    saved(bench, "bbbb", "/ck/b", "11", 2, at=2)
    saved(bench, "cccc", "/ck/late", "33", 3, at=50)
    saved(bench, "dddd", "/ck/out", "44", 4, without="checkpoint-")
    known = {"path": path, "role": "checkpoint", "size": 8, "digest": digest, "run": None, "step": None}
    bench.journal("eeee", pid=5).start().event("input", known, at=20).event(
        "input", known | {"role": "data"}
    ).finish()
    bench.index.sync()
    loaded, data = bench.index.get("eeee").inputs
    assert (loaded.run, loaded.step) == writer
    assert (data.run, data.step) == (None, None)
