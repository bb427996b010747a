"""1,000 files that lie, are broken, or are none: each has one row, with its reason."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.predictions import read_predictions
from pipeline.predicting.incoming import path_text
from tests.pipeline.stages.predict_bench import (
    TWO,
    Bench,
    draw,
    export_tiny,
    make_bench,
    read_lines,
    read_rejects,
    read_table,
)
from tests.records.mutants import mutate
from tests.records.picture_files import COLOUR_PICTURE, encode, join_png
from tests.records.picture_kinds import KEPT, OTHER_BMPS, OTHER_JPEGS, TIFFS, WEBPS

FILES = 1000
WHOLE = {**KEPT, **OTHER_BMPS, **OTHER_JPEGS, **TIFFS, **WEBPS}
JPEG, PNG = encode(COLOUR_PICTURE, "JPEG"), encode(COLOUR_PICTURE, "PNG")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny(tmp_path_factory.mktemp("exports") / "1", TWO).parent


@pytest.fixture
def bench(tmp_path: Path, exports: Path) -> Bench:
    return make_bench(tmp_path, exports, pictures=0)


def claim(width: int, height: int, data: bytes = b"", depth: int = 8) -> bytes:
    """A PNG that says it is of that size."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return join_png([(b"IHDR", header), (b"IDAT", zlib.compress(data, 9)), (b"IEND", b"")])


BROKEN = {
    "empty.png": b"",
    "empty.JPG": b"",
    "one byte.bmp": b"B",
    "signature only.png": PNG[:8],
    "header only.png": PNG[:33],
    "cut.png": PNG[: len(PNG) // 2],
    "without its last byte.png": PNG[:-1],
    "cut.jpg": JPEG[: len(JPEG) // 2],
    "cut with an end.jpg": JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    "cut.tif": TIFFS["1 bit"][:40],
    "cut.webp": WEBPS["lossy"][:60],
    "cut.bmp": KEPT["bmp colour"][:200],
    "page.jpg": b"<!doctype html><html>404 Not Found</html>",
    "text.png": "Prüfbericht\n".encode("utf-16"),
    "zeros.png": bytes(5000),
    "noise.jpg": random.Random(0).randbytes(5000),
    "archive.png": b"PK\x03\x04" + bytes(100),
    "document.jpg": b"%PDF-1.7\n" + bytes(100),
    "really a gif.png": encode(COLOUR_PICTURE, "GIF"),
    "x.gif": encode(COLOUR_PICTURE, "GIF"),
    "x.dcm": bytes(128) + b"DICM" + bytes(100),
    "big.tif": b"II+\0" + bytes(60),
    "bomb of sides.png": claim(1_000_001, 1),
    "bomb of pixels.png": claim(60_000, 60_000),
    "bomb of zeros.png": claim(10, 10, bytes(30_000_000)),
    "bomb of claims.png": claim(9000, 9000, bytes(9001)),
    "no pixels.png": claim(0, 10),
    "bomb.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0,
                                    0, 0, 0, 0, 0),
    "bomb.jpg": JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0"):].replace(
        struct.pack(">HH", COLOUR_PICTURE.height, COLOUR_PICTURE.width), b"\xff\xff\xff\xff", 1),
}  # fmt: skip
LYING = {  # Pictures all the same: the bytes count, not the names.
    "really a png.jpg": PNG,
    "really a jpeg.png": JPEG,
    "really a tiff.bmp": TIFFS["1 bit"],
    "really a webp.jpeg": WEBPS["lossless"],
    "=1+1.png": PNG,
    "a,b;'\"\t.png": PNG,
    "a\nb.png": PNG,
    "\u2028 ünï 日本.png": PNG,
    "\udcff\udcfe.png": PNG,
    "n" * 251 + ".png": PNG,
}


