"""`predictions.csv` and the cells it is made of."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.predictions import (
    UNKNOWN,
    Predictions,
    read_predictions,
    write_predictions,
)
from records.errors import InputError
from records.sheets import format_csv, guard_cell, parse_csv, unguard_cell


def _two(source_ids: tuple[str, ...] = ("a.png", "b.png")) -> Predictions:
    scores = np.array([0.1, 0.25], np.float32)
    return Predictions(
        classes=("io", "nio"),
        source_ids=source_ids,
        digests=("ab" * 32, "cd" * 32),
        true=np.array([1, UNKNOWN]),
        predicted=np.array([0, 1]),
        decisions=("pass", "fail"),
        scores=scores,
        probabilities=np.stack([1 - scores, scores], axis=1),
        reconstruction_error=np.array([1.5, 20], np.float32),
        model="ef" * 32,
    )


def test_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, _two())
    assert path.read_text() == (
        "source_id,sha256,true,predicted,decision,score,reconstruction_error,model,p_io,p_nio\n"
        f"a.png,{'ab' * 32},nio,io,pass,0.100000001,1.5,{'ef' * 32},0.899999976,0.100000001\n"
        f"b.png,{'cd' * 32},,nio,fail,0.25,20,{'ef' * 32},0.75,0.25\n"
    )


def test_every_field_comes_back(tmp_path: Path) -> None:
    path, written = tmp_path / "predictions.csv", _two(("=1+1.png", 'a "b",\r\n.png'))
    write_predictions(path, written)
    read = read_predictions(path)
    assert read.classes == written.classes
    assert read.source_ids == written.source_ids
    assert read.decisions == written.decisions
    assert (read.digests, read.model) == (written.digests, written.model)
    for name in ("true", "predicted", "scores", "probabilities", "reconstruction_error"):
        ours, theirs = getattr(read, name), getattr(written, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_more_classes_have_no_score(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    predictions = Predictions(
        classes=("a", "p_b", "-c"),
        source_ids=("x",),
        digests=("",),
        true=np.array([2]),
        predicted=np.array([1]),
        decisions=("fail",),
        scores=None,
        probabilities=np.array([[0.25, 0.5, 0.25]], np.float32),
    )
    write_predictions(path, predictions)
    assert path.read_text().splitlines()[1] == "x,,'-c,p_b,fail,,,,0.25,0.5,0.25"
    read = read_predictions(path)
    assert read.scores is None
    assert read.reconstruction_error is None
    assert read.model == ""
    assert read.classes == ("a", "p_b", "-c")
    assert read.true.tolist() == [2]


def test_no_pictures_make_a_header_only(tmp_path: Path) -> None:
    path, empty = tmp_path / "predictions.csv", np.array([], np.int64)
    nothing = np.array([], np.float32)
    write_predictions(
        path, Predictions(("a", "b"), (), (), empty, empty, (), nothing, nothing.reshape(0, 2))
    )
    assert read_predictions(path).probabilities.shape == (0, 2)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_float32_is_not_changed_by_a_bit(tmp_path_factory, values: list[float]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("floats") / "predictions.csv"
    row = np.array([values], np.float32)
    names = tuple(f"c{index}" for index in range(len(values)))
    zero = np.array([0])
    write_predictions(
        path, Predictions(names, ("x",), ("",), zero, zero, ("pass",), row[:, 0], row)
    )
    assert read_predictions(path).probabilities.tobytes() == row.tobytes()


_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_RISKY_TEXT = st.builds("{}{}{}".format, st.text("'"), st.sampled_from("=+-@\t\r\n"), _TEXT)


@settings(deadline=None)
@given(st.one_of(_TEXT, _RISKY_TEXT))
def test_guarding_a_cell_can_be_undone(text: str) -> None:
    cell = guard_cell(text)
    assert not cell.startswith(tuple("=+-@\t\r\n"))
    assert unguard_cell(cell) == text


@settings(deadline=None)
@given(st.lists(st.lists(_TEXT | _RISKY_TEXT, min_size=2, max_size=4), max_size=5))
def test_csv_comes_back(rows: list[list[str]]) -> None:
    assert parse_csv(format_csv(rows)) == rows


def test_plain_cells_stay_as_they_are() -> None:
    for text in ("", "it's", "'quoted'", "a=b", "0.5", "train/images/io/1.png"):
        assert guard_cell(text) == text


def test_a_foreign_reader_sees_the_guard(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, _two(("=cmd|' /C calc'!A0", "\tx")))
    with path.open(newline="") as file:
        assert [row["source_id"] for row in csv.DictReader(file)] == [
            "'=cmd|' /C calc'!A0",
            "'\tx",
        ]


_HEADER = b"source_id,sha256,true,predicted,decision,score,reconstruction_error,model,p_a,p_b\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "first line must be"),
        (b"source_id,true\n", "first line must be"),
        (b"%sx,a\n" % _HEADER, "row 2 has 2 cells where 10"),
        (b"%sx,,c,a,pass,0,,,0,1\n" % _HEADER, "'c' is none of"),
        (b"%sx,,a,,pass,0,,,0,1\n" % _HEADER, "'' is none of"),
        (b"%sx,,a,a,pass,0,,,zero,1\n" % _HEADER, "zero"),
        (b"%sx,,a,a,pass,0,,,nan,1\n" % _HEADER, "not a number"),
        (b"%sx,,a,a,pass,0,256,,0,1\n" % _HEADER, "outside 0 to 255"),
        (b"%sx,,a,a,pass,0,,m,0,1\ny,,a,a,pass,0,,n,0,1\n" % _HEADER, "2 models"),
        (b'%s"x' % _HEADER, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_damaged_table_is_named_with_a_remedy(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_predictions(path)
    assert str(path) in caught.value.problem
    assert "again" in caught.value.remedy


def test_missing_table_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        read_predictions(tmp_path / "nowhere.csv")


def test_fields_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 pictures and 2 classes"):
        Predictions(
            classes=("a", "b"),
            source_ids=("x",),
            digests=("",),
            true=np.array([0, 1]),
            predicted=np.array([0]),
            decisions=("pass",),
            scores=None,
            probabilities=np.zeros((1, 2), np.float32),
        )
