"""NEU made larger by 10 in one way: more pictures, more pixels a picture, or more classes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.benchmarks.strips import copy_made_different

SIDE = 200


@dataclass(frozen=True)
class Grown:
    """A data set, and what model it needs.

    Attributes:
        name: What grew.
        folder: The data set, laid out as NEU.
        model_px: Side of the model's input.
        classes: How many it has.
        judged: Pictures that `predict` is given.
    """

    name: str
    folder: Path
    model_px: int
    classes: int
    judged: int


def grow(source: Path, folder: Path, *, factor: int, most: int) -> Iterator[Grown]:
    """Yields NEU as it is, then each way it grew; of every kind `most` pictures at first."""
    judged = min(1000, most)
    plain = folder / "plain"
    copy_made_different(source, plain, copies=1, every=-(-1800 // most))
    yield Grown("", plain, 40, 6, judged)
    more = folder / "more"
    copy_made_different(source, more, copies=factor, every=-(-1800 // most))
    yield Grown("pictures", more, 40, 6, factor * judged)
    # 40 to 128 is 10.2 times the pixels; both can be halved as often as the autoencoder wants.
    enlarge(plain, folder / "larger", side=round(SIDE * factor**0.5))
    yield Grown("pixels a picture", folder / "larger", 128, 6, judged)
    rename(plain, folder / "named", parts=factor)
    yield Grown("classes", folder / "named", 40, 6 * factor, judged)


def enlarge(source: Path, target: Path, *, side: int) -> None:
    """The same pictures with more pixels, their boxes with them."""

    def scale(found: re.Match[str]) -> str:
        return f"<{found[1]}>{max(1, round(int(found[2]) * side / SIDE))}</{found[1]}>"

    for path, xml in list_pairs(source):
        with Image.open(path) as picture:
            larger = picture.resize((side, side), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        larger.save(buffer, "JPEG", quality=90)
        text = re.sub(r"<(width|height|[xy]min|[xy]max)>(\d+)</\1>", scale, xml.read_text())
        write_pair(target / path.relative_to(source), buffer.getvalue(), text)


def rename(source: Path, target: Path, *, parts: int) -> None:
    """The same pictures, those of each class dealt out among so many classes."""
    for number, (path, xml) in enumerate(list_pairs(source)):
        label = f"{path.parent.name}_{number % parts}"
        text = xml.read_text().replace(f"<name>{path.parent.name}</name>", f"<name>{label}</name>")
        place = path.relative_to(source).parent.parent / label / path.name
        write_pair(target / place, path.read_bytes(), text)


def list_pairs(source: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(source.glob("*/images/*/*.jpg")):
        yield path, path.parents[2] / "annotations" / f"{path.stem}.xml"


def write_pair(picture: Path, encoded: bytes, xml: str) -> None:
    annotation = picture.parents[2] / "annotations" / f"{picture.stem}.xml"
    for path in (picture, annotation):
        path.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(encoded)
    annotation.write_text(xml)
