"""The program that asks a SavedModel: what it finds right, and that it finds what is wrong."""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models import clean_session
from models.autoencoder import build_autoencoder
from models.clean_session import CLOSELY, EVERY_PICTURE, GOLDEN_SHEET, Served, examine, find_fault
from models.monitoring import fit_feature_space
from models.picture import decode_picture
from models.serving import ServingFacts, judge, write_saved_model
from records.schema import encode_example
from records.tfrecord import frame
from records.types import Example

FACTS = ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "gated", "letterbox")
SIZE = 32
ANSWER = {"label": "io", "decision": "pass", "probabilities": [0.75, 0.25]}
ROW = {
    **{name: ANSWER[name] for name in ("label", "decision")},
    "probabilities": np.array([0.75, 0.25], np.float32),
    "label_index": np.int64(0),
    "classes": np.array(["io", "nio"], object),
    "heatmap": np.array([[0, 1]], np.float32),
}
SHEET = {"classes": ["io", "nio"], "tolerance": 1e-5}


def draw(number: int) -> bytes:
    """Pictures of five kinds; those with an even number are what `predict_tensor` takes."""
    rng = np.random.default_rng(number)
    buffer = io.BytesIO()
    if number % 2 == 0:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), np.uint8)).save(buffer, "PNG")
    elif number % 8 == 1:
        Image.fromarray(rng.integers(0, 65536, (SIZE, SIZE), np.uint16)).save(buffer, "PNG")
    elif number % 8 == 3:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(buffer, "JPEG")
    elif number % 8 == 5:
        # Black below: the file ends in zeros, which are part of it.
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8) // 255).save(buffer, "BMP")
    else:
        Image.fromarray(rng.integers(0, 256, (50, 20), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def encode(number: int, picture: bytes) -> bytes:
    digest = hashlib.sha256(picture).hexdigest()
    example = Example(f"{number}.png", "png", False, 9, 9, True, 9, digest, "io", (), None)
    return encode_example(example, picture, classes=("io",), box_classes=())


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with a golden set of ten pictures; nothing of the gate's code made it."""
    keras.utils.set_random_seed(0)
    model = build_autoencoder(image_size=SIZE, channels=1, classes=2, mean=120.0, variance=900.0)
    version = tmp_path_factory.mktemp("export") / "1"
    features = model.get_layer("logits").input.shape[-1]
    space = fit_feature_space(np.eye(2, features), np.arange(2), classes=2)
    write_saved_model(version, model, FACTS, space=space)
    pictures = [draw(number) for number in range(10)]
    decode = functools.partial(decode_picture, image_size=SIZE, channels=1, resize=FACTS.resize)
    logits = model(tf.stack(list(map(decode, pictures))), training=False)["logits"]
    answers = {name: values.numpy() for name, values in judge(logits, FACTS).items()}
    golden = version / GOLDEN_SHEET
    golden.parent.mkdir(parents=True)
    (golden.parent / "golden.tfrecord").write_bytes(
        b"".join(frame(encode(number, picture)) for number, picture in enumerate(pictures))
    )
    sheet = {
        **{"name": "golden", "records": ["golden.tfrecord"], "closely": None},
        **SHEET,
        "files": {
            "saved_model.pb": hashlib.sha256((version / "saved_model.pb").read_bytes()).hexdigest()
        },
        "pictures": [
            {
                "source_id": f"{number}.png",
                "sha256": hashlib.sha256(picture).hexdigest(),
                "label": answers["label"][number].decode(),
                "decision": answers["decision"][number].decode(),
                "probabilities": answers["probabilities"][number].tolist(),
            }
            for number, picture in enumerate(pictures)
        ],
    }
    golden.write_text(json.dumps(sheet))
    shutil.copy(clean_session.__file__, golden.parent / "check.py")
    return version


@pytest.fixture(scope="module")
def served(version: Path) -> Served:
    return Served(version)


def change(version: Path, folder: Path, **values: Any) -> Path:
    """A copy of the golden sheet in another folder, with other values."""
    sheet = json.loads((version / GOLDEN_SHEET).read_text())
    sheet["records"] = [str(version / "assets.extra/golden/golden.tfrecord")]
    (folder / "sheet.json").write_text(json.dumps(sheet | values))
    return folder / "sheet.json"


def pictures_of(version: Path) -> list[dict[str, Any]]:
    pictures: list[dict[str, Any]] = json.loads((version / GOLDEN_SHEET).read_text())["pictures"]
    return pictures


def test_an_answer_as_expected_has_no_fault() -> None:
    assert find_fault(ROW, ANSWER, SHEET) == ""
    reply = json.loads(json.dumps(ROW, default=lambda value: value.tolist()))
    assert find_fault(reply, ANSWER, SHEET) == ""


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"label": "nio", "label_index": 1}, "label nio instead of io"),
        ({"decision": "review"}, "decision review instead of pass"),
        ({"probabilities": [0.75002, 0.24998]}, "a probability differs by 2.0e-05"),
        ({"probabilities": [np.nan, 0.25]}, "probabilities is not a number"),
        ({"probabilities": [np.inf, 0.25]}, "probabilities is not a number"),
        ({"reconstruction_error": np.nan}, "reconstruction_error is not a number"),
        ({"heatmap": [[0, 1.001]]}, "its heatmap is not within 0 to 1"),
        ({"heatmap": [[-0.001, 1]]}, "its heatmap is not within 0 to 1"),
        ({"heatmap": [[np.nan, 1]]}, "heatmap is not a number"),
        ({"classes": ["nio", "io"]}, "the classes are nio, io, number 0 of them"),
        ({"label_index": 1}, "the classes are io, nio, number 1 of them"),
    ],
)
def test_a_fault_is_named(values: dict[str, Any], fault: str) -> None:
    assert find_fault(ROW | values, ANSWER, SHEET) == fault


