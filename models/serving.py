"""The SavedModel's graph: from a picture's bytes to a decision, nothing left to the caller.

Signatures (tag `serve`), each with the batch as the unknown first dimension of every input and
output, so that TensorFlow Serving can batch requests and answer them row by row:

| signature | input | output |
| --- | --- | --- |
| `serving_default` | `image_bytes` string `[batch]` | the answers below |
| `explain` | the same | the answers, and `heatmap` float32 `[batch, h, w]`, 0 to 1 |
| `predict_tensor` | `images` uint8 `[batch, h, w, channels]` | the answers |
| `monitor` | as `serving_default` | the answers, and `statistics` float32 `[batch, n]`: see \
`models.monitoring` |

| answer | dtype and shape | meaning |
| --- | --- | --- |
| `label` | string `[batch]` | name of the class decided for |
| `label_index` | int64 `[batch]` | its index in `classes` |
| `probabilities` | float32 `[batch, classes]` | softmax of the calibrated logits |
| `classes` | string `[batch, classes]` | class names, the same in every row |
| `decision` | string `[batch]` | `pass`, `fail` or `review` |
| `score`, `threshold` | float32 `[batch]` | two classes only: probability of the positive class, \
and the value from which on it is decided for |
| `reconstruction_error` | float32 `[batch]` | autoencoder only: root mean squared error in grey \
values |
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import cam_weights
from models.autoencoder import reconstruction_error
from models.frozen_graph import FULL_PRECISION, fold_batch_norm, freeze
from models.monitoring import Answers, FeatureSpace, find_features, make_monitor
from models.picture import DECODED_AT_ONCE, decode_picture, standardize_pictures


@dataclass(frozen=True)
class ServingFacts:
    """What the graph must hold besides the model.

    Attributes:
        classes: Class names in the order of the logits.
        fail_classes: Those whose pictures do not pass.
        positive_class: With two classes the one that must be caught, else empty.
        threshold: With two classes the score from which on it is decided for.
        cam_layer: Layer the heatmap is made of.
        resize: How a picture becomes the model's input, as `models.picture.decode_picture` takes
            it. What `predict_tensor` is given has that form already; of a letterboxed picture the
            heatmap covers the filling too.
        temperature: What the logits are divided by, so that probabilities mean what they say.
        log_shares: What is then added `[classes]`, likewise; empty: nothing.
        review_low: With two classes: pictures with a score from here on and below `review_high` go
            to a person.
        review_high: See `review_low`.
        review_below: With more classes: pictures whose highest probability is below this do.
        standardize: Whether a picture's mean and contrast are evened out, as `decode_picture` takes
            it; those of `predict_tensor` are too.
    """

    classes: tuple[str, ...]
    fail_classes: tuple[str, ...]
    positive_class: str
    threshold: float
    cam_layer: str
    resize: str
    standardize: bool = False
    temperature: float = 1.0
    log_shares: tuple[float, ...] = ()
    review_low: float = 0.0
    review_high: float = 0.0
    review_below: float = 0.0


def write_saved_model(
    folder: Path,
    model: keras.Model,
    facts: ServingFacts,
    precision: str = FULL_PRECISION,
    *,
    space: FeatureSpace | None = None,
) -> None:
    """Writes `model` with its signatures, its batch normalisation folded.

    Args:
        folder: Must not exist or be empty.
        model: From `image`, float32 `[batch, size, size, channels]`, to `logits` and perhaps
            `reconstruction`.
        facts: What else the graph must hold.
        precision: `float32`; or `bfloat16`, which is faster on processors with instructions for it
            and may decide otherwise on a picture: see `models.frozen_graph.fold_batch_norm`. The
            weights are then constants of the graph.
        space: Where the classes lie among the model's features; without it there is no `monitor`.

    Raises:
        ValueError: `precision` is unknown, or the model has no layer `facts.cam_layer`.
    """
    size, channels = model.input_shape[1], model.input_shape[3]
    form: dict[str, Any] = {
        "image_size": size,
        "channels": channels,
        "resize": facts.resize,
        "standardize": facts.standardize,
    }

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        return _decode_batch(encoded, **form)

    served = fold_batch_norm(model, keep=[facts.cam_layer], precision=precision)
    everything = _make_explain(served, facts)
    if precision != FULL_PRECISION:
        everything = freeze(everything, tf.TensorSpec([None, size, size, channels], tf.float32))
    # TensorFlow does not run what no output needs, so the map costs nothing where it is left out.
    predict = _leave_out(everything, "heatmap", "features")
    explain = _leave_out(everything, "features")

    encoded = tf.TensorSpec([None], tf.string, "image_bytes")
    pixels = tf.TensorSpec([None, size, size, channels], tf.uint8, "images")
    endpoints: dict[str, tuple[Callable[[tf.Tensor], Answers], tf.TensorSpec]] = {
        "serving_default": (lambda image_bytes: predict(decode(image_bytes)), encoded),
        "explain": (lambda image_bytes: explain(decode(image_bytes)), encoded),
        "predict_tensor": (lambda images: predict(_to_input(images, facts)), pixels),
    }
    if space is not None:
        monitor = make_monitor(_leave_out(everything, "heatmap"), space, **form)
        endpoints["monitor"] = (monitor, encoded)
    _write(folder, endpoints)


def _write(
    folder: Path, endpoints: dict[str, tuple[Callable[[tf.Tensor], Answers], tf.TensorSpec]]
) -> None:
    # Not by `keras.export.ExportArchive`, which traces every endpoint twice.
    signatures = {
        name: tf.function(answer, input_signature=[spec], autograph=False).get_concrete_function()
        for name, (answer, spec) in endpoints.items()
    }
    holder = tf.Module()
    used = itertools.chain.from_iterable(one.variables for one in signatures.values())
    holder.kept = list({id(variable): variable for variable in used}.values())
    tf.saved_model.save(holder, str(folder), signatures=signatures)


def judge(logits: tf.Tensor, facts: ServingFacts) -> Answers:
    """Turns logits into answers.

    With two classes the positive one is decided for from the threshold on; with more the most
    probable. What is least certain goes to a person.

    Args:
        logits: float32 `[batch, classes]`.
        facts: Classes, positive class, temperature, threshold and review band.
    """
    scaled = tf.cast(logits, tf.float32) / np.float32(facts.temperature)
    if facts.log_shares:
        scaled += tf.constant(facts.log_shares, tf.float32)
    probabilities = tf.nn.softmax(scaled)
    batch = tf.shape(probabilities)[0]
    answers: Answers = {"probabilities": probabilities}
    if facts.positive_class:
        positive = facts.classes.index(facts.positive_class)
        threshold = tf.fill([batch], np.float32(facts.threshold))
        answers |= {"score": probabilities[:, positive], "threshold": threshold}
        index = tf.where(answers["score"] >= threshold, positive, 1 - positive)
        is_unsure = (answers["score"] >= np.float32(facts.review_low)) & (
            answers["score"] < np.float32(facts.review_high)
        )
    else:
        index = tf.argmax(probabilities, axis=-1)
        is_unsure = tf.reduce_max(probabilities, axis=-1) < np.float32(facts.review_below)
    fails = [name in facts.fail_classes for name in facts.classes]
    names = tf.constant(facts.classes)
    judged = tf.where(tf.gather(fails, index), "fail", "pass")
    return answers | {
        "label_index": tf.cast(index, tf.int64),
        "label": tf.gather(names, index),
        "decision": tf.where(is_unsure, "review", judged),
        "classes": tf.tile(names[tf.newaxis], [batch, 1]),
    }


def _leave_out(
    answer: Callable[[tf.Tensor], Answers], *names: str
) -> Callable[[tf.Tensor], Answers]:
    return lambda images: {name: of for name, of in answer(images).items() if name not in names}


def _to_input(pixels: tf.Tensor, facts: ServingFacts) -> tf.Tensor:
    images = tf.cast(pixels, tf.float32)
    return standardize_pictures(images) if facts.standardize else images


def _decode_batch(encoded: tf.Tensor, *, image_size: int, channels: int, **form: Any) -> tf.Tensor:
    # Picture by picture, so that pictures of many sizes can share a batch.
    return tf.map_fn(
        functools.partial(decode_picture, image_size=image_size, channels=channels, **form),
        encoded,
        fn_output_signature=tf.TensorSpec([image_size, image_size, channels], tf.float32),
        parallel_iterations=DECODED_AT_ONCE,
    )


def _make_explain(model: keras.Model, facts: ServingFacts) -> Callable[[tf.Tensor], Answers]:
    """From the model's input to all answers, the Grad-CAM++ map of the class decided for, features.

    The picture passes through the model once; the gradient is that of what lies above the layer.
    """
    outputs = {
        "activations": model.get_layer(facts.cam_layer).output,
        "logits": model.get_layer("logits").output,
        "features": find_features(model),
    }
    if isinstance(model.output, dict):
        outputs["reconstruction"] = model.output["reconstruction"]
    whole = keras.Model(model.input, outputs)

    def explain(images: tf.Tensor) -> Answers:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            seen = whole(images, training=False)
            answers = judge(seen["logits"], facts)
            evidence = tf.gather(seen["logits"], answers["label_index"], axis=1, batch_dims=1)
        activations = seen["activations"]
        gradients = tape.gradient(evidence, activations)
        weights = cam_weights.grad_cam_plus_plus_weights(activations, gradients)
        heatmap = cam_weights.render_heatmap(activations, weights, model.input_shape[1:3])
        answers |= {"heatmap": heatmap, "features": seen["features"]}
        if "reconstruction" in seen:
            answers["reconstruction_error"] = reconstruction_error(images, seen["reconstruction"])
        return answers

    return explain
