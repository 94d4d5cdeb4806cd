"""A small network in Keras, on PyTorch unless KERAS_BACKEND says otherwise: `autotrack run keras_mlp.py --epochs 3`."""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.01)
    args = parser.parse_args()

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    y = x.sum(axis=1)
    model = keras.Sequential(
        [keras.layers.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile(optimizer=keras.optimizers.Adam(args.lr), loss="mse", metrics=["mae"])
    history = model.fit(x, y, epochs=args.epochs, batch_size=32, validation_split=0.25, verbose=0)
    print(f"validation loss {history.history['val_loss'][-1]:.4f}")


if __name__ == "__main__":
    main()
