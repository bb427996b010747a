from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.autoencoder import build_autoencoder
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
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, object]:
    keras.utils.set_random_seed(0)
    model = build_autoencoder(image_size=32, channels=1, classes=2, mean=120.0, variance=900.0)
    folder = tmp_path_factory.mktemp("saved") / "1"
    write_saved_model(folder, model, IO_NIO)
    return model, tf.saved_model.load(str(folder))


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


def test_signatures_and_their_shapes(saved: tuple) -> None:
    _, loaded = saved
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
    from models.cam import make_cam

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
