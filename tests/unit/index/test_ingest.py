"""From journals to answers: what is read, what is skipped, and that the order of reading changes nothing."""

import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotrack.index import open_index
from autotrack.journal.format import SEALED_SUFFIX


def test_a_run_is_read_back_as_it_was_written(bench: Any) -> None:
    hand = bench.journal().start(name="first", tags=["a", "b"], group="g", notes="n", framework="torch")
    hand.event("config", {"values": {"lr": 0.1, "opt": {"name": "sgd"}}, "source": "init"})
    hand.event("config", {"values": {"opt": {"momentum": 0.9}}, "source": "user"})
    hand.metrics(0, loss=0.5, lr=0.1).metrics(1, loss=0.25)
    hand.event(
        "artifact",
        {"name": "t.json", "type": "file", "size": 3, "digest": "ab" * 32, "step": 1, "path": "/x"},
    )
    hand.event("input", {"path": "/data.csv", "digest": None, "size": 10, "role": "data"})
    hand.event(
        "capture",
        {"what": "git", "status": "captured", "why": None, "ms": 1.5, "facts": {"commit": "c0ffee"}},
    )
    hand.event("capture", {"what": "gpu", "status": "skipped", "why": "none here", "ms": 0.1, "facts": {}})
    hand.event("warning", {"slug": "metric-value", "message": "left out"})
    hand.event("gap", {"from": 20, "to": 29, "dropped": 10, "reason": "disk"})
    hand.finish(
        "failed",
        error={"type": "ValueError", "message": "no", "traceback": ""},
        exit_code=1,
        own_ns={"log": 7},
    )
    run = bench.read()
    assert (run.name, run.project, run.status, run.group, run.notes) == ("first", "p", "failed", "g", "n")
    assert run.tags == ["a", "b"]
    assert run.framework == "torch"
    assert run.config == {"lr": 0.1, "opt": {"name": "sgd", "momentum": 0.9}}
    assert dict(run.summary) == {"loss": 0.25, "lr": 0.1}
    loss = run.metrics["loss"]
    assert (loss.first, loss.last, loss.min, loss.max, loss.mean, loss.count) == (
        0.5,
        0.25,
        0.25,
        0.5,
        0.375,
        2,
    )
    assert (loss.first_step, loss.last_step, loss.min_step, loss.max_step, loss.nonfinite) == (0, 1, 1, 0, 0)
    series = run.history()["loss"]
    assert series.steps.tolist() == [0, 1]
    assert series.values.tolist() == [0.5, 0.25]
    assert series.times.tolist() == [1_700_000_005.0 - 1, 1_700_000_006.0 - 1]
    assert [(one.name, one.step, one.path) for one in run.artifacts] == [("t.json", 1, "/x")]
    assert [(one.path, one.role) for one in run.inputs] == [("/data.csv", "data")]
    assert run.environment == {"git": {"commit": "c0ffee"}}
    assert [(one["what"], one["why"]) for one in run.capture_report] == [("git", None), ("gpu", "none here")]
    assert [one["slug"] for one in run.warnings] == ["metric-value"]
    assert run.gaps == [{"from": 20, "to": 29, "dropped": 10, "reason": "disk"}]
    assert run.error == {"type": "ValueError", "message": "no", "traceback": ""}
    assert (run.exit_code, run.own_ns, run.attempts, run.damaged) == (1, {"log": 7}, 1, 0)
    assert run.duration == 11.0
    assert run.dir == bench.layout.run_dir("p", "aaaa222222")


def test_non_finite_values_and_long_integers_come_back(bench: Any) -> None:
    hand = (
        bench.journal().start().event("config", {"values": {"limit": math.inf, "seed": 2**80, "none": None}})
    )
    hand.metrics(0, loss=math.nan).metrics(1, loss=1.0).metrics(2, loss=-math.inf, big=2**70).metrics(
        3, loss=math.nan
    )
    run = bench.read()
    assert run.config == {"limit": math.inf, "seed": 2**80, "none": None}
    np.testing.assert_array_equal(run.history()["loss"].values, [math.nan, 1.0, -math.inf, math.nan])
    loss = run.metrics["loss"]
    assert (loss.count, loss.nonfinite, loss.min, loss.max, loss.mean) == (4, 3, 1.0, 1.0, 1.0)
    assert math.isnan(loss.first)
    assert math.isnan(run.summary["loss"])
    assert run.summary["big"] == float(2**70)


