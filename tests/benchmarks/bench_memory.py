"""How much memory commands hold at most, with all their processes; asserts nothing about it.

Of `records` with very many pictures, of which NIOSCOPE_MANY says how many, see `bench_growth`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.benchmarks.commands import measure_memory, of_keras, of_peers, ours
from tests.benchmarks.contest import make_contest
from tests.benchmarks.rounds import rounds_or, state
from tests.benchmarks.same_pictures import SamePictures, write_same_pictures

SIZE, BATCH_SIZE = 128, 16


@pytest.fixture(scope="module")
def pictures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SamePictures:
    return write_same_pictures(real_data / "neu-det", tmp_path_factory.mktemp("memory"))


def compare(what: str, commands: dict[str, list[str]], *, rounds: int = 2) -> None:
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds_or(rounds)):
        for name, command in commands.items():
            peaks[name].append(measure_memory(command)[1])
    for name in list(commands)[1:]:
        state("memory", f"memory, {what}", name, peaks["ours"], peaks[name], unit="MB")


@pytest.mark.timeout(1800)
def test_records(real_data: Path, tmp_path: Path) -> None:
    flags = "--stage=records", f"--data_dir={real_data / 'neu-det'}", f"--work_dir={tmp_path}"
    compare(
        "records of 1,800 pictures",
        {
            "ours": ours(*flags),
            "python -c 'import tensorflow'": [sys.executable, "-c", "import tensorflow"],
        },
    )


@pytest.mark.timeout(1800)
def test_training(pictures: SamePictures) -> None:
    form = pictures.folder, SIZE, BATCH_SIZE, 2.0, 0, 1
    flags = f"--work_dir={pictures.work_dir}", "--epochs=1", "--pretrain_epochs=0"
    compare(
        "training an epoch, autoencoder",
        {
            "ours": ours("--stage=train", *flags),
            "Keras fit": of_keras("stock_training.py", *form),
            "PyTorch": of_peers("torch_training.py", *form),
        },
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["autoencoder", "xception"])
def test_prediction(name: str, real_data: Path, tmp_path: Path) -> None:
    contest = make_contest(name, real_data, tmp_path)
    keras.saving.save_model(contest.model, tmp_path / "model.keras")
    images = np.zeros([1, *contest.model.input_shape[1:]], np.float32)
    files = contest.write_for_peers(tmp_path, images)
    flags = f"--work_dir={contest.work_dir}", f"--model={name}", f"--images={contest.images}"
    compare(
        f"predict, {len(contest.paths)} pictures, {name}",
        {
            "ours": ours("--stage=predict", *flags),
            "Keras predict": of_keras("stock_predict.py", tmp_path / "model.keras", contest.images),
            "PyTorch": of_peers("torch_predict.py", *files, tmp_path / "out.npz", "files"),
        },
    )
