"""Sheets of feature maps: what the channels of each layer of a network make of one picture.

All channels of a layer are drawn on one scale, so that they can be compared; a channel that is
silent stays black. Black is 0 on every sheet. A layer without negative values is drawn in grey, up
to white. In a layer with negative values those above 0 are orange and those below 0 blue, which
colour-blind people tell apart; each is the lighter the further it is from 0.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from pipeline.figures.overlay import READABLE_PX
from pipeline.figures.palette import BLUE, ORANGE
from pipeline.figures.typeset import MARGIN_PX, add_caption, add_title, set_in_grid, set_in_row

FloatArray = npt.NDArray[np.float32]

COLUMNS = 8
SHEET_CHANNELS = 64
TILE_PX = 128
# Of each channel's cells. A spot can be several times as strong as all else and leave it dark.
SCALED_SHARE = 0.99

_ROWS_A_COLUMN = 22
_STEPS = 255  # from 0 to either end of a scale
# From the lowest value to the highest, 0 in the middle.
_UNSIGNED_COLOURS = ("black", "black", "white")
_SIGNED_COLOURS = ("#c8ecff", BLUE, "black", ORANGE, "#ffe9b0")
_LEGEND_PX = (121, 12)


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """The feature maps of one layer for one picture.

    Attributes:
        name: Name of the layer.
        maps: float32 `[h, w, channels]`, of any size.
        shown: Name of the layer that the maps leave, where it is another.
    """

    name: str
    maps: FloatArray
    shown: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError if there is nothing to draw, or nothing that can be drawn."""
        if self.maps.ndim != 3 or not self.maps.size or not np.isfinite(self.maps).all():
            raise ValueError(
                f"The maps of {self.name}, {self.maps.shape}, must be finite [h, w, channels]."
            )


@dataclass(frozen=True)
class Scale:
    """How the values of a layer become colours.

    Attributes:
        limit: The size from which on a colour is the lightest; 0 where all values are 0.
        largest: The size of the largest value.
        signed: Whether there are values below 0.
    """

    limit: float
    largest: float
    signed: bool


def rank_channels(maps: FloatArray) -> list[int]:
    """Orders the channels of a layer from the strongest to the weakest.

    Strongest is what varies most across the picture: a channel that is the same everywhere says
    nothing of where something is. Of two that vary alike the one of larger values comes first,
    then the one of the lower number.

    Args:
        maps: float `[h, w, channels]`.

    Returns:
        The number of every channel, from 0.
    """
    variance = maps.var(axis=(0, 1), dtype=np.float64)
    size = np.abs(maps).mean(axis=(0, 1), dtype=np.float64)
    return [int(channel) for channel in np.lexsort((-size, -variance))]


def find_scale(maps: FloatArray) -> Scale:
    """The common scale of all channels of a layer, shown or not.

    Args:
        maps: float `[h, w, channels]`.

    Returns:
        The scale. At most a hundredth of any channel's cells lie beyond it; of maps of 100 cells
        or fewer none.
    """
    sizes = np.abs(maps).reshape(-1, maps.shape[2])
    largest = float(sizes.max())
    limit = float(np.quantile(sizes, SCALED_SHARE, axis=0, method="higher").max())
    return Scale(limit or largest, largest, signed=bool(maps.min() < 0))


def colour_values(values: FloatArray, scale: Scale) -> Image.Image:
    """Draws one channel, a pixel a value.

    Args:
        values: float `[h, w]`.
        scale: That of its layer.

    Returns:
        RGB of `w` times `h` pixels.
    """
    shares = np.clip(values.astype(np.float64) / (scale.limit or 1.0), -1.0, 1.0)
    steps = np.rint(_STEPS * shares).astype(np.intp)
    return Image.fromarray(_colour_table(scale.signed)[_STEPS + steps])


def draw_layer(layer: LayerMaps, *, channels: int = SHEET_CHANNELS) -> Image.Image:
    """Draws the strongest channels of a layer on one sheet with a legend.

    Args:
        layer: What to draw.
        channels: How many are drawn at most.

    Returns:
        RGB. The strongest channel comes first; each has its number, from 0. Tiles are enlarged to
        about `TILE_PX` by a whole number; larger maps are drawn as they are.
    """
    scale, ranked = find_scale(layer.maps), rank_channels(layer.maps)[:channels]
    silent = _find_silent(layer.maps)
    names = [f"{channel}: silent" if channel in silent else f"{channel}" for channel in ranked]
    tiles = [
        add_title(name, _draw_tile(layer.maps, channel, scale))
        for name, channel in zip(names, ranked, strict=True)
    ]
    height, width, count = layer.maps.shape
    title = f"{layer.name}: {len(ranked)} of {count} channels, {width} x {height}"
    return add_caption(
        add_title(title, set_in_grid(tiles, columns=COLUMNS), indent_px=MARGIN_PX),
        _describe(layer, scale),
        footer=_draw_legend(scale),
        least_width_px=READABLE_PX,
    )


