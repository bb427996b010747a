"""Answers as they come: what is written, and what comes back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.predictions import UNKNOWN, read_predictions, write_predictions
from pipeline.predicting.answer_files import (
    Answer,
    decode_answer,
    encode_answer,
    format_answer,
    replacing_answers,
)

CLASSES = ("io", "nio")
FINE = Answer(
    file="a/=1.png", sha256="ab" * 32, label="nio", probabilities=(0.25, 0.75), score=0.75,
    decision="fail", reconstruction_error=20.5, version=12, model="cd" * 32,
)  # fmt: skip
BROKEN = Answer("b,c.png", error='it is "empty"')
HEADER = (
    "source_id,sha256,true,predicted,decision,score,reconstruction_error,model,version,error,"
    "p_io,p_nio\n"
)
UNIT = st.floats(0, 1, width=32)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)


def test_rows_are_those_of_the_contract() -> None:
    assert format_answer(FINE, CLASSES) == (
        f"a/=1.png,{'ab' * 32},,nio,fail,0.75,20.5,{'cd' * 32},12,,0.25,0.75\n"
    )
    assert format_answer(BROKEN, CLASSES) == '"b,c.png",,,,,,,,,"it is ""empty""",,\n'


def test_lines_are_those_of_the_contract() -> None:
    assert json.loads(encode_answer(FINE, CLASSES)) == {
        "file": "a/=1.png", "sha256": "ab" * 32, "label": "nio",
        "probabilities": {"io": 0.25, "nio": 0.75}, "score": 0.75, "decision": "fail",
        "reconstruction_error": 20.5, "version": 12, "model": "cd" * 32, "error": None,
    }  # fmt: skip
    broken = json.loads(encode_answer(BROKEN, CLASSES))
    assert {name for name, value in broken.items() if value is not None} == {"file", "error"}
    more = dataclasses.replace(BROKEN, stamp=(5, 7), copy="io/b.png", overlay="overlays/b.png")
    added = json.loads(encode_answer(more, CLASSES))
    assert {name: added[name] for name in added.keys() - broken.keys()} == {
        "size_bytes": 5, "modified_ns": 7, "copy": "io/b.png", "overlay": "overlays/b.png",
    }  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_answer(dataclasses.replace(FINE, score=value), CLASSES)


@settings(deadline=None)
@given(TEXT, UNIT, st.none() | UNIT, st.none() | st.tuples(st.integers(0), st.integers(0)), TEXT)
def test_a_line_comes_back(
    file: str, share: float, error: float | None, stamp: tuple[int, int] | None, copy: str
) -> None:
    written = dataclasses.replace(
        FINE, file=file, probabilities=(share, 1 - share), score=share,
        reconstruction_error=error, stamp=stamp, copy=copy,
    )  # fmt: skip
    line = encode_answer(written, CLASSES)
    assert line.count("\n") == 1 and line.endswith("\n") and line.isascii()
    read = decode_answer(line, CLASSES)
    assert np.float32(read.score or 0) == np.float32(share)
    assert np.float32(read.probabilities[0]) == np.float32(share)
    # Said once more it is the same to the letter, in both files.
    assert encode_answer(read, CLASSES) == line
    assert format_answer(read, CLASSES) == format_answer(written, CLASSES)


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "1", "{}", '{"file": "a"}', encode_answer(FINE, ("io", "x"))]
)
def test_a_line_of_another_kind_is_told(line: str) -> None:
    with pytest.raises(ValueError):
        decode_answer(line, CLASSES)


def test_tables_are_read_as_those_of_evaluations_are(tmp_path: Path) -> None:
    with replacing_answers(tmp_path, CLASSES) as write:
        write([FINE, BROKEN])
        write([dataclasses.replace(FINE, file="c")])
    assert (tmp_path / "predictions.csv").read_text().startswith(HEADER)
    read = read_predictions(tmp_path / "predictions.csv")
    assert read.source_ids == ("a/=1.png", "c")
    assert read.classes == CLASSES and read.model == "cd" * 32
    assert read.true.tolist() == [UNKNOWN] * 2 and read.predicted.tolist() == [1, 1]
    assert read.scores is not None and read.scores.tolist() == [0.75, 0.75]
    write_predictions(tmp_path / "evaluation.csv", read)
    assert "version" not in (tmp_path / "evaluation.csv").read_text()
    assert read_predictions(tmp_path / "evaluation.csv").source_ids == read.source_ids
    assert (tmp_path / "rejects.csv").read_text() == 'path,reason\n"b,c.png","it is ""empty"""\n'
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [decode_answer(line, CLASSES) for line in lines[:2]] == [FINE, BROKEN]


def test_a_block_that_fails_leaves_the_earlier_answer(tmp_path: Path) -> None:
    with replacing_answers(tmp_path, CLASSES) as write:
        write([FINE])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RuntimeError), replacing_answers(tmp_path, CLASSES) as write:
        write([BROKEN] * 1000)
        raise RuntimeError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert before.keys() == {"predictions.csv", "predictions.jsonl", "rejects.csv"}
