"""Checkpoint files that are whole, cut off, damaged or hostile: told apart without loading any of them."""

import io
import os
import pickle
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autotrack.digests import look_at
from autotrack.objects.reading import check
from autotrack.objects.seal import seal_of
from autotrack.objects.shards import missing
from autotrack.objects.torchnames import names_of

Make = Callable[[Path], None]
STATE = {"encoder.weight": torch.arange(5000.0), "encoder.bias": torch.ones(70), "step": torch.tensor(3)}


def write_zip(path: Path, *members: tuple[str, bytes], packed: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, data in members:
            archive.writestr(name, data)


MAKERS: dict[str, tuple[str, Make]] = {
    "model.pt": ("torch", lambda path: torch.save(STATE, path)),
    "epoch=1.ckpt": ("torch", lambda path: torch.save({"state_dict": STATE, "epoch": 1}, path)),
    "old.pt": (
        "torch before 1.6",
        lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    ),
    "model.safetensors": ("safetensors", lambda path: save_file(STATE, path)),
    "arrays.npz": ("npz", lambda path: np.savez_compressed(path, x=np.arange(3000), y=np.ones(3))),
    "model.joblib": ("pickle", lambda path: joblib.dump({"x": np.arange(3000)}, path) and None),
    "model.skops": (
        "skops",
        lambda path: write_zip(path, ("schema.json", b"{}" * 40), ("1.npy", b"z" * 999)),
    ),
    "weights.bin": ("file", lambda path: path.write_bytes(bytes(range(256)) * 40) and None),
}


@pytest.fixture(params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    format, make = MAKERS[request.param]
    make(tmp_path / request.param)
    return tmp_path / request.param, format


def test_each_format_is_known_and_whole(made: tuple[Path, str]) -> None:
    path, format = made
    found = check(str(path), sync=True)
    assert (found.format, found.problem) == (format, None)


def test_a_file_that_was_cut_off_is_told_wherever_it_was_cut(made: tuple[Path, str]) -> None:
    path, format = made
    if format in ("file", "torch before 1.6"):
        return  # nothing in them says where they end
    data = path.read_bytes()
    for length in [0, 30, *range(64, len(data), max(1, len(data) // 50)), len(data) - 1]:
        path.write_bytes(data[:length])
        assert check(str(path)).problem is not None, length


def test_a_flipped_bit_in_a_tensor_is_found_and_the_tensor_named_where_torch_says_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": STATE}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.arange(5000.0).numpy().tobytes()) + 400] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["state_dict"]["encoder.weight"], STATE["encoder.weight"])
    assert (
        check(str(path)).problem == "the tensor 'state_dict.encoder.weight' is damaged: its CRC-32 is another"
    )


def test_damage_to_what_is_compressed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, x=np.arange(3000))
    data = bytearray(path.read_bytes())
    data[900] ^= 8
    path.write_bytes(data)
    assert "x.npy" in str(check(str(path)).problem)


def test_what_was_saved_without_checksums_counts_as_unchecked(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    torch.save(STATE, path)
    torch.serialization.set_crc32_options(before)
    found = check(str(path))
    assert found.problem is None
    assert found.unchecked > 20_000


def header(rows: bytes, length: int | None = None, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(rows) if length is None else length) + rows + rest


LYING = {
    "2**63 bytes of header": header(b"{}", 2**63),
    "more header than file": header(b"{}", 1000),
    "no JSON": header(b'{"a": '),
    "deep JSON": header(b"[" * 200_000),
    "a list": header(b"[1]"),
    "negative": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}', rest=bytes(4)),
    "beyond the end": header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', rest=bytes(4)),
    "a hole": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', rest=bytes(8)),
    "another shape": header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', rest=bytes(4)),
    "huge shape": header(
        b'{"a":{"dtype":"F32","shape":[1000000000000,1000000000000],"data_offsets":[0,4]}}', rest=bytes(4)
    ),
    "true for 1": header(b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', rest=bytes(4)),
    "no offsets": header(b'{"a":{"dtype":"F32","shape":[1]}}', rest=bytes(4)),
    "something behind": header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', rest=bytes(9)),
}


@pytest.mark.parametrize("lie", sorted(LYING))
def test_a_header_that_lies_is_a_problem_and_no_more(tmp_path: Path, lie: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(LYING[lie])
    assert check(str(path)).problem is not None


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../../x", "a/../../x", "C:/x", "..\\x"])
def test_members_that_would_leave_their_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt"
    write_zip(path, ("archive/data.pkl", b"."), (name, b"evil"))
    assert "outside" in str(check(str(path)).problem)


def altered(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    changed = bytearray(data)
    place = changed.index(signature) + offset
    changed[place : place + len(value)] = value
    return bytes(changed)


def test_encrypted_overlapping_and_lying_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    write_zip(path, ("a/data.pkl", b"." * 100), ("a/data/0", b"x" * 100))
    whole = path.read_bytes()
    central = b"PK\x01\x02"
    for offset, value, word in [
        (8, b"\x01\x00", "encrypted"),
        (20, struct.pack("<I", 0x7FFFFFF0), "cut off"),
        (42, struct.pack("<I", 50), "begin"),
        (24, struct.pack("<I", 7), "two different lengths"),
    ]:
        path.write_bytes(altered(whole, central, offset, value))
        assert word in str(check(str(path)).problem), word
    second = whole.index(central, whole.index(central) + 1)
    path.write_bytes(whole[: second + 42] + struct.pack("<I", 0) + whole[second + 46 :])
    assert check(str(path)).problem is not None


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    write_zip(path, ("x.npy", bytes(300_000_000)), packed=zipfile.ZIP_DEFLATED)
    path.write_bytes(altered(path.read_bytes(), b"PK\x01\x02", 24, struct.pack("<I", 1000)))
    begun = time.process_time()
    assert "1000 bytes" in str(check(str(path)).problem)
    assert time.process_time() - begun < 1


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.environ['MARKER']}",)


def test_a_pickle_with_a_payload_is_read_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "executed"
    monkeypatch.setenv("MARKER", str(marker))
    for value in ({"w": torch.ones(3), "evil": _Payload()}, _Payload()):
        torch.save(value, tmp_path / "model.pt")
        assert check(str(tmp_path / "model.pt")).problem is None
        data = zipfile.ZipFile(tmp_path / "model.pt").read("model/data.pkl")
        assert set(names_of(data).values()) <= {"w"}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_Payload()))
    assert check(str(tmp_path / "model.pkl")).format == "pickle"
    assert not marker.exists()


def test_names_are_found_in_odd_pickles_and_nothing_is_raised_by_others() -> None:
    tied: dict[str, Any] = {"self": None}
    tied["self"] = tied
    tied["list"] = [tied, tied]
    assert names_of(pickle.dumps(tied)) == {}
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    target = io.BytesIO()
    torch.save({"state_dict": STATE, "more": [torch.ones(2), (torch.zeros(1),)]}, target)
    data = zipfile.ZipFile(target).read("archive/data.pkl")
    assert "more.1" in names_of(data).values()
    for _ in range(400):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        begun = time.process_time()
        names_of(bytes(broken))
        assert time.process_time() - begun < 10, seed


def test_damaged_files_of_every_format_raise_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for name, (_, make) in MAKERS.items():
        path = tmp_path / name
        make(path)
        data = path.read_bytes()
        for _ in range(120):
            broken = bytearray(data)
            for _ in range(chance.randrange(1, 8)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            path.write_bytes(broken[: chance.choice([len(broken), chance.randrange(len(broken))])])
            begun = time.process_time()
            found = check(str(path))
            assert time.process_time() - begun < 10, (name, seed)
            assert len(found.digest) == 64


def test_a_shard_that_an_index_names_is_missed_and_a_distributed_save_without_its_end(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}'
    )
    names = ["model.safetensors.index.json", "one.safetensors"]
    assert missing(str(tmp_path), names) == [
        "model.safetensors.index.json names 'two.safetensors', which is not there"
    ]
    assert missing(str(tmp_path), [*names, "two.safetensors"]) == []
    assert "written last" in missing(str(tmp_path), ["__0_0.distcp"])[0]
    assert missing(str(tmp_path), ["__0_0.distcp", ".metadata"]) == []
    assert missing(str(tmp_path), ["step/__0_0.distcp", "step/.metadata"]) == []


def test_an_empty_file_in_a_folder_is_damage_only_where_weights_should_be(tmp_path: Path) -> None:
    (tmp_path / "added_tokens.txt").touch()
    save_file(STATE, tmp_path / "model.safetensors")
    found = seal_of(str(tmp_path), look_at(str(tmp_path)))
    assert found is not None
    assert found.problem is None
    (tmp_path / "optimizer.pt").touch()
    found = seal_of(str(tmp_path), look_at(str(tmp_path)))
    assert found is not None
    assert found.problem == "optimizer.pt: it is empty"
