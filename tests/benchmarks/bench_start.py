"""How long it takes until something happens: commands, from their start to their end."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.benchmarks.commands import of_keras, of_peers, ours, time_command
from tests.benchmarks.contest import make_contest
from tests.benchmarks.peers import find_interpreter
from tests.benchmarks.rounds import Way, rounds_or, state, take_rounds


def of(*command: object, status: int = 0) -> Way:
    return lambda: time_command([str(word) for word in command], status=status)


def test_starts(tmp_path: Path) -> None:
    own, peer = [sys.executable, "-c"], [find_interpreter(), "-c"]
    ways = {
        "--help": of(*ours("--help")),
        "a flag error": of(*ours("--stage=trian"), status=2),
        "import argparse": of(*own, "import argparse"),
        "import keras": of(*own, "import keras"),
        "import torch": of(*peer, "import torch"),
    }
    taken = take_rounds(ways, rounds=rounds_or(5))
    for what in ("--help", "a flag error"):
        for name in list(ways)[2:]:
            state("start", what, f"python -c '{name}'", taken[what], taken[name])


def test_records_of_ten_pictures(real_data: Path, tmp_path: Path) -> None:
    published = real_data / "neu-det" / "train" / "images"
    # Five each of two classes: a class needs some for every split.
    for path in sorted(published.glob("[ps]*/*_1?.jpg"))[::2][:10]:
        target = tmp_path / "pictures" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    flags = "--stage=records", f"--data_dir={tmp_path / 'pictures'}"
    ways: dict[str, Way] = {
        "ours": of(*ours(*flags, f"--work_dir={tmp_path / 'run'}")),
        "python -c 'import tensorflow'": of(sys.executable, "-c", "import tensorflow"),
    }
    taken = take_rounds(ways, rounds=rounds_or(5))
    for name in list(ways)[1:]:
        state("start", "records of 10 pictures", name, taken["ours"], taken[name])


@pytest.mark.timeout(1800)
def test_first_answer(real_data: Path, tmp_path: Path) -> None:
    """Of the autoencoder; PyTorch judges an array, the others a file."""
    contest = make_contest("autoencoder", real_data, tmp_path)
    keras.saving.save_model(contest.model, tmp_path / "model.keras")
    network, _ = contest.write_for_peers(tmp_path, np.zeros([1, 128, 128, 1], np.float32))
    flags = "--stage=predict", f"--work_dir={contest.work_dir}", f"--images={contest.paths[0]}"
    ways: dict[str, Way] = {
        "ours": of(*ours(*flags)),
        "Keras": of(*of_keras("stock_predict.py", tmp_path / "model.keras", contest.paths[0])),
        "PyTorch": of(*of_peers("torch_predict.py", network)),
    }
    taken = take_rounds(ways, rounds=rounds_or(5))
    for name in list(ways)[1:]:
        what = "predict, from the command to its end, one picture"
        state("start", what, name, taken["ours"], taken[name])
