"""A run directory as `records`, `train` and `eval` leave it, of a model that was never trained."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from models.autoencoder import build_autoencoder
from models.files import save_model
from pipeline.config import Settings
from pipeline.rundir import RunDir
from pipeline.stages import evaluate
from records.manifest import file_digest
from records.pictures import probe_bytes
from records.shards import write_records
from records.types import Example, Split
from tests.pipeline.model_facts import make_facts

CLASSES = ("io", "nio")
COUNTS: dict[Split, int] = {"train": 8, "validation": 12, "test": 10}
SIZE = 32


def draw(number: int) -> bytes:
    """Pictures of three kinds; of four, two are grey, of 8 bit and of the model's size."""
    rng = np.random.default_rng(number)
    buffer = io.BytesIO()
    if number % 4 < 2:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), np.uint8)).save(buffer, "PNG")
    elif number % 4 == 2:
        Image.fromarray(rng.integers(0, 256, (30, 60), np.uint8)).save(buffer, "PNG")
    else:
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def make_run(folder: Path, classes: tuple[str, ...] = CLASSES) -> RunDir:
    """Writes records of noise, a model with random weights, and its evaluation."""
    run_dir = RunDir(folder / "run", "autoencoder")
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    manifest = write_records(
        run_dir.records,
        source=pictures,
        name="noise",
        layout="flat",
        classes=classes,
        box_classes=(),
        splits={
            split: tuple(
                _write_example(pictures, split, number, classes) for number in range(count)
            )
            for split, count in COUNTS.items()
        },
        seed=0,
    )
    keras.utils.set_random_seed(0)
    model = build_autoencoder(
        image_size=SIZE, channels=1, classes=len(classes), mean=128.0, variance=5000.0
    )
    run_dir.model_dir.mkdir(parents=True)
    save_model(run_dir.weights, model)
    digests = {
        "records_digest": manifest.digest,
        "weights_digest": file_digest(run_dir.weights),
    }
    of_more = {"classes": classes, "positive_class": "", "fail_classes": classes}
    make_facts(**digests, **(of_more if len(classes) > 2 else {})).write(run_dir.config)
    evaluate.run(Settings(stage="eval", work_dir=run_dir.root))
    return run_dir


def _write_example(folder: Path, split: Split, number: int, classes: tuple[str, ...]) -> Example:
    encoded = draw(100 * len(split) + number)
    facts = probe_bytes(encoded)
    path = folder / f"{split}_{number}.{facts.image_format}"
    path.write_bytes(encoded)
    return Example(
        source_id=path.name,
        image_format=facts.image_format,
        is_converted=False,
        width=facts.width,
        height=facts.height,
        is_grey=facts.is_grey,
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
        label=classes[number % 3 == 0 if len(classes) == 2 else number % len(classes)],
        objects=(),
        published_split=None,
    )
