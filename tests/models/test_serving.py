from __future__ import annotations

import collections
import dataclasses
import io
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.autoencoder import build_autoencoder
from models.cam import make_cam
from models.frozen_graph import PRECISIONS
from models.picture import decode_picture, standardize_pictures
from models.serving import ServingFacts, judge, write_saved_model

IO_NIO = ServingFacts(("io", "nio"), ("nio",), "nio", 0.25, "gated", "stretch")
SIX = ServingFacts(("a", "b", "io"), ("a", "b"), "", 0.0, "gated", "stretch")


def png(size: tuple[int, int], seed: int, *, deep: bool = False) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = (
        rng.integers(0, 65536, size, np.uint16) if deep else rng.integers(0, 256, size, np.uint8)
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, dict[str, Path]]:
    """A model, and SavedModels of it by precision."""
    keras.utils.set_random_seed(0)
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=120.0, variance=900.0)
    rng = np.random.default_rng(0)
    for norm in model.layers:
        if isinstance(norm, keras.layers.BatchNormalization):  # as after training
            norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.weights])
    root = tmp_path_factory.mktemp("saved")
    for precision in PRECISIONS:
        write_saved_model(root / precision, model, IO_NIO, precision=precision)
    return model, {precision: root / precision for precision in PRECISIONS}


@pytest.fixture(scope="module")
def saved(folders: tuple) -> tuple[keras.Model, object]:
    return folders[0], tf.saved_model.load(str(folders[1]["float32"]))


@pytest.fixture(scope="module")
def low(folders: tuple) -> tuple[keras.Model, object]:
    return folders[0], tf.saved_model.load(str(folders[1]["bfloat16"]))


def test_two_classes_are_decided_by_the_threshold() -> None:
    # sigmoid(logit difference): 0.2, 0.25, 0.5
    logits = tf.constant([[np.log(4), 0], [np.log(3), 0], [0, 0]], tf.float32)
    answers = judge(logits, IO_NIO)
    np.testing.assert_allclose(answers["score"], [0.2, 0.25, 0.5], rtol=1e-6)
    assert answers["label_index"].numpy().tolist()[::2] == [0, 1]
    assert answers["decision"].numpy().tolist()[::2] == [b"pass", b"fail"]
    assert answers["threshold"].numpy().tolist() == [0.25] * 3


def test_a_score_on_the_threshold_fails() -> None:
    answers = judge(
        tf.zeros([1, 2]), ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "", "stretch")
    )
    assert answers["decision"].numpy().tolist() == [b"fail"]


def test_more_classes_are_decided_by_the_largest_and_only_io_passes() -> None:
    answers = judge(tf.constant([[1.0, 3, 2], [0, 0, 9]]), SIX)
    assert answers["label"].numpy().tolist() == [b"b", b"io"]
    assert answers["decision"].numpy().tolist() == [b"fail", b"pass"]
    assert answers["classes"].numpy().tolist() == [[b"a", b"b", b"io"]] * 2
    assert "score" not in answers
    assert "threshold" not in answers


def test_the_positive_class_may_come_first() -> None:
    facts = ServingFacts(("bad", "good"), ("bad",), "bad", 0.5, "", "stretch")
    answers = judge(tf.constant([[2.0, 0.0], [0.0, 2.0]]), facts)
    assert answers["label"].numpy().tolist() == [b"bad", b"good"]


@pytest.mark.parametrize("which", ["saved", "low"])
def test_signatures_and_their_shapes(which: str, request: pytest.FixtureRequest) -> None:
    _, loaded = request.getfixturevalue(which)
    assert set(loaded.signatures) == {"serving_default", "explain", "predict_tensor"}
    expected = {
        "label": (tf.string, [None]),
        "label_index": (tf.int64, [None]),
        "probabilities": (tf.float32, [None, 2]),
        "classes": (tf.string, [None, 2]),
        "score": (tf.float32, [None]),
        "threshold": (tf.float32, [None]),
        "decision": (tf.string, [None]),
        "reconstruction_error": (tf.float32, [None]),
    }
    for name, extra in (
        ("serving_default", {}),
        ("predict_tensor", {}),
        ("explain", {"heatmap": (tf.float32, [None, 32, 32])}),
    ):
        outputs = loaded.signatures[name].structured_outputs
        found = {key: (spec.dtype, spec.shape.as_list()) for key, spec in outputs.items()}
        assert found == expected | extra
    inputs = loaded.signatures["serving_default"].structured_input_signature[1]
    assert inputs["image_bytes"] == tf.TensorSpec([None], tf.string, "image_bytes")


