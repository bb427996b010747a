"""What one worker does with its share of a data set: opens each picture and annotation once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from records import faults
from records.checks import check_annotation
from records.fingerprints import fingerprint
from records.listing import extension_of
from records.pictures import PictureError, PictureFacts, fits_extension, probe_header, probe_pixels
from records.pictures import read_file as read_picture
from records.places import Place
from records.types import Annotation, Finding, FlatObject, Sample, flatten_objects
from records.voc import AnnotationError, UnsafeAnnotationError, read_annotation

HISTOGRAM_BINS = 64
_HISTOGRAM_GRID = 64
"""Rows and columns that are counted at most, evenly spread: plenty for a curve to look at."""


class Opened(NamedTuple):
    """A picture that was opened. Flat, because it comes from another process.

    Attributes:
        facts: The fields of `Example` from `image_format` to `sha256`, and its `bit_depth`; None
            where the picture cannot be used.
        objects: Objects with a usable box, as `flatten_objects` makes them.
        names: Of all objects of the annotation, in the order of the file.
        findings: What is wrong.
        fingerprint: As `records.fingerprints` makes it; None where it was not asked for.
        histogram: Fractions of the pixels in each of `HISTOGRAM_BINS` ranges of grey, float32,
            summing to 1; None for a picture that was not decoded.
    """

    facts: tuple[Any, ...] | None
    objects: tuple[FlatObject, ...]
    names: tuple[str, ...]
    findings: tuple[Finding, ...]
    fingerprint: npt.NDArray[np.float16] | None
    histogram: npt.NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Look:
    """How closely pictures are looked at.

    Attributes:
        source: The data folder.
        verify: Whether to decode every picture whole; otherwise its header alone is looked at.
        describe: Whether to make the fingerprint of what was decoded.
    """

    source: Place
    verify: bool
    describe: bool


def open_samples(look: Look, samples: Sequence[Sample]) -> list[Opened]:
    """Opens the pictures and annotations of some samples."""
    return [_open(look, sample) for sample in samples]


def _open(look: Look, sample: Sample) -> Opened:
    if sample.label is None and sample.annotation is None:
        reason = "it has no annotation, so that its class is not known"
        finding = faults.UNLABELLED_PICTURE.found(sample.source_id, reason)
        return Opened(None, (), (), (finding,), None, None)
    facts, grey, found = _open_picture(look, sample)
    annotation, more = _open_annotation(look.source, sample)
    found += more
    if facts is None:
        return Opened(None, (), _names(annotation), tuple(found), None, None)
    objects: tuple[FlatObject, ...] = ()
    if annotation is not None:
        checked = check_annotation(sample, facts, annotation)
        objects = flatten_objects(checked.objects)
        found += checked.findings
    return Opened(
        (
            sys.intern(facts.image_format),
            facts.is_converted,
            facts.width,
            facts.height,
            facts.is_grey,
            facts.size_bytes,
            facts.sha256,
            facts.bit_depth,
        ),
        objects,
        _names(annotation),
        tuple(found),
        fingerprint(grey) if grey is not None and look.describe else None,
        None if grey is None else _count_greys(grey),
    )


def _open_picture(
    look: Look, sample: Sample
) -> tuple[PictureFacts | None, npt.NDArray[np.uint8] | None, list[Finding]]:
    grey = None
    try:
        encoded = read_picture(look.source / sample.source_id)
        if look.verify:
            facts, grey = probe_pixels(encoded)
        else:
            facts = probe_header(encoded)
    except PictureError as error:
        return None, None, [error.fault.found(sample.source_id, error.reason)]
    found = [fault.found(sample.source_id, reason) for fault, reason in facts.remarks]
    extension = extension_of(sample.source_id)
    if not fits_extension(facts.source_format, extension):
        reason = f"its name ends in {extension}, but it is a {facts.source_format.upper()}"
        found.append(faults.WRONG_EXTENSION.found(sample.source_id, reason))
    return facts, grey, found


def _open_annotation(source: Place, sample: Sample) -> tuple[Annotation | None, list[Finding]]:
    if sample.annotation is None:
        return None, []
    fault = faults.BROKEN_ANNOTATION
    try:
        return read_annotation(source / sample.annotation), []
    except AnnotationError as error:
        if isinstance(error, UnsafeAnnotationError):
            fault = faults.UNSAFE_ANNOTATION
        return None, [fault.found(sample.source_id, f"{sample.annotation}: {error}")]


def _names(annotation: Annotation | None) -> tuple[str, ...]:
    return tuple(sys.intern(item.name) for item in annotation.objects) if annotation else ()


def _count_greys(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    rows, columns = (-(-length // _HISTOGRAM_GRID) for length in grey.shape)
    pixels = grey[::rows, ::columns]
    counts = np.bincount(pixels.ravel(), minlength=256).reshape(HISTOGRAM_BINS, -1).sum(axis=1)
    return (counts / pixels.size).astype(np.float32)