def test_what_a_probability_may_differ_by_is_up_to_the_sheet() -> None:
    row = ROW | {"probabilities": [0.51, 0.49]}
    assert find_fault(row, ANSWER, SHEET | {"tolerance": 1.0}) == ""
    assert find_fault(ROW | {"probabilities": [0.750009, 0.249991]}, ANSWER, SHEET) == ""
    row |= {"label": "nio", "label_index": 1}
    assert find_fault(row, ANSWER, SHEET | {"tolerance": 1.0}) == "label nio instead of io"


def test_every_way_gives_the_answers_of_the_model(version: Path, served: Served) -> None:
    findings = list(examine(served, version / GOLDEN_SHEET, version))
    assert [clean_session.describe(found) for found in findings if found["wrong"]] == []
    ways = [(found["signature"], found["form"], found["batch_size"]) for found in findings]
    assert ways == [EVERY_PICTURE, *CLOSELY]
    assert {found["pictures"] for found in findings} == {10}
    assert max(found["largest_difference"] for found in findings) < 1e-6
    # Five are grey, of 8 bit and of the model's size.
    assert {found["own"] for found in findings if found["form"] == "pixels"} == {5}
    json.dumps(findings, allow_nan=False)


def test_some_are_shown_in_every_way_and_all_at_least_once(
    version: Path, served: Served, tmp_path: Path
) -> None:
    sheet = change(version, tmp_path, closely=["1.png", "4.png"], files={})
    first, *others = examine(served, sheet, version)
    assert first["pictures"] == 10
    assert {found["pictures"] for found in others} == {2}
    assert {found["own"] for found in others if found["form"] == "pixels"} == {1}


