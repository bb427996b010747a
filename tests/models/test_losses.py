from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from models.losses import EvidenceLoss, WeightedCrossEntropy, balanced_class_weights


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_cross_entropy_is_weighted_by_class() -> None:
    loss = WeightedCrossEntropy([1.0, 3.0])
    logits = tf.constant([[2.0, 0.0], [2.0, 0.0]])
    seen = loss.call(tf.constant([0, 1], tf.int64), logits).numpy()
    np.testing.assert_allclose(seen, [softplus(-2.0), 3 * softplus(2.0)], rtol=1e-6)


def test_unlabelled_pictures_are_passed_over() -> None:
    loss = WeightedCrossEntropy([1.0, 3.0])
    logits = tf.constant([[2.0, 0.0], [5.0, -9.0], [2.0, 0.0], [0.0, 0.0]])
    labels = tf.constant([0, -1, 1, -1], tf.int64)
    alone = loss(tf.constant([0, 1], tf.int64), tf.gather(logits, [0, 2]))
    assert float(loss(labels, logits)) == pytest.approx(float(alone), rel=1e-6)
    assert loss.of_pictures(labels, logits).numpy()[[0, 2]] == pytest.approx(
        [softplus(-2.0), 3 * softplus(2.0)]
    )
    nothing = loss(tf.constant([-1, -1, -1, -1], tf.int64), logits)
    assert float(nothing) == 0.0


def test_evidence_weighs_both_kinds_of_cells_alike() -> None:
    target = tf.constant([[[1.0, 0.0], [0.0, 0.0]]])[..., tf.newaxis]
    logits = tf.constant([[[2.0, 1.0], [1.0, -2.0]]])[..., tf.newaxis]
    expected = softplus(-2.0) + (2 * softplus(1.0) + softplus(-2.0)) / 3
    assert float(EvidenceLoss()(target, logits)) == pytest.approx(expected, rel=1e-6)
    empty = tf.zeros([1, 2, 2, 1])
    expected = (softplus(2.0) + 2 * softplus(1.0) + softplus(-2.0)) / 4
    assert float(EvidenceLoss()(empty, logits)) == pytest.approx(expected, rel=1e-6)


def test_each_class_of_evidence_weighs_its_own_cells() -> None:
    # One cell of the first class and three of the second; the other four hold nothing.
    target = tf.constant([[[[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    logits = tf.constant([[[[3.0, 1.0], [0.0, 2.0]], [[0.0, -1.0], [4.0, 0.0]]]])
    first = softplus(-3.0)
    second = (softplus(-1.0) + softplus(-2.0) + softplus(1.0)) / 3
    nothing = (3 * softplus(0.0) + softplus(4.0)) / 4
    expected = first + second + nothing
    assert float(EvidenceLoss()(target, logits)) == pytest.approx(expected, rel=1e-6)


def test_evidence_that_nobody_knows_costs_nothing_and_pulls_nowhere() -> None:
    known, unknown = tf.constant([[1.0, 0.0], [0.0, 0.0]]), -tf.ones([2, 2])
    target = tf.stack([known, unknown])[..., tf.newaxis]
    logits = tf.Variable(tf.random.stateless_normal([2, 2, 2, 1], [1, 2]))
    with tf.GradientTape() as tape:
        loss = EvidenceLoss()(target, logits)
    alone = EvidenceLoss()(target[:1], logits[:1])
    assert float(loss) == pytest.approx(float(alone), rel=1e-6)
    assert not tape.gradient(loss, logits)[1].numpy().any()
    assert float(EvidenceLoss()(-tf.ones([2, 2, 2, 1]), logits)) == 0.0


def test_balanced_weights_give_each_class_the_same_sum() -> None:
    weights = balanced_class_weights([30, 10])
    assert weights == [40 / 60, 40 / 20]
