"""A data folder made to do harm: each file has its reason, nothing is touched elsewhere.

All in one process, by the command line itself.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.listing import Tree
from records.manifest import read_manifest
from records.types import SPLITS
from records.voc_lists import MAX_LIST_BYTES
from tests.in_process import answer

BOX = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
MARKUP = "<script>alert(1)</script>"
NAMES = (
    *("=cmd|'calc'!A0", "{{7*7}}", "con", "a..", "$\\frac{", "a'b\"c", "-1+1", "@x"),
    *("n" * 200, "N" * 200),
)
"""Of classes that are folders."""


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def list_all(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file, folder and link below `folder`, links not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        mode = path.lstat().st_mode
        found[path.relative_to(folder).as_posix()] = mode, path.read_bytes() if is_file else b""
    return found


def read_rejects(folder: Path) -> dict[str, str]:
    with (folder / "rejects.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["code"] for row in csv.DictReader(file)}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What a run must neither read nor change."""
    folder = tmp_path / "outside"
    draw(folder / "secret.png", 99)
    (folder / "secret.xml").write_text(
        f"<annotation><object><name>secret</name>{BOX}</object></annotation>"
    )
    draw(folder / "class" / "1.png", 98)
    return folder


def test_what_is_no_file_has_a_reason(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for index in range(8):
        draw(data / ("io", "nio")[index % 2] / f"{index}.png", index)
    io = data / "io"
    os.mkfifo(io / "pipe.png")
    os.mkfifo(io / "0.xml")
    monkeypatch.chdir(io)  # The name of a socket may have 107 bytes.
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.bind("socket.jpg")
    monkeypatch.undo()
    (io / "endless.png").symlink_to("/dev/zero")
    (io / "out.png").symlink_to(outside / "secret.png")
    (io / "2.xml").symlink_to(outside / "secret.xml")
    (io / "loop.png").symlink_to("loop.png")
    (data / "above").symlink_to(tmp_path)
    (data / "itself").symlink_to(".")
    before = list_all(outside)
    status, printed = answer(
        "--stage=records", f"--data_dir={data}", f"--work_dir={tmp_path / 'run'}", "--workers=1"
    )
    assert status == 0, printed
    rejects = read_rejects(tmp_path / "run/records")
    assert (
        rejects.items()
        >= {
            **dict.fromkeys(("io/pipe.png", "io/0.xml", "io/socket.jpg"), "no_file"),
            **dict.fromkeys(("io/endless.png", "io/out.png", "io/2.xml", "above"), "bad_link"),
            "io/loop.png": "bad_link",
        }.items()
    )
    assert read_manifest(tmp_path / "run/records").box_classes == ()
    assert list_all(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"data", "outside", "run"}


def test_an_annotation_s_words_lead_nowhere(tmp_path: Path, outside: Path) -> None:
    data = tmp_path / "data"
    (data / "Annotations").mkdir(parents=True)
    places = ("../../outside/secret.png", str(outside / "secret.png"), "/etc/passwd", "..", "")
    for seed, stem in enumerate("abcdefghij"):
        draw(data / f"JPEGImages/{stem}.png", seed)
        place, label = places[seed % 5], ("void", "crack")[seed % 2]
        named = f"<folder>{place}</folder><filename>{place}</filename><path>{place}</path>"
        item = f"<object><name>{label}</name>{BOX}</object>"
        (data / f"Annotations/{stem}.xml").write_text(f"<annotation>{named}{item}</annotation>")
    lists = data / "ImageSets/Main"
    lists.mkdir(parents=True)
    listed = [*"abcdefgh", "../../outside/secret", "/etc/passwd", "n" * 10_000]
    (lists / "train.txt").write_text("\n".join(listed))
    (lists / "test.txt").write_text(f"i\nj\n{outside}/secret.png\n\0\n\x1b[31m\n")
    status, printed = answer(
        "--stage=records", f"--data_dir={data}", f"--work_dir={tmp_path / 'run'}", "--workers=1"
    )
    assert status == 0, printed
    audit = json.loads((tmp_path / "run/records/audit.json").read_text(encoding="utf-8"))
    manifest = read_manifest(tmp_path / "run/records")
    assert (manifest.layout, manifest.classes) == ("voc", ("crack", "void"))
    assert sum(manifest.count(split) for split in SPLITS) == 10
    missing = [item["reason"] for item in audit["findings"] if item["code"] == "listed_missing"]
    assert len(missing) == 2
    assert all(len(reason) < 400 and reason.isprintable() for reason in missing), missing
    assert {path.name for path in tmp_path.iterdir()} == {"data", "outside", "run"}


def test_a_list_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    draw(tmp_path / "JPEGImages/a.png", 0)
    path = tmp_path / "ImageSets/Main/train.txt"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(MAX_LIST_BYTES + 1)
    flags = (f"--data_dir={tmp_path}", f"--work_dir={tmp_path}-run", "--workers=1")
    status, printed = answer("--stage=records", *flags)
    assert status == 2 and "train.txt is larger than 256 MiB" in printed


def test_names_stay_names(tmp_path: Path) -> None:
    """In the table, the pages, the records, and when they become folders again."""
    data, run, back = tmp_path / "data", tmp_path / "run", tmp_path / "back"
    for seed, name in enumerate(NAMES):
        for number in range(3):
            draw(data / name / f"{MARKUP.replace('/', '')}{number}.png", 10 * seed + number)
    (data / NAMES[0] / "=1+1.png").write_bytes(b"broken")
    (data / NAMES[1] / ("x" * 251 + ".png")).write_bytes(b"")
    flags = (f"--data_dir={data}", f"--work_dir={run}", "--workers=1")
    status, printed = answer("--stage=records", *flags, "--nonear_duplicates")
    assert status == 0, printed
    assert "\x1b" not in printed
    assert sorted(read_manifest(run / "records").classes) == sorted(NAMES)
    table = (run / "records/rejects.csv").read_text(encoding="utf-8")
    assert all(not line.startswith(("=", "+", "-", "@")) for line in table.splitlines())
    for page in run.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text and "{{7*7}}" in text
    status, printed = answer(
        "--stage=records", "--to=voc", f"--work_dir={run}", f"--output_dir={back}"
    )
    assert status == 0, printed
    assert len(list(back.rglob("*.png"))) == 3 * len(NAMES)
    assert all(path.resolve().is_relative_to(back.resolve()) for path in back.rglob("*"))
    again = Tree(back).list("train/images").folders
    assert len(again) == len(NAMES)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run", "back"}


@pytest.mark.parametrize("name", [b"r\xfcn", b"a\nb", b"<script>alert(1)<", b"=1+1", b"\x1b[31m"])
def test_the_folders_themselves_may_be_called_anything(tmp_path: Path, name: bytes) -> None:
    for index in range(8):
        draw(tmp_path / "pictures" / ("io", "nio")[index % 2] / f"{index}.png", index)
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    try:
        place.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    shutil.move(tmp_path / "pictures", place / os.fsdecode(name))
    status, printed = answer(
        "--stage=records", f"--data_dir={place / os.fsdecode(name)}", f"--work_dir={place / 'run'}",
        "--workers=1",
    )  # fmt: skip
    assert status == 0, printed
    page = (place / "run/records/audit.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert read_manifest(place / "run/records").count("train") > 0


def test_a_flag_with_a_nul_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "flags.cfg"
    for flag in ("data_dir", "work_dir", "images", "output_dir", "baseline", "model", "layout"):
        config.write_text(f"--{flag}=a\0b\n")
        status, printed = answer("--stage=records", f"--flagfile={config}")
        assert status == 2 and flag in printed
    config.write_text("--work_dir=a\0b\n")
    status, printed = answer("--stage=records", f"--data_dir={tmp_path}", f"--flagfile={config}")
    assert status == 2 and "NUL" in printed
