"""A small Lightning module, its data and a quiet trainer, for either namespace."""

from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def data(rows: int = 12) -> Any:
    """Three batches of four rows."""
    made = torch.Generator().manual_seed(1)
    x, y = torch.randn(rows, 4, generator=made), torch.randn(rows, 1, generator=made)
    return DataLoader(TensorDataset(x, y), batch_size=4)


def model(pl: Any, configure: Any = None, **settings: Any) -> Any:
    """Two layers; logs `loss`, `val` and `test`; `configure(net)` makes the optimizers; keeps the rates it steps with in `used`."""

    class Net(pl.LightningModule):
        def __init__(self, **settings: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
            self.used: list[list[float]] = []

        def loss(self, batch: Any) -> Any:
            return ((self.head(self.body(batch[0])) - batch[1]) ** 2).mean()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val", self.loss(batch))

        def test_step(self, batch: Any, index: int) -> None:
            self.log("test", self.loss(batch))

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.used.append([group["lr"] for group in optimizer.param_groups])

        def configure_optimizers(self) -> Any:
            return configure(self) if configure else torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    return Net(**settings)


def trainer(pl: Any, callbacks: Any = (), **settings: Any) -> Any:
    """One epoch, no files, no output."""
    return pl.Trainer(callbacks=list(callbacks), **{"max_epochs": 1, **QUIET, **settings})
