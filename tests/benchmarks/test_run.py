"""The runner of `make bench`: what it keeps, what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import run

ROW = run.Row("records", "records", "a plain loop", 4000.4, 2000.0, "pictures/s", (2.0, 1.9, 2.1))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "ROWS", tmp_path / "rows.jsonl")
    return tmp_path / "rows.jsonl"


def test_a_row_says_median_range_and_rounds() -> None:
    assert run.format_row(ROW) == (
        "| records | a plain loop | 4,000 pictures/s | 2,000 pictures/s "
        "| 2.00 (1.90 to 2.10, 3 rounds) |"
    )


def test_growth_and_what_was_given_up_are_marked() -> None:
    row = run.Row("growth", "predict", "before", 30.0, 4.0, "s", (7.5,), growth=True)
    assert run.format_row(row).endswith("| 30.0 s | 4.00 s | *growth* 7.50 |")
    row = run.Row("backbone", "train", "a recipe", 50.0, 200.0, "s", (4.0,), at_least=True)
    assert run.format_row(row).endswith("| 50.0 s | > 200 s | > 4.00 |")


def test_parts_that_are_through_are_known_and_rows_come_in_their_order(kept: Path) -> None:
    maps = run.Row("maps", "maps", "a peer", 1.0, 2.0, "s", (2.0,))
    done = [json.dumps({"done": name, "seconds": 90}) for name in ("maps", "records")]
    kept.write_text("\n".join([maps.to_json(), done[0], ROW.to_json(), done[1]]) + "\n")
    assert run.finished_parts() == {"maps", "records"}
    table = run.format_table(run.read_lines())
    assert table.index("| records |") < table.index("| maps |")
    assert "3 min" in table
    assert "tensorflow" in table


def test_nothing_is_kept_at_first(kept: Path) -> None:
    assert run.finished_parts() == set()


def test_the_table_takes_the_place_of_the_one_before() -> None:
    notes = f"before\n{run.MARKS[0]}\nold\n{run.MARKS[1]}\nafter\n"
    once = run.put_between_marks(notes, "new")
    assert once == f"before\n{run.MARKS[0]}\nnew\n{run.MARKS[1]}\nafter\n"
    assert run.put_between_marks(once, "new") == once


def test_notes_without_marks_are_left_alone() -> None:
    with pytest.raises(ValueError, match="bench"):
        run.put_between_marks("no marks\n", "new")


def test_the_notes_have_the_marks() -> None:
    notes = run.NOTES.read_text(encoding="utf-8")
    assert [notes.count(mark) for mark in run.MARKS] == [1, 1]
