from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.figures import feature_maps, typeset
from pipeline.figures.feature_maps import (
    COLUMNS,
    TILE_PX,
    LayerMaps,
    Scale,
    colour_values,
    draw_layer,
    draw_overview,
    draw_row,
    find_scale,
    rank_channels,
)
from pipeline.figures.overlay import READABLE_PX
from pipeline.figures.typeset import LINE_PX, MARGIN_PX

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)
# Of the first tile of a sheet: below the sheet's title, the margin and the tile's own title.
TOP, LEFT = LINE_PX + MARGIN_PX + LINE_PX, MARGIN_PX


def constant(*values: float, size: tuple[int, int] = (4, 4)) -> npt.NDArray[np.float32]:
    """Maps `[h, w, channels]`, each channel the same everywhere."""
    return np.broadcast_to(np.array(values, np.float32), (*size, len(values))).copy()


def noise(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 5, shape).astype(np.float32)


def pixels(image: Image.Image) -> npt.NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def tile(sheet: Image.Image, number: int, width: int, height: int) -> npt.NDArray[np.int64]:
    left = LEFT + number * (width + MARGIN_PX)
    return pixels(sheet)[TOP : TOP + height, left : left + width]


def test_what_varies_most_comes_first_then_what_is_larger() -> None:
    maps = constant(1, 7, 0, -7, 3)
    maps[0, 0, 0] = 3
    maps[:2, :, 4] = -3
    assert rank_channels(maps) == [4, 0, 1, 3, 2]


def test_a_map_of_one_cell_is_ranked_by_its_value() -> None:
    assert rank_channels(np.array([[[1.0, 4.0, 0.0, -2.0]]], np.float32)) == [1, 3, 0, 2]


def test_a_small_layer_is_scaled_to_its_largest_value() -> None:
    assert find_scale(constant(1, 4)) == Scale(4.0, 4.0, signed=False)
    assert find_scale(constant(1, -8)) == Scale(8.0, 8.0, signed=True)
    assert find_scale(constant(0, 0)) == Scale(0.0, 0.0, signed=False)


def test_a_spot_does_not_leave_the_rest_in_the_dark() -> None:
    maps = constant(1, 2, size=(20, 20))
    maps[0, :3, 0] = 50  # less than a hundredth of 400 cells
    assert find_scale(maps) == Scale(2.0, 50.0, signed=False)
    maps[0, 3:5, 0] = 50
    assert find_scale(maps).limit == 50


def test_a_spot_on_nothing_is_its_own_scale() -> None:
    maps = constant(0, size=(20, 20))
    maps[3, 3] = 6
    assert find_scale(maps) == Scale(6.0, 6.0, signed=False)


def test_values_become_known_colours() -> None:
    values = np.array([[-4, -2, 0, 2, 4, 9]], np.float32)
    signed = pixels(colour_values(values, Scale(4.0, 9.0, signed=True)))[0]
    light_blue, light_orange = (200, 236, 255), (255, 233, 176)
    # There is no step at just half the limit.
    np.testing.assert_allclose(
        signed, [light_blue, BLUE, BLACK, ORANGE, light_orange, light_orange], atol=1
    )
    np.testing.assert_array_equal(signed[2], BLACK)
    grey = pixels(colour_values(np.abs(values), Scale(5.0, 9.0, signed=False)))[0]
    assert grey[:, 0].tolist() == [204, 102, 0, 102, 204, 255]
    assert (grey == grey[:, :1]).all()


def test_either_side_of_zero_is_the_lighter_the_further_from_it() -> None:
    values = np.linspace(-1, 1, 511, dtype=np.float32)[np.newaxis]
    light = pixels(colour_values(values, Scale(1.0, 1.0, signed=True)))[0] @ [0.21, 0.72, 0.07]
    assert (np.diff(light[:256]) < 0).all()
    assert (np.diff(light[255:]) > 0).all()


def test_the_tiles_of_a_layer_share_a_scale_and_a_silent_one_is_black() -> None:
    sheet = draw_layer(LayerMaps("conv", constant(2, 0, 5)))
    for number, grey in enumerate([255, 102, 0]):
        assert (tile(sheet, number, TILE_PX, TILE_PX) == grey).all()
    silent = draw_layer(LayerMaps("conv", constant(0, 0)))
    assert (tile(silent, 0, TILE_PX, TILE_PX) == 0).all()


def test_a_channel_below_zero_is_blue() -> None:
    sheet = draw_layer(LayerMaps("conv", constant(-2, 4)))
    np.testing.assert_allclose(
        tile(sheet, 1, TILE_PX, TILE_PX), np.full([128, 128, 3], BLUE), atol=1
    )


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(7, 7, 18), (13, 49, 2), (100, 30, 1), (1, 3, 42), (3, 150, 1)]
)
def test_tiles_keep_every_cell_and_the_aspect_ratio(height: int, width: int, factor: int) -> None:
    maps = noise(height, width, 1)
    sheet = draw_layer(LayerMaps("conv", maps))
    cells = pixels(colour_values(maps[..., 0], find_scale(maps)))
    enlarged = cells.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(tile(sheet, 0, factor * width, factor * height), enlarged)