def write_files(folder: Path) -> dict[str, str]:
    """Writes `FILES` files and what is none; returns what each is: `whole`, `broken` or ``."""
    folder.mkdir()
    kinds = dict.fromkeys(BROKEN, "broken") | dict.fromkeys(LYING, "whole")
    for name, content in (*BROKEN.items(), *LYING.items()):
        (folder / name).write_bytes(content)
    for number, encoded in enumerate(WHOLE.values()):
        (folder / f"whole {number}.png").write_bytes(encoded)
        kinds[f"whole {number}.png"] = "whole"
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "nowhere.png").symlink_to("missing")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    with (folder / "huge.bmp").open("wb") as file:
        file.write(b"BM")
        file.truncate(2**28 + 1)
    kinds |= dict.fromkeys(
        ("folder.png", "pipe.jpg", "nowhere.png", "loop.png", "endless.png", "huge.bmp"), "broken"
    )
    if os.geteuid():
        (folder / "secret.png").write_bytes(PNG)
        (folder / "secret.png").chmod(0)
        kinds["secret.png"] = "broken"
    rng, sources = random.Random(0), list(WHOLE.values())
    for number in range(FILES - len(kinds)):
        (folder / f"mutant {number:04d}.png").write_bytes(mutate(rng.choice(sources), rng))
        kinds[f"mutant {number:04d}.png"] = ""
    return kinds


def test_each_of_1000_files_has_a_row_with_its_reason(bench: Bench, tmp_path: Path) -> None:
    kinds = write_files(bench.pictures)
    assert len(kinds) == FILES
    bench.run()
    rows, lines = read_table(bench.answers), read_lines(bench.answers)
    assert len(rows) == len(lines) == FILES
    named = {path_text(Path(name)): name for name in kinds}
    assert {row["source_id"].removeprefix(f"{bench.pictures}/") for row in rows} == set(named)
    rejects = read_rejects(bench.answers)
    for row, line in zip(rows, lines, strict=True):
        name = named[row["source_id"].removeprefix(f"{bench.pictures}/")]
        assert line["file"] == row["source_id"]
        assert (line["error"] or "") == row["error"]
        if kinds[name]:
            assert bool(row["error"]) == (kinds[name] == "broken"), (name, row["error"])
        if row["error"]:
            assert "\n" not in row["error"] and len(row["error"]) < 400
            assert set(row.values()) == {row["source_id"], row["error"], ""}
        else:
            assert len(row["sha256"]) == 64 and row["decision"] in ("pass", "fail")
    assert sum(bool(row["error"]) for row in rows) == len(rejects)
    reasons = {row["error"] for row in rows if row["error"]}
    assert len(reasons) > 25, reasons
    assert not any(text in reason for reason in reasons for text in ("Traceback", "object at 0x"))
    judged = read_predictions(bench.answers / "predictions.csv")
    assert len(judged.source_ids) == FILES - len(rejects)
    # In good company or bad, a picture gets the same answer.
    alone = tmp_path / "alone.png"
    alone.write_bytes(PNG)
    bench.run(alone)
    (answer,) = read_lines(bench.answers)
    for line in lines:
        if line["file"].endswith(("really a png.jpg", "=1+1.png")):
            assert line["sha256"] == answer["sha256"]
            assert line["score"] == pytest.approx(answer["score"], abs=1e-5)


def test_reasons_are_those_a_person_needs(bench: Bench) -> None:
    write_files(bench.pictures)
    for path in bench.pictures.iterdir():
        if path.name.startswith(("mutant", "whole")):
            path.unlink()
    bench.run()
    reasons = read_rejects(bench.answers)
    for name, words in {
        "empty.png": "no bytes", "cut.jpg": "cut short", "page.jpg": "does not begin like a",
        "really a gif.png": "GIF", "bomb of pixels.png": "60000 x 60000",
        "huge.bmp": "256 MiB", "folder.png": "a folder", "pipe.jpg": "a pipe",
        "endless.png": "a device", "nowhere.png": "nowhere", "no pixels.png": "0 x 10",
    }.items():  # fmt: skip
        assert words in reasons[name], reasons[name]
    if os.geteuid():
        assert "Permission denied" in reasons["secret.png"]


def test_large_pictures_are_judged_one_by_one(bench: Bench) -> None:
    for number in range(3):
        pixels = np.zeros([4100, 4100], np.uint8)
        pixels[number * 1000 :] = 200
        (bench.pictures).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(bench.pictures / f"{number}.png", compress_level=1)
    draw(bench.pictures / "9.png")
    bench.run()
    assert [Path(line["file"]).name for line in read_lines(bench.answers)] == [
        "0.png", "1.png", "2.png", "9.png",
    ]  # fmt: skip
