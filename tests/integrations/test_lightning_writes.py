"""Lightning with a CheckpointIO of another kind: each save is one event, when its file is there, whoever writes it and in what thread."""

import importlib
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from tiny_lightning import data, model, trainer

import autotrack
from autotrack.testing import only_run

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning saves below the working folder."""
    monkeypatch.chdir(tmp_path)


def plugins(pl: Any) -> Any:
    return importlib.import_module(f"{pl.__name__}.plugins.io")


def fit(pl: Any, io: Any, callbacks: list[Any], **more: Any) -> Any:
    settings = {"max_epochs": 4, "enable_checkpointing": True, "plugins": [io], **more}
    made = trainer(pl, callbacks, **settings)
    made.fit(model(pl), data(), data())
    return made


def saver(pl: Any, folder: Path, **more: Any) -> Any:
    return pl.callbacks.ModelCheckpoint(folder, filename="{epoch}", monitor="val", **more)


def gated(pl: Any) -> tuple[Any, Any, list[tuple[str, int]]]:
    """An AsyncCheckpointIO that writes nothing before the last epoch is over, the callback that opens it, and what it has written."""
    gate, written = Event(), []

    class Waits(plugins(pl).TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            assert gate.wait(20)
            super().save_checkpoint(checkpoint, path, storage_options)
            written.append((path, Path(path).stat().st_size))

    class Opens(pl.Callback):
        def on_train_end(self, trainer: Any, module: Any) -> None:
            assert autotrack.runs()[0].checkpoints == []
            gate.set()

    return plugins(pl).AsyncCheckpointIO(Waits()), Opens(), written


def there(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.glob("*.ckpt") if not path.is_symlink()}


def test_what_another_thread_writes_has_its_own_step_score_and_size(store, pl, arm, tmp_path):
    io, opens, written = gated(pl)
    checks = saver(pl, tmp_path, save_top_k=2, save_last=True)
    fit(pl, io, [*arm(), checks, opens])
    found = only_run().checkpoints
    best = [one for one in found if "epoch=" in one.path]
    assert [(Path(one.path).name, one.step, one.epoch) for one in best] == [
        (f"epoch={epoch}.ckpt", 3 * epoch + 3, epoch) for epoch in range(4)
    ]
    assert {one.path: one.score for one in best}.items() >= {
        path: pytest.approx(float(score)) for path, score in checks.best_k_models.items()
    }.items()
    assert {one.monitor for one in best} == {"val"}
    last = [one for one in found if one not in best]
    assert [(one.step, one.state) for one in last] == [
        (3, "overwritten"),
        (6, "overwritten"),
        (9, "overwritten"),
        (12, "sealed"),
    ]
    assert {one.by for one in found} == {"ModelCheckpoint"}
    assert {one.path: one.size for one in found if one.state == "sealed"} == there(tmp_path)
    assert [(one.path, one.size) for one in found] == written


def test_a_link_to_what_is_not_written_yet_is_told(store, pl, arm, tmp_path):
    io, opens, _ = gated(pl)
    fit(pl, io, [*arm(), saver(pl, tmp_path, save_top_k=-1, save_last="link"), opens])
    assert [one.links for one in only_run().checkpoints] == [(), (), (), (str(tmp_path / "last.ckpt"),)]


def test_what_the_thread_could_not_write_is_no_checkpoint(store, pl, arm, tmp_path):
    gate, asked = Event(), []

    class Full(plugins(pl).TorchCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            asked.append(args)
            if len(asked) == 1:
                gate.wait(20)
                raise OSError("no room")
            super().save_checkpoint(*args, **kwargs)

    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            trainer.save_checkpoint(tmp_path / "mine.ckpt")
            gate.set()
            trainer.strategy.checkpoint_io._executor.submit(bool).result()

    io = plugins(pl).AsyncCheckpointIO(Full())
    with pytest.raises(OSError, match="no room"):
        fit(pl, io, [*arm(), Saves()], enable_checkpointing=False)
    run = only_run()
    assert [(one.step, one.size) for one in run.checkpoints] == [(6, (tmp_path / "mine.ckpt").stat().st_size)]
    assert run.status == "failed"


def test_what_a_wrapper_adds_behind_the_save_is_part_of_it(store, pl, arm, tmp_path):
    wrapping = importlib.import_module(f"{pl.__name__}.plugins.io.wrapper")._WrappingCheckpointIO

    class Adds(wrapping):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            super().save_checkpoint(checkpoint, path, storage_options)
            with open(path, "ab") as file:
                file.write(b"more")

    fit(pl, Adds(), [*arm(), saver(pl, tmp_path)], max_epochs=1)
    assert {one.path: one.size for one in only_run().checkpoints} == there(tmp_path)


def test_what_a_thread_of_the_users_own_has_written_is_noted_when_the_fit_is_over(store, pl, arm, tmp_path):
    gate = Event()

    class Own(plugins(pl).TorchCheckpointIO):
        threads: list[Thread]

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            def write() -> None:
                assert gate.wait(20)
                torch.save(checkpoint, path)

            self.threads = [*getattr(self, "threads", []), Thread(target=write)]
            self.threads[-1].start()

        def teardown(self) -> None:
            gate.set()
            for thread in self.threads:
                thread.join()

    fit(pl, Own(), [*arm(), saver(pl, tmp_path, save_top_k=-1)], max_epochs=2)
    found = only_run().checkpoints
    assert [(one.step, one.by) for one in found] == [(3, "ModelCheckpoint"), (6, "ModelCheckpoint")]
    assert {one.path: one.size for one in found} == there(tmp_path)


def test_of_a_fabric_too(store, tmp_path):
    from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

    io = AsyncCheckpointIO(TorchCheckpointIO())
    made = Fabric(accelerator="cpu", devices=1, plugins=[io], callbacks=[autotrack.AutoTrack()])
    made.log("loss", 1.0, step=7)
    made.save("x.ckpt", {"w": torch.ones(3)})
    io.teardown()
    [one] = only_run().checkpoints
    assert (one.path, one.step, one.size) == (
        str(tmp_path / "x.ckpt"),
        7,
        (tmp_path / "x.ckpt").stat().st_size,
    )
