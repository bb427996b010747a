"""Data folders made up for tests, and what is found in them in a form to compare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from records.groups import Groups
from records.layouts import Discovery
from records.types import AnnotatedObject, Annotation, BoundingBox, Example, Finding
from records.voc import format_annotation


def put(folder: Path, *names: str) -> Path:
    """Creates files; layouts are found by names alone, so that they hold next to nothing."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<annotation/>" if name.lower().endswith(".xml") else "")
    return folder


def draw(path: Path, seed: int) -> None:
    """A picture of noise, 30 pixels wide and 20 high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def annotate(path: Path, *objects: tuple[str, float, float, float, float], width: int = 30) -> None:
    """An annotation of such a picture: name, xmin, ymin, xmax and ymax of each object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items = tuple(AnnotatedObject(name, BoundingBox(*bounds)) for name, *bounds in objects)
    path.write_bytes(format_annotation(Annotation(path.stem, width, 20, 1, items)))


def show(discovery: Discovery) -> list[tuple[str, str | None, str | None]]:
    """Source, label and annotation of each sample."""
    return [(sample.source_id, sample.label, sample.annotation) for sample in discovery.samples]


def summarise(findings: tuple[Finding, ...]) -> list[tuple[str, str, bool]]:
    """Code, path and severity of each finding."""
    return [(finding.code, finding.path, finding.is_error) for finding in findings]


def keep_apart(examples: Iterable[Example]) -> Groups:
    """Groups of one picture each."""
    alone = {example.source_id: number for number, example in enumerate(examples)}
    return Groups(alone, alone)
