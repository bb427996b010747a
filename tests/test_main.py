"""The command line: what a user sees when something is wrong."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Settings
from tests.in_process import answer

REPOSITORY = Path(__file__).resolve().parents[1]


def nioscope(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "main.py", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_setting_is_a_flag_in_help_and_in_the_readme() -> None:
    done, readme = nioscope("--help"), (REPOSITORY / "README.md").read_text()
    text = done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    for field in dataclasses.fields(Settings):
        assert f"--{field.name}:" in text or f"--[no]{field.name}:" in text
        assert f"| `--{field.name}`" in readme or f"| `--no{field.name}`" in readme


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stage=bake"], ["bake", "sample"]),
        (["--no_such_flag=1"], ["no_such_flag"]),
        (["--epochs=many"], ["epochs", "many"]),
        (["--stage=records"], ["--data_dir=FOLDER"]),
        (["--stage=predict"], ["--images="]),
        (["--stage=eval", "extra"], ["extra"]),
        (["--stage=eval", "--batch_size=-1"], ["--batch_size=-1"]),
        (["--stage=eval", "--image_size=8"], ["--image_size=8"]),
        (["--stage=train", "--seed=-1"], ["--seed=-1"]),
        (["--stage=train", "--model=none"], ["none", "autoencoder", "xception"]),
        (["--stage=train", "--resize=crop"], ["crop", "letterbox"]),
        (["--stage=train", "--reconstruction_weight=-2"], ["--reconstruction_weight=-2"]),
        (["--stage=eval", "--target_recall=1"], ["--target_recall=1", "below 1"]),
        (["--stage=eval", "--confidence=0"], ["--confidence=0"]),
        (["--stage=eval", "--review_budget=-0.1"], ["--review_budget=-0.1"]),
        (["--stage=eval", "--line_defect_rate=nan"], ["--line_defect_rate=nan"]),
        (["--stage=eval", "--gate"], ["--gate", "--baseline=RUN"]),
        (["--stage=explain", "--cam_methods=gradcam,cam"], ["--cam_methods=cam", "layercam"]),
        (["--stage=train", "--watch"], ["--watch", "--stage=predict"]),
        (["--stage=all", "--data_dir=models", "--watch"], ["--watch", "--images=FOLDER"]),
        (["--stage=all", "--data_dir=models", "--baseline=none"], ["none holds no evaluation"]),
        (["--stage=eval", "--parts=2"], ["--parts", "--stage=train"]),
        (["--stage=train", "--distribute=all"], ["all", "mirrored", "multiworker"]),
        (["--stage=export", "--keep_versions=-1"], ["--keep_versions=-1"]),
    ],
)
def test_a_wrong_flag_is_one_message_and_status_2(flags: list[str], words: list[str]) -> None:
    status, printed = answer(*flags)
    assert status == 2
    assert "Traceback" not in printed
    assert "Remedy:" in printed
    for word in words:
        assert word in printed


@pytest.mark.parametrize("flag", ["--no_such_flag=1", "--stage=records", "extra"])
def test_a_process_ends_with_the_message_on_stderr(flag: str) -> None:
    done = nioscope(flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Remedy:") == 1


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("train", "--stage=records"),
        ("eval", "--stage=records"),
        ("explain", "--stage=records"),
        ("export", "--stage=records"),
        ("predict", "--stage=export"),
    ],
)
def test_a_missing_forerunner_is_named_by_its_command(
    tmp_path: Path, stage: str, command: str
) -> None:
    status, printed = answer(f"--stage={stage}", f"--work_dir={tmp_path}", "--images=x.png")
    assert status == 2
    assert "Traceback" not in printed
    assert f"python main.py {command}" in printed


def test_a_flagfile_is_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "line.cfg"
    config.write_text(
        f"--stage=predict\n--images=x\n--model=xception\n--work_dir={tmp_path / 'nowhere'}\n"
    )
    done = nioscope(f"--flagfile={config}")
    assert done.returncode == 2
    assert str(tmp_path / "nowhere" / "xception" / "export") in done.stderr


def test_help_into_a_pipe_that_is_closed_ends_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "main.py", "--help"],
        cwd=REPOSITORY,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""
