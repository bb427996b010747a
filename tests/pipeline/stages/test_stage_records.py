from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Settings
from pipeline.stages.records import run
from records.errors import InputError
from records.manifest import read_manifest, verify_shards
from records.shards import BYTES_A_MB, TARGET_SHARD_BYTES
from records.types import SPLITS


def draw_folder(folder: Path, counts: dict[str, int]) -> Path:
    """Pictures of noise in `<class>/` folders."""
    rng = np.random.default_rng(0)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            noise = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(folder / label / f"{label[0]}{index:03d}.png")
    return folder


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def run_in(tmp_path: Path, *, strict: bool = False) -> Path:
    run(
        Settings(
            stage="records",
            data_dir=tmp_path / "pictures",
            work_dir=tmp_path / "run",
            strict=strict,
        )
    )
    return tmp_path / "run" / "records"


def test_records_are_written_and_summed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_folder(tmp_path / "pictures", {"io": 100, "nio": 20})
    records = run_in(tmp_path)
    manifest = read_manifest(records)
    verify_shards(manifest)
    assert (manifest.name, manifest.layout, manifest.classes) == (
        "pictures",
        "folders",
        ("io", "nio"),
    )
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'pictures'} is laid out as folders: <class>/*. 120 pictures, 0 with an "
        "annotation. Looked for as well: split, voc, images, flat.",
        "Layout folders. Pictures:",
        "       train  validation  test  all",
        "  io      64          16    20  100",
        "  nio     13           3     4   20",
        "  all     77          19    24  120",
        f"The audit is {records / 'audit.json'}; to look at: {records / 'audit.html'}.",
        f"Records are in {records}.",
    ]
    for name in ("audit.json", "audit.html", "rejects.csv"):
        assert (records / name).is_file()


def test_smaller_shards_are_more_shards(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("io", "nio"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for index in range(10):
            noise = rng.integers(0, 256, (500, 500), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "pictures" / label / f"{index}.bmp")
    found = {}
    for size in (1, 2, 32):
        settings = Settings(
            stage="records", data_dir=tmp_path / "pictures", work_dir=tmp_path / "run",
            workers=1, shard_mb=size, near_duplicates=False, verify_pictures=False,
        )  # fmt: skip
        run(settings)
        manifest = read_manifest(tmp_path / "run" / "records")
        verify_shards(manifest)
        found[size] = [shard.count for shard in manifest.shards["train"]]
    assert Settings(stage="train").shard_mb * BYTES_A_MB == TARGET_SHARD_BYTES
    # 12 pictures of 251,078 bytes are 3.01 MB.
    assert found == {1: [3, 3, 3, 3], 2: [6, 6], 32: [12]}


def test_a_broken_picture_is_set_aside_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    (folder / "io" / "i000.png").write_bytes(b"")
    records = run_in(tmp_path)
    printed = capsys.readouterr().out
    assert read_manifest(records).counts["train"]["io"] == 19 - 3 - 4
    assert "Set aside:\n" in printed
    assert f"Each of them is in {records / 'audit.json'}; to look at" in printed
    with (records / "rejects.csv").open(newline="") as file:
        [reject] = csv.DictReader(file)
    assert reject["path"] == "io/i000.png"


def test_strict_ends_the_run_for_one_broken_picture_and_leaves_the_audit(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    (folder / "io" / "i000.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run_in(tmp_path, strict=True)
    assert "io/i000.png" in caught.value.problem
    assert str(tmp_path / "run" / "audit" / "audit.json") in caught.value.remedy
    audit = json.loads((tmp_path / "run" / "audit" / "audit.json").read_text())
    assert audit["findings_per_code"] == {"class_too_small": 1, "empty_file": 1}
    assert not (tmp_path / "run" / "records").exists()


def test_strict_ends_the_run_for_a_remark(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    (folder / "void").mkdir()
    with pytest.raises(InputError, match=r"Found fault with: 1 \(empty_class 1\)\n  void: "):
        run_in(tmp_path, strict=True)


def test_strict_lets_a_faultless_folder_pass(tmp_path: Path) -> None:
    draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    assert read_manifest(run_in(tmp_path, strict=True)).count("train") == 13 + 13


def test_more_than_half_set_aside_ends_the_run(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "pictures", {"io": 10, "nio": 10})
    broken = sorted(folder.glob("*/?00[2-7].png"))
    for path in broken[:10]:
        path.write_bytes(b"no picture")
    records = run_in(tmp_path)
    before = read_all(records)
    broken[10].write_bytes(b"no picture")
    with pytest.raises(InputError, match="11 of 20 pictures cannot be used") as caught:
        run_in(tmp_path)
    assert "--layout" in caught.value.remedy
    assert "and 6 more" in caught.value.problem
    assert read_all(records) == before


