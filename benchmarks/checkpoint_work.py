"""What a keeper of checkpoints is made to do: keep a series save by save, and fetch saves back in another process."""

import filecmp
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cpu
from keepers import Keeper

MIB = 1024 * 1024
SETTLE = 0.7  # seconds after the start of a run, in which it describes its environment


def keep(keeper: Keeper, series: str, policy: str = "all", fresh: bool = False) -> dict[str, Any]:
    """Ten saves as fast as they come: time of each call, until everything is kept, CPU, and the bytes that were added.

    The files are there and on the disk before, as names of the very files of the series; or, `fresh`, each is written
    right before its save, and that counts for the whole time.
    """
    source, place = Path(series), keeper.folder / "checkpoints"
    saves = json.loads(source.with_suffix(".json").read_text())
    warm_up(keeper, place)
    put = writing(source, place, saves) if fresh else placed(keeper, source, place, saves)
    before = size(keeper.folder, place)
    keeper.open("run", policy)
    time.sleep(SETTLE)
    calls, cpu_before, started = [], cpu.seconds(), time.perf_counter()
    for name, step, score in saves:
        put(name)
        begun = time.perf_counter()
        keeper.keep(place / name, step, score)
        calls.append(1000 * (time.perf_counter() - begun))
    saved = time.perf_counter()
    keeper.close()
    ended = time.perf_counter()
    return {
        "call_ms": statistics.median(calls),
        "longest_ms": max(calls),
        "end_s": ended - saved,
        "seconds": ended - started,
        "cpu_s": cpu.seconds() - cpu_before,
        "plain": size(source),
        "stored": size(keeper.folder, place) - before,
    }


def warm_up(keeper: Keeper, place: Path) -> None:
    """A first run with one small save: imports, databases, folders."""
    place.mkdir()
    (place / "warm.pt").write_bytes(os.urandom(100_000))
    keeper.open("warm")
    keeper.keep(place / "warm.pt", 0, 1.0)
    keeper.close()


def placed(keeper: Keeper, source: Path, place: Path, saves: list[Any]) -> Callable[[str], object]:
    """Every save at its place: the same file under a second name, or a copy for who may change it."""
    for name, _, _ in saves:
        copy = shutil.copyfile if keeper.takes_over else os.link
        if (source / name).is_dir():
            shutil.copytree(source / name, place / name, copy_function=copy)
        else:
            copy(source / name, place / name)
    os.sync()
    return bool


def writing(source: Path, place: Path, saves: list[Any]) -> Callable[[str], object]:
    """A function that writes one save, from memory."""
    known = {name: contents(source / name) for name, _, _ in saves}

    def put(name: str) -> None:
        for file, data in known[name].items():
            target = place / name / file if file else place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    return put


def fetch(keeper: Keeper, series: str, steps: list[int]) -> dict[str, Any]:
    """Fetch these saves, whose own files are gone, and compare every byte."""
    source, place = Path(series), keeper.folder / "checkpoints"
    saves = json.loads(source.with_suffix(".json").read_text())
    for name, _, _ in saves:
        remove(place / name)
    took, exact = [], 0
    for name, step, _ in saves:
        if step in steps:
            to = keeper.folder / "fetched"
            to.mkdir()
            begun = time.perf_counter()
            found = keeper.fetch("run", name, step, to)
            took.append(1000 * (time.perf_counter() - begun))
            exact += same(source / name, found)
            remove(found)
            remove(to)
    return {
        "fetch_ms": statistics.median(took),
        "first_fetch_ms": took[0],
        "fetched": len(took),
        "exact": exact,
    }


def write(keeper: Keeper, series: str, times: int = 1) -> dict[str, Any]:
    """The disk's own speed: the bytes of each save written in one go to a new file, so many times, each brought to the disk."""
    known = [b"".join(contents(each).values()) for each in sorted(Path(series).iterdir())]
    place = keeper.folder / "written"
    place.mkdir()
    os.sync()
    begun = time.perf_counter()
    for number, data in enumerate(known * times):
        with open(place / str(number), "wb", buffering=0) as file:
            view = memoryview(data)
            file.writelines(view[offset : offset + MIB] for offset in range(0, len(data), MIB))
            os.fsync(file.fileno())
    seconds = time.perf_counter() - begun
    remove(place)
    return {"seconds": seconds, "bytes": times * sum(map(len, known))}


def contents(path: Path) -> dict[str, bytes]:
    """The files of a save by their names below it; of one that is a file, its bytes under an empty name."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()
    }


def same(one: Path, other: Path) -> bool:
    """Whether two saves have the same files with the same bytes."""
    if one.is_file():
        return filecmp.cmp(one, other, shallow=False)
    names = [
        sorted(str(each.relative_to(top)) for each in top.rglob("*") if each.is_file())
        for top in (one, other)
    ]
    return names[0] == names[1] and all(
        filecmp.cmp(one / name, other / name, shallow=False) for name in names[0]
    )


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size(folder: Path, without: Path | None = None) -> int:
    """The bytes of all files below a folder, each once, however many names it has, but for those below another one."""
    found: dict[tuple[int, int], int] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) != without]
        for name in names:
            facts = os.lstat(os.path.join(parent, name))
            found[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(found.values())
