"""GPUs by NVML: the real pynvml over boards that are described by the test (see standin/pynvml.py)."""

from collections.abc import Callable
from typing import Any

import pytest

from autotrack.sampler.gpu import index_of

GIB = 2**30
Read = Callable[..., dict[str, Any]]


def board(number: int, **facts: Any) -> dict[str, Any]:
    whole = {
        "uuid": f"GPU-{number}aaa-bbbb-cccc",
        "utilization": 10 * number + 7,
        "memory": [number * GIB + GIB, 16 * GIB],
        "milliwatts": 61_500 + number,
        "temperature": 40 + number,
    }
    return {key: value for key, value in (whole | facts).items() if value is not None}


def test_every_counter_has_its_unit(read_gpus: Read) -> None:
    found = read_gpus([board(0)])
    assert found["source"] == "nvml"
    assert found["values"] == {
        "system/gpu.0.utilization": 7,
        "system/gpu.0.memory": GIB,
        "system/gpu.0.memory_percent": 6.25,
        "system/gpu.0.power": 61.5,
        "system/gpu.0.temperature": 40,
    }


def test_what_a_board_does_not_tell_is_left_out(read_gpus: Read) -> None:
    found = read_gpus([board(0, utilization=None, milliwatts=None), board(1, memory=None, temperature=None)])
    assert set(found["values"]) == {
        "system/gpu.0.memory",
        "system/gpu.0.memory_percent",
        "system/gpu.0.temperature",
        "system/gpu.1.utilization",
        "system/gpu.1.power",
    }


def test_a_lost_board_does_not_hide_the_others(read_gpus: Read) -> None:
    found = read_gpus([board(0), board(1, lost=True), board(2)])
    assert found["indices"] == [0, 2]
    assert found["values"]["system/gpu.2.utilization"] == 27


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        ("2,0", [2, 0]),
        (" 1 ", [1]),
        ("1,1", [1]),
        ("", []),
        ("-1", []),
        ("0,-1,2", [0]),
        ("0,9,2", [0]),
        ("GPU-1aaa-bbbb-cccc", [1]),
        ("GPU-2", [2]),
        ("GPU-", []),
        ("GPU-7", []),
        ("NoDevFiles", []),
    ],
)
def test_only_visible_boards_are_read_under_their_physical_index(
    read_gpus: Read, visible: str, indices: list[int]
) -> None:
    found = read_gpus([board(0), board(1), board(2)], CUDA_VISIBLE_DEVICES=visible)
    assert found["indices"] == indices
    assert {key.split(".")[1] for key in found["values"]} == {str(index) for index in indices}


def test_a_mig_instance_counts_its_own_memory_under_its_board(read_gpus: Read) -> None:
    instances = [{"uuid": f"MIG-{number}", "memory": [number * GIB, 4 * GIB]} for number in (1, 2, 3)]
    boards = [board(0), board(1, utilization=None, instances=instances)]
    found = read_gpus(boards, CUDA_VISIBLE_DEVICES="MIG-1,MIG-3")
    assert found["values"] == {
        "system/gpu.1.memory": 4 * GIB,
        "system/gpu.1.memory_percent": 50,
        "system/gpu.1.power": 61.501,
        "system/gpu.1.temperature": 41,
    }


def test_the_older_names_of_mig_instances_name_their_board() -> None:
    assert index_of("MIG-GPU-5b/3/0", {0: "GPU-4a", 4: "GPU-5b"}) == 4


def test_a_driver_that_does_not_answer_is_reported_and_read_no_further(read_gpus: Read) -> None:
    found = read_gpus([board(0)], NVML_INIT="9")
    assert found["source"] is None
    assert "DriverNotLoaded" in found["why"]
    assert found["values"] == {}
