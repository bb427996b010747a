"""An epoch of training with its validation: ours, Keras' `fit`, and PyTorch.

The same architecture (the autoencoder, 128 x 128, 16 a batch), the same pictures, the same kinds of
augmentation, in float32. Ours also learns from boxes, averages weights, writes TensorBoard and a
state to go on from; what is counted is the time between the lines of its last two epochs. Both
others classify and reconstruct; Keras keeps the decoded pictures in memory.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.commands import ours, time_last_epoch
from tests.benchmarks.peers import Peer
from tests.benchmarks.rounds import Way, rounds_or, state, take_rounds
from tests.benchmarks.same_pictures import write_same_pictures
from tests.benchmarks.stock_training import StockTraining

SIZE, BATCH_SIZE = 128, 16


@pytest.mark.timeout(3600)
def test_an_epoch(real_data: Path, tmp_path: Path) -> None:
    pictures = write_same_pictures(real_data / "neu-det", tmp_path)
    stock = StockTraining(pictures.folder, size=SIZE, batch_size=BATCH_SIZE)
    command = ours(
        "--stage=train", f"--work_dir={pictures.work_dir}", "--epochs=2", "--pretrain_epochs=0",
        f"--image_size={SIZE}", f"--batch_size={BATCH_SIZE}",
    )  # fmt: skip
    with Peer("torch_training.py", pictures.folder, SIZE, BATCH_SIZE, "ask") as peer:
        ways: dict[str, Way] = {
            "Keras fit": lambda: stock.fit(1),
            "PyTorch": lambda: peer.ask("train"),
        }
        # Every start of ours has a first epoch that is not counted.
        taken: dict[str, list[float]] = {"ours": [], **{name: [] for name in ways}}
        take_rounds(ways, rounds=0)
        for _ in range(rounds_or(3)):
            taken["ours"].append(time_last_epoch(command))
            for name, (seconds,) in take_rounds(ways, rounds=1, warm_up=False).items():
                taken[name].append(seconds)
    for name in ways:
        what = "an epoch of training, autoencoder 128 x 128"
        count = pictures.count("train")
        state("training", what, name, taken["ours"], taken[name], pictures=count)