def test_pictures_of_many_sizes_share_a_batch_and_do_not_touch_one_another(saved: tuple) -> None:
    _, loaded = saved
    serve = loaded.signatures["serving_default"]
    pictures = [png((32, 32), 1), png((7, 90), 2), png((64, 20), 3, deep=True)]
    together = serve(image_bytes=tf.constant(pictures))
    for index, picture in enumerate(pictures):
        alone = serve(image_bytes=tf.constant([picture]))
        for name in together:
            if together[name].dtype == tf.string:
                np.testing.assert_array_equal(together[name][index], alone[name][0])
            else:
                np.testing.assert_allclose(together[name][index], alone[name][0], atol=1e-5)


def test_bytes_tensor_and_keras_agree(saved: tuple) -> None:
    model, loaded = saved
    encoded = [png((32, 32), seed) for seed in range(4)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(e))) for e in encoded])[..., None]
    by_bytes = loaded.signatures["serving_default"](image_bytes=tf.constant(encoded))
    by_tensor = loaded.signatures["predict_tensor"](images=tf.constant(pixels))
    explained = loaded.signatures["explain"](image_bytes=tf.constant(encoded))
    keras_says = model(pixels.astype(np.float32), training=False)
    expected = tf.nn.softmax(keras_says["logits"]).numpy()
    error = np.sqrt(np.mean((pixels - keras_says["reconstruction"].numpy()) ** 2, axis=(1, 2, 3)))
    for answers in (by_bytes, by_tensor, explained):
        np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
        np.testing.assert_allclose(answers["reconstruction_error"], error, rtol=1e-4)
    assert explained["heatmap"].numpy().min() >= 0
    assert explained["heatmap"].numpy().max() <= 1


def test_pictures_are_letterboxed_where_the_model_was_trained_so(
    saved: tuple, tmp_path: Path
) -> None:
    model, stretching = saved
    facts = dataclasses.replace(IO_NIO, resize="letterbox")
    write_saved_model(tmp_path / "1", model, facts)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    encoded = [png((20, 64), 1), png((50, 10), 2), png((40, 40), 3)]
    images = [
        decode_picture(picture, image_size=32, channels=1, resize="letterbox")
        for picture in encoded
    ]
    logits = model(tf.stack(images), training=False)["logits"]
    expected = tf.nn.softmax(logits).numpy()
    for name in ("serving_default", "explain"):
        answers = loaded.signatures[name](image_bytes=tf.constant(encoded))
        np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
    stretched = stretching.signatures["serving_default"](image_bytes=tf.constant(encoded))
    gaps = np.abs(stretched["probabilities"] - expected).max(axis=1)
    assert (gaps[:2] > 1e-5).all()  # the two that are not square
    assert gaps[2] < 1e-6


def test_a_standardizing_model_does_so_for_bytes_and_for_pixels(
    saved: tuple, tmp_path: Path
) -> None:
    model, plain = saved
    write_saved_model(tmp_path / "1", model, dataclasses.replace(IO_NIO, standardize=True))
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures
    encoded = [png((32, 32), seed) for seed in range(3)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(e))) for e in encoded])[..., None]
    dimmed = (pixels // 4).astype(np.uint8)
    by_tensor = serve["predict_tensor"](images=pixels)
    expected = tf.nn.softmax(
        model(standardize_pictures(pixels.astype(np.float32)), training=False)["logits"]
    )
    for name in ("serving_default", "explain"):
        by_bytes = serve[name](image_bytes=tf.constant(encoded))
        np.testing.assert_allclose(by_bytes["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(by_tensor["probabilities"], expected, atol=1e-6)
    seen = serve["predict_tensor"](images=dimmed)["probabilities"]
    np.testing.assert_allclose(seen, expected, atol=2e-3)  # of the rounding to 8 bit
    raw = plain.signatures["predict_tensor"]
    gap = raw(images=dimmed)["probabilities"] - raw(images=pixels)["probabilities"]
    assert np.abs(gap).max() > 5e-3


def test_the_served_map_is_the_map_of_the_explain_stage(saved: tuple) -> None:
    model, loaded = saved
    encoded = [png((32, 32), seed) for seed in range(3)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(e))) for e in encoded])[..., None]
    served = loaded.signatures["explain"](image_bytes=tf.constant(encoded))
    cam = make_cam("gradcam++", model, "gated")
    expected = cam(pixels.astype(np.float32), served["label_index"].numpy().tolist())
    np.testing.assert_allclose(served["heatmap"], expected, atol=1e-4)


