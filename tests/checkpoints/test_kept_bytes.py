"""Kept checkpoints: cut at their tensors, each kept once, got back byte for byte, and never given out damaged."""

import filecmp
import os
import random
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from autotrack.digests import digest_of, look_at
from autotrack.errors import NotWhole
from autotrack.objects.keep import Kept
from autotrack.objects.packs import packs_in
from autotrack.objects.rebuild import Shelf, changed_parts
from autotrack.objects.recipe import Recipe
from autotrack.objects.seal import Seal, seal_of
from autotrack.objects.sweep import NotNow, sweep


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "objects")


def add(kept: Kept, path: Path, save: str = "save", run: str = "run") -> int:
    return kept.add(run, save, str(path), look_at(str(path))).new


def recipe(kept: Kept, save: str = "save", run: str = "run") -> Recipe:
    found = Shelf(kept).recipe(run, save)
    assert found is not None
    return found


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def series(folder: Path, count: int = 10) -> list[Path]:
    """Checkpoints of a model of which only the last layer is trained."""
    folder.mkdir(parents=True)
    model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
    paths = [folder / f"epoch={number}.ckpt" for number in range(count)]
    for number, path in enumerate(paths):
        with torch.no_grad():
            model[-1].weight.add_(1)
        torch.save({"state_dict": model.state_dict(), "epoch": number}, path)
    return paths


def test_ten_saves_of_a_frozen_backbone_take_less_than_a_fifth_and_come_back_byte_for_byte(
    kept: Kept, tmp_path: Path
) -> None:
    paths = series(tmp_path / "ck")
    for path in paths:
        add(kept, path, path.stem)
    assert size_of(tmp_path / "objects") < 0.2 * size_of(tmp_path / "ck")
    for path in paths:
        Shelf(kept).rebuild(recipe(kept, path.stem), tmp_path / "again")
        assert filecmp.cmp(path, tmp_path / "again", shallow=False)
        (tmp_path / "again").unlink()
    changed, same = changed_parts(recipe(kept, paths[0].stem), recipe(kept, paths[1].stem))
    assert (changed, same > 40) == (["data.pkl", "state_dict.19.weight"], True)


