"""The stock recipe of Keras for the autoencoder's own architecture.

    PYTHONPATH=. python tests/benchmarks/stock_training.py FOLDER SIZE BATCH_SIZE TARGET SEED EPOCHS

`image_dataset_from_directory`, kept in memory after the first epoch, Keras' layers that augment,
`fit` with Adam at its own rate. As a program it trains until the accuracy on validation is TARGET,
an epoch a line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from models.autoencoder import build_autoencoder

MEAN, VARIANCE, RECONSTRUCTION_WEIGHT = 130.0, 2500.0, 0.5


def make_augmentation() -> keras.Sequential:
    """`flip|vflip|brightness(0.1)|contrast(0.2)`."""
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal_and_vertical"),
            keras.layers.RandomBrightness(0.1, value_range=(0, 255)),
            keras.layers.RandomContrast(0.2, value_range=(0, 255)),
        ]
    )


def read(folder: Path, *, size: int, batch_size: int, shuffle: bool) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=batch_size, color_mode="grayscale",
        shuffle=shuffle, seed=0, verbose=False,
    )  # fmt: skip


def make_training_dataset(folder: Path, *, size: int, batch_size: int) -> tf.data.Dataset:
    """Decoded once, shuffled anew and augmented in every epoch."""
    single = read(folder, size=size, batch_size=batch_size, shuffle=False).unbatch().cache()
    shuffled = single.shuffle(2048).batch(batch_size, drop_remainder=True)
    augment = make_augmentation()
    return shuffled.map(
        lambda images, labels: (augment(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)


class StockTraining:
    """A compiled model and its data sets."""

    def __init__(self, folder: Path, *, size: int, batch_size: int, seed: int = 0) -> None:
        keras.utils.set_random_seed(seed)
        training = make_training_dataset(folder / "train", size=size, batch_size=batch_size)
        validation = read(folder / "validation", size=size, batch_size=64, shuffle=False)
        self.training = training.map(_with_targets)
        self.validation = validation.cache().map(_with_targets).prefetch(tf.data.AUTOTUNE)
        classes = sum(path.is_dir() for path in (folder / "train").iterdir())
        built = build_autoencoder(
            image_size=size, channels=1, classes=classes, mean=MEAN, variance=VARIANCE
        )
        outputs = {name: built.output[name] for name in ("logits", "reconstruction")}
        self.model = keras.Model(built.input, outputs)
        self.model.compile(
            keras.optimizers.Adam(),
            {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
             "reconstruction": keras.losses.MeanSquaredError()},
            loss_weights={"logits": 1.0, "reconstruction": RECONSTRUCTION_WEIGHT / VARIANCE},
            metrics={"logits": "accuracy"},
        )  # fmt: skip

    def fit(self, epochs: int, *callbacks: Any) -> None:
        self.model.fit(
            self.training,
            validation_data=self.validation,
            epochs=epochs,
            callbacks=list(callbacks),
            verbose=0,
        )


class Stopper(keras.callbacks.Callback):
    """Says what every epoch reached, and stops at the target."""

    def __init__(self, target: float) -> None:
        super().__init__()
        self._target = target

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        accuracy = (logs or {})["val_logits_accuracy"]
        print(f"epoch {epoch + 1}: val accuracy {accuracy:.4f};", flush=True)
        self.model.stop_training = accuracy >= self._target


def _with_targets(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    return images, {"logits": labels, "reconstruction": images}


def main(folder: str, size: str, batch_size: str, target: str, seed: str, epochs: str) -> None:
    training = StockTraining(
        Path(folder), size=int(size), batch_size=int(batch_size), seed=int(seed)
    )
    training.fit(int(epochs), Stopper(float(target)))


if __name__ == "__main__":
    main(*sys.argv[1:])