def test_lines_out_of_order_in_the_file_stand_in_the_order_of_their_numbers(bench: Any) -> None:
    hand = bench.journal().start()
    lines = [hand.line("m", step, {"loss": float(step)}) for step in range(10)]
    hand.raw(b"".join(reversed(lines)))
    run = bench.read()
    assert run.history()["loss"].steps.tolist() == list(range(10))
    assert (run.metrics["loss"].first, run.metrics["loss"].last) == (0.0, 9.0)


def test_a_key_in_lines_of_different_shapes_keeps_its_order(bench: Any) -> None:
    hand = bench.journal().start()
    for step in range(20):
        hand.metrics(step, loss=float(step), **({"val": 1.0} if step % 3 == 0 else {}))
    run = bench.read()
    assert run.history()["loss"].values.tolist() == [float(step) for step in range(20)]
    assert run.history()["val"].steps.tolist() == [0, 3, 6, 9, 12, 15, 18]


def test_damaged_lines_are_counted_and_cost_only_themselves(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0)
    whole = hand.line("m", 1, {"loss": 2.0})
    hand.raw(whole.replace(b"2.0", b"3.0")).raw(b"\x00" * 40 + b"\n").raw(b'["m",1,2\n').metrics(2, loss=4.0)
    run = bench.read()
    assert run.damaged == 3
    assert run.history()["loss"].values.tolist() == [1.0, 4.0]


def test_a_torn_last_line_is_read_once_it_is_whole(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0)
    line = hand.line("m", 1, {"loss": 2.0})
    hand.raw(line[:9])
    assert bench.read().history()["loss"].values.tolist() == [1.0]
    hand.raw(line[9:])
    run = bench.read()
    assert run.history()["loss"].values.tolist() == [1.0, 2.0]
    assert run.damaged == 0


def test_a_line_that_was_written_twice_counts_once(bench: Any) -> None:
    hand = bench.journal().start()
    line = hand.line("m", 0, {"loss": 1.0})
    hand.raw(line[:-1] + b"\n" + line)
    assert bench.read().history()["loss"].values.tolist() == [1.0]
    again = hand.line("m", 1, {"loss": 2.0})
    hand.raw(again)
    bench.index.sync()
    hand.raw(again)
    assert bench.read().history()["loss"].values.tolist() == [1.0, 2.0]


def test_unknown_kinds_and_odd_lines_are_no_trouble(bench: Any) -> None:
    hand = bench.journal().start().event("of the future", {"a": 1}).metrics(0, loss=1.0)
    hand.raw(hand.line("m", "no step", {"loss": 5.0})).raw(hand.line("m", 1, ["no values"]))
    hand.raw(hand.line("m", 2**70, {"loss": 6.0})).raw(hand.line("m", 3, {"loss": "text"})).raw(
        hand.line("m", 4, {})
    )
    hand.raw(hand.line("s", {"system/cpu": None})).raw(hand.line("config", "no mapping")).metrics(5, loss=2.0)
    run = bench.read()
    assert run.history()["loss"].values.tolist() == [1.0, 2.0]
    assert "system/cpu" not in run.metrics
    assert run.damaged >= 4


def test_system_samples_are_numbered_by_key_and_shown_when_asked_for(bench: Any) -> None:
    hand = bench.journal().start()
    for value in (5.0, 6.0, 7.0):
        hand.event("s", {"system/cpu": value}).metrics(0, loss=value)
    run = bench.read()
    assert list(run.history()) == ["loss"]
    assert list(run.summary) == ["loss"]
    assert run.history("system")["system/cpu"].steps.tolist() == [0, 1, 2]
    assert list(run.history(["system/cpu", "loss"])) == ["system/cpu", "loss"]
    assert run.metrics["system/cpu"].mean == 6.0


def test_a_second_segment_goes_on_where_the_first_ended(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0)
    bench.index.sync()
    hand.next_segment().metrics(1, loss=2.0).finish()
    run = bench.read()
    assert run.history()["loss"].values.tolist() == [1.0, 2.0]
    assert run.status == "finished"


def test_ranks_and_forks_are_merged_by_clock_journal_and_number(bench: Any) -> None:
    first = bench.journal().start(at=0)
    worker = bench.journal(pid=999_998, role="worker")
    for step in range(5):
        first.metrics(step, at=step + 0.5, loss=float(step))
        worker.metrics(step, at=step + 0.75, loss=float(step) + 0.5)
    series = bench.read().history()["loss"]
    assert series.values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert bench.index.get("aaaa222222").summary["loss"] == 4.5