def draw_row(layer: LayerMaps) -> Image.Image:
    """Draws the few strongest channels of a layer, as one row of `draw_overview`.

    Maps larger than `TILE_PX` are shrunk to it, so that the rows of all layers are of one width.
    """
    scale, ranked = find_scale(layer.maps), rank_channels(layer.maps)[:COLUMNS]
    tiles = [_draw_tile(layer.maps, channel, scale) for channel in ranked]
    for tile in tiles:
        tile.thumbnail((TILE_PX, TILE_PX), Image.Resampling.BOX)
    row = Image.new("RGB", (COLUMNS * (TILE_PX + MARGIN_PX) - MARGIN_PX, tiles[0].height), "white")
    for place, tile in enumerate(tiles):
        row.paste(tile, (place * (TILE_PX + MARGIN_PX), 0))
    height, width, count = layer.maps.shape
    values = f"{-scale.limit if scale.signed else 0:.3g} to {scale.limit:.3g}"
    return add_title(f"{layer.name}: {width} x {height} x {count}, {values}", row)


def draw_overview(picture: Image.Image, rows: Sequence[Image.Image], *, title: str) -> Image.Image:
    """Sets the rows of all layers below the original picture.

    Args:
        picture: The original, RGB.
        rows: As `draw_row` gives them, one or more, the first layer first.
        title: One line.

    Returns:
        RGB. Many rows are set in columns: the first column down, then the next.
    """
    table = _set_in_columns(rows)
    original = _enlarge(picture, READABLE_PX)
    original.thumbnail((READABLE_PX, READABLE_PX), Image.Resampling.BOX)
    head = add_caption(
        set_in_grid([add_title(title, original)], columns=1),
        "Each row is a layer: its name, width x height x channels, the ends of its own scale (in "
        f"the legend 1), and the {COLUMNS} channels that vary most across the picture.",
        footer=set_in_row([_draw_legend(Scale(1.0, 1.0, signed)) for signed in (False, True)]),
        least_width_px=table.width,
    )
    return add_caption(head, "", footer=table, least_width_px=table.width + MARGIN_PX)


def _set_in_columns(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows of at most `_ROWS_A_COLUMN` one below the other; no margin on the left."""
    columns = -(-len(rows) // _ROWS_A_COLUMN)
    depth = -(-len(rows) // columns)
    filled = [*rows, *[Image.new("RGB", (1, 1), "white")] * (columns * depth - len(rows))]
    across = [row for start in range(depth) for row in filled[start::depth]]
    table = set_in_grid(across, columns=columns)
    return table.crop((MARGIN_PX, 0, *table.size))


def _draw_tile(maps: FloatArray, channel: int, scale: Scale) -> Image.Image:
    return _enlarge(colour_values(maps[:, :, channel], scale), TILE_PX)


def _enlarge(image: Image.Image, longest_px: int) -> Image.Image:
    """By a whole number, to `longest_px` at most; a larger image stays."""
    factor = max(1, longest_px // max(image.size))
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def _find_silent(maps: FloatArray) -> set[int]:
    return set(np.flatnonzero(~maps.any(axis=(0, 1))).tolist())


def _describe(layer: LayerMaps, scale: Scale) -> str:
    """What a reader of a layer's sheet must know, a paragraph a line."""
    silent = _find_silent(layer.maps)
    lines = ["Channels that vary most across the picture come first. All have the same scale."]
    if layer.shown not in ("", layer.name):
        lines.insert(0, f"Shown is what leaves {layer.shown}.")
    if silent:
        lines.append(f"Silent, 0 everywhere here: {len(silent)} of {layer.maps.shape[2]}.")
    if scale.largest > scale.limit:
        lines.append(f"Few values are beyond the scale, up to {scale.largest:.3g} in size.")
    return "\n".join(lines)


def _draw_legend(scale: Scale) -> Image.Image:
    """What black and the lightest colours stand for in one layer."""
    if not scale.limit:
        return set_in_row(["black: 0"])
    lowest = -scale.limit if scale.signed else 0
    ramp = np.linspace(lowest, scale.limit, _LEGEND_PX[0], dtype=np.float32)[np.newaxis]
    strip = colour_values(ramp.repeat(_LEGEND_PX[1], axis=0), scale)
    zero = "(black: 0)" if scale.signed else ""
    return set_in_row([f"{lowest:.3g}", strip, f"{scale.limit:.3g}", zero])


@functools.cache
def _colour_table(signed: bool) -> npt.NDArray[np.uint8]:
    """RGB of every step of a scale, `[2 * _STEPS + 1, 3]`."""
    names = _SIGNED_COLOURS if signed else _UNSIGNED_COLOURS
    stops = np.array([ImageColor.getrgb(name) for name in names])
    at = np.linspace(0, len(stops) - 1, 2 * _STEPS + 1)
    parts = [np.interp(at, np.arange(len(stops)), part) for part in stops.T]
    return np.rint(np.stack(parts, axis=-1)).astype(np.uint8)