def test_no_saved_model_is_left_half(tmp_path: Path) -> None:
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=0.0, variance=1.0)
    bad = ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "no_such_layer", "stretch")
    with pytest.raises(ValueError, match="no_such_layer"):
        write_saved_model(tmp_path / "1", model, bad)
    assert not (tmp_path / "1").exists()


def test_in_bfloat16_all_signatures_say_nearly_what_the_model_says(low: tuple) -> None:
    model, loaded = low
    encoded = [png((32, 32), seed) for seed in range(4)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(e))) for e in encoded])[..., None]
    serve = loaded.signatures
    keras_says = model(pixels.astype(np.float32), training=False)
    expected = tf.nn.softmax(keras_says["logits"]).numpy()
    answers = serve["serving_default"](image_bytes=tf.constant(encoded))
    gap = np.abs(answers["probabilities"] - expected).max()
    assert 0 < gap < 0.01
    np.testing.assert_allclose(tf.reduce_sum(answers["probabilities"], axis=1), 1.0, atol=1e-6)
    error = np.sqrt(np.mean((pixels - keras_says["reconstruction"].numpy()) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(answers["reconstruction_error"], error, rtol=1e-2)
    explained = serve["explain"](image_bytes=tf.constant(encoded))
    by_tensor = serve["predict_tensor"](images=tf.constant(pixels))
    for others in (explained, by_tensor):
        np.testing.assert_allclose(others["probabilities"], answers["probabilities"], atol=gap / 2)
    plain = make_cam("gradcam++", model, "gated")
    expected_maps = plain(pixels.astype(np.float32), explained["label_index"].numpy().tolist())
    assert np.abs(explained["heatmap"] - expected_maps).mean() < 0.02


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_weight_is_written_once(folders: tuple, precision: str) -> None:
    model, written = folders
    normed = sum(x.count_params() for x in model.layers if "_norm" in x.name) // 4
    needed = (model.count_params() - 3 * normed) * (4 if precision == "float32" else 2)
    if precision == "float32":
        (data,) = (written[precision] / "variables").glob("variables.data*")
        held = data.stat().st_size
    else:
        functions = read_graph(written[precision]).library.function
        nodes = [node for function in functions for node in function.node_def]
        assert not {node.op for node in nodes} & {"VarHandleOp", "ReadVariableOp"}
        held = sum(node.ByteSize() for node in nodes if node.op == "Const")
    assert needed <= held < 1.1 * needed + 20_000


def test_no_signature_runs_a_normalisation_or_what_it_does_not_answer_with(folders: tuple) -> None:
    model, written = folders
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for signature, maps in (("serving_default", 0), ("explain", 1)):
        ran = run_and_list(written["float32"], signature, [png((32, 32), 0)])
        # A convolution with its bias and its ReLU, whether by oneDNN or not.
        joined = sum(count for op, count in ran.items() if "FusedConv2D" in op)
        assert joined >= len(norms)
        assert ran["Rsqrt"] == 0
        assert ran["ResizeBilinear"] == maps


def run_and_list(folder: Path, signature: str, encoded: list[bytes]) -> collections.Counter[str]:
    """The operations that TensorFlow runs for a signature, after all it does to a graph."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        found = loaded.signature_def[signature]
        metadata = tf.compat.v1.RunMetadata()
        session.run(
            [tensor.name for tensor in found.outputs.values()],
            {found.inputs["image_bytes"].name: encoded},
            options=tf.compat.v1.RunOptions(output_partition_graphs=True),
            run_metadata=metadata,
        )
    graphs = metadata.partition_graphs
    return collections.Counter(node.op for graph in graphs for node in graph.node)


def read_graph(folder: Path) -> tf.compat.v1.GraphDef:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        return tf.compat.v1.saved_model.load(session, ["serve"], str(folder)).graph_def
