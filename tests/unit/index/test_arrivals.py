"""Folders that were made elsewhere and copied here, in one go or bit by bit, with the times that they had there."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from autotrack.index import open_index
from autotrack.process import this_process

ELSEWHERE = {"host": "another-machine", "boot": "11111111-2222-3333-4444-555555555555"}
HERE = {"host": this_process().host, "boot": this_process().boot}
PAST = time.time() - 400 * 24 * 3600


class Elsewhere:
    """Another machine's store, beside the one that is read; its files and folders are more than a year old."""

    def __init__(self, bench: Any, root: Path) -> None:
        self.bench = bench
        self.root = root
        self.here = bench.layout.runs

    def journal(self, run: str, project: str = "p", **header: Any) -> Any:
        """A journal in the other store."""
        layout = self.bench.layout
        self.bench.layout = type(layout)(self.root)
        try:
            return self.bench.journal(run, project, **({"wall": int(PAST) * 10**9} | ELSEWHERE | header))
        finally:
            self.bench.layout = layout

    def age(self) -> None:
        """Give everything there the times of long ago."""
        for folder, _, files in os.walk(self.root, topdown=False):
            for name in files:
                os.utime(Path(folder, name), (PAST, PAST))
            os.utime(folder, (PAST, PAST))

    def copy(self, folder: Path, project: str = "p") -> Path:
        """`cp -a`, which keeps the times."""
        self.age()
        (self.here / project).mkdir(exist_ok=True, parents=True)
        subprocess.run(["cp", "-a", str(folder), str(self.here / project)], check=True)
        return self.here / project / folder.name

    def update(self, folder: Path, project: str = "p") -> Path:
        """What `rsync -a` does with what is there already: new files beside, renamed, and the times of the source for all."""
        self.age()
        target = self.here / project / folder.name
        for path in folder.iterdir():
            beside = target / f".{path.name}.x1y2z3"
            shutil.copyfile(path, beside)
            os.utime(beside, (PAST, PAST))
            os.replace(beside, target / path.name)
        os.utime(target, (PAST, PAST))
        return target


@pytest.fixture
def elsewhere(bench: Any, tmp_path: Path) -> Elsewhere:
    return Elsewhere(bench, tmp_path / "elsewhere" / ".autotrack")


def settle(bench: Any) -> None:
    """Let the clocks of the file system pass what was just copied, and look: nothing is left to look at twice."""
    time.sleep(2.1)
    bench.index.sync(seal_seconds=0)
    bench.index.sync(seal_seconds=0)


def test_a_copied_run_appears_with_the_state_that_it_had_there(bench: Any, elsewhere: Elsewhere) -> None:
    bench.index.sync()
    done = elsewhere.journal("done222222").start().metrics(0, loss=1.0).finish("failed")
    cut = elsewhere.journal("cut2222222").start().metrics(0, loss=2.0)
    elsewhere.copy(done.folder)
    elsewhere.copy(cut.folder)
    assert (bench.read("done222222").status, bench.index.get("cut2222222").status) == ("failed", "stale")
    assert bench.index.get("cut2222222").summary["loss"] == 2.0


def test_a_run_that_is_copied_while_it_goes_on_there_is_running(bench: Any, elsewhere: Elsewhere) -> None:
    hand = elsewhere.journal("live222222", wall=time.time_ns() - 10**10).start().metrics(0, loss=1.0)
    elsewhere.copy(hand.folder)
    assert bench.read("live222222").status == "running"
    hand.metrics(1, loss=2.0).finish()
    elsewhere.update(hand.folder)
    run = bench.read("live222222")
    assert (run.status, run.history()["loss"].values.tolist()) == ("finished", [1.0, 2.0])


@pytest.mark.parametrize("host", [ELSEWHERE, HERE], ids=["of another machine", "of this one"])
@pytest.mark.parametrize("way", ["rsync", "in place"])
def test_a_copy_that_grows_is_read_on_however_old_its_times_are(
    bench: Any, elsewhere: Elsewhere, host: dict[str, Any], way: str
) -> None:
    hand = elsewhere.journal("grows22222", **host).start()
    for step in range(100):
        hand.metrics(step, loss=float(step))
    target = elsewhere.copy(hand.folder)
    settle(bench)
    assert bench.index.get("grows22222").metrics["loss"].count == 100
    stamp = os.stat(target)
    for step in range(100, 200):
        hand.metrics(step, loss=float(step))
    hand.finish()
    if way == "rsync":
        elsewhere.update(hand.folder)
    else:
        file = target / hand.path.name
        with open(file, "ab") as grown:
            grown.write(hand.path.read_bytes()[file.stat().st_size :])
        os.utime(file, (PAST, PAST))
    assert os.stat(target).st_mtime_ns == stamp.st_mtime_ns
    run = bench.read("grows22222")
    assert (run.status, run.metrics["loss"].count) == ("finished", 200)
    assert run.history()["loss"].values.tolist() == [float(step) for step in range(200)]


