"""Pictures of where a model looked: heatmaps laid over the original, with its boxes and a caption.

Drawn with Pillow, at the original's own resolution and aspect ratio; a small picture is enlarged by
a whole number, so that its pixels stay what they are. The colour map is Matplotlib's `inferno`,
whose lightness rises all the way and which colour-blind people read the same.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.figures.typeset import (
    LINE_PX,
    MARGIN_PX,
    add_caption,
    add_title,
    measure_text_px,
    set_in_grid,
    set_in_row,
    write_line,
)
from records.atomic import replacing
from records.types import AnnotatedObject, BoundingBox

Heatmap = npt.NDArray[np.float32]

COLOUR_MAP = "inferno"
OPACITY = 0.6  # of a heatmap's 1; its 0 is clear
ORIGINAL_TITLE = "original"
READABLE_PX = 400  # a smaller picture is enlarged
SHEET_PANEL_PX = 200
SHEET_ROWS_OF_ONE = 3

_BOX_COLOUR = "#00e5ff"
_LEGEND = ("no evidence", "strongest in this map")
_LEGEND_PX = (120, 12)


@dataclass(frozen=True, eq=False)
class Explanation:
    """One picture and what is to be shown of it.

    Attributes:
        picture: The original, RGB.
        heatmaps: Title to float `[h, w]`, 0 to 1, of any size; each covers the whole picture.
        objects: Boxes in the original's pixels.
        caption: One paragraph a line.
    """

    picture: Image.Image
    heatmaps: Mapping[str, Heatmap]
    objects: tuple[AnnotatedObject, ...]
    caption: str


def decode_original(encoded: bytes) -> Image.Image:
    """Decodes a picture as it is, to RGB; 16-bit grey is brought to 8 bit by dividing by 257.

    Like the model's own decoder it leaves an EXIF rotation alone.

    Raises:
        OSError: The bytes are no picture that Pillow can read.
    """
    picture: Image.Image = Image.open(io.BytesIO(encoded))
    if picture.mode.startswith("I"):
        deep = np.asarray(picture, np.float32) / 257.0
        picture = Image.fromarray(np.clip(np.rint(deep), 0, 255).astype(np.uint8))
    return picture.convert("RGB")


def blend_heatmap(picture: Image.Image, heatmap: Heatmap) -> Image.Image:
    """Lays a heatmap over a picture, as opaque as it is strong: `OPACITY` at 1, clear at 0.

    Args:
        picture: RGB.
        heatmap: float `[h, w]`, 0 to 1; stretched bilinearly over the picture.

    Returns:
        RGB of the picture's size.
    """
    stretched = Image.fromarray(np.asarray(heatmap, np.float32)).resize(
        picture.size, Image.Resampling.BILINEAR
    )
    strength = np.clip(np.asarray(stretched), 0.0, 1.0)
    colours = _colour_table()[np.rint(255 * strength).astype(np.uint8)]
    opacity = np.rint(255 * OPACITY * strength).astype(np.uint8)
    return Image.composite(Image.fromarray(colours), picture, Image.fromarray(opacity))


def draw_boxes(
    image: Image.Image, objects: Sequence[AnnotatedObject], *, scale: float = 1.0, named: bool
) -> None:
    """Draws boxes into `image`: light lines in dark casing, seen on any ground.

    The lines lie outside the box, so that they do not cover a defect of a few pixels; where the
    picture ends they lie on its edge.

    Args:
        image: RGB; changed in place.
        objects: Boxes in pixels of the original.
        scale: Size of `image` over that of the original.
        named: Whether the class names are written at the boxes.
    """
    draw = ImageDraw.Draw(image)
    thickness = max(2, max(image.size) // 200)
    for item in objects:
        outline = _outline(item.box, scale, thickness + 2, image.size)
        draw.rectangle(outline, outline="black", width=thickness + 2)
        left, top, right, bottom = outline
        draw.rectangle(
            (left + 1, top + 1, max(right, left + 2) - 1, max(bottom, top + 2) - 1),
            outline=_BOX_COLOUR,
            width=thickness,
        )
    if named:
        for item in objects:
            _write_box_name(image, item, scale)


def draw_explanation(explanation: Explanation, *, panel_px: int | None = None) -> Image.Image:
    """Draws the original and every heatmap over it side by side, with titles and the caption.

    Args:
        explanation: What to draw.
        panel_px: Longest side of a panel at most, for a sheet; boxes are then not named. Without
            it a panel has the original's resolution, or a multiple of it when it is small.

    Returns:
        RGB; panels in as many columns as make it about twice as wide as high.
    """
    original, scale = _scale_picture(explanation.picture, panel_px)
    panels = [(ORIGINAL_TITLE, original.copy())]
    for title, heatmap in explanation.heatmaps.items():
        shown = title if heatmap.max() > 0 else f"{title}: none"
        panels.append((shown, blend_heatmap(original, heatmap)))
    for number, (_, image) in enumerate(panels):
        # On a small panel the names would hide what they name.
        is_named = number == 0 and panel_px is None
        draw_boxes(image, explanation.objects, scale=scale, named=is_named)
    grid = set_in_grid(
        [add_title(title, image) for title, image in panels],
        columns=_choose_columns(original.size, len(panels)),
    )
    return add_caption(grid, explanation.caption, footer=_draw_legend(), least_width_px=READABLE_PX)


def set_contact_sheet(figures: Sequence[Image.Image], *, title: str) -> Image.Image:
    """Sets figures, one or more, on one sheet under a title.

    Args:
        figures: As `draw_explanation` gives them with `panel_px=SHEET_PANEL_PX`.
        title: One line.
    """
    columns = 1 if len(figures) <= SHEET_ROWS_OF_ONE else 2
    return add_title(title, set_in_grid(figures, columns=columns), indent_px=MARGIN_PX)


def write_png(path: Path, image: Image.Image) -> None:
    """Writes `image` as PNG, whole or not at all."""
    with replacing(path) as draft:
        # Of 1 to 9; at Pillow's 6 a large picture takes three times as long, for 15 % fewer bytes.
        image.save(draft, format="PNG", compress_level=3)


def _scale_picture(picture: Image.Image, panel_px: int | None) -> tuple[Image.Image, float]:
    longest = max(picture.size)
    factor = max(1, (panel_px or READABLE_PX) // longest)
    scale = panel_px / longest if panel_px and longest > panel_px else float(factor)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    sampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return picture.resize(size, sampling), scale


def _choose_columns(size: tuple[int, int], panels: int) -> int:
    def distance(columns: int) -> float:
        aspect = columns * size[0] / (panels // columns * size[1])
        return round(abs(float(np.log2(aspect / 2))), 6)

    divisors = [columns for columns in range(panels, 0, -1) if panels % columns == 0]
    return min(divisors, key=distance)


def _outline(
    box: BoundingBox, scale: float, thickness: int, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """First and last column and row of the line around a box, both inside the image."""
    left, top = (max(0, round(scale * low) - thickness) for low in (box.xmin, box.ymin))
    right, bottom = (
        min(side - 1, round(scale * high) + thickness - 1)
        for high, side in zip((box.xmax, box.ymax), size, strict=True)
    )
    return left, top, max(left, right), max(top, bottom)


def _write_box_name(image: Image.Image, item: AnnotatedObject, scale: float) -> None:
    width = measure_text_px(item.name) + 4
    left = min(max(round(scale * item.box.xmin), 0), max(image.width - width, 0))
    above = round(scale * item.box.ymin) - LINE_PX
    top = above if above >= 0 else min(above + LINE_PX, image.height - LINE_PX)
    label = (left, top, left + width - 1, top + LINE_PX - 1)
    ImageDraw.Draw(image).rectangle(label, fill="black")
    write_line(image, (left + 2, top), item.name, colour=_BOX_COLOUR)


def _draw_legend() -> Image.Image:
    """A strip from clear to strongest, laid over grey as the heatmaps are over the picture."""
    ramp = np.linspace(0, 1, _LEGEND_PX[0], dtype=np.float32)[np.newaxis].repeat(2, axis=0)
    strip = blend_heatmap(Image.new("RGB", _LEGEND_PX, "#808080"), ramp)
    return set_in_row([_LEGEND[0], strip, _LEGEND[1]])


@functools.cache
def _colour_table() -> npt.NDArray[np.uint8]:
    table: npt.NDArray[np.uint8] = matplotlib.colormaps[COLOUR_MAP](np.arange(256), bytes=True)
    return np.ascontiguousarray(table[:, :3])
