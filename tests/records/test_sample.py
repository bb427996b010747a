from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from records.atomic import locked
from records.defects import DEFECT_KINDS
from records.drawing import HEIGHT_PX, WIDTH_PX
from records.errors import InputError
from records.layouts import find_samples
from records.sample import MARKER, draw_data_set, draw_picture
from records.types import SPLITS, Split
from records.voc import read_annotation
from tests.file_systems import mounted

COUNTS: dict[Split, int] = {"train": 25, "validation": 10, "test": 25}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "boards"
    draw_data_set(folder, seed=7, counts=COUNTS, nio_share=0.2)
    return folder


def test_a_picture_is_the_same_when_drawn_again() -> None:
    seeds = np.random.SeedSequence(3)
    first, second = draw_picture(seeds, ("bridge",)), draw_picture(seeds, ("bridge",))
    assert first.defects == second.defects
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, draw_picture(np.random.SeedSequence(4)).pixels)


def test_a_defect_leaves_the_rest_of_the_picture_as_it_was() -> None:
    seeds = np.random.SeedSequence(5)
    sound, spoilt = draw_picture(seeds), draw_picture(seeds, ("missing_joint",))
    squares = (spoilt.pixels.astype(float) - sound.pixels) ** 2
    box = spoilt.defects[0].box
    inside = np.zeros(squares.shape, bool)
    inside[int(box.ymin) : int(box.ymax), int(box.xmin) : int(box.xmax)] = True
    assert squares[inside].mean() > 10 * squares[~inside].mean()


def test_the_folder_reads_as_a_published_data_set(drawn: Path) -> None:
    discovery = find_samples(drawn)
    assert (discovery.layout, discovery.findings) == ("split", ())
    assert Counter((item.published_split, item.label) for item in discovery.samples) == {
        ("train", "io"): 20,
        ("train", "nio"): 5,
        ("validation", "io"): 8,
        ("validation", "nio"): 2,
        ("test", "io"): 20,
        ("test", "nio"): 5,
    }


def test_every_picture_has_an_annotation_with_its_defects(drawn: Path) -> None:
    names = []
    for sample in find_samples(drawn).samples:
        assert sample.annotation is not None
        annotation = read_annotation(drawn / sample.annotation)
        assert annotation.filename == sample.source_id.rpartition("/")[2]
        with Image.open(drawn / sample.source_id) as picture:
            assert picture.mode == "L"
            assert picture.size == (annotation.width, annotation.height) == (WIDTH_PX, HEIGHT_PX)
        assert bool(annotation.objects) == (sample.label == "nio")
        assert all(item.box.is_within(WIDTH_PX, HEIGHT_PX) for item in annotation.objects)
        names += [item.name for item in annotation.objects]
    facts = json.loads((drawn / MARKER).read_text())
    assert Counter(names) == sum((Counter(facts["defects"][split]) for split in SPLITS), Counter())
    assert set(names) == set(DEFECT_KINDS)


def test_the_mean_grey_value_tells_nothing() -> None:
    rng = np.random.SeedSequence(11)
    seeds = [np.random.SeedSequence(rng.entropy, spawn_key=(i,)) for i in range(120)]
    kinds = [(DEFECT_KINDS[i % 4],) if i % 2 else () for i in range(120)]
    means = [draw_picture(s, k).pixels.mean() for s, k in zip(seeds, kinds, strict=True)]
    score = roc_auc_score([bool(k) for k in kinds], means)
    assert max(score, 1 - score) < 0.65


def test_equal_seeds_give_equal_bytes_and_replace_an_earlier_drawing(
    drawn: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "boards"
    draw_data_set(folder, seed=8, counts={"train": 12, "validation": 5, "test": 30}, nio_share=0.2)
    other = digests(folder)
    draw_data_set(folder, seed=7, counts=COUNTS, nio_share=0.2)
    assert digests(folder) == digests(drawn)
    assert not set(other.values()) & {
        digest for name, digest in digests(drawn).items() if name.endswith(".png")
    }


def test_all_pictures_differ(drawn: Path) -> None:
    found = [digest for name, digest in digests(drawn).items() if name.endswith(".png")]
    assert len(set(found)) == len(found) == sum(COUNTS.values())


@pytest.mark.parametrize(
    "foreign", ["holiday.jpg", "train/images/nio/mine.png", "train/images/io/test_0001.png"]
)
def test_a_foreign_file_is_never_overwritten(drawn: Path, foreign: str) -> None:
    stranger = drawn / foreign
    before = digests(drawn)
    stranger.write_bytes(b"mine")
    try:
        with pytest.raises(InputError, match=foreign):
            draw_data_set(drawn, seed=1, counts=COUNTS)
        assert digests(drawn) == {**before, foreign: hashlib.sha256(b"mine").hexdigest()}
    finally:
        stranger.unlink()


def test_names_like_ours_without_our_marker_are_foreign(tmp_path: Path) -> None:
    picture = tmp_path / "train" / "images" / "io" / "train_0001.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"")
    with pytest.raises(InputError, match="train_0001"):
        draw_data_set(tmp_path, seed=1, counts=COUNTS)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boards").write_text("")
    with pytest.raises(InputError, match="File exists"):
        draw_data_set(tmp_path / "boards", seed=1, counts=COUNTS)


def test_an_interrupted_drawing_can_be_drawn_again(drawn: Path, tmp_path: Path) -> None:
    left = tmp_path / ".sample-draft" / "train" / "images" / "io" / "train_0001.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    draw_data_set(tmp_path, seed=7, counts=COUNTS, nio_share=0.2)
    assert digests(tmp_path) == digests(drawn)


def test_a_drawing_that_ends_between_two_renames_can_be_drawn_again(
    drawn: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "boards"
    draw_data_set(folder, seed=8, counts=COUNTS, nio_share=0.2)
    # What is mounted cannot be replaced: the last split stays in the way.
    with mounted(folder / "test"), pytest.raises(InputError, match="busy"):
        draw_data_set(folder, seed=7, counts=COUNTS, nio_share=0.2)
    assert not (folder / MARKER).exists()
    draw_data_set(folder, seed=7, counts=COUNTS, nio_share=0.2)
    assert digests(folder) == digests(drawn)


def test_a_folder_that_is_drawn_into_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="Another process draws"):
        draw_data_set(tmp_path, seed=1, counts=COUNTS)
    assert not list(tmp_path.iterdir())
