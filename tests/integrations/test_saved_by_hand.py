"""What the user's own code saves: `torch.save`, safetensors' `save_file` and `save_model`, `joblib.dump`."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file, save_model

import autotrack
from autotrack.errors import AutotrackError, PickleRefused
from autotrack.testing import only_run

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("armed")]
STATE = {"w": torch.ones(30), "b": torch.zeros(3)}


@pytest.fixture
def armed(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    autotrack.autolog()
    yield
    autotrack.autolog(disable=True)


def test_each_is_one_checkpoint_of_the_open_run() -> None:
    with autotrack.init(project="p"):
        torch.save(STATE, "a.pt")
        torch.save(f=Path("b.pt"), obj=STATE)
        save_file(STATE, "c.safetensors")
        save_arrays({"x": np.ones(3)}, "d.safetensors")
        save_model(torch.nn.Linear(2, 2), "e.safetensors")
        joblib.dump({"x": 1}, "f.joblib")
        torch.save(STATE, "a.pt")
    found = only_run().checkpoints
    assert [(Path(one.path).name, one.by, one.format, one.state) for one in found[1:]] == [
        ("b.pt", "torch.save", "torch", "sealed"),
        ("c.safetensors", "safetensors.save_file", "safetensors", "sealed"),
        ("d.safetensors", "safetensors.save_file", "safetensors", "sealed"),
        ("e.safetensors", "safetensors.save_file", "safetensors", "sealed"),
        ("f.joblib", "joblib.dump", "pickle", "sealed"),
        ("a.pt", "torch.save", "torch", "sealed"),
    ]
    assert (Path(found[0].path).name, found[0].gone is not None) == ("a.pt", True)


def test_nothing_is_noted_outside_of_a_run_or_of_what_has_no_path_or_fails() -> None:
    torch.save(STATE, "before.pt")
    with autotrack.init(project="p"):
        with open("object.pt", "wb") as file:
            torch.save(STATE, file)
        with pytest.raises(RuntimeError):
            torch.save(STATE, "no/such/folder/model.pt")
        with pytest.raises(TypeError):
            torch.save(STATE)
    assert only_run().checkpoints == []


def test_what_joblib_writes_for_itself_is_no_checkpoint(tmp_path: Path) -> None:
    with autotrack.init(project="p"):
        cached = joblib.Memory(tmp_path / "cache", verbose=0).cache(np.ones)
        cached(100)
        joblib.Parallel(n_jobs=2, max_nbytes=100)(joblib.delayed(np.sum)(np.ones(1000)) for _ in range(2))
    assert only_run().checkpoints == []


def test_the_originals_stand_again_and_pickle_by_reference() -> None:
    assert pickle.loads(pickle.dumps(torch.save)) is torch.save
    armed = torch.save
    autotrack.autolog(disable=True)
    assert torch.save is not armed
    assert torch.save.__module__ == "torch.serialization"
    with autotrack.init(project="p"):
        torch.save(STATE, "a.pt")
    assert only_run().checkpoints == []


def test_each_is_loaded_again_and_a_pickle_only_when_that_is_allowed() -> None:
    with autotrack.init(project="p") as run:
        torch.save(STATE, "a.pt")
        save_file(STATE, "b.safetensors")
        joblib.dump({"x": 1}, "c.joblib")
        np.savez("d.npz", x=np.arange(3))
        run.log_checkpoint("d.npz")
        torch.save(torch.nn.Linear(2, 2), "e.pt")
        (Path("f.bin")).write_bytes(b"who knows")
        run.log_checkpoint("f.bin")
    ids = {Path(one.path).name: str(one.id) for one in only_run().checkpoints}
    load = autotrack.checkpoints.load
    assert torch.equal(load(ids["a.pt"])["w"], STATE["w"])
    assert torch.equal(load(ids["b.safetensors"])["w"], load_file("b.safetensors")["w"])
    assert load(ids["d.npz"])["x"].tolist() == [0, 1, 2]
    for name in ("c.joblib", "e.pt"):
        with pytest.raises(PickleRefused):
            load(ids[name])
    assert load(ids["c.joblib"], pickle=True) == {"x": 1}
    assert isinstance(load(ids["e.pt"], pickle=True), torch.nn.Linear)
    with pytest.raises(AutotrackError, match="nothing here can load"):
        load(ids["f.bin"])
