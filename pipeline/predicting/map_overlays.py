"""Maps of where the SavedModel looked, drawn over new pictures as they are judged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.figures.overlay import Heatmap, blend_heatmap, decode_original, write_png
from pipeline.figures.typeset import add_caption
from pipeline.filenames import digested_name
from pipeline.predicting.answer_files import Answer

if TYPE_CHECKING:
    from pipeline.predicting.judging import Outcome

Crop = Callable[[Heatmap, int, int], Heatmap]
_PAINTERS = 2
_LEAST_WIDTH_PX = 200


def overlay_name(answer: Answer) -> str:
    """File name of a picture's map: readable, safe everywhere, and of no other picture.

    A picture that takes another's place has another name.
    """
    return f"{digested_name(f'{answer.sha256[:8]} {answer.file}')}.png"


def draw_overlay(picture: Image.Image, heatmap: Heatmap, caption: str) -> Image.Image:
    """Lays a map over a picture at its own resolution, above a caption.

    Args:
        picture: RGB.
        heatmap: float32 `[h, w]`, 0 to 1, of any size; covers the whole picture and nothing else.
        caption: Paragraphs, one a line.

    Returns:
        RGB; the picture is the upper left of it, pixel for pixel.
    """
    blended = blend_heatmap(picture, np.nan_to_num(heatmap))
    footer = Image.new("RGB", (1, 1), "white")
    return add_caption(blended, caption, footer=footer, least_width_px=_LEAST_WIDTH_PX)


class Painter:
    """Draws the maps of batch after batch while the next is judged.

    Args:
        folder: Where the files go.
        crop: From a heatmap of the model's square and the picture's width and height to the part
            that shows the picture.
        classes: Names of the classes.
        pool: Who draws.
    """

    def __init__(
        self, folder: Path, crop: Crop, classes: Sequence[str], pool: ThreadPoolExecutor
    ) -> None:
        self._folder, self._crop, self._classes, self._pool = folder, crop, classes, pool
        self._under_way: list[Future[None]] = []

    def paint(self, outcome: Outcome, answers: Sequence[Answer]) -> list[str]:
        """Has the maps of a batch drawn, once those of the batch before are done.

        Args:
            outcome: With `heatmap` among its outputs, unless no picture was judged.
            answers: One for each of its pictures.

        Returns:
            File names for each of them, empty where there is no answer.
        """
        self.finish()
        judged = [answer for answer in answers if not answer.error]
        for row, (picture, answer) in enumerate(zip(outcome.judged, judged, strict=True)):
            heatmap = outcome.outputs["heatmap"][row]
            self._under_way.append(self._pool.submit(self._draw, picture.encoded, heatmap, answer))
        return ["" if answer.error else overlay_name(answer) for answer in answers]

    def finish(self) -> None:
        """Waits until all maps are on the disk.

        Raises:
            OSError: One cannot be written.
        """
        under_way, self._under_way = self._under_way, []
        for future in under_way:
            future.result()

    def _draw(self, encoded: bytes, heatmap: Heatmap, answer: Answer) -> None:
        picture = decode_original(encoded)
        shown = self._crop(heatmap, *picture.size)
        image = draw_overlay(picture, shown, format_caption(answer, self._classes))
        write_png(self._folder / overlay_name(answer), image)


@contextlib.contextmanager
def painting(folder: Path, crop: Crop, classes: Sequence[str]) -> Iterator[Painter]:
    """Yields a painter; when the block ends well all its maps are on the disk."""
    pool = ThreadPoolExecutor(_PAINTERS, thread_name_prefix="painter")
    try:
        painter = Painter(folder, crop, classes, pool)
        yield painter
        painter.finish()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def format_caption(answer: Answer, classes: Sequence[str]) -> str:
    """What was decided, how probable it is, and which picture it is."""
    probability = answer.probabilities[classes.index(answer.label)]
    return f"{answer.label} {probability:.1%}: {answer.decision}\n{answer.file}"
