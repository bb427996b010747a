"""`train` interrupted by Ctrl-C and killed as by a power cut: it goes on and ends the same.

With real processes, which takes minutes; `training/test_fitting.py` interrupts in process.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.ending import MESSAGE

REPOSITORY = Path(__file__).resolve().parents[3]
# At random moments, beside those at chosen ones.
KILLS = int(os.environ.get("NIOSCOPE_TRAINING_KILLS", "0"))
needs_minutes = pytest.mark.skipif(
    not KILLS, reason="trains for minutes; NIOSCOPE_TRAINING_KILLS=1 or more runs it"
)
PICTURES = 48
FLAGS = {
    "autoencoder": ["--image_size=32", "--pretrain_epochs=2", "--epochs=3", "--batch_size=8",
                    "--pretraining=masked"],
    "xception": ["--image_size=71", "--pretrain_epochs=2", "--epochs=2", "--batch_size=8",
                 "--views=2", "--backbone_weights=calibrated"],
}  # fmt: skip
PHASES = {"autoencoder": ("pretrain", "joint"), "xception": ("head", "fine-tune")}


def start(work_dir: Path, model: str, stage: str = "train", *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "main.py", f"--stage={stage}", f"--work_dir={work_dir}",
         f"--model={model}", *FLAGS[model], *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, output + errors
    return output


def stop_after(process: subprocess.Popen[str], beginning: str, sign: signal.Signals) -> str:
    """Sends the signal when a line begins so; returns what was said on stderr."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            process.send_signal(sign)
            break
    _, errors = process.communicate(timeout=100)
    return errors


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with records of pictures of noise, some brighter than others."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for index in range(PICTURES):
        path = folder / "pictures" / ("io", "nio")[index % 2] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 150 + index % 2 * 100, (40, 40), np.uint8)).save(path)
    flags = [f"--data_dir={folder / 'pictures'}", "--nonear_duplicates"]
    finish(start(folder / "run", "autoencoder", "records", *flags))
    return folder / "run" / "records"


def make_run(folder: Path, records: Path) -> Path:
    folder.mkdir()
    (folder / "records").symlink_to(records)
    return folder


def result_of(work_dir: Path, model: str) -> tuple[bytes, list[dict[str, object]]]:
    """The model's bytes, and what the phases did apart from the time they took."""
    config = json.loads((work_dir / model / "config.json").read_text())
    phases = [{**phase, "seconds": 0} for phase in config["training"]["phases"]]
    assert not (work_dir / model / "checkpoint").exists()
    return (work_dir / model / "model.keras").read_bytes(), phases


@needs_minutes
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", list(FLAGS))
def test_an_interrupted_training_ends_with_the_same_bytes(
    tmp_path: Path, records: Path, model: str
) -> None:
    whole = make_run(tmp_path / "whole", records)
    started = time.monotonic()
    finish(start(whole, model))
    seconds = time.monotonic() - started

    work_dir = make_run(tmp_path / "interrupted", records)
    first, second = PHASES[model]
    interrupted = start(work_dir, model)
    errors = stop_after(interrupted, f"{first} 1/", signal.SIGINT)
    assert interrupted.returncode == 130
    assert errors.strip() == MESSAGE
    stop_after(start(work_dir, model), f"{second} 1/", signal.SIGKILL)
    assert not (work_dir / model / "config.json").exists()
    draw = random.Random(0)
    for _ in range(KILLS):
        time.sleep(0.1)
        process = start(work_dir, model)
        try:
            process.communicate(timeout=draw.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    output = finish(start(work_dir, model))
    assert KILLS or f"{second}: goes on after epoch 1" in output
    assert result_of(work_dir, model) == result_of(whole, model)


@needs_minutes
def test_other_flags_start_anew(tmp_path: Path, records: Path) -> None:
    work_dir = make_run(tmp_path / "run", records)
    stop_after(start(work_dir, "autoencoder"), "pretrain 1/", signal.SIGKILL)
    other = start(work_dir, "autoencoder", "train", "--seed=1", "--pretrain_epochs=0", "--epochs=1")
    output = finish(other)
    assert "differs in pretrain_epochs, epochs, seed; this one starts anew" in output
    config = json.loads((work_dir / "autoencoder" / "config.json").read_text())
    assert [phase["name"] for phase in config["training"]["phases"]] == ["joint"]
