"""What a picture looks like in a few numbers: light, contrast, detail, whatever it shows.

| statistic | meaning |
| --- | --- |
| `mean_grey` | mean grey value, 0 to 255 |
| `contrast` | standard deviation of the grey values |
| `shadows` | grey value that 1 % of the pixels do not exceed |
| `highlights` | grey value that 99.9 % of the pixels do not exceed |
| `brightest` | grey value of the brightest pixel |
| `comb` | energy of the histogram's levels that stand out from their neighbours over that of all: \
a gain applied to whole grey values leaves gaps or doubles at equal distances |
| `sharpness` | log2 of the energy of the finest details over that of details twice as large: what \
is pictured and how it is lit cancel |
| `noise` | log2 of the deviation of pixel noise in grey values |

They are taken at the picture's own size: a blur of a pixel cannot be seen any more once a large
picture has been shrunk. Of a picture some lines are measured, evenly from top to bottom: enough for
what is watched over many pictures, and a small part of the cost of decoding it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

PICTURE_STATISTICS = (
    *("mean_grey", "contrast", "shadows", "highlights", "brightest"),
    *("comb", "sharpness", "noise"),
)
"""What `measure_picture` gives, in its order."""

_SHARES = np.array([0.01, 0.999, 1], np.float32)  # of `shadows`, `highlights`, `brightest`
_GREYS = np.arange(256, dtype=np.float32)
_LOG_2 = np.float32(np.log(2.0))
_LINES = 64
_REACH = 2  # lines above and below, and columns beside, that a detail reaches to
# Keeps logarithms finite; far below what rounding to whole grey values adds.
_FLOOR = 0.02


def measure_picture(pixels: tf.Tensor) -> tf.Tensor:
    """Measures one picture.

    Args:
        pixels: float32 `[height, width, channels]`, 0 to 255, at the picture's own size.

    Returns:
        float32 `[len(PICTURE_STATISTICS)]`, finite. Channels count as more pixels of one grey, and
        grey values as whole numbers.
    """
    lines = _take_lines(pixels)
    levels = tf.cast(tf.round(tf.reshape(lines[:, _REACH], [-1])), tf.int32)
    counts = tf.raw_ops.Bincount(arr=levels, size=256, weights=tf.constant([], tf.float32))
    reached = tf.cumsum(counts)
    total = reached[-1]
    mean = tf.reduce_sum(counts * _GREYS) / total
    variance = tf.reduce_sum(counts * tf.square(_GREYS - mean)) / total
    # Of each share the lowest grey value that at least so many of the pixels do not exceed.
    is_below = reached < tf.math.ceil(_SHARES * total)[:, tf.newaxis]
    shadows, highlights, brightest = tf.unstack(
        tf.reduce_sum(tf.cast(is_below, tf.float32), axis=1)
    )
    fine, coarse, noise = tf.unstack(tf.math.log(_measure_detail(lines) + _FLOOR) / _LOG_2)
    comb = _measure_comb(counts)
    return tf.stack(
        [mean, tf.sqrt(variance), shadows, highlights, brightest, comb, fine - coarse, noise]
    )


def _take_lines(pixels: tf.Tensor) -> tf.Tensor:
    """Lines at equal distances with those around them: float32 `[lines, 5, width, channels]`.

    At the top and bottom edges lines are repeated outwards.
    """
    height = tf.shape(pixels)[0]
    step = (height + _LINES - 1) // _LINES
    middles = tf.range(step // 2, height, step)
    rows = middles[:, tf.newaxis] + tf.range(-_REACH, _REACH + 1)
    return tf.gather(pixels, tf.clip_by_value(rows, 0, height - 1))


def _measure_comb(counts: tf.Tensor) -> tf.Tensor:
    """How far the histogram is from its neighbours' mean, squared, less what chance explains.

    Counts vary by chance with a variance of their size, and the mean of two by half of that. Black
    and white are left out: there clipping piles up pixels.
    """
    levels = counts[1:-1]
    inner = levels[1:-1]
    steps = inner - (levels[:-2] + levels[2:]) / 2
    energy = tf.reduce_sum(tf.square(inner))
    return tf.reduce_sum(tf.square(steps) - 1.5 * inner) / tf.maximum(energy, 1.0)


def _measure_detail(lines: tf.Tensor) -> tf.Tensor:
    """Mean absolute value of the finest details and of those twice as large, and the noise.

    The finest are what smoothing by 1-2-1 both ways takes away, the larger what doing so once more
    does. The noise is that of J. Immerkaer, "Fast noise variance estimation", Computer Vision and
    Image Understanding 64 (1996) 300: the mean absolute response to a mask that even slopes cancel
    in. At the left and right edges columns are repeated outwards.

    Args:
        lines: float32 `[lines, 5, width, channels]`.

    Returns:
        float32 `[3]`.
    """
    grey = tf.reduce_mean(lines, axis=-1, keepdims=True)
    first, last = grey[:, :, :1], grey[:, :, -1:]
    wide = tf.concat([*[first] * _REACH, grey, *[last] * _REACH], axis=2)
    # One operation for three masks: of a picture this small the number of operations is the cost.
    responses = tf.nn.conv2d(wide, _MASKS, strides=1, padding="VALID")
    return tf.reduce_mean(tf.abs(responses), axis=[0, 1, 2]) * _SCALES


def _make_masks() -> npt.NDArray[np.float32]:
    """The three masks of `_measure_detail`, `[5, 5, 1, 3]`."""
    nothing, once, slope = [0, 0, 1, 0, 0], [0, 0.25, 0.5, 0.25, 0], [0, 1, -2, 1, 0]
    twice = np.array([1, 4, 6, 4, 1]) / 16  # 1-2-1 with itself
    middle, smooth, smoother, noise = (np.outer(row, row) for row in (nothing, once, twice, slope))
    masks = np.stack([middle - smooth, smooth - smoother, noise], axis=-1)
    return masks[:, :, np.newaxis].astype(np.float32)


_MASKS = _make_masks()
_SCALES = np.array([1, 1, np.sqrt(np.pi / 2) / 6], np.float32)