def test_a_finished_run_that_went_on_is_read_on_after_the_next_copy(bench: Any, elsewhere: Elsewhere) -> None:
    hand = elsewhere.journal("again22222", **HERE).start().metrics(0, loss=1.0).finish()
    target = elsewhere.copy(hand.folder)
    settle(bench)
    before = os.stat(target)
    hand.start(resumed=True).metrics(1, loss=2.0).finish("failed")
    elsewhere.update(hand.folder)
    assert os.stat(target).st_mtime_ns == before.st_mtime_ns
    run = bench.read("again22222")
    assert (run.status, run.attempts, run.summary["loss"]) == ("failed", 2, 2.0)


def test_a_file_that_arrives_half_is_read_on_when_the_rest_is_there(bench: Any, elsewhere: Elsewhere) -> None:
    hand = elsewhere.journal("half222222").start()
    for step in range(50):
        hand.metrics(step, loss=float(step))
    hand.finish()
    data = hand.path.read_bytes()
    target = elsewhere.copy(hand.folder) / hand.path.name
    for size in (0, 10, 300, 301, len(data) // 2, len(data) - 1, len(data)):
        target.write_bytes(data[:size])
        os.utime(target, (PAST, PAST))
        bench.index.sync(seal_seconds=0)
    run = bench.index.get("half222222")
    assert (run.status, run.damaged, run.metrics["loss"].count, run.warnings) == ("finished", 0, 50, [])


def test_segments_may_arrive_in_any_order(bench: Any, elsewhere: Elsewhere, describe: Any) -> None:
    hand = elsewhere.journal("parts22222").start(name="in parts").metrics(0, loss=0.0)
    for number in range(1, 4):
        hand.next_segment().metrics(number, loss=float(number))
    hand.finish()
    elsewhere.age()
    target = bench.layout.run_dir("p", "parts22222")
    target.mkdir(parents=True)
    for number in (2, 0, 3, 1):
        name = f"{hand.stem}.{number}.jsonl"
        subprocess.run(["cp", "-a", str(hand.folder / name), str(target)], check=True)
        os.utime(target, (PAST, PAST))
        bench.index.sync(seal_seconds=0)
    run = bench.index.get("parts22222")
    assert (run.name, run.status) == ("in parts", "finished")
    assert run.history()["loss"].values.tolist() == [0.0, 1.0, 2.0, 3.0]
    before = describe(run)
    bench.index.rebuild()
    assert describe(bench.index.get("parts22222")) == before


def test_a_run_under_another_project_keeps_the_name_that_it_was_given(
    bench: Any, elsewhere: Elsewhere
) -> None:
    hand = elsewhere.journal("moved22222", "their project").start().metrics(0, loss=1.0).finish()
    target = elsewhere.copy(hand.folder, "imported%20runs")
    run = bench.read("moved22222")
    assert (run.project, run.dir) == ("their project", target)
    assert [one.id for one in bench.index.runs(project="their project")] == ["moved22222"]
    os.rename(target, target.parent / "again22222")
    bench.index.sync()
    assert [(one.id, one.project) for one in bench.index.runs()] == [("again22222", "their project")]


def test_a_thousand_copied_runs_are_there_at_the_next_look(bench: Any, elsewhere: Elsewhere) -> None:
    bench.index.sync()
    for number in range(1000):
        elsewhere.journal(f"many{number:06}").start().metrics(0, loss=float(number)).finish()
    elsewhere.age()
    subprocess.run(["cp", "-a", str(elsewhere.root / "runs" / "p"), str(elsewhere.here)], check=True)
    bench.index.sync(seal_seconds=0)
    found = bench.index.runs(order_by="id")
    assert [record.summary["loss"] for record in found] == [float(number) for number in range(1000)]
    assert {record.status for record in found} == {"finished"}


def test_an_edit_made_on_another_machine_comes_with_the_next_copy(bench: Any, elsewhere: Elsewhere) -> None:
    hand = elsewhere.journal("edits22222").start().metrics(0, loss=1.0).finish()
    elsewhere.copy(hand.folder)
    settle(bench)
    elsewhere.journal("edits22222", role="edit", pid=7).event(
        "edit", {"add_tags": ["seen"], "notes": "there"}
    )
    elsewhere.update(hand.folder)
    run = bench.read("edits22222")
    assert (run.tags, run.notes, run.status) == (["seen"], "there", "finished")


def test_two_machines_fill_one_run_and_the_order_of_copying_changes_nothing(
    bench: Any, elsewhere: Elsewhere, describe: Any, tmp_path: Path
) -> None:
    first = elsewhere.journal("two2222222").start()
    second = elsewhere.journal("two2222222", host="a-third-machine", rank=1, pid=5).start()
    for step in range(20):
        first.metrics(step, loss=float(step))
        second.metrics(step, rank1=float(step))
    first.finish()
    second.finish()
    elsewhere.age()
    answers = []
    for order in (first, second), (second, first):
        root = tmp_path / f"store{len(answers)}" / ".autotrack"
        target = root / "runs" / "p" / "two2222222"
        target.mkdir(parents=True)
        with open_index(root) as index:
            for hand in order:
                subprocess.run(["cp", "-a", str(hand.path), str(target)], check=True)
                index.sync(seal_seconds=0)
            answers.append(describe(index.get("two2222222")) | {"dir": None})
    assert answers[0] == answers[1]
    assert answers[0]["status"] == "'finished'"
