"""Judging pictures: the exported SavedModel against `keras.Model.predict`, same pictures and model.

Both start from files on disk and end with probabilities in memory.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.autoencoder import build_autoencoder
from models.serving import ServingFacts, write_saved_model
from records.sample import draw_data_set
from records.types import Split

ROUNDS = 5
BATCH_SIZE = 32


def test_saved_model_against_keras_predict(tmp_path: Path) -> None:
    counts: dict[Split, int] = {"train": 10, "validation": 10, "test": 400}
    draw_data_set(tmp_path / "pictures", seed=0, counts=counts)
    images = tmp_path / "pictures" / "test" / "images"
    paths = sorted(images.rglob("*.*"))
    model = build_autoencoder(image_size=128, channels=1, classes=2, mean=90.0, variance=900.0)
    facts = ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "gated", "letterbox")
    write_saved_model(tmp_path / "1", model, facts)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]

    def ours() -> np.ndarray:
        answers = []
        for start in range(0, len(paths), BATCH_SIZE):
            encoded = [path.read_bytes() for path in paths[start : start + BATCH_SIZE]]
            answers.append(serve(image_bytes=tf.constant(encoded))["probabilities"].numpy())
        return np.concatenate(answers)

    def keras_predict() -> np.ndarray:
        dataset = keras.utils.image_dataset_from_directory(
            images, image_size=(128, 128), color_mode="grayscale", batch_size=BATCH_SIZE,
            shuffle=False, verbose=False,
        ).map(lambda x, y: x)  # fmt: skip
        return tf.nn.softmax(model.predict(dataset, verbose=0)["logits"]).numpy()

    # It resizes without antialiasing, so its answers are near ours, not equal.
    assert ours().shape == keras_predict().shape == (400, 2)
    times: dict[str, list[float]] = {"ours": [], "keras": []}
    for _ in range(ROUNDS):
        for name, work in (("ours", ours), ("keras", keras_predict)):
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(times["ours"], times["keras"], strict=True)]
    print(
        f"\npredict, 400 pictures, {ROUNDS} rounds: SavedModel "
        f"{400 / statistics.median(times['ours']):.0f} pictures/s, Keras predict "
        f"{400 / statistics.median(times['keras']):.0f}; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
