"""What fuzzers call: each takes any bytes, and raises where something is wrong with our answer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from records.errors import InputError
from records.manifest import MANIFEST_NAME, read_manifest
from records.pictures import (
    PictureError,
    PictureFacts,
    encode_stored,
    probe_bytes,
    probe_header,
    probe_pixels,
)
from records.types import SPLITS, Annotation
from records.voc import MAX_NAME_CHARACTERS, AnnotationError, format_annotation, parse_annotation

LONGEST_REASON = 800
SHARDS = tuple(f"x-{split}.tfrecord-00000-of-00001" for split in SPLITS)
"""Files that are there beside the manifest; others that it names are missing."""


def read_annotation(data: bytes) -> None:
    """An annotation is refused in a sentence, or is one that can be written and read again."""
    try:
        annotation = parse_annotation(data)
    except AnnotationError as error:
        _check_reason(str(error))
        return
    for item in annotation.objects:
        assert 0 < len(item.name) <= MAX_NAME_CHARACTERS
        assert len(item.name.splitlines()) == 1
    again = parse_annotation(format_annotation(annotation))
    assert _leave_boxes_out(again) == _leave_boxes_out(annotation)
    for before, after in zip(_list_sides(annotation), _list_sides(again), strict=True):
        assert math.isclose(before, after, rel_tol=1e-12, abs_tol=1e-9)


def open_picture(data: bytes) -> None:
    """A picture is refused in a sentence, or stored as one of the same size and the same pixels."""
    try:
        facts, luma = probe_pixels(data)
    except PictureError as error:
        _check_reason(error.reason)
        return
    assert luma.dtype == np.uint8 and luma.shape == (facts.height, facts.width)
    assert _describe(probe_header(data)) == _describe(facts)
    stored, kept = probe_pixels(encode_stored(data))
    assert not probe_bytes(encode_stored(data)).is_converted
    assert (stored.width, stored.height) == (facts.width, facts.height)
    assert np.array_equal(luma, kept)


def read_records(data: bytes) -> None:
    """A manifest is refused with a remedy, or names files in its folder alone."""
    folder = _make_folder()
    (folder / MANIFEST_NAME).write_bytes(data)
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        assert error.remedy
        _check_reason(error.problem)
        return
    for split in SPLITS:
        assert manifest.count(split) == sum(shard.count for shard in manifest.shards[split]) >= 0
        assert all(path.parent == folder for path in manifest.shard_paths(split))
    manifest.write()
    assert read_manifest(folder) == manifest


TARGETS: dict[str, Callable[[bytes], None]] = {
    "annotation": read_annotation,
    "picture": open_picture,
    "manifest": read_records,
}

_folders: list[tempfile.TemporaryDirectory[str]] = []


def _make_folder() -> Path:
    """One for all calls, gone when the process ends."""
    if not _folders:
        _folders.append(tempfile.TemporaryDirectory())
        for name in SHARDS:
            Path(_folders[0].name, name).touch()
    return Path(_folders[0].name)


def _check_reason(text: str) -> None:
    assert text and len(text.splitlines()) == 1 and len(text) < LONGEST_REASON, text[:2000]
    assert "0x" not in text or "object at" not in text, text  # An address, of a plain repr.
    text.encode("utf-8", "backslashreplace")


def _describe(facts: PictureFacts) -> tuple[object, ...]:
    return (
        *(facts.source_format, facts.image_format, facts.width, facts.height, facts.bit_depth),
        *(facts.sha256, facts.orientation, facts.remarks),
    )


def _leave_boxes_out(annotation: Annotation) -> tuple[object, ...]:
    objects = [(item.name, item.difficult, item.truncated) for item in annotation.objects]
    return annotation.filename, annotation.width, annotation.height, annotation.depth, objects


def _list_sides(annotation: Annotation) -> list[float]:
    boxes = [item.box for item in annotation.objects]
    return [side for box in boxes for side in (box.xmin, box.ymin, box.xmax, box.ymax)]