def test_a_sheet_shows_no_more_than_asked_the_strongest_first() -> None:
    maps = constant(*[1.0] * 40, size=(2, 2))
    maps[0, 0] += np.arange(40)
    layer = LayerMaps("conv", maps)
    sheet = draw_layer(layer, channels=20)
    pitch = 128 + MARGIN_PX
    assert sheet.width == COLUMNS * pitch + MARGIN_PX
    assert 3 * pitch < sheet.height < 3 * (pitch + LINE_PX) + 7 * LINE_PX
    corners = pixels(sheet)[TOP, LEFT : LEFT + COLUMNS * pitch : pitch, 0]
    assert corners.tolist() == [round(255 * (1 + channel) / 40) for channel in range(39, 31, -1)]
    assert draw_layer(layer).height > sheet.height


def test_title_caption_and_legend_say_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def title(text: str, *args: object, **more: object) -> Image.Image:
        written.append(text)
        return typeset.add_title(text, *args, **more)  # type: ignore[arg-type]

    def caption(image: Image.Image, text: str, **more: object) -> Image.Image:
        written.extend(text.splitlines())
        return typeset.add_caption(image, text, **more)  # type: ignore[arg-type]

    def row(parts: list[str | Image.Image]) -> Image.Image:
        written.append(" ".join(x if isinstance(x, str) else "strip" for x in parts).strip())
        return typeset.set_in_row(parts)

    monkeypatch.setattr(feature_maps, "add_title", title)
    monkeypatch.setattr(feature_maps, "add_caption", caption)
    monkeypatch.setattr(feature_maps, "set_in_row", row)
    maps = constant(2, 0, 5, size=(20, 30))
    maps[0, 0, 2] = -60
    draw_layer(LayerMaps("conv", maps, "act"), channels=2)
    assert {"2", "0", "-5 strip 5 (black: 0)"} <= set(written)
    assert "conv: 2 of 3 channels, 30 x 20" in written
    assert "Shown is what leaves act." in written
    assert "Silent, 0 everywhere here: 1 of 3." in written
    assert "Few values are beyond the scale, up to 60 in size." in written
    written.clear()
    draw_layer(LayerMaps("conv", constant(2, 0, 5), "conv"))
    assert {"2", "0", "1: silent", "0 strip 5"} <= set(written)
    assert not [line for line in written if line.startswith(("Shown", "Few"))]
    written.clear()
    draw_row(LayerMaps("conv", constant(-0.25, 0)))
    assert written == ["conv: 4 x 4 x 2, -0.25 to 0.25"]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (7, 7), (300, 300), (9, 300), (300, 2)])
def test_rows_of_all_layers_are_of_one_width(height: int, width: int) -> None:
    for channels in (1, COLUMNS + 4):
        row = draw_row(LayerMaps("conv", noise(height, width, channels)))
        assert row.width == COLUMNS * (TILE_PX + MARGIN_PX) - MARGIN_PX
        assert LINE_PX < row.height <= LINE_PX + TILE_PX


def test_a_row_has_the_same_channels_as_the_sheet() -> None:
    layer = LayerMaps("conv", noise(32, 32, 40))
    first_of_sheet = tile(draw_layer(layer), 1, 128, 128)
    first_of_row = pixels(draw_row(layer))[LINE_PX:, 128 + MARGIN_PX : 2 * 128 + MARGIN_PX]
    np.testing.assert_array_equal(first_of_sheet, first_of_row)


def coloured_row(number: int) -> Image.Image:
    return Image.new("RGB", (300, 50), (0, number, 255))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (22, 1), (23, 2), (45, 3), (46, 3)])
def test_an_overview_has_the_picture_and_every_row_in_order(count: int, columns: int) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8))
    rows = [coloured_row(number) for number in range(1, count + 1)]
    sheet = pixels(draw_overview(picture, rows, title="a picture"))
    top = MARGIN_PX + LINE_PX
    enlarged = pixels(picture).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(sheet[top : top + 200, MARGIN_PX : MARGIN_PX + 400], enlarged)
    below = sheet[top + 200 :]
    found: list[int] = []
    for column in range(columns):
        line = below[:, MARGIN_PX + column * 310 + 150]
        marked = line[(line[:, 0] == 0) & (line[:, 2] == 255)][:, 1]
        found += [int(number) for number in dict.fromkeys(marked.tolist())]
    assert found == list(range(1, count + 1))


def test_a_large_picture_is_shrunk_for_the_overview() -> None:
    overview = draw_overview(Image.new("RGB", (4000, 1000)), [coloured_row(1)], title="large")
    assert overview.width < 2 * READABLE_PX
    assert overview.height < 400


def test_the_maps_are_left_as_they_were() -> None:
    maps = noise(5, 4, 3) - 2
    before = maps.copy()
    draw_layer(LayerMaps("conv", maps))
    draw_row(LayerMaps("conv", maps))
    np.testing.assert_array_equal(maps, before)


@pytest.mark.parametrize(
    "maps",
    [noise(4, 4), noise(4, 0, 2), noise(4, 4, 0), constant(np.nan), constant(1, np.inf)],
)
def test_what_cannot_be_drawn_is_refused(maps: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="conv"):
        LayerMaps("conv", maps)
