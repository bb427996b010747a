"""Records made by hand, without the writer: any names and any boxes can be in them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from records.manifest import Manifest, Shard, file_digest
from records.schema import encode_example
from records.tfrecord import frame
from records.types import SPLITS, AnnotatedObject, Example, Split

Picture = tuple[Example, bytes]


def draw_picture(
    source_id: str,
    *,
    seed: int = 0,
    label: str = "nio",
    kind: str = "L.png",
    size: tuple[int, int] = (12, 9),
    objects: tuple[AnnotatedObject, ...] = (),
    published_split: Split | None = None,
) -> Picture:
    """A picture of noise, and its bytes; `kind` is a mode of Pillow and a format."""
    mode, image_format = kind.split(".")
    width, height = size
    rng = np.random.default_rng(seed)
    depth = {"L": 1, "RGB": 3, "I;16": 1}[mode]
    kind_of = np.uint16 if mode == "I;16" else np.uint8
    noise = rng.integers(0, np.iinfo(kind_of).max, (height, width, depth), dtype=kind_of)
    file = io.BytesIO()
    Image.fromarray(noise.squeeze(axis=2) if depth == 1 else noise).save(file, image_format)
    encoded = file.getvalue()
    example = Example(
        source_id=source_id,
        image_format=image_format,
        is_converted=False,
        width=width,
        height=height,
        is_grey=depth == 1,
        size_bytes=len(encoded),
        sha256=hashlib.sha256(encoded).hexdigest(),
        label=label,
        objects=objects,
        published_split=published_split,
    )
    return example, encoded


def write_by_hand(
    folder: Path, pictures: Mapping[Split, Sequence[Picture]], *, layout: str = "split"
) -> Manifest:
    """Records of these pictures in this order, one shard a split, and their manifest."""
    folder.mkdir()
    every = [example for split in SPLITS for example, _ in pictures.get(split, ())]
    classes = tuple(sorted({example.label for example in every}))
    box_classes = tuple(sorted({item.name for example in every for item in example.objects}))
    counts: dict[Split, dict[str, int]] = {}
    shards: dict[Split, tuple[Shard, ...]] = {}
    for split in SPLITS:
        held = pictures.get(split, ())
        path = folder / f"x_ray-{split}.tfrecord-00000-of-00001"
        path.write_bytes(
            b"".join(
                frame(encode_example(example, encoded, classes=classes, box_classes=box_classes))
                for example, encoded in held
            )
        )
        labels = [example.label for example, _ in held]
        counts[split] = {name: labels.count(name) for name in classes}
        shards[split] = (Shard(path.name, len(held), file_digest(path), "0" * 64),)
    manifest = Manifest(
        folder=folder,
        name="x_ray",
        layout=layout,
        classes=classes,
        box_classes=box_classes,
        is_grey=True,
        counts=counts,
        shards=shards,
        source_digest="0" * 64,
        split_seed=0,
    )
    manifest.write()
    return manifest
