"""Models that are kept from memory, when they come faster than they can be written."""

import threading
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack import background, memory, sealing
from autotrack.memory import keep_model
from autotrack.testing import only_run


@pytest.fixture
def run(store: Path) -> Any:
    return autotrack.init(project="p")


def test_of_more_models_than_memory_is_to_hold_the_newest_are_kept(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 25)
    busy = threading.Event()
    background.submit(busy.wait, 60)
    for number in range(5):
        keep_model(run, f"{number}.pkl", b"0123456789", "pickle", "Model")
    busy.set()
    background.drain(100)
    sealing.wait(60)
    found = {one.path: one.state for one in only_run().checkpoints}
    kept = {path for path, state in found.items() if state == "stored"}
    assert len(found) == 5
    assert kept == {"memory://3.pkl", "memory://4.pkl"}


class Overtaken(bytes):
    """While somebody looks at its size, the helper thread takes the oldest model."""

    def __len__(self) -> int:
        if memory._waiting:
            memory._waiting.popleft()
        return 10


def test_the_helper_thread_may_take_a_model_while_another_is_kept(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 15)
    monkeypatch.setattr(memory, "store_later", lambda work: None)
    for number in range(4):
        keep_model(run, f"{number}.pkl", Overtaken(10), "pickle", "Model")
    assert not memory._waiting
