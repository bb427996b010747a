from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline import inputs
from pipeline.operations import parse_augmentation
from records import schema
from records.types import Example

COUNT = 20


def decode(encoded: tf.Tensor) -> tf.Tensor:
    pixels = tf.io.decode_png(encoded, channels=1)
    return tf.ensure_shape(tf.cast(pixels, tf.float32), [8, 8, 1])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of flat pictures whose grey value is 10 times their label."""
    folder = tmp_path_factory.mktemp("shards")
    paths = [folder / "a", folder / "b"]
    for shard, path in enumerate(paths):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for label in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
                buffer = io.BytesIO()
                Image.new("L", (8, 8), 10 * label).save(buffer, "PNG")
                example = Example(
                    f"{label}.png", "png", False, 8, 8, True, 64, "", str(label), (), None
                )
                names = [str(n) for n in range(COUNT)]
                writer.write(
                    schema.encode_example(example, buffer.getvalue(), classes=names, box_classes=())
                )
    return paths


def test_evaluation_gives_each_picture_once_in_order_with_its_label(shards: list[Path]) -> None:
    batches = list(inputs.make_evaluation_dataset(shards, decode=decode, batch_size=6, count=COUNT))
    labels = np.concatenate([y for _, y in batches])
    np.testing.assert_array_equal(labels, np.arange(COUNT))
    images = np.concatenate([x for x, _ in batches])
    np.testing.assert_array_equal(images[:, 3, 3, 0], 10 * labels)
    assert [len(y) for _, y in batches] == [6, 6, 6, 2]


def test_records_that_are_missing_are_no_short_answer(shards: list[Path]) -> None:
    dataset = inputs.make_evaluation_dataset(shards[:1], decode=decode, batch_size=6, count=COUNT)
    with pytest.raises(tf.errors.FailedPreconditionError):
        list(dataset)


def training(shards: list[Path], seed: int, line: str = "") -> list[tuple[np.ndarray, np.ndarray]]:
    dataset = inputs.make_training_dataset(
        shards,
        decode=decode,
        batch_size=5,
        operations=parse_augmentation(line),
        count=COUNT,
        seed=seed,
    )
    return list(dataset.take(8).as_numpy_iterator())


@pytest.mark.parametrize("budget", [inputs.CACHE_BYTES_AT_MOST, 0])
def test_training_gives_each_picture_once_a_round_in_new_order(
    shards: list[Path], budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "CACHE_BYTES_AT_MOST", budget)
    labels = np.concatenate([y for _, y in training(shards, 1)])
    first, second = labels[:COUNT], labels[COUNT:]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first.tolist() != second.tolist() != list(range(COUNT))


def test_pictures_keep_their_labels_through_shuffling(shards: list[Path]) -> None:
    for images, labels in training(shards, 1, "flip|rot90"):
        np.testing.assert_allclose(images[:, 2, 5, 0], 10 * labels, atol=1e-3)


def test_the_seed_decides_order_and_augmentation(shards: list[Path]) -> None:
    line = "brightness(0.5)|noise(0.1)"
    runs = [training(shards, seed, line) for seed in (1, 1, 2)]
    for (x, y), (again_x, again_y) in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)
    assert any((y != other).any() for (_, y), (_, other) in zip(runs[0], runs[2], strict=True))
    # No two rounds see the same picture augmented the same way.
    flat: dict[int, list[np.ndarray]] = {y: [] for y in range(COUNT)}
    for images, labels in runs[0]:
        for image, label in zip(images, labels, strict=True):
            flat[int(label)].append(image)
    assert all(len(views) == 2 and (views[0] != views[1]).any() for views in flat.values())


def test_grey_statistics_are_those_of_all_values(shards: list[Path]) -> None:
    dataset = inputs.make_evaluation_dataset(shards, decode=decode, batch_size=6, count=COUNT)
    values = 10.0 * np.arange(COUNT)
    assert inputs.measure_grey(dataset) == pytest.approx((values.mean(), values.var()))
    flat = tf.data.Dataset.from_tensors((np.full((2, 4, 4, 1), 7.0), [0, 0]))
    assert inputs.measure_grey(flat) == (7.0, 1.0)
