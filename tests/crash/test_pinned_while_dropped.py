"""A checkpoint is pinned while another process drops it, which is stopped at each of its calls: what was pinned is there afterwards."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nursery import Nursery

from autotrack import checkpoints
from autotrack.catalog import mending
from autotrack.errors import CheckpointNotFound
from autotrack.objects.keep import Kept

CALLS = ",open,write,fsync,rename,link,close,unlink,rmdir,mkdir,ftruncate,"
UNDER = "store/objects"
DOING = """
from autotrack import checkpoints, sealing, saves
import autotrack.catalog.collect, autotrack.catalog.mending, autotrack.catalog.publish, autotrack.index
import numpy, sqlalchemy.dialects.sqlite
from autotrack.objects.keep import Kept
autotrack.catalog.mending._LONGEST_DROP = 0.2
def prepare(folder):
    with autotrack.init(project="p", log_model=True) as run:
        for step in range(2):
            (folder / f"packed-{step}.bin").write_bytes(bytes([step]) * 20_000)
            run.log_checkpoint(folder / f"packed-{step}.bin", step=step, score=step, monitor="loss", mode="min")
        sealing.wait(60)
    (folder / "packed-0.bin").unlink()
    tell("packed", run.id, autotrack.get_run(run.id).checkpoints[0].id)
    with autotrack.init(project="p") as run:
        path = folder / "linked.bin"
        path.write_bytes(b"linked" * 1000)
        run.log_checkpoint(path, step=0)
        sealing.wait(60)
        saves.going(run, path)
        path.unlink()
        saves.removed(run, path, "rotation", by="test")
    tell("linked", run.id, autotrack.get_run(run.id).checkpoints[0].id)
def drop(folder):
    Kept(Path(os.environ["AUTOTRACK_DIR"]) / "objects").drop(*(folder / "key").read_text().split())
def free(folder):
    checkpoints.gc(last=0, apply=True)
def pin(folder):
    checkpoints.pin((folder / "key").read_text().split()[1])
    tell("pinned")
TASKS = {"prepare": prepare, "drop": drop, "free": free, "pin": pin}
"""


@pytest.fixture(scope="module")
def nursery(library: Callable[[str], str]) -> Iterator[Nursery]:
    one = Nursery(DOING, library("nth_call"), CALLS, leave_out="index.db")
    yield one
    one.close()


class Place:
    """A store with a checkpoint in packs and one that is linked, which nobody else has, anew for each round."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder = folder
        self.now = folder / "now"
        self.nursery = nursery
        (self.now / "work").mkdir(parents=True)
        life = nursery.run("prepare", self.now)
        assert life.code == 0, nursery.errors()
        self.saves: dict[str, tuple[str, ...]] = {words[0]: tuple(words[1:]) for words in life.told[:2]}
        shutil.copytree(self.now, folder / "before")

    def renew(self, which: str) -> tuple[str, str]:
        shutil.rmtree(self.now)
        shutil.copytree(self.folder / "before", self.now, copy_function=shutil.copy2)
        run, save = self.saves[which]
        (self.now / "work" / "key").write_text(f"{run} {save}")
        return run, save

    def calls(self, task: str, which: str) -> int:
        """How many calls a task makes."""
        self.renew(which)
        life = self.nursery.run(task, self.now, under=UNDER)
        assert life.code == 0, self.nursery.errors()
        return len(life.said("calls")[0][0])

    def is_there(self, which: str) -> bool:
        """Whether the checkpoint is given out as it was, also after what nobody wants was freed."""
        checkpoints.gc(last=0, apply=True)
        try:
            found = checkpoints.get(self.saves[which][1])
        except CheckpointNotFound:
            return False
        return found.read_bytes() == (b"linked" * 1000 if which == "linked" else bytes(20_000))


@pytest.fixture
def place(nursery: Nursery, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(mending, "_LONGEST_DROP", 0.2)
    monkeypatch.setenv("AUTOTRACK_DIR", str(tmp_path / "now" / "store"))
    return Place(tmp_path, nursery)


def rounds(place: Place, task: str, which: str, step: int) -> Iterator[tuple[int, signal.Signals]]:
    for at in range(1, place.calls(task, which) + 1, step):
        yield at, signal.SIGKILL
        yield at, signal.SIGCONT


@pytest.mark.parametrize(
    "step", [pytest.param(3, id="quick"), pytest.param(1, id="proof", marks=pytest.mark.proof)]
)
@pytest.mark.parametrize("which", ["packed", "linked"])
@pytest.mark.parametrize("task", ["drop", "free"])
def test_what_was_pinned_while_somebody_drops_it_is_there_afterwards(
    place: Place, task: str, which: str, step: int
) -> None:
    wrong, pinned, refused = [], 0, 0
    for at, number in rounds(place, task, which, step if task == "drop" or step == 1 else 4 * step):
        place.renew(which)
        assert place.nursery.begin(task, place.now, at, "stop", UNDER)
        try:
            checkpoints.pin(place.saves[which][1])
            told = True
        except CheckpointNotFound:
            told = False
        life = place.nursery.go_on(place.now, number)
        assert life.code in (0, -9), place.nursery.errors()
        pinned += told
        refused += not told
        if told and not place.is_there(which):
            wrong.append((at, number))
    assert wrong == []
    assert pinned > 0
    assert refused > 0 or step > 1  # a sample may leave out the calls that nothing can be pinned after


@pytest.mark.parametrize(
    "step", [pytest.param(4, id="quick"), pytest.param(1, id="proof", marks=pytest.mark.proof)]
)
@pytest.mark.parametrize("which", ["packed", "linked"])
def test_what_is_dropped_while_somebody_pins_it_is_there_if_it_was_pinned(
    place: Place, which: str, step: int
) -> None:
    wrong, pinned = [], 0
    for at, number in rounds(place, "pin", which, step):
        key = place.renew(which)
        assert place.nursery.begin("pin", place.now, at, "stop", UNDER)
        Kept(place.now / "store" / "objects").drop(*key)
        life = place.nursery.go_on(place.now, number)
        told = bool(life.said("pinned"))
        assert life.code in (0, 1, -9), place.nursery.errors()
        pinned += told
        if told and not place.is_there(which):
            wrong.append((at, number))
    assert wrong == []
    assert pinned > 0
