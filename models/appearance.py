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
import tensorflow as tf

PICTURE_STATISTICS = (
    *("mean_grey", "contrast", "shadows", "highlights", "brightest"),
    *("comb", "sharpness", "noise"),
)
"""What `measure_picture` gives, in its order."""

_SHADOWS, _HIGHLIGHTS = 0.01, 0.999
_LINES = 64
_REACH = 2  # lines above and below that a detail reaches to
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
    levels = tf.cast(tf.round(tf.reshape(lines[_REACH], [-1])), tf.int32)
    counts = tf.cast(tf.math.bincount(levels, minlength=256, maxlength=256), tf.float32)
    mean, variance = tf.nn.weighted_moments(tf.range(256.0), axes=[0], frequency_weights=counts)
    fine, coarse, noise = _measure_detail(tf.reduce_mean(lines, axis=-1))
    return tf.stack(
        [
            *(mean, tf.sqrt(variance)),
            *(_find_level(counts, _SHADOWS), _find_level(counts, _HIGHLIGHTS)),
            *(_find_level(counts, 1.0), _measure_comb(counts)),
            *(_log2(fine) - _log2(coarse), _log2(noise)),
        ]
    )


def _take_lines(pixels: tf.Tensor) -> tf.Tensor:
    """Lines at equal distances with those around them: float32 `[5, lines, width, channels]`.

    At the top and bottom edges lines are repeated outwards.
    """
    height = tf.shape(pixels)[0]
    step = (height + _LINES - 1) // _LINES
    middles = tf.range(step // 2, height, step)
    rows = middles + tf.range(-_REACH, _REACH + 1)[:, tf.newaxis]
    return tf.gather(pixels, tf.clip_by_value(rows, 0, height - 1))


def _find_level(counts: tf.Tensor, share: float) -> tf.Tensor:
    """The lowest grey value that at least `share` of the pixels do not exceed."""
    reached = tf.cumsum(counts)
    needed = tf.math.ceil(share * reached[-1])
    return tf.cast(tf.searchsorted(reached, needed[tf.newaxis])[0], tf.float32)


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


def _measure_detail(lines: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean absolute value of the finest details and of those twice as large, and the noise.

    The finest are what smoothing by 1-2-1 both ways takes away, the larger what doing so once more
    does. The noise is that of J. Immerkaer, "Fast noise variance estimation", Computer Vision and
    Image Understanding 64 (1996) 300: the mean absolute response to a mask that even slopes cancel
    in.

    Args:
        lines: float32 `[5, lines, width]`.
    """
    far_above, above, middle, below, far_below = tf.unstack(lines)
    beside = above + below
    once = _smooth((beside + 2.0 * middle) / 4.0)
    down_twice = (far_above + far_below + 4.0 * beside + 6.0 * middle) / 16.0
    response = _combine_columns(beside - 2.0 * middle, -2.0)
    return (
        tf.reduce_mean(tf.abs(middle - once)),
        tf.reduce_mean(tf.abs(once - _smooth(_smooth(down_twice)))),
        tf.reduce_mean(tf.abs(response)) * np.float32(np.sqrt(np.pi / 2) / 6),
    )


def _smooth(lines: tf.Tensor) -> tf.Tensor:
    return _combine_columns(lines, 2.0) / 4.0


def _combine_columns(lines: tf.Tensor, weight: float) -> tf.Tensor:
    """Each pixel times `weight` and its two neighbours; the edges are repeated outwards."""
    wide = tf.pad(lines, [[0, 0], [1, 1]], "SYMMETRIC")
    return wide[:, :-2] + weight * lines + wide[:, 2:]


def _log2(value: tf.Tensor) -> tf.Tensor:
    return tf.math.log(value + _FLOOR) / np.float32(np.log(2.0))
