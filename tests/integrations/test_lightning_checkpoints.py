"""Lightning: every save, link and removal of a checkpoint is an event of the run that wrote it."""

import importlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack import checkpoints
from autotrack.testing import only_run

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"
VALUES = (0.5, 0.25, 0.375, 0.125)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning saves below the working folder."""
    monkeypatch.chdir(tmp_path)


def model(pl: Any, fails_at: int | None = None) -> Any:
    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            if self.trainer.current_epoch == fails_at:
                raise ValueError("no more")
            return self.layer(batch[0]).pow(2).mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val", torch.tensor(VALUES[self.trainer.current_epoch]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Net()


def data() -> Any:
    return DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4)


def fit(pl: Any, callbacks: list[Any], fails_at: int | None = None) -> Any:
    trainer = pl.Trainer(
        max_epochs=4,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(model(pl, fails_at), data(), data())
    return trainer


def saver(pl: Any, folder: Path, **more: Any) -> Any:
    return importlib.import_module(f"{pl.__name__}.callbacks").ModelCheckpoint(
        folder, filename="{epoch}", **more
    )


def test_saves_have_their_scores_and_rotation_and_overwriting_are_told(store, pl, arm, tmp_path):
    fit(pl, [*arm(), saver(pl, tmp_path, monitor="val", save_top_k=2, save_last=True)])
    found = only_run().checkpoints
    best = [one for one in found if "epoch=" in one.path]
    assert [(Path(one.path).name, one.step, one.epoch, one.score, one.monitor) for one in best] == [
        (f"epoch={epoch}.ckpt", 2 * epoch + 2, epoch, value, "val") for epoch, value in enumerate(VALUES)
    ]
    assert [(one.state, one.why) for one in best] == [
        ("removed", "rotation"),
        ("sealed", None),
        ("removed", "rotation"),
        ("sealed", None),
    ]
    last = [one for one in found if one not in best]
    assert [(Path(one.path).name, one.step, one.state) for one in last] == [
        ("last.ckpt", 2, "overwritten"),
        ("last.ckpt", 4, "overwritten"),
        ("last.ckpt", 6, "overwritten"),
        ("last.ckpt", 8, "sealed"),
    ]
    assert {one.by for one in found} == {"ModelCheckpoint"}
    there = {str(path): path.stat().st_size for path in tmp_path.glob("*.ckpt")}
    assert {one.path: one.size for one in found if one.state == "sealed"} == there


def test_a_linked_last_stands_for_the_newest_save(store, pl, arm, tmp_path):
    fit(pl, [*arm(), saver(pl, tmp_path, monitor="val", save_top_k=1, save_last="link")])
    found = only_run().checkpoints
    assert [one.links for one in found] == [(), (), (str(tmp_path / "last.ckpt"),)]
    assert (tmp_path / "last.ckpt").resolve() == Path(found[-1].path)


def test_a_link_that_is_made_with_its_arguments_by_name_is_told_too(store, pl, arm, tmp_path):
    class Links(pl.callbacks.ModelCheckpoint):
        def _save_last_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
            last = str(tmp_path / "last.ckpt")
            self._link_checkpoint(trainer, linkpath=last, filepath=self._last_checkpoint_saved)

    fit(pl, [*arm(), Links(tmp_path)])
    assert only_run().checkpoints[-1].links == (str(tmp_path / "last.ckpt"),)


def test_the_users_own_saves_during_and_after_the_fit_belong_to_its_run(store, pl, arm, tmp_path):
    class Saver(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "mine.ckpt")

    trainer = fit(pl, [*arm(), Saver()])
    trainer.save_checkpoint(tmp_path / "mine.ckpt", weights_only=True)
    first, second = (one for one in only_run().checkpoints if one.by != "ModelCheckpoint")
    assert (first.by, second.by) == ("Trainer.save_checkpoint", "user")
    assert (first.path, first.step, first.state) == (str(tmp_path / "mine.ckpt"), 4, "overwritten")
    assert (second.path, second.step, second.state) == (first.path, 8, "sealed")
    assert second.size == (tmp_path / "mine.ckpt").stat().st_size
    assert only_run().status == "finished"


def test_what_a_training_is_resumed_from_is_the_newest_that_holds_more_than_the_weights(
    store, pl, arm, tmp_path
):
    trainer = fit(pl, [*arm(), pl.callbacks.ModelCheckpoint(tmp_path / "own")])
    torch.save(trainer.model.state_dict(), tmp_path / "weights.pt")
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    only_run()
    (own,) = (tmp_path / "own").iterdir()
    assert checkpoints.resume(autotrack.runs()[0].id) == own
    trainer.save_checkpoint(tmp_path / "final.ckpt")
    assert checkpoints.resume(only_run().id) == tmp_path / "final.ckpt"


def test_a_save_that_fails_is_no_checkpoint(store, pl, arm, tmp_path):
    class Saver(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            (tmp_path / "file").touch()
            with pytest.raises(OSError, match="file"):
                trainer.save_checkpoint(tmp_path / "file" / "mine.ckpt")

    fit(pl, [*arm(), Saver(), saver(pl, tmp_path)])
    assert {one.by for one in only_run().checkpoints} == {"ModelCheckpoint"}


def test_what_is_saved_because_of_an_exception_is_told_too(store, pl, arm, tmp_path):
    with pytest.raises(ValueError, match="no more"):
        fit(pl, [*arm(), saver(pl, tmp_path, save_last=True)], fails_at=2)
    run = only_run()
    assert run.status == "failed"
    assert run.checkpoints[-1].step == 4
    assert autotrack.get_run(run.id).checkpoints == run.checkpoints


def test_a_temporary_folder_on_another_file_system_is_warned_of(
    store: Path, pl: Any, arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning moves checkpoints from there, and a kill in the middle of a move leaves a part."""
    with warnings.catch_warnings(record=True) as none:
        warnings.simplefilter("always")
        fit(pl, [*arm(), saver(pl, tmp_path / "near")])
    assert not [one for one in none if "another file system" in str(one.message)]
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    with pytest.warns(autotrack.AutotrackWarning, match="another file system"):
        fit(pl, [*arm(), saver(pl, tmp_path / "far")])
    newest = autotrack.runs()[0]
    assert [one["slug"] for one in newest.warnings] == ["temporary-folder"]
    assert {one.state for one in newest.checkpoints if one.gone is None} <= {"sealed", "written"}
