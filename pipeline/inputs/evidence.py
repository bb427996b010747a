"""What the evidence of a picture is to be: where its labelled objects are, cell by cell.

Boxes tell where the objects of a picture are. A picture without boxes is another matter: if its
class never has boxes, there is nothing to see in it; if other pictures of its class have some,
nobody marked what is there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

UNKNOWN = -1.0
COVERED = 0.25
"""Share of a cell's side, or of the side of a box smaller than a cell, from which on the box counts
there."""


def find_boxed_classes(
    labels: npt.NDArray[np.int64], boxes: npt.NDArray[np.float32], *, classes: int
) -> npt.NDArray[np.bool_]:
    """Whether any picture of a class has a box, `[classes]`.

    Args:
        labels: `[n]`; pictures of the training split that have a label.
        boxes: `[n, k, 4]`; rows that are not needed are all zero.
        classes: Number of classes.
    """
    has_boxes = np.any(boxes, axis=(1, 2))
    return np.array([np.any(has_boxes & (labels == label)) for label in range(classes)])


def make_evidence(
    labels: tf.Tensor,
    boxes: tf.Tensor,
    box_labels: tf.Tensor,
    *,
    cells: int,
    box_classes: int,
    is_boxed: npt.NDArray[np.bool_],
) -> tf.Tensor:
    """The evidence that a batch of pictures is to give.

    Args:
        labels: int64 `[batch]`; -1 where it is not to be known, and nothing of its boxes then.
        boxes: float32 `[batch, k, 4]`: xmin, ymin, xmax, ymax as fractions of the picture.
        box_labels: int64 `[batch, k]`; from 1 to `box_classes`, 0 where there is no box.
        cells: Cells of a side.
        box_classes: Number of classes of the boxes.
        is_boxed: Of each class whether its pictures have boxes.

    Returns:
        float32 `[batch, cells, cells, box_classes]`: 1 where an object of a class lies, 0 where
        none lies, everywhere `UNKNOWN` where that is not known; also where no class has boxes.
    """
    has_boxes = tf.reduce_any(boxes != 0.0, axis=[1, 2])
    is_bare = ~tf.gather(tf.constant(is_boxed), tf.maximum(labels, 0))
    is_known = (labels >= 0) & (has_boxes | is_bare) & bool(is_boxed.any())
    is_of_class = tf.one_hot(box_labels - 1, box_classes)
    count = tf.einsum("bkyx,bkc->byxc", cover_cells(boxes, cells), is_of_class)
    return tf.where(is_known[:, None, None, None], tf.minimum(count, 1.0), UNKNOWN)


def cover_cells(boxes: tf.Tensor, cells: int) -> tf.Tensor:
    """Which cells of a grid the boxes cover.

    Args:
        boxes: float32 `[batch, k, 4]`, fractions of the picture; boxes without an area cover none.
        cells: Cells of a side.

    Returns:
        float32 `[batch, k, cells, cells]`, rows from top to bottom: 1 where on both axes the
        overlap of box and cell is at least `COVERED` of the shorter one; else 0. So every box marks
        at least one cell, and a thin line all cells that it passes through for long.
    """
    edges = tf.range(cells + 1, dtype=tf.float32) / cells

    def covers(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        """Of every box with every row or column of cells, bool `[batch, k, cells]`."""
        low, high = low[..., None], high[..., None]
        overlap = tf.minimum(high, edges[1:]) - tf.maximum(low, edges[:-1])
        return (overlap > 0) & (overlap >= COVERED * tf.minimum(high - low, 1 / cells))

    xmin, ymin, xmax, ymax = tf.unstack(boxes, axis=-1)
    covered = covers(ymin, ymax)[..., :, None] & covers(xmin, xmax)[..., None, :]
    return tf.cast(covered, tf.float32)
