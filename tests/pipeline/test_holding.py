"""Two processes in one run directory: who is refused, with whose name, and who is not."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from pipeline.holding import holding_for, holding_model, holding_records
from pipeline.rundir import RunDir
from records.atomic import locked
from records.errors import InputError
from tests.in_process import answer

WRITERS = ("train", "eval", "explain", "export")


def enter(stage: str, run_dir: RunDir, to: str = "tfrecord") -> None:
    with holding_for(stage, run_dir, to=to, has_model=False):
        pass


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path, "autoencoder")


@pytest.mark.parametrize("stage", WRITERS)
def test_one_process_alone_writes_of_a_model(run_dir: RunDir, stage: str) -> None:
    with holding_for("train", run_dir, to="tfrecord", has_model=False):
        with pytest.raises(InputError, match="autoencoder is in use"):
            enter(stage, run_dir)
        enter(stage, RunDir(run_dir.root, "xception"))  # It shares the records.
        enter("records", run_dir, to="voc")
        enter("predict", run_dir)
        with pytest.raises(InputError, match="records is in use"):
            enter("records", run_dir)


def test_records_that_are_being_written_are_not_read(run_dir: RunDir) -> None:
    with holding_records(run_dir, shared=False):
        for stage in ("records", *WRITERS):
            with pytest.raises(InputError, match="records is in use"):
                enter(stage, run_dir)
        with pytest.raises(InputError, match="records is in use"):
            enter("records", run_dir, to="voc")
        enter("predict", run_dir)
        enter("sample", run_dir)
    for stage in ("records", *WRITERS):
        enter(stage, run_dir)


def test_the_chain_has_its_model_already(run_dir: RunDir) -> None:
    with holding_model(run_dir), holding_for("eval", run_dir, to="tfrecord", has_model=True):
        pass


def test_the_message_names_who_is_there(run_dir: RunDir) -> None:
    with holding_model(run_dir), pytest.raises(InputError) as caught:
        enter("eval", run_dir)
    assert f"process {os.getpid()} on {socket.gethostname()} (" in str(caught.value)
    assert "pytest" in str(caught.value)


@pytest.mark.parametrize(
    "note",
    ["", "{", "[]", '{"pid": "x", "host": 1, "command": 2}',
     json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "command": "gone"})],
)  # fmt: skip
def test_a_note_that_is_none_of_the_holder_names_nobody(run_dir: RunDir, note: str) -> None:
    with locked(run_dir.model_lock):
        run_dir.model_lock.write_text(note)
        with pytest.raises(InputError, match="in use by another process"):
            enter("eval", run_dir)


def test_a_note_cannot_move_the_terminal(run_dir: RunDir) -> None:
    with locked(run_dir.model_lock):
        note = {"pid": 1, "host": "\x1b[31m", "command": "\x1b[2J" + "x" * 10_000}
        run_dir.model_lock.write_text(json.dumps(note))
        with pytest.raises(InputError) as caught:
            enter("eval", run_dir)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 600


def test_the_second_process_leaves_everything_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "records").mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    (run / "records" / "manifest.json").write_text("{}")
    with locked(run / "settings" / "autoencoder.lock"):
        status, printed = answer("--stage=train", f"--work_dir={run}")
        assert status == 2 and "autoencoder is in use by another process" in printed
        status, printed = answer(
            "--stage=all", f"--data_dir={tmp_path / 'pictures'}", f"--work_dir={run}"
        )
        assert status == 2 and "autoencoder is in use by another process" in printed
    assert {path.name for path in run.rglob("*") if path.is_file()} == {
        "manifest.json", "autoencoder.lock", "records.lock",
    }  # fmt: skip
