from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from records.orientation import turn_box, turn_pixels
from records.types import BoundingBox
from tests.records.picture_files import COLOUR, make_exif

ORIENTATIONS = range(1, 9)


def turn_by_pillow(pixels: np.ndarray, orientation: int) -> np.ndarray:
    picture = Image.fromarray(pixels)
    picture.getexif().update(make_exif(orientation))
    return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pixels_are_turned_as_pillow_turns_them(orientation: int) -> None:
    for pixels in (COLOUR, COLOUR[..., 0]):
        turned = turn_pixels(pixels, orientation)
        assert np.array_equal(turned, turn_by_pillow(np.ascontiguousarray(pixels), orientation))


@given(st.data(), st.sampled_from(ORIENTATIONS), st.integers(1, 12), st.integers(1, 12))
def test_a_painted_box_is_found_in_the_turned_picture(
    data: st.DataObject, orientation: int, width: int, height: int
) -> None:
    xmin, ymin = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    xmax, ymax = data.draw(st.integers(xmin + 1, width)), data.draw(st.integers(ymin + 1, height))
    pixels = np.zeros((height, width), np.uint8)
    pixels[ymin:ymax, xmin:xmax] = 1
    rows, columns = np.nonzero(turn_by_pillow(pixels, orientation))
    expected = BoundingBox(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert turn_box(BoundingBox(xmin, ymin, xmax, ymax), orientation, width, height) == expected


@given(st.sampled_from(ORIENTATIONS), st.tuples(*[st.integers(-9, 30)] * 4))
def test_area_and_being_outside_stay_as_they_are(
    orientation: int, sides: tuple[int, int, int, int]
) -> None:
    box = BoundingBox(*sides)
    turned = turn_box(box, orientation, 20, 10)
    upright = (20, 10) if orientation < 5 else (10, 20)
    assert turned.area_px == box.area_px
    assert turned.is_within(*upright) == box.is_within(20, 10)


def test_a_quarter_turn_by_hand() -> None:
    # Orientation 6: the file's left edge is the upright top edge, its bottom the left edge.
    assert turn_box(BoundingBox(0, 0, 3, 2), 6, 8, 5) == BoundingBox(3, 0, 5, 3)
