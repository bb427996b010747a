"""Pictures and text on white: titles, captions, grids. Drawn with Pillow."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

LINE_PX = 20
MARGIN_PX = 10
_FONT_PX = 15


@functools.cache
def text_font() -> ImageFont.FreeTypeFont:
    """The font of all text, `LINE_PX` from line to line.

    Matplotlib brings it along; what fonts a machine has installed differs.
    """
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), _FONT_PX)


def measure_text_px(text: str) -> int:
    """Width of one line of text in pixels."""
    return int(text_font().getlength(text)) + 1


def wrap_text(paragraph: str, *, width_px: int) -> list[str]:
    """Breaks a paragraph at blanks into lines of `width_px`; a longer word has its own line."""
    lines = [""]
    for word in paragraph.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and measure_text_px(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def add_title(title: str, image: Image.Image, *, indent_px: int = 0) -> Image.Image:
    """The image below one line of text; wider than it where the text is."""
    titled = _blank(max(image.width, indent_px + measure_text_px(title)), image.height + LINE_PX)
    write_line(titled, (indent_px, 0), title)
    titled.paste(image, (0, LINE_PX))
    return titled


def add_caption(
    image: Image.Image, caption: str, *, footer: Image.Image, least_width_px: int
) -> Image.Image:
    """The image above a caption and a footer.

    Args:
        image: What to caption; its own margins stay.
        caption: Paragraphs, one a line of the string; broken to the width.
        footer: Set below the caption.
        least_width_px: The result is at least as wide, so that a caption has room.
    """
    width = max(image.width, least_width_px)
    lines = [
        line
        for paragraph in caption.splitlines()
        for line in wrap_text(paragraph, width_px=width - 2 * MARGIN_PX)
    ]
    bottom = image.height + LINE_PX * len(lines)
    captioned = _blank(width, bottom + footer.height + MARGIN_PX)
    captioned.paste(image, (0, 0))
    for number, line in enumerate(lines):
        write_line(captioned, (MARGIN_PX, image.height + LINE_PX * number), line)
    captioned.paste(footer, (MARGIN_PX, bottom))
    return captioned


def set_in_row(parts: Sequence[str | Image.Image]) -> Image.Image:
    """Texts and small images, one after the other in a line of `LINE_PX`."""
    widths = [measure_text_px(x) if isinstance(x, str) else x.width for x in parts]
    row = _blank(sum(widths) + MARGIN_PX * (len(parts) - 1), LINE_PX)
    left = 0
    for part, width in zip(parts, widths, strict=True):
        if isinstance(part, str):
            write_line(row, (left, 0), part)
        else:
            row.paste(part, (left, (LINE_PX - part.height) // 2))
        left += width + MARGIN_PX
    return row


def set_in_grid(images: Sequence[Image.Image], *, columns: int) -> Image.Image:
    """Images, one or more, row by row with margins, each at the upper left of its cell."""
    width = max(image.width for image in images) + MARGIN_PX
    height = max(image.height for image in images) + MARGIN_PX
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = _blank(columns * width + MARGIN_PX, rows * height + MARGIN_PX)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        grid.paste(image, (column * width + MARGIN_PX, row * height + MARGIN_PX))
    return grid


def write_line(
    image: Image.Image, at: tuple[int, int], text: str, *, colour: str = "black"
) -> None:
    """Writes one line of text into `image`, its upper left corner at `at`."""
    ImageDraw.Draw(image).text(at, text, fill=colour, font=text_font())


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "white")
