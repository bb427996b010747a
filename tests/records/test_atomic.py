from __future__ import annotations

import json
from pathlib import Path

import pytest

from records.atomic import replacing, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_not_there_before_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.bin"
    with replacing(path) as draft:
        draft.write_bytes(b"whole")
        assert not path.exists()
        assert draft.parent == path.parent
    assert path.read_bytes() == b"whole"


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "ä,b\r\nc\n")
    assert (tmp_path / "a.csv").read_bytes() == "ä,b\r\nc\n".encode()


def test_json_is_strict_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None], "a": 0.1})
    assert json.loads(path.read_text()) == {"a": 0.1, "b": [1, None]}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"a": value})
    assert json.loads(path.read_text()) == {"a": 0.1, "b": [1, None]}
