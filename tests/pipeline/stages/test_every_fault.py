"""One folder with every kind of fault: all are reported in one run, each with code and remedy."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline.config import Settings
from pipeline.stages.records import run
from records.errors import InputError
from records.types import AnnotatedObject, Annotation, BoundingBox
from records.voc import format_annotation

SIDE = 120
TRAIN, TEST = "train/images", "validation/images"


def draw(path: Path, seed: int, *, shift: int = 0) -> Path:
    """A texture of blobs of some pixels, as no other seed has it."""
    noise = np.random.default_rng(seed).normal(size=(SIDE + 8, SIDE + 8))
    texture = gaussian_filter(noise, 2.5)[shift : shift + SIDE, shift : shift + SIDE]
    pixels = np.clip(128 + 500 * texture, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def annotate(
    folder: Path, name: str, *objects: tuple[str, float, float, float, float], width: int = SIDE
) -> None:
    items = tuple(AnnotatedObject(label, BoundingBox(*box)) for label, *box in objects)
    path = folder / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(format_annotation(Annotation(f"{name}.png", width, SIDE, 1, items)))


def draw_sound(folder: Path) -> None:
    """24 `io` and 24 `nio` to train on, 8 of each to test on, `nio` with a box each."""
    seed = 0
    for split, count in ((TRAIN, 24), (TEST, 8)):
        for label in ("io", "nio"):
            for index in range(count):
                name = f"{label}_{split[:2]}_{index}"
                draw(folder / split / label / f"{name}.png", seed)
                box = (label, 10.0, 10.0, 40.0, 50.0)
                annotate(folder / split.replace("images", "annotations"), name, box)
                seed += 1


def write_bomb(path: Path) -> None:
    """A PNG of a few bytes that says it is 60,000 pixels wide and high."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


def plant_pictures(folder: Path) -> dict[str, str]:
    """Plants what is wrong with pictures; returns the code that each path must be found with."""
    io = folder / TRAIN / "io"
    (io / "zero.png").touch()
    cut = draw(io / "cut.jpg", 900).read_bytes()
    (io / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (io / "garbage.jpg").write_bytes(b"this is no picture")
    draw(io / "lies.jpg", 901).rename(io / "lies.png")
    write_bomb(io / "bomb.png")
    Image.new("P", (SIDE, SIDE)).save(io / "moves.gif")
    Image.open(draw(io / "ink.jpg", 902)).convert("CMYK").save(io / "ink.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(draw(io / "turned.jpg", 903)).save(io / "turned.jpg", exif=exif, quality=95)
    shutil.copy(io / "io_tr_0.png", io / "z_copy.png")
    Image.open(io / "io_tr_1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        io / "z_flip.png"
    )
    draw(io / "z_leak.png", 48, shift=2)  # The first test picture, two pixels further.
    draw(folder / TEST / "nio" / "io_tr_2.png", 904)
    draw(folder / TRAIN / "rare" / "rare.png", 905)
    (folder / TRAIN / "void").mkdir()
    for name in ("ink", "turned", "lies", "z_copy", "z_flip", "z_leak"):
        annotate(folder / "train/annotations", name)
    return {
        f"{TRAIN}/io/zero.png": "empty_file",
        f"{TRAIN}/io/cut.jpg": "unreadable_picture",
        f"{TRAIN}/io/garbage.jpg": "unreadable_picture",
        f"{TRAIN}/io/lies.png": "wrong_extension",
        f"{TRAIN}/io/bomb.png": "too_large_picture",
        f"{TRAIN}/io/moves.gif": "unsupported_picture",
        f"{TRAIN}/io/ink.jpg": "cmyk_picture",
        f"{TRAIN}/io/turned.jpg": "turned_picture",
        f"{TRAIN}/io/z_copy.png": "exact_duplicate",
        f"{TRAIN}/io/z_flip.png": "near_duplicate",
        f"{TRAIN}/io/z_leak.png": "near_duplicate_across_splits",
        f"{TEST}/nio/io_tr_2.png": "duplicate_name",
        "rare": "class_too_small",
        f"{TRAIN}/void": "empty_class",
    }


def plant_annotations(folder: Path) -> dict[str, str]:
    """Plants what is wrong with annotations, likewise."""
    nio, annotations = folder / TRAIN / "nio", folder / "train/annotations"
    names = ("none", "xml", "entity", "size", "outside", "clipped", "empty", "reversed", "unknown")
    for index, name in enumerate((*names, "other")):
        draw(nio / f"b_{name}.png", 800 + index)
    annotate(annotations, "b_orphan", ("nio", 1, 1, 9, 9))
    (annotations / "b_xml.xml").write_text("<annotation><object></annotation>")
    (annotations / "b_entity.xml").write_text(
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation>&e;</annotation>'
    )
    annotate(annotations, "b_size", ("nio", 1, 1, 9, 9), width=SIDE + 1)
    annotate(annotations, "b_outside", ("nio", 1, 1, 9, SIDE + 40))
    annotate(annotations, "b_clipped", ("nio", 1, 1, 9, SIDE + 1))
    annotate(annotations, "b_empty", ("nio", 5, 5, 5, 9))
    annotate(annotations, "b_reversed", ("nio", 9, 5, 5, 9))
    annotate(annotations, "b_unknown", ("scratsch", 5, 5, 9, 9))
    annotate(annotations, "b_other", ("io", 5, 5, 9, 9))
    return {
        f"{TRAIN}/nio/b_none.png": "no_annotation",
        "train/annotations/b_orphan.xml": "orphan_annotation",
        f"{TRAIN}/nio/b_xml.png": "broken_annotation",
        f"{TRAIN}/nio/b_entity.png": "unsafe_annotation",
        f"{TRAIN}/nio/b_size.png": "size_mismatch",
        f"{TRAIN}/nio/b_outside.png": "box_outside",
        f"{TRAIN}/nio/b_clipped.png": "box_clipped",
        f"{TRAIN}/nio/b_empty.png": "empty_box",
        f"{TRAIN}/nio/b_reversed.png": "empty_box",
        f"{TRAIN}/nio/b_unknown.png": "unknown_class",
        f"{TRAIN}/nio/b_other.png": "object_of_other_class",
    }


@pytest.mark.parametrize("strict", [False, True])
def test_every_kind_of_fault_is_reported_in_one_run(tmp_path: Path, strict: bool) -> None:
    folder = tmp_path / "pictures"
    draw_sound(folder)
    planted = plant_pictures(folder) | plant_annotations(folder)
    settings = Settings(
        stage="records",
        data_dir=folder,
        work_dir=tmp_path / "run",
        audit_only=True,
        strict=strict,
        workers=1 + strict,
    )
    with pytest.raises(InputError, match="class rare has too few usable pictures"):
        run(settings)
    audit = json.loads((tmp_path / "run/audit/audit.json").read_text(encoding="utf-8"))
    found = {(finding["path"], finding["code"]) for finding in audit["findings"]}
    assert found >= set(planted.items())
    # Nothing else is found, but that one of the planted pictures has a second fault to it.
    assert {path for path, _ in found} <= {*planted, f"{TEST}/io/io_va_0.png"}
    assert all(item["remedy"] and item["reason"] for item in audit["findings"])
    page = (tmp_path / "run/audit/audit.html").read_text(encoding="utf-8")
    assert all(code in page for code in planted.values())
    assert not (tmp_path / "run/records").exists()
