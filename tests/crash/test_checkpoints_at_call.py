"""Killed at each single system call of saving, storing, naming, pinning, freeing and fetching: nothing sealed is lost, and
nothing half-done is offered.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nursery import Life, Nursery

import autotrack
from autotrack.catalog.fetch import fetch
from autotrack.catalog.find import Catalog, of_save
from autotrack.errors import CheckpointNotFound
from autotrack.index import Checkpoint, open_index
from autotrack.objects.keep import Kept
from autotrack.objects.rebuild import Shelf
from autotrack.registry.chain import check_chains

CALLS = ",open,write,fsync,rename,link,close,unlink,rmdir,mkdir,ftruncate,clone,"
WAYS = ("before", "half", "after")
TASKS = {"auto": "store", "true": "store", "all": "store", "name": "store", "free": "store", "fetch": ""}
"""What is done, and below which folder the calls count: the whole place where a file of the user's is written."""

# A checkpoint is a torch file as far as its form goes, with a tensor of its own and one that all have.
DOING = """
import random, zipfile
from autotrack import background, checkpoints, saves, sealing
import autotrack.catalog.collect, autotrack.catalog.fetch, autotrack.catalog.publish, autotrack.index, autotrack.objects.seal
import numpy, sqlalchemy.dialects.sqlite
def write(path, seed):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\\x80\\x02.")
        archive.writestr("m/data/0", random.Random(seed).randbytes(3000))
        archive.writestr("m/data/1", b"same" * 5000)
    with open("known", "a") as known:
        known.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}\\n")
    return path
def train(folder, policy, scores=(0.5, 0.2, 0.4, 0.6, 0.1, 0.3), keep=2):
    with autotrack.init(project="p", name=str(policy), log_model=policy) as run:
        here = []
        for step, score in enumerate(scores):
            path = write(folder / f"{policy}-{run.id}-{step}.pt", step)
            run.log_checkpoint(path, step=step, score=score, monitor="loss", mode="min")
            sealing.wait(60)
            tell("saved", path.name)
            here.append(path)
            if len(here) > keep:
                going = here.pop(0)
                saves.going(run, going)
                going.unlink()
                saves.removed(run, going, "rotation", by="test")
                sealing.wait(60)
    return run.id
def prepare(folder):
    one = train(folder, "all", scores=(0.5, 0.2, 0.4, 0.3), keep=1)
    train(folder, "auto", scores=(0.1, 0.4, 0.3), keep=1)
    checkpoints.register("model", f"{one}:best")
    checkpoints.promote("model", "production", why="the first")
    checkpoints.register("model", write(folder / "elsewhere.pt", 77))
    (folder / "elsewhere.pt").unlink()
    checkpoints.pin(f"{one}:step=0")
    (folder / "one").write_text(one)
def name(folder):
    one = (folder / "one").read_text()
    model = "again" if (folder / "named").exists() else "other"
    (folder / "named").touch()
    path = write(folder / f"{model}.pt", model)
    tell(model, "version", checkpoints.register(model, path).number, path.name)
    path.unlink()
    tell(model, "version", checkpoints.register(model, f"{one}:step=2").number, f"all-{one}-2.pt")
    tell(model, "decision", checkpoints.promote(model, "production", why="new").number)
    tell(model, "decision", checkpoints.alias(model, "old", 1).number)
    tell(model, "decision", checkpoints.unalias(model, "old").number)
    tell(model, "decision", checkpoints.withdraw(model, 1, why="worse").number)
    checkpoints.unpin(f"{one}:step=0")
    checkpoints.pin(f"{one}:step=3")
    tell("pinned", f"all-{one}-3.pt")
def free(folder):
    checkpoints.gc(last=1, apply=True)
def fetch(folder):
    for step in range(4):
        checkpoints.get((folder / "one").read_text() + f":step={step}", to=folder / f"fetched-{step}.pt")
    checkpoints.get("model@v2")
TASKS = {
    "prepare": prepare, "name": name, "free": free, "fetch": fetch,
    "auto": lambda folder: train(folder, "auto"), "true": lambda folder: train(folder, True), "all": lambda folder: train(folder, "all"),
}
"""


