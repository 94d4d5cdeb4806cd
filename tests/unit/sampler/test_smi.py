"""GPUs where NVML's library is missing: the real GPUtil, over a script that answers as `nvidia-smi` does."""

import json
from pathlib import Path
from typing import Any

import pytest

LINES = """\
0, GPU-aa11, 35, 24576, 6144, 18432, 550.54.14, NVIDIA RTX A5000, 1320921012345, Disabled, Disabled, 44
1, GPU-bb22, [N/A], 24576, 12288, 12288, 550.54.14, NVIDIA RTX A5000, [N/A], Disabled, Disabled, [N/A]
"""
SOURCE = """
import json, time
from autotrack.sampler.gpu import Gpus
gpus = Gpus()
values, until = gpus.read(), time.monotonic() + 10
while not values and gpus.source and time.monotonic() < until:
    time.sleep(0.02)
    values = gpus.read()
again = [gpus.read() for _ in range(5)]
print(json.dumps({"values": values, "again": again, "source": gpus.source, "indices": gpus.indices}))
"""


@pytest.fixture
def smi(tmp_path: Path) -> Path:
    """A folder with an `nvidia-smi` that notes each call in the file calls.txt."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls.txt\ncat {folder}/answer.txt\n')
    program.chmod(0o755)
    (folder / "answer.txt").write_text(LINES)
    return folder


def read(script: Any, smi: Path, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        script(SOURCE, path=str(smi), BOARDS="[]", NVML_INIT="12", **variables)
    )
    return found


def test_without_the_library_nvidia_smi_is_read_once_in_a_while(script: Any, smi: Path) -> None:
    found = read(script, smi)
    assert found["source"] == "nvidia-smi"
    assert found["values"] == {
        "system/gpu.0.utilization": 35,
        "system/gpu.0.memory": 6144 * 2**20,
        "system/gpu.0.memory_percent": 25,
        "system/gpu.0.temperature": 44,
        "system/gpu.1.memory": 12288 * 2**20,
        "system/gpu.1.memory_percent": 50,
    }
    assert found["again"] == [{}] * 5
    assert len((smi / "calls.txt").read_text().splitlines()) == 1


@pytest.mark.parametrize("visible", ["1", "GPU-bb22", "GPU-b"])
def test_only_visible_boards_are_read(script: Any, smi: Path, visible: str) -> None:
    assert read(script, smi, CUDA_VISIBLE_DEVICES=visible)["indices"] == [1]


def test_an_answer_that_is_no_table_yields_nothing(script: Any, smi: Path) -> None:
    (smi / "answer.txt").write_text("No devices were found\n")
    source = SOURCE.replace("+ 10", "+ 0.5")
    found = json.loads(script(source, path=str(smi), BOARDS="[]", NVML_INIT="12"))
    assert found["values"] == {}


def test_a_hanging_nvidia_smi_holds_nothing_up(script: Any, smi: Path) -> None:
    (smi / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 3\n")
    source = """
import time
from autotrack.sampler.gpu import Gpus
gpus = Gpus()
started = time.monotonic()
for _ in range(100):
    gpus.read()
print(time.monotonic() - started)
"""
    assert float(script(source, path=str(smi), BOARDS="[]", NVML_INIT="12")) < 0.5