def test_children_in_the_parents_journal_are_runs_of_their_own(bench: Any) -> None:
    hand = (
        bench.journal()
        .start()
        .event("capture", {"what": "python", "status": "captured", "facts": {"version": "3"}})
    )
    for number in range(3):
        child = f"child{number}"
        hand.start(child, framework="sklearn").event("config", {"values": {"n": number}}, child)
        hand.metrics(0, child, score=number / 2).finish(child=child)
    hand.metrics(0, loss=1.0)
    run = bench.read()
    assert [child.id for child in run.children] == ["child0", "child1", "child2"]
    assert [child.config for child in run.children] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [child.summary["score"] for child in run.children] == [0.0, 0.5, 1.0]
    assert {child.status for child in run.children} == {"finished"}
    assert list(run.summary) == ["loss"]
    child = run.children[1]
    assert (child.parent, child.framework, child.dir) == (run.id, "sklearn", run.dir)
    assert child.environment == {"python": {"version": "3"}}
    assert len(bench.index.runs(children=False)) == 1
    assert len(bench.index.runs()) == 4


def test_edits_from_another_journal_are_applied(bench: Any) -> None:
    bench.journal().start(name="old", tags=["a", "b"]).start("child", name="c").finish()
    bench.index.sync()
    edit = bench.journal(role="edit", pid=5, wall=1_700_000_100 * 10**9)
    edit.event(
        "edit", {"name": "new", "add_tags": ["c"], "remove_tags": ["a"], "notes": "good", "project": "other"}
    )
    edit.event("edit", {"archived": True}).event("edit", {"name": "renamed"}, "child")
    run = bench.read()
    assert (run.name, run.tags, run.notes, run.archived, run.project) == (
        "new",
        ["b", "c"],
        "good",
        True,
        "other",
    )
    assert run.dir == bench.layout.run_dir("p", run.id)
    assert [child.name for child in run.children] == ["renamed"]
    assert [record.id for record in bench.index.runs()] == ["child"]
    assert len(bench.index.runs(archived=True)) == 2


def test_files_that_are_no_journals_are_named_and_others_load(bench: Any) -> None:
    bench.journal("good222222").start().metrics(0, loss=1.0)
    folder = bench.journal("bad3333333").start().folder
    (folder / "foreign-1-2-0.0.jsonl").write_bytes(b"hello\nworld\n")
    (folder / "empty-1-2-0.0.jsonl").write_bytes(b"")
    (folder / "whatever.jsonl").write_bytes(b"x")
    (folder / "bad-1-2-0.0.jsonl.zst").write_bytes(b"not zstd at all")
    later = bench.journal("later44444")
    later.path.unlink()
    later.seq = 0
    later.event("h", {"format": 2, "run": "later44444", "by": "autotrack 9.0"}).start()
    assert bench.read("good222222").summary["loss"] == 1.0
    text = "\n".join(bench.index.problems())
    for piece in (
        "is not a journal",
        "is empty",
        "not named like a journal",
        "cannot be decompressed",
        "written by autotrack 9.0",
    ):
        assert piece in text
    assert (
        len([one for one in bench.index.get("bad3333333").warnings if one["slug"] == "journal-unreadable"])
        == 4
    )
    assert [record.id for record in bench.index.runs(project="p")] == ["bad3333333", "good222222"]


def test_a_folder_with_edits_alone_is_left_out_with_a_warning(bench: Any) -> None:
    bench.journal(role="edit").event("edit", {"name": "new"})
    with pytest.warns(UserWarning, match="holds edits but no journal"):
        bench.index.sync()
    assert len(bench.index.runs(archived=True)) == 0


def test_a_journal_without_its_first_lines_still_loads(bench: Any) -> None:
    hand = bench.journal().start(name="lost").metrics(0, loss=1.0)
    data = hand.path.read_bytes().split(b"\n")
    hand.path.write_bytes(b"\n".join([b"damaged", b"damaged too", *data[2:]]))
    run = bench.read()
    assert (run.name, run.damaged, run.summary["loss"]) == ("aaaa222222", 2, 1.0)


def test_a_folder_that_is_gone_leaves_the_index(bench: Any) -> None:
    hand = bench.journal("gone222222").start("kid").finish()
    bench.journal("stays22222").start().finish()
    bench.index.sync()
    assert len(bench.index.runs()) == 3
    shutil.rmtree(hand.folder)
    bench.index.sync()
    assert [record.id for record in bench.index.runs()] == ["stays22222"]


def test_a_journal_that_was_replaced_by_a_shorter_one_is_read_anew(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0).metrics(1, loss=2.0)
    bench.index.sync()
    lines = hand.path.read_bytes().splitlines(keepends=True)
    hand.path.write_bytes(b"".join(lines[:-1]))
    assert bench.read().history()["loss"].values.tolist() == [1.0]


