from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from records.atomic import (
    building,
    locked,
    open_own,
    rebuilding,
    remove_tree,
    replacing,
    write_json,
    write_text,
)


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


def fill(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(text)
    return folder


def test_a_folder_that_was_built_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = fill(tmp_path / "records", "old")
    (folder / "left").touch()
    with building(folder) as draft:
        fill(draft, "new")
        assert (folder / "file").read_text() == "old"
    assert (folder / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_what_was_built_before_a_failure_is_there_to_go_on_from(tmp_path: Path) -> None:
    folder = fill(tmp_path / "records", "old")
    with pytest.raises(ZeroDivisionError), building(folder) as draft:
        fill(draft, "half")
        1 / 0  # noqa: B018
    assert (folder / "file").read_text() == "old"
    with building(folder) as draft:
        assert (draft / "file").read_text() == "half"
    assert (folder / "file").read_text() == "half"


def test_a_kill_between_the_two_renames_loses_neither_folder(tmp_path: Path) -> None:
    fill(tmp_path / "records-old", "old")
    fill(tmp_path / "records-draft", "new")
    with building(tmp_path / "records") as draft:
        assert (tmp_path / "records/file").read_text() == "old"
        assert (draft / "file").read_text() == "new"
    assert (tmp_path / "records/file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_file_in_the_place_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("mine")
    with pytest.raises(FileExistsError, match="records"), building(tmp_path / "records"):
        pytest.fail("nothing is to be built")
    assert (tmp_path / "records").read_text() == "mine"


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "disk/records", "old")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/records").symlink_to(tmp_path / "disk/records")
    with building(tmp_path / "run/records") as draft:
        fill(draft, "new")
    assert (tmp_path / "run/records").is_symlink()
    assert (tmp_path / "disk/records/file").read_text() == "new"


def test_one_process_alone_holds_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with locked(tmp_path / "lock") as again:
        assert again


def test_a_failed_write_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_a_link_in_the_place_of_a_file_that_grows_is_refused(tmp_path: Path) -> None:
    mine, link = tmp_path / "mine", tmp_path / "run" / "lock"
    mine.write_text("mine")
    link.parent.mkdir()
    for target in (mine, tmp_path / "nothing"):
        link.symlink_to(target)
        for mode in ("a", "w", "r+b"):
            with pytest.raises(OSError, match="It is a link") as caught:
                open_own(link, mode)
            assert caught.value.filename == str(link)
        with pytest.raises(OSError, match="It is a link"), locked(link):
            pytest.fail("it is not to be locked")
        link.unlink()
    os.mkfifo(link)
    with pytest.raises(OSError, match="No such device"):
        open_own(link, "a")
    assert mine.read_text() == "mine" and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("end", ["draft", "old"])
def test_a_link_beside_a_folder_that_is_built_is_refused(tmp_path: Path, end: str) -> None:
    mine = fill(tmp_path / "mine", "mine")
    (tmp_path / f"records-{end}").symlink_to(mine)
    with pytest.raises(OSError, match="It is a link"), building(tmp_path / "records"):
        pytest.fail("nothing is to be built")
    assert [path.name for path in mine.iterdir()] == ["file"]


def test_of_a_link_the_link_alone_is_removed(tmp_path: Path) -> None:
    mine = fill(tmp_path / "mine", "mine")
    (tmp_path / "link").symlink_to(mine)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nothing")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]
    remove_tree(mine)
    assert not mine.exists()


def test_what_is_rebuilt_begins_empty_and_leaves_the_earlier_when_it_fails(tmp_path: Path) -> None:
    folder = tmp_path / "eval"
    (tmp_path / "eval-draft").mkdir()
    (tmp_path / "eval-draft" / "left").write_text("of a run that was killed")
    with rebuilding(folder) as draft:
        (draft / "a").write_text("first")
    with pytest.raises(OSError, match="No space"), rebuilding(folder) as draft:
        assert not list(draft.iterdir())
        (draft / "b").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "eval", "eval/a",
    ]  # fmt: skip


def test_a_shared_lock_is_shared_by_those_who_share_it(tmp_path: Path) -> None:
    for path in (tmp_path / "lock", tmp_path):  # A file, and a folder.
        with (
            locked(path, shared=True) as first,
            locked(path, shared=True) as second,
            locked(path) as alone,
        ):
            assert (first, second, alone) == (True, True, False)
        with locked(path) as alone, locked(path, shared=True) as second:
            assert (alone, second) == (True, False)
