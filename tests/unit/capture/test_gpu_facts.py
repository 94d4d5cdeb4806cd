"""The GPUs as NVML describes them (the real pynvml over a stand-in for the driver), and as `nvidia-smi` does (the real GPUtil)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STANDIN = Path(__file__).parent / "standin"
GIB = 2**30
A = {"uuid": "GPU-aa11", "name": "NVIDIA H100", "memory": 80 * GIB}
B = {"uuid": "GPU-bb22", "name": "NVIDIA H100", "memory": 80 * GIB}
SPLIT = {
    "uuid": "GPU-cc33",
    "name": "NVIDIA A100",
    "memory": 40 * GIB,
    "instances": [{"uuid": "MIG-1111"}, {"uuid": "MIG-2222"}],
}
SOURCE = """
import json, sys
if {loaded}:
    import pynvml
from autotrack.capture.base import Skip
from autotrack.capture.gpu import Gpu
gpu = Gpu()
try:
    facts, skip = gpu.collect(), None
except Skip as error:
    facts, skip = None, str(error)
print(json.dumps({{"facts": facts, "skip": skip, "note": gpu.note, "modules": sorted(sys.modules)}}))
"""
SMI = """\
0, GPU-aa11, 35, 24576, 6144, 18432, 550.54.14, NVIDIA RTX A5000, 1320921012345, Disabled, Disabled, 44
1, GPU-bb22, [N/A], [N/A], 12288, 12288, 550.54.14, NVIDIA RTX A5000, [N/A], Disabled, Disabled, [N/A]
"""


def ask(
    boards: list[dict[str, Any]] | None, *options: str, path: Path | None = None, **variables: str
) -> dict[str, Any]:
    """What the provider says in a process with these boards; None: pynvml is the installed one."""
    environment = {
        key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"
    } | variables
    if boards is not None:
        environment |= {
            "BOARDS": json.dumps(boards),
            "PYTHONPATH": os.pathsep.join([str(STANDIN), os.environ.get("PYTHONPATH", "")]),
        }
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        [sys.executable, *options, "-c", SOURCE.format(loaded=boards is not None)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *calls, last = done.stdout.splitlines()
    return json.loads(last) | {"calls": calls}


def test_nvml_gives_driver_cuda_names_memory_and_uuids_and_is_given_back() -> None:
    answer = ask([A, B])
    assert answer["facts"] == {
        "source": "nvml",
        "driver": "550.54.14",
        "cuda": "12.4",
        "visible": [0, 1],
        "gpus": {"0": A, "1": B},
    }
    assert answer["calls"] == ["init", "shutdown"]


def test_a_lost_board_and_an_unknown_memory_do_not_hide_the_others() -> None:
    facts = ask([A | {"lost": True}, {"uuid": "GPU-bb22", "name": "NVIDIA GB10"}])["facts"]
    assert facts["gpus"] == {"1": {"uuid": "GPU-bb22", "name": "NVIDIA GB10"}}
    assert facts["visible"] == [1]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("1", [1]),
        ("1,0", [1, 0]),
        ("1, 0", [1, 0]),
        ("", []),
        ("-1", []),
        ("0,9,1", [0]),
        ("GPU-bb", [1]),
        ("GPU-", []),
        ("MIG-2222", [2]),
        ("MIG-1111,MIG-2222", [2]),
        ("MIG-GPU-cc33/1/0", [2]),
        ("MIG-9999,0", []),
    ],
)
def test_cuda_visible_devices_leaves_the_gpus_that_cuda_would(chosen: str, expected: list[int]) -> None:
    facts = ask([A, B, SPLIT], CUDA_VISIBLE_DEVICES=chosen)["facts"]
    assert facts["visible"] == expected
    assert facts["gpus"]["2"]["mig"] == ["MIG-1111", "MIG-2222"]
    assert len(facts["gpus"]) == 3


def test_without_a_driver_the_reason_says_so_and_pynvml_is_not_imported() -> None:
    answer = ask(None)
    assert (answer["facts"], answer["skip"]) == (None, "no NVIDIA driver")
    assert "pynvml" not in answer["modules"]
    assert "subprocess" not in answer["modules"]


def test_a_driver_without_gpus_says_so() -> None:
    assert ask([])["skip"] == "the NVIDIA driver knows no GPU"


def test_nvml_without_its_library_and_no_nvidia_smi_is_no_driver() -> None:
    assert ask([A], NVML_INIT="12")["skip"] == "no NVIDIA driver"


@pytest.fixture
def smi(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat {folder}/answer.txt\nexit $(cat {folder}/code.txt)\n")
    program.chmod(0o755)
    (folder / "answer.txt").write_text(SMI)
    (folder / "code.txt").write_text("0")
    return folder


def test_where_nvml_has_no_library_nvidia_smi_is_asked_also_with_warnings_as_errors(smi: Path) -> None:
    answer = ask([A, B], "-W", "error", path=smi, NVML_INIT="12", CUDA_VISIBLE_DEVICES="1")
    assert answer["facts"] == {
        "source": "nvidia-smi",
        "driver": "550.54.14",
        "visible": [1],
        "gpus": {
            "0": {"name": "NVIDIA RTX A5000", "memory": 24 * GIB, "uuid": "GPU-aa11"},
            "1": {"name": "NVIDIA RTX A5000", "uuid": "GPU-bb22"},
        },
    }
    assert (
        answer["note"]
        == "NVML cannot be used: NVML Shared Library Not Found; GPUtil and nvidia-smi were asked instead"
    )
    assert not {"GPUtil", "distutils", "setuptools"} & set(answer["modules"])


def test_an_nvidia_smi_that_fails_is_a_reason_and_no_error(smi: Path) -> None:
    (smi / "answer.txt").write_text(
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    )
    (smi / "code.txt").write_text("9")
    answer = ask([A], path=smi, NVML_INIT="12")
    assert answer["facts"] is None
    assert answer["skip"].startswith(
        "NVML cannot be used: NVML Shared Library Not Found; GPUtil failed: ValueError"
    )
