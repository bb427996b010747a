"""The recipe of keras.io for a frozen Xception, until an accuracy on validation is reached.

PYTHONPATH=. python tests/benchmarks/stock_xception.py FOLDER SIZE BATCH_SIZE TARGET WEIGHTS
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras

EPOCHS_AT_MOST = 1000


def read(folder: Path, *, size: int, batch_size: int) -> object:
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=batch_size, seed=0, verbose=False
    ).prefetch(1)


def build(weights: str, size: int, classes: int) -> keras.Model:
    network = keras.applications.Xception(
        include_top=False, weights=weights, input_shape=(size, size, 3)
    )
    network.trainable = False
    image = keras.Input([size, size, 3])
    x = network(keras.applications.xception.preprocess_input(image), training=False)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(classes)(x))


class Stopper(keras.callbacks.Callback):
    """Says what every epoch reached, and stops at the target."""

    def __init__(self, target: float) -> None:
        super().__init__()
        self._target = target

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        accuracy = (logs or {})["val_accuracy"]
        print(f"epoch {epoch + 1}: val accuracy {accuracy:.4f};", flush=True)
        self.model.stop_training = accuracy >= self._target


def main(folder: str, size: str, batch_size: str, target: str, weights: str) -> None:
    training, validation = (
        read(Path(folder) / split, size=int(size), batch_size=int(batch_size))
        for split in ("train", "validation")
    )
    model = build(weights, int(size), sum(1 for _ in (Path(folder) / "train").iterdir()))
    model.compile(
        keras.optimizers.Adam(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        training, validation_data=validation, epochs=EPOCHS_AT_MOST,
        callbacks=[Stopper(float(target))], verbose=0,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