@pytest.fixture(scope="module")
def nursery(library: Callable[[str], str]) -> Iterator[Nursery]:
    """The process that all victims of this module are forked from."""
    one = Nursery(DOING, library("nth_call"), CALLS, leave_out="index.db")
    yield one
    one.close()


class Place:
    """A store that holds runs and models already, anew for each victim, and the folder that the victims work in."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder = folder
        self.nursery = nursery
        self.store = folder / "now" / "store"
        self.work = folder / "now" / "work"
        self._before = folder / "before"
        self.work.mkdir(parents=True)
        life = nursery.run("prepare", folder / "now")
        assert life.code == 0, nursery.errors()
        self.renew(first=True)
        with open_index(self.store) as index:
            saves = [one for found in index.checkpoints().values() for one in found]
        self.before = {one.id for one in saves}
        self.kept = {one.id for one in saves if one.is_there}

    def renew(self, first: bool = False) -> None:
        """The store as it was prepared, links and all, at the very same path."""
        source, target = (self.folder / "now", self._before) if first else (self._before, self.folder / "now")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, copy_function=shutil.copy2)

    def victim(self, task: str, at: int = 0, how: str = "before") -> Life:
        """A process that does a task, and is killed at this call."""
        return self.nursery.run(task, self.folder / "now", at, how, TASKS[task])

    def known(self) -> dict[str, str]:
        """By the name of each file that was ever saved its sha256."""
        return dict(line.split()[::-1] for line in (self.work / "known").read_text().splitlines())


@pytest.fixture(scope="module")
def prepared(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store for victims, prepared once."""
    return Place(tmp_path_factory.mktemp("place"), nursery)