def break_pictures(folder: Path, fault: str) -> None:
    """Makes pictures unusable: all, those of a class, all but two of it, or a train split."""
    pattern = {"nothing": "*/*.png", "one class": "nio/*.png", "too few": "nio/*[1-9].png"}
    for path in folder.glob(pattern.get(fault, "nothing")):
        path.write_bytes(b"")
    if fault == "no train":
        (folder / "test").mkdir()
        for label in ("io", "nio"):
            (folder / label).rename(folder / "test" / label)
        (folder / "test" / "io" / "i000.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("fault", "problem", "set_aside"),
    [
        ("nothing", "None of the pictures can be used.", 40),
        ("one class", "All 29 usable pictures are of one class, io.", 11),
        ("too few", "The class nio has too few usable pictures (2)", 9),
        ("no train", "only test (39 pictures) can be used, and none to train on", 1),
    ],
)
def test_a_failed_run_leaves_earlier_records_and_says_where_its_audit_is(
    tmp_path: Path, fault: str, problem: str, set_aside: int
) -> None:
    folder = draw_folder(tmp_path / "pictures", {"io": 29, "nio": 11})
    records, failed = run_in(tmp_path), tmp_path / "run" / "audit"
    before = read_all(records)
    kept = shutil.copytree(folder, tmp_path / "kept")
    break_pictures(folder, fault)
    with pytest.raises(InputError) as caught:
        run_in(tmp_path)
    assert problem in caught.value.problem
    assert f"Set aside: {set_aside} (empty_file {set_aside})\n" in caught.value.problem
    assert ".png: the file holds no bytes" in caught.value.problem
    assert str(failed / "audit.json") in caught.value.remedy
    assert sorted(read_all(failed)) == ["audit.html", "audit.json", "rejects.csv"]
    assert read_all(records) == before
    shutil.rmtree(folder)
    shutil.move(kept, folder)
    assert read_all(run_in(tmp_path)) == before
    assert not failed.exists()


def test_a_failed_run_that_cannot_keep_its_audit_still_says_what_is_wrong(tmp_path: Path) -> None:
    draw_folder(tmp_path / "pictures", {"io": 4})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "audit").write_text("no folder")
    with pytest.raises(InputError, match="of one class, io") as caught:
        run_in(tmp_path)
    assert "run/audit: File exists" in caught.value.remedy


def test_copies_are_set_aside_but_are_no_sign_of_a_misread_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_folder(tmp_path / "pictures", {"io": 10, "nio": 10})
    for path in sorted(folder.glob("*/*.png")):
        for copy in range(2):
            shutil.copy(path, path.with_stem(f"{path.stem}_{copy}"))
    manifest = read_manifest(run_in(tmp_path))
    assert sum(manifest.count(split) for split in SPLITS) == 20
    assert "Set aside:\n  exact_duplicate  40\n" in capsys.readouterr().out


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pictures"):
        run_in(tmp_path)


def test_a_file_in_the_place_of_the_records_is_named(tmp_path: Path) -> None:
    draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "records").write_text("no folder")
    with pytest.raises(InputError, match="run/records cannot be written: File exists"):
        run_in(tmp_path)


@pytest.mark.parametrize("name", ["batch_records.csv", "voc", "__init__.py"])
def test_what_no_run_wrote_is_never_replaced(tmp_path: Path, name: str) -> None:
    draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    mine = tmp_path / "run" / "records" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=f"{name} is in the place of the records"):
        run_in(tmp_path)
    assert mine.read_text() == "mine"


def test_what_lies_beside_the_audit_of_an_earlier_run_stays(tmp_path: Path) -> None:
    draw_folder(tmp_path / "pictures", {"io": 20, "nio": 20})
    mine = tmp_path / "run" / "audit" / "iso9001.txt"
    mine.parent.mkdir(parents=True)
    for path in (mine, mine.with_name("audit.json")):
        path.write_text("mine")
    run_in(tmp_path)
    assert [path.name for path in mine.parent.iterdir()] == ["iso9001.txt"]
