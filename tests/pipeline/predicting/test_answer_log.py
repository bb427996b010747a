"""The answers of a watch: torn anywhere, they are whole again at the next start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.predicting.answer_files import Answer
from pipeline.predicting.answer_log import Known, is_of_a_watch, open_answer_log
from pipeline.predicting.output_folder import require_watched
from records.errors import InputError

CLASSES = ("io", "nio")
FINE = Answer(
    file="a.png", sha256="ab" * 32, label="nio", probabilities=(0.25, 0.75), score=0.75,
    decision="fail", version=3, model="cd" * 32, copy="nio/a.png", stamp=(10, 123),
)  # fmt: skip
BROKEN = Answer("b.png", error="it is empty", stamp=(0, 5))
LAST = dataclasses.replace(FINE, file="c.png", copy="nio/c.png", sha256="ef" * 32, stamp=(11, 99))


def write(folder: Path, *answers: Answer) -> None:
    with open_answer_log(folder, CLASSES, latest=2) as log:
        log.write(answers)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_answers_are_known_again(tmp_path: Path) -> None:
    write(tmp_path, FINE, BROKEN)
    first = read_all(tmp_path)
    with open_answer_log(tmp_path, CLASSES, latest=2) as log:
        assert log.known == {
            "a.png": Known((10, 123), "ab" * 32), "b.png": Known((0, 5), ""),
        }  # fmt: skip
        assert (log.copies, list(log.latest)) == ({"nio/a.png"}, [FINE, BROKEN])
        assert read_all(tmp_path) == first
        log.write([])
        log.write([LAST])
        assert log.known["c.png"] == Known((11, 99), "ef" * 32)
    lines = (tmp_path / "predictions.jsonl").read_bytes().splitlines()
    assert len(lines) == 3
    with open_answer_log(tmp_path, CLASSES, latest=2) as log:
        assert list(log.latest) == [BROKEN, LAST]


def test_torn_at_any_byte_the_rest_is_whole_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, FINE, BROKEN, LAST)
    whole = read_all(tmp_path)
    lines = whole["predictions.jsonl"].splitlines(keepends=True)
    start = len(b"".join(lines[:2]))
    for end in [*range(start, len(whole["predictions.jsonl"]), 7), len(b"".join(lines)) - 1]:
        (tmp_path / "predictions.jsonl").write_bytes(whole["predictions.jsonl"][:end])
        (tmp_path / "predictions.csv").write_bytes(whole["predictions.csv"][: end // 3])
        with open_answer_log(tmp_path, CLASSES, latest=2) as log:
            assert log.known.keys() == {"a.png", "b.png"}
            log.write([LAST])
        assert read_all(tmp_path) == whole


@pytest.mark.parametrize("tail", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"file": "x\0\0\n'])
def test_what_a_power_cut_leaves_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    write(tmp_path, FINE)
    whole = read_all(tmp_path)
    (tmp_path / "predictions.jsonl").write_bytes(whole["predictions.jsonl"] + tail)
    with open_answer_log(tmp_path, CLASSES, latest=2):
        pass
    assert read_all(tmp_path) == whole


@pytest.mark.parametrize("damage", ["middle", "other classes", "no watch"])
def test_what_cannot_be_gone_on_from_is_told_and_left(tmp_path: Path, damage: str) -> None:
    plain = dataclasses.replace(FINE, stamp=None)
    write(tmp_path, plain if damage == "no watch" else FINE, LAST)
    path = tmp_path / "predictions.jsonl"
    if damage == "middle":
        path.write_bytes(path.read_bytes().replace(b'{"file": "a.png"', b'{"file": a.png"'))
    before = read_all(tmp_path)
    classes = ("io", "x") if damage == "other classes" else CLASSES
    with (
        pytest.raises(InputError, match="line 1") as caught,
        open_answer_log(tmp_path, classes, latest=2),
    ):
        pass
    assert str(path) in str(caught.value)
    assert read_all(tmp_path) == before


def test_whose_a_folder_is(tmp_path: Path) -> None:
    assert is_of_a_watch(tmp_path) is None
    require_watched(tmp_path)
    (tmp_path / "predictions.jsonl").touch()  # killed before its first answer
    require_watched(tmp_path)
    write(tmp_path, FINE)
    assert is_of_a_watch(tmp_path) is True
    require_watched(tmp_path)
    (tmp_path / "predictions.jsonl").write_bytes(b'{"file": "a')  # while writing it
    assert is_of_a_watch(tmp_path) is None
    require_watched(tmp_path)
    (tmp_path / "predictions.jsonl").write_bytes(b'{"file": "a"}\n')
    assert is_of_a_watch(tmp_path) is False
    with pytest.raises(InputError, match="--watch"):
        require_watched(tmp_path)
    (tmp_path / "predictions.jsonl").unlink()
    with pytest.raises(InputError, match="not empty"):
        require_watched(tmp_path)
