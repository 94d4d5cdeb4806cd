"""What `torch.distributed.checkpoint.save` writes is one checkpoint, complete when its `.metadata` is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

import autotrack
from autotrack.testing import only_run

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("armed")]


@pytest.fixture
def armed(store: Path) -> Iterator[None]:
    autotrack.torch.autolog()
    yield
    autotrack.autolog(disable=True)


def test_a_sharded_folder_is_one_checkpoint(tmp_path: Path) -> None:
    with autotrack.init(project="p"):
        dcp.save({"w": torch.ones(1000)}, checkpoint_id=str(tmp_path / "step-1"))
        torch.save({"w": torch.ones(10)}, tmp_path / "model.pt")
    folder, file = only_run().checkpoints
    assert (folder.path, folder.by, folder.files) == (
        str(tmp_path / "step-1"),
        "torch.distributed.checkpoint.save",
        2,
    )
    assert (folder.state, file.by, file.state) == ("sealed", "torch.save", "sealed")


def test_one_that_was_never_finished_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "step-1"
    dcp.save({"w": torch.ones(1000)}, checkpoint_id=str(folder))
    (folder / ".metadata").unlink()
    with pytest.warns(autotrack.AutotrackWarning, match="written last"), autotrack.init(project="p") as run:
        run.log_checkpoint(folder)
    assert only_run().checkpoints[0].state == "damaged"
