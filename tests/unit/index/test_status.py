"""What state a run is said to be in, and when its journals are sealed."""

import os
import stat
import subprocess
import sys
import time
from typing import Any

import pytest

from autotrack.index import open_index
from autotrack.journal.source import decompress
from autotrack.process import start_ticks, this_process

HERE = this_process()
ALIVE = {"pid": HERE.pid, "started": HERE.started}
ELSEWHERE = {"host": "another-machine"}


def now_ns() -> int:
    return time.time_ns()


def test_a_live_process_is_running_and_a_gone_one_died(bench: Any) -> None:
    bench.journal("live222222", **ALIVE).start()
    bench.journal("dead222222").start()
    marker = bench.marker("dead222222")
    live_marker = bench.marker("live222222")
    bench.index.sync()
    assert bench.index.get("live").status == "running"
    assert bench.index.get("dead").status == "died"
    assert bench.index.get("dead").finished is None
    assert not marker.exists()
    assert live_marker.exists()


def test_a_process_that_dies_between_two_looks_is_noticed(bench: Any) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    hand = bench.journal(pid=child.pid, started=start_ticks(child.pid)).start().start("kid")
    assert bench.read().status == "running"
    assert bench.index.get("kid").status == "running"
    child.kill()
    child.communicate()
    run = bench.read()
    assert run.status == "died"
    assert bench.index.get("kid").status == "died"
    assert hand.path.exists()


def test_a_process_that_cannot_be_looked_at_is_running_until_it_is_silent_for_long(bench: Any) -> None:
    bench.journal("fresh22222", **ELSEWHERE, wall=now_ns()).start()
    old = bench.journal("quiet22222", **ELSEWHERE, wall=now_ns() - 600 * 10**9).start()
    os.utime(old.path, (time.time() - 600, time.time() - 600))
    bench.index.sync()
    assert bench.index.get("fresh").status == "running"
    assert bench.index.get("quiet").status == "stale"


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_the_word_of_the_finish_event_stands(bench: Any, status: str) -> None:
    bench.journal(**ALIVE).start().finish(status)
    run = bench.read()
    assert run.status == status
    assert run.finished is not None


def test_a_finish_of_an_unknown_kind_is_a_failure(bench: Any) -> None:
    bench.journal().start().finish("exploded")
    assert bench.read().status == "failed"


@pytest.mark.parametrize(
    ("other", "expected"),
    [("failed", "failed"), ("interrupted", "interrupted"), (None, "died"), ("finished", "finished")],
)
def test_of_several_ranks_the_worst_counts(bench: Any, other: str | None, expected: str) -> None:
    bench.journal().start().finish()
    second = bench.journal(rank=1, pid=999_998).start()
    if other:
        second.finish(other)
    assert bench.read().status == expected


def test_workers_and_edits_say_nothing_about_the_state(bench: Any) -> None:
    bench.journal().start().finish()
    bench.journal(role="worker", pid=999_998).metrics(0, loss=1.0)
    bench.journal(role="edit", pid=999_997).event("edit", {"notes": "n"})
    assert bench.read().status == "finished"


def test_a_resumed_run_is_running_again_and_its_ranks_of_before_do_not_count(bench: Any) -> None:
    bench.journal().start().finish("failed")
    bench.journal(rank=1, pid=999_998).start()
    assert bench.read().status == "failed"
    again = bench.journal(**ALIVE, wall=1_700_001_000 * 10**9).start(resumed=True)
    run = bench.read()
    assert (run.status, run.attempts, run.finished) == ("running", 2, None)
    again.finish()
    assert bench.read().status == "finished"


def test_children_without_an_end_share_the_state_of_their_process(bench: Any) -> None:
    hand = bench.journal(**ALIVE).start().start("open").start("done").finish(child="done")
    bench.index.sync()
    assert (bench.index.get("open").status, bench.index.get("done").status) == ("running", "finished")
    hand.finish("failed")
    bench.index.sync()
    assert (bench.index.get("open").status, bench.index.get("done").status) == ("failed", "finished")


def test_a_settled_folder_is_not_opened_again(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0).finish()
    old = time.time() - 100
    os.utime(hand.folder, (old, old))
    time.sleep(2.1)
    bench.index.sync(seal_seconds=0)
    hand.metrics(1, loss=2.0)
    assert bench.read().summary["loss"] == 1.0
    os.utime(hand.folder, (old + 1, old + 1))
    bench.index.sync()
    assert bench.index.get("aaaa").summary["loss"] == 2.0


def test_a_file_that_comes_right_after_the_look_is_not_missed(bench: Any) -> None:
    bench.journal().start().finish()
    for turn in range(20):
        bench.journal(role="edit", pid=turn).event("edit", {"notes": str(turn)}, at=turn)
        assert bench.read().notes == str(turn)


def test_journals_of_a_finished_run_are_sealed_and_read_the_same(bench: Any, describe: Any) -> None:
    hand = bench.journal().start()
    for step in range(200):
        hand.metrics(step, loss=step / 7)
    hand.next_segment().metrics(200, loss=1.0).finish()
    bench.index.sync(seal_seconds=0)
    before = describe(bench.index.get("aaaa"))
    content = {path.name: path.read_bytes() for path in hand.folder.iterdir()}
    bench.index.sync()
    sealed = sorted(hand.folder.iterdir())
    assert [path.name for path in sealed] == [f"{hand.stem}.{number}.jsonl.zst" for number in (0, 1)]
    for path in sealed:
        assert b"".join(decompress(path)) == content[path.name.removesuffix(".zst")]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bench.index.sync()
    assert describe(bench.index.get("aaaa")) == before
    bench.index.rebuild()
    assert describe(bench.index.get("aaaa")) == before


@pytest.mark.parametrize("header", [ALIVE, ELSEWHERE])
def test_nothing_is_sealed_while_its_writer_may_be_there(bench: Any, header: dict[str, Any]) -> None:
    hand = bench.journal(**header).start().finish()
    bench.index.sync()
    bench.index.sync()
    assert hand.path.exists()


def test_a_run_that_died_is_not_sealed(bench: Any) -> None:
    hand = bench.journal().start()
    bench.index.sync()
    bench.index.sync()
    assert hand.path.exists()


def test_sealing_that_was_interrupted_is_finished_and_counts_nothing_twice(bench: Any, describe: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0).metrics(1, loss=2.0).finish()
    plain = hand.path.read_bytes()
    bench.index.sync()
    assert not hand.path.exists()
    before = describe(bench.index.get("aaaa"))
    hand.path.write_bytes(plain)
    bench.index.rebuild()
    assert describe(bench.index.get("aaaa")) == before
    bench.index.sync()
    assert not hand.path.exists()


def test_of_two_copies_that_differ_each_gives_what_the_other_lacks(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0).metrics(1, loss=2.0).metrics(2, loss=3.0).finish()
    plain = hand.path.read_bytes()
    bench.index.sync()
    assert not hand.path.exists()
    hand.path.write_bytes(plain.replace(b'"loss":2.0', b'"loss":9.0'))
    bench.index.rebuild()
    bench.index.sync()
    run = bench.index.get("aaaa")
    assert run.history()["loss"].values.tolist() == [1.0, 2.0, 3.0]
    assert hand.path.exists()


def test_a_store_that_is_a_copy_is_read_without_a_change_to_it(bench: Any, tmp_path: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0).finish()
    before = hand.path.read_bytes()
    with open_index(bench.root) as index:
        index.sync(seal_seconds=0)
        assert index.get("aaaa").summary["loss"] == 1.0
    assert hand.path.read_bytes() == before