def test_what_was_read_before_gets_the_same_recipe_and_is_hashed_anew_where_it_was_not(
    kept: Kept, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint-5"
    series(folder / "a", count=2)
    (folder / "large.bin").write_bytes(random.Random(0).randbytes(9 * 1024 * 1024))
    look = look_at(str(folder))
    seal = seal_of(str(folder), look)
    assert seal is not None
    kept.add("run", "unread", str(folder), look)
    kept.add("run", "read", str(folder), look, known=seal.files)
    kept.add("run", "half", str(folder), look, known=seal.files[:1])
    unread = recipe(kept, "unread")
    assert unread.digest == seal.digest
    assert [recipe(kept, save) for save in ("read", "half")] == [
        unread._replace(save=save) for save in ("read", "half")
    ]


def test_reading_into_a_pack_finds_what_reading_finds_and_keeps_nothing_damaged(
    kept: Kept, tmp_path: Path
) -> None:
    (folder := tmp_path / "checkpoint-5").mkdir()
    torch.save({"encoder": torch.ones(5000), "head": torch.zeros(7)}, folder / "model.pt")
    (folder / "large.bin").write_bytes(random.Random(0).randbytes(9 * 1024 * 1024))
    (folder / "empty").touch()
    found: list[Seal] = []
    kept.add("run", "whole", str(folder), look_at(str(folder)), take=found.append)
    assert found == [seal_of(str(folder), look_at(str(folder)))]
    assert recipe(kept, "whole").digest == found[0].digest
    before = sorted(os.walk(kept.packs.parent))
    data = bytearray((folder / "model.pt").read_bytes())
    data[data.index(torch.ones(9).numpy().tobytes()) + 5] ^= 1
    (folder / "model.pt").write_bytes(data)
    with pytest.raises(NotWhole, match="'encoder'"):
        kept.add("run", "damaged", str(folder), look_at(str(folder)), take=found.append)
    assert found[1:] == [seal_of(str(folder), look_at(str(folder)))]
    assert sorted(os.walk(kept.packs.parent)) == before


def test_folders_odd_names_empty_files_and_unknown_formats_come_back(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-5"
    (folder / "a b" / "ü").mkdir(parents=True)
    torch.save({"w": torch.ones(1000), "none": torch.zeros(0)}, folder / "a b" / "ü" / "model.pt")
    (folder / "empty").touch()
    (folder / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"x" * 10)
    (folder / "large.bin").write_bytes(random.Random(0).randbytes(9 * 1024 * 1024))
    digest = digest_of(str(folder), look_at(str(folder)))
    add(kept, folder)
    assert recipe(kept).digest == digest
    Shelf(kept).rebuild(recipe(kept), tmp_path / "again")
    assert digest_of(str(tmp_path / "again"), look_at(str(tmp_path / "again"))) == digest
    assert list(Shelf(kept).damages(recipe(kept))) == []


def test_what_changes_while_it_is_read_is_not_kept_and_leaves_nothing(kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(40 * 1024 * 1024))
    for change in (
        lambda: os.replace(tmp_path / "other", path),
        lambda: os.truncate(path, 1000),
        path.unlink,
        lambda: path.write_bytes(b"shorter"),
    ):
        path.write_bytes(os.urandom(40 * 1024 * 1024))
        (tmp_path / "other").write_bytes(b"other")
        pending = deque([change])
        with pytest.raises(OSError, match=r"changed|shorter|No such file"):
            kept.add("run", "save", str(path), look_at(str(path)), pace=partial(do_one, pending))
        assert not kept.has("run", "save")
        assert [one.name for one in kept.packs.iterdir()] == ["lock"]


def do_one(waiting: deque[Callable[[], object]]) -> None:
    if waiting:
        waiting.popleft()()


def test_no_flipped_bit_in_a_pack_or_recipe_is_ever_given_out(kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    weight = torch.arange(300.0)
    torch.save({"encoder.weight": weight, "bias": torch.ones(20)}, path)
    add(kept, path)
    [pack] = packs_in(kept.packs)
    inside = pack.read_bytes().index(weight.numpy().tobytes())
    named = set()
    for file, step in ((pack, 3), (kept.recipe_path("run", "save"), 7)):
        whole = file.read_bytes()
        for place in range(0, len(whole), step):
            broken = bytearray(whole)
            broken[place] ^= 1 << (place % 8)
            file.write_bytes(broken)
            target = tmp_path / "again"
            shelf = Shelf(kept)
            try:
                found = shelf.recipe("run", "save")
                assert found is not None
                shelf.rebuild(found, target)
                assert target.read_bytes() == path.read_bytes()
                target.unlink()
            except NotWhole:
                pass
            assert not target.exists()
            if file is pack and inside <= place < inside + 1200:
                named |= {damage.part for damage in shelf.damages(recipe(kept))}
        file.write_bytes(whole)
    assert named == {"encoder.weight"}


def test_a_pack_that_is_gone_or_cut_off_is_told(kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(5000)}, path)
    add(kept, path)
    [pack] = packs_in(kept.packs)
    for length in (0, 10, 20_000, pack.stat().st_size - 1):
        os.truncate(pack, length)
        assert "w" in {damage.part for damage in Shelf(kept).damages(recipe(kept))}
        with pytest.raises(NotWhole):
            Shelf(kept).rebuild(recipe(kept), tmp_path / "again")
    pack.unlink()
    assert {damage.why[:7] for damage in Shelf(kept).damages(recipe(kept))} == {"is gone"}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\b"])
def test_a_recipe_with_a_name_that_leads_outside_is_refused(kept: Kept, tmp_path: Path, name: str) -> None:
    from zlib import crc32

    path = kept.recipe_path("run", "save")
    path.parent.mkdir(parents=True)
    text = '[{"format":1,"run":"run","save":"save","path":"/x","digest":"","files":[{"name":%s,"size":1,"digest":"","format":"file"}]},'
    data = (text % f'"{name}"'.replace("\\", "\\\\")).encode()
    path.write_bytes(data + str(crc32(data)).encode() + b"]\n")
    with pytest.raises(NotWhole):
        Shelf(kept).recipe("run", "save")


def test_sweeping_frees_what_nobody_needs_and_nothing_else(kept: Kept, tmp_path: Path) -> None:
    paths = series(tmp_path / "ck", 6)
    for path in paths:
        add(kept, path, path.stem)
    (kept.packs / "123-left.tmp").write_bytes(b"x" * 1000)
    before = size_of(kept.packs)
    for path in paths[:-1]:
        assert kept.drop("run", path.stem)
    told = sweep(kept, dry=True).size
    assert size_of(kept.packs) == before
    assert sweep(kept, dry=False).size == told
    assert before - size_of(kept.packs) == pytest.approx(told, rel=0.1)
    assert told > 4 * 64 * 64 * 4
    Shelf(kept).rebuild(recipe(kept, paths[-1].stem), tmp_path / "again")
    assert filecmp.cmp(paths[-1], tmp_path / "again", shallow=False)
    assert sweep(kept, dry=True).size == 0


def test_a_pack_of_which_less_than_half_is_used_is_written_anew(kept: Kept, tmp_path: Path) -> None:
    small, large = torch.ones(1000), torch.randn(100_000)
    torch.save({"small": small, "large": large}, tmp_path / "both.pt")
    torch.save({"small": small}, tmp_path / "small.pt")
    add(kept, tmp_path / "both.pt", "both")
    add(kept, tmp_path / "small.pt", "small")
    kept.drop("run", "both")
    sweep(kept, dry=False)
    assert size_of(kept.packs) < 20_000
    Shelf(kept).rebuild(recipe(kept, "small"), tmp_path / "again")
    assert filecmp.cmp(tmp_path / "small.pt", tmp_path / "again", shallow=False)


def test_nothing_is_swept_while_a_recipe_is_damaged_or_somebody_keeps(kept: Kept, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1000)}, tmp_path / "model.pt")
    add(kept, tmp_path / "model.pt", "one")
    kept.recipe_path("run", "one").write_bytes(b"[{}]")
    with pytest.raises(NotWhole):
        sweep(kept, dry=False)
    assert len(packs_in(kept.packs)) == 1
    kept.recipe_path("run", "one").unlink()
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(kept.packs / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(NotNow):
            sweep(kept, dry=False)
        other.kill()
    assert sweep(kept, dry=False).size > 0
    assert packs_in(kept.packs) == []


def test_a_pinned_checkpoint_is_not_dropped(kept: Kept, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(10)}, tmp_path / "model.pt")
    add(kept, tmp_path / "model.pt")
    kept.pin_path("run", "save").touch()
    assert not kept.drop("run", "save")
    kept.pin_path("run", "save").unlink()
    assert kept.drop("run", "save")
    assert not kept.drop("run", "save")


def test_several_keep_at_once(kept: Kept, tmp_path: Path) -> None:
    paths = series(tmp_path / "ck", 8)
    threads = [threading.Thread(target=add, args=(kept, path, path.stem)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path in paths:
        assert list(Shelf(kept).damages(recipe(kept, path.stem))) == []


def test_a_link_keeps_the_bytes_that_lose_their_name(kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(500)}, path)
    data, look = path.read_bytes(), look_at(str(path))
    folder = kept.link("run", "save", str(path), look)
    path.unlink()
    assert (folder / "model.pt").read_bytes() == data
    assert Shelf(kept).recipe("run", "save") is None

    seal = seal_of(str(folder / "model.pt"), look_at(str(folder / "model.pt")))
    assert seal is not None
    kept.settle_linked("run", "save", str(path), seal.files)
    Shelf(kept).rebuild(recipe(kept), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data
    broken = bytearray(data)
    broken[data.index(torch.ones(500).numpy().tobytes()) + 7] ^= 1
    (folder / "model.pt").write_bytes(broken)
    [damage] = Shelf(kept).damages(recipe(kept))
    assert "'w'" in damage.why
    kept.drop("run", "save")
    assert not folder.exists()
