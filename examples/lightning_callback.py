"""The same thing by hand: `AutoTrack()` in the trainer's callbacks, and plain `python lightning_callback.py`."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autotrack import AutoTrack


class Regressor(lightning.LightningModule):
    """One layer that learns the sum of eight numbers."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(8, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.layer(x).squeeze(1), y)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    lightning.seed_everything(0, verbose=False)
    x = torch.randn(128, 8)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[AutoTrack(project="examples", name="by hand")],
    )
    trainer.fit(Regressor(), DataLoader(TensorDataset(x, x.sum(dim=1)), batch_size=32))
