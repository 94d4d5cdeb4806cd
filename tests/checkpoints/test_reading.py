"""Files at the edges of what is read: compressed to nothing, and shapes of more numbers than anything has."""

import struct
import time
import zipfile
from pathlib import Path

import orjson
import pytest

from autotrack.objects.reading import check


@pytest.mark.parametrize("extra", range(0, 300, 7))
def test_a_whole_file_whose_end_comes_out_after_a_full_mebibyte_is_whole(tmp_path: Path, extra: int) -> None:
    path = tmp_path / "arrays.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2**20 + extra))
    assert check(str(path)).problem is None


def test_a_shape_of_very_many_large_numbers_takes_no_time(tmp_path: Path) -> None:
    tensor = {"dtype": "F32", "shape": [2**63] * 60_000, "data_offsets": [0, 4]}
    header = orjson.dumps({"a": tensor})
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    begun = time.process_time()
    assert check(str(path)).problem is not None
    assert time.process_time() - begun < 10
