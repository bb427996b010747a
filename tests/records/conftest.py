"""Drawn pictures, their splits and records, for the tests of what is written and read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.manifest import Manifest
from records.split import assign_splits
from records.types import AnnotatedObject, BoundingBox, Example, Split
from tests.records.folders import keep_apart

CLASSES = ("io", "nio")
BOX_CLASSES = ("bridge", "void")


def draw_picture(folder: Path, label: str, index: int, *, kind: str = "L.png") -> Example:
    """A picture of noise, 9 to 15 pixels wide; every `nio` has two boxes."""
    mode, suffix = kind.split(".")
    width, height = 9 + index % 7, 6 + index % 5
    rng = np.random.default_rng([index, label == "nio"])
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    else:
        channels = {"L": 1, "RGB": 3}[mode]
        noise = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        picture = Image.fromarray(noise.squeeze())
    path = folder / label / f"{index}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    boxes = (
        AnnotatedObject("void", BoundingBox(1, 2, 4, 5)),
        AnnotatedObject("bridge", BoundingBox(0, 0, width, height), truncated=True),
    )
    return Example(
        source_id=path.relative_to(folder).as_posix(),
        image_format=suffix,
        is_converted=False,
        width=width,
        height=height,
        is_grey=mode != "RGB",
        size_bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        label=label,
        objects=boxes if label == "nio" else (),
        published_split=None,
    )


@pytest.fixture
def draw() -> Callable[..., Example]:
    """`draw(folder, label, index, kind="L.png")`: see `draw_picture`."""
    return draw_picture


@pytest.fixture
def splits(tmp_path: Path) -> dict[Split, tuple[Example, ...]]:
    """30 `io` and 10 `nio` in `tmp_path / "pictures"`."""
    folder = tmp_path / "pictures"
    examples = [draw_picture(folder, "io", index) for index in range(30)]
    examples += [draw_picture(folder, "nio", index) for index in range(10)]
    return assign_splits(examples, keep_apart(examples), seed=0).splits


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Manifest]:
    """`write_records` for the drawn pictures: `write(folder, splits=splits, seed=0, ...)`."""
    from records.shards import write_records

    return functools.partial(
        write_records,
        source=tmp_path / "pictures",
        name="X-ray",
        layout="folders",
        classes=CLASSES,
        box_classes=BOX_CLASSES,
        seed=0,
    )