@pytest.fixture
def place(prepared: Place, store: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A store for victims."""
    monkeypatch.setenv("AUTOTRACK_DIR", str(prepared.store))
    return prepared


def wrongs(place: Place, task: str, life: Life, freed: bool = False) -> Iterator[str]:
    """What a victim has left behind that may not be; `freed`: gc was asked to keep the last ones only."""
    known = place.known()
    shelf = Shelf(Kept(place.store / "objects"))
    for key in shelf.recipes():
        recipe = shelf.recipe(*key)
        assert recipe is not None
        yield from (f"{recipe.path}: {damage}" for damage in shelf.damages(recipe))
        if recipe.digest != known[Path(recipe.path).name]:
            yield f"{recipe.path} is kept with other bytes"
    with open_index() as index:
        index.sync(seal_seconds=0)
        catalog = Catalog(index)
        for saves in index.checkpoints().values():
            for one in saves:
                is_wanted = one.is_sealed and is_to_be_there(place, task, one, saves, freed)
                yield from wrong_checkpoint(catalog, one, known[Path(one.path).name], is_wanted)
        yield from wrong_names(catalog, life, known)
    yield from (str(fault) for fault in check_chains(place.store / "registry").faults)
    for path in place.work.glob("fetched-*"):
        step = path.stem[-1]
        if bytes_of(path) != next(value for name, value in known.items() if name.endswith(f"-{step}.pt")):
            yield f"{path} is not what was asked for"


def wrong_checkpoint(catalog: Catalog, one: Checkpoint, digest: str, is_wanted: bool) -> Iterator[str]:
    if one.digest not in (None, digest) or one.problem is not None:
        yield f"{one.path} is said to be {one.digest}, {one.problem}"
    try:
        found = fetch(catalog, of_save(one))
    except CheckpointNotFound as error:
        if one.stored is not None:
            yield f"{one.path} is said to be stored: {error}"
        if is_wanted:
            yield f"{one.path} is lost: {error}"
        return
    if bytes_of(found) != digest:
        yield f"{one.path} is given out damaged"


def is_to_be_there(place: Place, task: str, one: Checkpoint, run: list[Checkpoint], freed: bool) -> bool:
    """Whether the policy of its run, or its rule, wants a sealed checkpoint."""
    sealed = [each for each in run if each.is_sealed]
    best = min(sealed, key=lambda each: (each.score, -run.index(each)))
    if one.id in place.before:
        return one.id in place.kept and (not freed or one is sealed[-1])
    return task == "all" or one in (best, sealed[-1])


def wrong_names(catalog: Catalog, life: Life, known: dict[str, str]) -> Iterator[str]:
    for name in ("other", "again"):
        told = life.said(name)
        model = next((each for each in catalog.models() if each.name == name), None)
        if len(told) > (0 if model is None else len(model.decisions)):
            yield f"{told} was told, and there is {model}"
        for _, number, file in (words for words in told if words[0] == "version"):
            if model is None or model.versions[int(number) - 1].withdrawn is not None:
                continue
            if bytes_of(fetch(catalog, catalog.find(f"{name}@v{number}"))) != known[file]:
                yield f"version {number} of {name} is not {file}"
    for [file] in life.said("pinned"):
        [save] = [one for one in catalog.index.checkpoints()[file.split("-")[1]] if one.path.endswith(file)]
        if (
            not catalog.kept.has(save.run, save.id or "")
            or not catalog.kept.pin_path(save.run, save.id or "").exists()
        ):
            yield f"{file} is not pinned"


def bytes_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left_over(place: Place) -> list[str]:
    """What a collection has left of a victim."""
    return [
        str(path)
        for folder in ("packs", "kept")
        for path in (place.store / "objects" / folder).rglob("*")
        if path.suffix in (".tmp", ".dropping")
    ]


def kill_at(place: Place, task: str, at: int, how: str, again: bool = True) -> tuple[bool, list[str]]:
    """(whether the victim got that far, what is wrong): as it was left, after a collection, and after the same was done `again`."""
    place.renew()
    life = place.victim(task, at, how)
    assert life.code in (0, -9), place.nursery.errors()
    was_killed = life.code != 0
    found = [f"left: {text}" for text in wrongs(place, task, life, freed=task == "free")]
    problems = autotrack.checkpoints.gc(apply=True).problems
    found += [f"collected: {text}" for text in (*problems, *left_over(place))]
    found += [f"collected: {text}" for text in wrongs(place, task, life, freed=task == "free")]
    if again:
        for path in place.work.glob("fetched-*"):
            path.unlink()
        life = place.victim(task)
        assert life.code == 0, place.nursery.errors()
        found += [f"again: {text}" for text in wrongs(place, task, life, freed=task == "free")]
    return was_killed, [f"{task} at call {at}, {how}: {text}" for text in found]


def all_calls(place: Place, task: str) -> str:
    """The calls of a victim that nobody kills, each as the first letter of its name."""
    place.renew()
    life = place.victim(task)
    assert life.code == 0, place.nursery.errors()
    assert list(wrongs(place, task, life, freed=task == "free")) == []
    return life.said("calls")[0][0]


@pytest.mark.parametrize("task", TASKS)
def test_kills_at_some_calls_lose_nothing_and_offer_nothing_half_done(place: Place, task: str) -> None:
    total = len(all_calls(place, task))
    assert total > 30
    wrong = []
    for turn, at in enumerate(range(7, total, total // 2)):
        wrong += kill_at(place, task, at, WAYS[turn % 3], again=turn == 1)[1]
    assert wrong == []


@pytest.mark.proof
@pytest.mark.parametrize("task", TASKS)
def test_kills_at_every_call_lose_nothing_and_offer_nothing_half_done(
    place: Place, task: str, record_property: Callable[[str, object], None]
) -> None:
    calls = all_calls(place, task)
    killed, wrong = 0, []
    for at in range(1, len(calls) + 3):
        for how in WAYS:
            if how == "half" and calls[at - 1 : at] != "w":
                continue  # it would be as before it
            reached, found = kill_at(place, task, at, how, again=at % 5 == 0)
            killed += reached
            wrong += found
    record_property("calls", len(calls))
    record_property("kills", killed)
    record_property("lost_or_wrong", len(wrong))
    assert wrong == []
    assert killed > len(calls)
