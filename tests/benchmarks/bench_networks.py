"""The networks alone, on pictures in memory: what is exported against other ways to run them.

Ours is the SavedModel's `predict_tensor`, two batches at a time as `predict` judges them, with its
decisions; against it Keras' `predict`, PyTorch and OpenVINO, which reads the same network as a
frozen graph of constants (its reader does not take the graph that decodes pictures), and what the
cores can do of the arithmetic. In float32, whose answers must be the same, and in bfloat16.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from models.registry import MODELS
from models.serving import ServingFacts, write_saved_model
from records.ahead import map_by_threads
from tests.benchmarks.arithmetic import count_operations, multiply
from tests.benchmarks.contest import BATCH_SIZE, Contest, make_contest
from tests.benchmarks.peers import Peer
from tests.benchmarks.rounds import CORES, Way, rounds_or, state, take_rounds
from tests.benchmarks.same_pictures import CLASSES

PICTURES = {"autoencoder": 256, "xception": 64}
CLOSE = {"float32": 1e-4, "bfloat16": 0.1}
HINTS = {"float32": "f32", "bfloat16": "bf16"}


def write_frozen_graph(path: Path, model: keras.Model) -> Path:
    """The network as it is, its variables made constants; logits are its only output."""

    def answer(images: tf.Tensor) -> tf.Tensor:
        outputs = model(images, training=False)
        return outputs["logits"] if isinstance(outputs, dict) else outputs

    shape = [BATCH_SIZE, *model.input_shape[1:]]
    traced = tf.function(answer).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    graph = convert_variables_to_constants_v2(traced).graph.as_graph_def()
    path.write_bytes(graph.SerializeToString())
    return path


def ask_exported(folder: Path, contest: Contest, precision: str) -> Callable[[Any], np.ndarray]:
    """What answers with probabilities."""
    layer = MODELS[contest.name].cam_layer
    facts = ServingFacts(CLASSES, CLASSES, "", 0.0, layer, "letterbox")
    write_saved_model(folder, contest.model, facts, precision=precision)
    loaded = tf.saved_model.load(str(folder))

    def judge(images: np.ndarray) -> np.ndarray:
        return loaded.signatures["predict_tensor"](images=tf.constant(images))[
            "probabilities"
        ].numpy()

    def answer(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH_SIZE)
        batches = (images[start : start + BATCH_SIZE] for start in starts)
        return np.concatenate(list(map_by_threads(judge, batches, threads=2, most=2, name="model")))

    return answer


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["autoencoder", "xception"])
def test_networks(name: str, precision: str, real_data: Path, tmp_path: Path) -> None:
    contest = make_contest(name, real_data, tmp_path)
    count, side = PICTURES[name], contest.model.input_shape[1]
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 25, 25, 1))
    images = np.round(tf.image.resize(coarse, [side, side]).numpy()).astype(np.uint8)
    ours = ask_exported(tmp_path / "exported", contest, precision)
    expected = predict_by_keras(contest.model, images)
    network, paths = contest.write_for_peers(tmp_path, images)
    graph = write_frozen_graph(tmp_path / "graph.pb", contest.model)
    outs = tmp_path / "torch.npz", tmp_path / "openvino.npz"
    dtype = tf.as_dtype(precision)
    operations = count * count_operations(contest.model)
    with (
        Peer("torch_predict.py", network, paths, outs[0]) as torch,
        Peer("openvino_predict.py", graph, network, outs[1], HINTS[precision]) as openvino,
    ):
        asked = "tensors" if precision == "float32" else "bfloat16"
        ways: dict[str, Way] = {
            "ours": lambda: discard(ours(images)),
            "PyTorch": lambda: torch.ask(asked),
            "OpenVINO": lambda: openvino.ask("judge"),
            f"the arithmetic of {CORES} cores": functools.partial(
                multiply, operations, dtype=dtype
            ),
        }
        if precision == "float32":
            ways["Keras predict"] = lambda: discard(predict_by_keras(contest.model, images))
        taken = take_rounds(ways, rounds=rounds_or(5))
        torch.ask("equal")
    answers = {"ours": ours(images), "OpenVINO": np.load(outs[1])["probabilities"]}
    if precision == "float32":
        answers["PyTorch"] = np.load(outs[0])["probabilities"]
    for way, answer in answers.items():
        gap = np.abs(answer - expected).max()
        print(f"\n{name}, {precision}, {way}: probabilities within {gap:.1e}", end="")
        # In bfloat16 the others round where they like.
        assert gap < CLOSE[precision] or (precision, way) == ("bfloat16", "OpenVINO")
    for way in list(ways)[1:]:
        what = f"judging {count} pictures in memory, {name}, {precision}"
        state("networks", what, way, taken["ours"], taken[way], pictures=count)


def discard(_: np.ndarray) -> None:
    """All seconds of what came before count."""


def predict_by_keras(model: keras.Model, images: np.ndarray) -> np.ndarray:
    outputs = model.predict(images.astype(np.float32), batch_size=BATCH_SIZE, verbose=0)
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    return tf.nn.softmax(logits).numpy()
