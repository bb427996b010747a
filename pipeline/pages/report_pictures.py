"""Pictures inside `report.html`, from the files that the stages wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.figures.plots import DPI, history_figure, png_bytes, read_history
from pipeline.pages.page import data_uri
from records import untrusted
from records.errors import InputError
from records.untrusted import require_file

_CSS_PIXELS_PER_INCH = 96
_MAPS_BYTES = 8_000_000  # so that the page can be sent by mail
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page.

    Attributes:
        uri: The bytes as a `data:` URI.
        width: In CSS pixels.
        height: In CSS pixels.
        facts: What is known of it: `source_id`, `true`, `predicted`, `probability`.
    """

    uri: str
    width: int
    height: int
    facts: Mapping[str, Any]


def read_json(path: Path) -> Any:
    """The content, or `None` when there is no such file.

    Raises:
        InputError: The file is no JSON.
    """
    if not path.exists():
        return None
    try:
        return untrusted.read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}.", "Run the stage that wrote it again."
        ) from error


def _embed(png: bytes, *, dpi: int, facts: Mapping[str, Any]) -> Picture:
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    return Picture(
        uri=data_uri(png, image_format="png"),
        width=round(width * _CSS_PIXELS_PER_INCH / dpi),
        height=round(height * _CSS_PIXELS_PER_INCH / dpi),
        facts=facts,
    )


def _read_png(path: Path) -> bytes | None:
    """The bytes of a PNG, or `None` when there is none."""
    if not path.is_file():
        return None
    content = require_file(path).read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        raise InputError(f"{path} is no PNG.", "Run the stage that wrote it again.")
    return content


def embed_plot(path: Path) -> Picture | None:
    """A plot at its size in print, or `None` when there is none."""
    png = _read_png(path)
    return None if png is None else _embed(png, dpi=DPI, facts={})


def embed_history(history_csv: Path) -> Picture | None:
    """The plot of a training, drawn from its table where it is missing."""
    plot = embed_plot(history_csv.with_suffix(".png"))
    if plot is not None or not history_csv.exists():
        return plot
    return _embed(png_bytes(history_figure(read_history(history_csv))), dpi=DPI, facts={})


def _embed_all(entries: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[Picture]:
    # The name alone counts: no entry leads out of the folder.
    found = ((entry, _read_png(folder / Path(entry["file"]).name)) for entry in entries)
    return (_embed(png, dpi=_CSS_PIXELS_PER_INCH, facts=entry) for entry, png in found if png)


def embed_gallery(folder: Path) -> list[Picture]:
    """The pictures that `<folder>.json` names, with what it says of them."""
    return list(_embed_all(read_json(folder.with_suffix(".json")) or [], folder))


def embed_maps(entries: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[Picture]:
    """Embeds maps in their order, the errors first, until the page is large enough."""
    room = _MAPS_BYTES
    for picture in _embed_all(entries, folder):
        room -= len(picture.uri)
        if room < 0:
            return
        yield picture
