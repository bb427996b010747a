"""Pictures a second of what is exported, in a plain `Session` as TensorFlow Serving runs it.

Compared are ways to write one network: as it was trained; with its batch normalisation
folded; with its weights as constants; both; both in bfloat16; and `keras.Model.predict`. All are
fed the same pictures, as tensors, in interleaved rounds. `serving_default`, with decoding, is what
`write_saved_model` writes.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.backbone import calibrate_batch_norm
from models.frozen_graph import PRECISIONS, fold_batch_norm, freeze
from models.registry import MODELS
from models.serving import ServingFacts, write_saved_model

ROUNDS = int(os.environ.get("NIOSCOPE_ROUNDS", "5"))
BATCHES = (1, 32)
SHOWN = max(BATCHES)
CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")

Work = Callable[[Any], Any]


def build(name: str) -> tuple[keras.Model, np.ndarray]:
    """A network with random weights and statistics of pictures, and 32 pictures."""
    keras.utils.set_random_seed(0)
    spec, rng = MODELS[name], np.random.default_rng(0)
    own = {"mean": 127.0, "variance": 1600.0} if spec.reconstructs else {}
    model = spec.build(image_size=spec.image_size, channels=1, classes=len(CLASSES), **own)
    coarse = rng.uniform(0, 255, (SHOWN, 25, 25, 1))
    images = np.round(tf.image.resize(coarse, [spec.image_size] * 2).numpy())
    calibrate_batch_norm(model, [tf.constant(images[:8])])
    return model, images


def open_session(folder: Path) -> Work:
    """What `serving_default` answers."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    signature = graph.signature_def["serving_default"]
    (fed,) = (tensor.name for tensor in signature.inputs.values())
    fetched = {name: tensor.name for name, tensor in signature.outputs.items()}
    return lambda values: session.run(fetched, {fed: values})


def write_network(folder: Path, answer: Work, images: np.ndarray, model: keras.Model) -> Work:
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
    archive.add_endpoint("serving_default", answer, [spec])
    archive.write_out(str(folder), verbose=False)
    return open_session(folder)


def list_ways(folder: Path, model: keras.Model, images: np.ndarray) -> dict[str, Work]:
    def asking(asked: keras.Model) -> Work:
        def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = asked(x, training=False)
            return outputs if isinstance(outputs, dict) else {"logits": outputs}

        return answer

    spec = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
    folded = fold_batch_norm(model)
    low = fold_batch_norm(model, precision="bfloat16")
    ways = {
        "as trained": asking(model),
        "folded": asking(folded),
        "frozen": freeze(asking(model), spec),
        "folded and frozen": freeze(asking(folded), spec),
        "the same in bfloat16": freeze(asking(low), spec),
    }
    written = {
        name: write_network(folder / name, answer, images, folded if name == "folded" else model)
        for name, answer in ways.items()
    }
    return {"Keras predict": lambda x: model.predict(x, verbose=0), **written}


def compare(ways: dict[str, Work], values: Any, *, title: str) -> None:
    """Prints pictures a second: the median of interleaved rounds, and their range."""
    for batch in BATCHES:
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(1 + ROUNDS):  # the first warms up
            for name, work in ways.items():
                started = time.perf_counter()
                for start in range(0, SHOWN, batch):
                    work(values[start : start + batch])
                speeds[name] += [SHOWN / (time.perf_counter() - started)] * (number > 0)
        for name, seen in speeds.items():
            median = statistics.median(seen)
            print(f"\n{title}, {name:22}{batch:3} at once{median:8.1f} pictures/s ", end="")
            print(f"({min(seen):.1f} to {max(seen):.1f})", end="")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_ways_to_write_a_network(name: str, tmp_path: Path) -> None:
    model, images = build(name)
    ways = list_ways(tmp_path, model, images)
    expected = softmax(ways["as trained"](images)["logits"])
    for way, work in ways.items():
        outputs = work(images)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        gap = np.abs(softmax(logits) - expected).max()
        print(f"\n{name}, {way:22} probabilities within {gap:.1e}", end="")
        assert gap < (0.1 if "bfloat16" in way else 1e-5)
    compare(ways, images, title=name)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_is_exported(name: str, tmp_path: Path) -> None:
    model, images = build(name)
    layer = MODELS[name].cam_layer
    facts = ServingFacts(CLASSES, CLASSES, "", 0.0, layer, "stretch")
    encoded = np.array([tf.io.encode_png(image.astype(np.uint8)).numpy() for image in images])
    ways: dict[str, Work] = {}
    for precision in PRECISIONS:
        started = time.perf_counter()
        write_saved_model(tmp_path / precision, model, facts, precision=precision)
        written = time.perf_counter()
        ways[precision] = open_session(tmp_path / precision)
        ways[precision](encoded[:1])
        size = sum(path.stat().st_size for path in (tmp_path / precision).rglob("*"))
        print(
            f"\n{name}, {precision}: {size / 1e6:.1f} MB, written in {written - started:.1f} s, "
            f"loaded and answering after {time.perf_counter() - written:.1f} s",
            end="",
        )
    compare(ways, encoded, title=name)


def softmax(logits: Any) -> np.ndarray:
    return tf.nn.softmax(logits).numpy()