def test_a_wrong_answer_is_seen_in_every_way_that_can_show_it(
    version: Path, served: Served, tmp_path: Path
) -> None:
    pictures = pictures_of(version)
    changed = copy.deepcopy(pictures)
    changed[4]["probabilities"] = [1 - pictures[4]["probabilities"][0]] * 2
    changed[7]["label"] = "scratch"
    changed[8]["decision"] = "review"
    for found in examine(served, change(version, tmp_path, pictures=changed), version):
        wrong = dict(found["wrong"])
        # The seventh is no square: its pixels are held to what is said of them as a PNG.
        seen = {"4.png", "8.png"} if found["form"] == "pixels" else {"4.png", "7.png", "8.png"}
        assert wrong.keys() == seen
        assert wrong["4.png"].startswith("a probability differs by")
        assert wrong["8.png"].endswith("instead of review")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"files": {"saved_model.pb": "0" * 64}}, "saved_model.pb is not the file that was"),
        ({"pictures": []}, "shorter"),
    ],
)
def test_other_files_and_records_are_refused(
    version: Path, served: Served, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(examine(served, change(version, tmp_path, **values), version))


def test_another_picture_under_the_same_name_is_refused(
    version: Path, served: Served, tmp_path: Path
) -> None:
    pictures = pictures_of(version)
    pictures[2]["sha256"] = pictures[3]["sha256"]
    with pytest.raises(ValueError, match=r"record of 2\.png holds another picture"):
        list(examine(served, change(version, tmp_path, pictures=pictures), version))


class Faulty(tf.Module):
    """Answers like a model, but for one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self._fault = fault

    def answer(self, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(batch)[0]
        answers = {
            "probabilities": tf.tile([[0.75, 0.25]], [count, 1]),
            "label_index": tf.zeros([count], tf.int64),
            "label": tf.fill([count], "io"),
            "decision": tf.fill([count], "pass"),
            "classes": tf.tile([["io", "nio"]], [count, 1]),
        }
        if self._fault == "nan":
            answers["score"] = tf.fill([count], np.float32(np.nan))
        if self._fault == "scalar":
            answers["threshold"] = tf.constant(0.5)
        if self._fault == "grows":  # with the batch, so that answers of another size are other ones
            share = 0.25 * tf.cast(count, tf.float32) / 32
            answers["probabilities"] += tf.stack([share, -share])
        if self._fault == "fixed":  # what has no answer is not asked any further
            answers["score"] = tf.ensure_shape(answers["probabilities"][:, 1], [1])
        return answers

    def save(self, folder: Path) -> Path:
        encoded = tf.TensorSpec([None], tf.string, "image_bytes")
        pixels = tf.TensorSpec([None, SIZE, SIZE, 1], tf.uint8, "images")
        takes = {"serving_default": encoded, "explain": encoded, "predict_tensor": pixels}
        signatures = {
            name: tf.function(self.answer).get_concrete_function(spec)
            for name, spec in takes.items()
        }
        tf.saved_model.save(self, str(folder), signatures)
        return folder


@pytest.mark.parametrize(
    ("fault", "reason", "sizes"),
    [
        ("", "", set()),
        ("nan", "not a number", {1, 2, 7, 32}),
        ("scalar", "shape ()", {32}),
        ("grows", "differs by", {1, 2, 7, 32}),
        ("fixed", "no answer", {32}),
    ],
)
def test_what_serving_could_not_answer_is_found(
    version: Path, tmp_path: Path, fault: str, reason: str, sizes: set[int]
) -> None:
    folder = Faulty(fault).save(tmp_path / "1")
    pictures = [{**picture, **ANSWER} for picture in pictures_of(version)]
    sheet = change(version, tmp_path, pictures=pictures, files={})
    findings = list(examine(Served(folder), sheet, folder))
    assert {found["batch_size"] for found in findings if found["wrong"]} == sizes
    for found in findings:
        for _, why in found["wrong"]:
            # Where a reply cannot be JSON there is none.
            assert reason in why or (found["form"] == "base64" and "JSON compliant" in why)


def check(version: Path) -> subprocess.CompletedProcess[str]:
    """As whoever copied the SavedModel would."""
    return subprocess.run(
        [sys.executable, "-I", str(version / "assets.extra/golden/check.py"), str(version)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_a_copy_is_checked_by_what_it_holds_and_by_nothing_else(
    version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copytree(version, tmp_path / "elsewhere")
    done = check(copied)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("All answers are as expected")
    sheet = json.loads((copied / GOLDEN_SHEET).read_text())
    sheet["pictures"][3]["decision"] = "review"
    (copied / GOLDEN_SHEET).write_text(json.dumps(sheet))
    assert clean_session.main([str(copied)]) == 1
    printed = capsys.readouterr().out
    assert "golden: 1 of 10 pictures by the signature serving_default" in printed
    assert "3.png (decision" in printed


@pytest.mark.parametrize(
    "lost", ["saved_model.pb", GOLDEN_SHEET, "assets.extra/golden/golden.tfrecord"]
)
def test_a_copy_cut_short_is_told(
    version: Path, tmp_path: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copytree(version, tmp_path / "elsewhere")
    content = (copied / lost).read_bytes()
    (copied / lost).write_bytes(content[: len(content) // 2])
    assert clean_session.main([str(copied)]) == 1
    assert f"{copied} could not be examined" in capsys.readouterr().out
    (copied / lost).unlink()
    assert clean_session.main([str(copied)]) == 1
