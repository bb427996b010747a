"""From the start of the command to a given accuracy on NEU's validation pictures.

The autoencoder's own architecture at 64 x 64, the same pictures for all: our command with its
defaults, the stock recipe of Keras, and PyTorch; a seed a round. Python, libraries and decoding
count for all. Who takes longer than `GIVE_UP` seconds is given up.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.commands import of_keras, of_peers, ours, time_until
from tests.benchmarks.rounds import rounds_or, state
from tests.benchmarks.same_pictures import write_same_pictures

TARGET = float(os.environ.get("NIOSCOPE_TARGET", "0.95"))
GIVE_UP = float(os.environ.get("NIOSCOPE_GIVE_UP", "200"))
SIZE, BATCH_SIZE, EPOCHS = 64, 16, 12


@pytest.mark.timeout(7200)
def test_time_to_accuracy(real_data: Path, tmp_path: Path) -> None:
    pictures = write_same_pictures(real_data / "neu-det", tmp_path)
    taken: dict[str, list[float]] = {"ours": [], "Keras fit": [], "PyTorch": []}
    missed = set()
    for seed in range(rounds_or(3)):
        form = pictures.folder, SIZE, BATCH_SIZE, TARGET, seed, 1000
        commands = {
            "ours": ours(
                "--stage=train", f"--work_dir={pictures.work_dir}", f"--seed={seed}",
                f"--image_size={SIZE}", f"--batch_size={BATCH_SIZE}", f"--epochs={EPOCHS}",
            ),
            "Keras fit": of_keras("stock_training.py", *form),
            "PyTorch": of_peers("torch_training.py", *form),
        }  # fmt: skip
        for name, command in commands.items():
            seconds, reached = time_until(command, TARGET, limit=GIVE_UP)
            taken[name].append(seconds)
            missed |= {name} if reached < TARGET else set()
    assert "ours" not in missed
    for name in ("Keras fit", "PyTorch"):
        what = f"from the command to {TARGET:.0%} of validation, autoencoder 64 x 64"
        state("accuracy", what, name, taken["ours"], taken[name], at_least=name in missed)
