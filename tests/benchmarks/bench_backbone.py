"""Xception from the start of the command to a given accuracy on NEU's validation pictures.

Our command against the stock recipe of keras.io: `image_dataset_from_directory`, a frozen Xception
in `fit`, a dense head on its mean pooled features, Adam (`stock_xception`). Both start from the
same weights file, on the same pictures. The recipe is given up when it takes longer than
NIOSCOPE_XCEPTION_GIVE_UP times ours.

By default a cheap setting, at 128 x 128 to 90 %. NIOSCOPE_XCEPTION_SIZE=200,
NIOSCOPE_XCEPTION_TARGET=0.95 and NIOSCOPE_XCEPTION_GIVE_UP=8 are the whole: half an hour.
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import pytest

from models.backbone import calibrate_batch_norm
from tests.benchmarks.commands import of_keras, ours, time_until
from tests.benchmarks.rounds import state
from tests.benchmarks.same_pictures import SamePictures, read_folder, write_same_pictures

TARGET = float(os.environ.get("NIOSCOPE_XCEPTION_TARGET", "0.90"))
GIVE_UP = float(os.environ.get("NIOSCOPE_XCEPTION_GIVE_UP", "4"))
SIZE = int(os.environ.get("NIOSCOPE_XCEPTION_SIZE", "128"))
BATCH_SIZE = 32
# More views make the model better in the end; the target needs none.
FLAGS = ("--stage=train", "--model=xception", "--views=1", f"--image_size={SIZE}")


@pytest.mark.timeout(7200)
def test_time_to_accuracy(real_data: Path, tmp_path: Path) -> None:
    pictures = write_same_pictures(real_data / "neu-det", tmp_path)
    weights = write_weights(pictures, tmp_path / "calibrated.weights.h5")
    own, own_reached = time_until(
        ours(*FLAGS, f"--work_dir={pictures.work_dir}", f"--backbone_weights={weights}"),
        TARGET,
        limit=7000,
    )
    stock, reached = time_until(
        of_keras("stock_xception.py", pictures.folder, SIZE, BATCH_SIZE, TARGET, weights),
        TARGET,
        limit=GIVE_UP * own,
    )
    assert own_reached >= TARGET
    what = f"from the command to {TARGET:.0%} of validation, Xception {SIZE} x {SIZE}"
    against = f"keras.io's recipe ({reached:.1%} then)"
    state("backbone", what, against, [own], [stock], at_least=reached < TARGET)


def write_weights(pictures: SamePictures, path: Path) -> Path:
    """Calibrated random weights, in the form that `keras.applications` takes."""
    keras.utils.set_random_seed(0)
    network = keras.applications.Xception(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    batches = read_folder(
        pictures.folder / "train", size=SIZE, batch_size=BATCH_SIZE, channels=3, shuffle=True
    ).take(8)
    calibrate_batch_norm(network, (images / 127.5 - 1 for images, _ in batches))
    network.save_weights(path)
    return path