def random_store(bench: Any, seed: int, writers: list[Any]) -> None:
    """More of everything, in two journals of each of three runs."""
    rng = random.Random(seed)
    for hand in writers:
        for _ in range(rng.randrange(1, 40)):
            child = rng.choice([None, None, "kid" + hand.run[:2]])
            kind = rng.randrange(8)
            if kind == 0:
                hand.event(
                    "config",
                    {"values": {rng.choice("abc"): {"x": rng.random(), rng.choice("de"): None}}},
                    child,
                )
            elif kind == 1:
                hand.event("s", {"system/cpu": rng.random(), "system/mem": rng.choice([1.0, math.nan])})
            elif kind == 2:
                hand.event(
                    rng.choice(["warning", "gap", "beat", "strange"]),
                    {"slug": "x", "message": str(rng.random())},
                )
            elif kind == 3:
                hand.event(
                    "edit", {"add_tags": [rng.choice("pqr")], "remove_tags": [rng.choice("pqr")]}, child
                )
            elif kind == 4 and rng.random() < 0.2:
                hand.raw(b"torn" + os.urandom(3).replace(b"\n", b"") + b"\n")
            elif kind == 5 and rng.random() < 0.3:
                hand.next_segment()
            else:
                keys = rng.sample(["loss", "lr", "val/acc", "ü🔥"], rng.randrange(1, 4))
                hand.raw(
                    hand.line(
                        "m",
                        rng.randrange(50),
                        {key: rng.random() for key in keys},
                        *([child] if child else []),
                    )
                )
    for hand in writers[:2]:
        if rng.random() < 0.3:
            hand.start(resumed=True)


@pytest.mark.parametrize("seed", range(3))
def test_reading_bit_by_bit_and_building_anew_give_the_same_answers(bench: Any, seed: int) -> None:
    writers = [bench.journal(run).start(tags=["q"]) for run in ("aa22222222", "bb22222222", "cc22222222")]
    writers += [bench.journal(hand.run, pid=7, role="worker", wall=hand.base + 10**9) for hand in writers]
    for turn in range(6):
        random_store(bench, seed * 100 + turn, writers)
        bench.index.sync()
    for hand in writers[:2]:
        hand.finish()
    bench.index.sync(seal_seconds=0)
    expected = bench.everything()
    bench.index.rebuild()
    assert bench.everything() == expected
    bench.index.close()
    for path in bench.root.glob("index.db*"):
        path.unlink()
    with open_index(bench.root) as fresh:
        fresh.sync(seal_seconds=60)
        assert bench.everything(fresh) == expected
        assert list(bench.root.glob(f"runs/*/*/*{SEALED_SUFFIX}"))
        fresh.rebuild()
        assert bench.everything(fresh) == expected


def test_a_long_series_crosses_chunks_and_bundles(bench: Any, describe: Any) -> None:
    hand = bench.journal().start()
    values = np.random.default_rng(1).normal(size=20_000)
    for start in range(0, 20_000, 3_000):
        stretch = range(start, min(start + 3_000, 20_000))
        hand.raw(b"".join(hand.line("m", step, {"loss": float(values[step])}) for step in stretch))
        bench.index.sync()
    run = bench.read()
    assert run.history()["loss"].values.tolist() == values.tolist()
    assert run.metrics["loss"].min == values.min()
    assert run.metrics["loss"].min_step == values.argmin()
    assert run.metrics["loss"].mean == pytest.approx(values.mean(), rel=1e-12)
    before = describe(run)
    bench.index.rebuild()
    assert describe(bench.index.get(run.id)) == before


def test_the_golden_journal_is_a_run_and_its_child(bench: Any) -> None:
    folder = bench.layout.run_dir("digits", "abcdefgh27")
    folder.mkdir(parents=True)
    golden = Path(__file__).parent.parent / "journal" / "golden"
    for path in golden.glob("vm-4711-*.jsonl*"):
        shutil.copy(path, folder)
    run = bench.read("abcdefgh27")
    assert (run.name, run.status, run.tags, run.group, run.exit_code) == (
        "renamed",
        "failed",
        ["b", "c"],
        "g",
        1,
    )
    assert run.config == {"lr": 0.1, "opt": {"name": "sgd"}, "limit": math.inf, "$": 1}
    np.testing.assert_array_equal(run.history()["loss"].values, [0.5, -math.inf, math.nan])
    assert sorted(run.history()) == ["\\ud800", "big", "loss", "lr"]
    assert run.history("system/cpu")["system/cpu"].values.tolist() == [12.5]
    assert (run.damaged, run.gaps[0]["dropped"], run.warnings[0]["slug"]) == (1, 10, "metric-value")
    assert run.error is not None
    assert run.error["type"] == "ValueError"
    assert [child.summary["score"] for child in run.children] == [0.75]
