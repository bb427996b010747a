"""One model, in memory, exported and written for the peers, and the pictures it judges."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.autoencoder import build_autoencoder
from models.backbone import calibrate_batch_norm
from models.monitoring import find_features, fit_feature_space, list_statistics
from models.registry import MODELS
from models.serving import ServingFacts, write_saved_model
from pipeline.drift.baseline import DRIFT_BASELINE
from pipeline.drift.fit import Measured, fit_baseline
from pipeline.drift.log import DriftLog
from pipeline.predicting.answer_files import replacing_answers
from pipeline.predicting.incoming import read_batches
from pipeline.predicting.judging import judge_ahead, make_answers
from pipeline.serving.saved_model import ServedModel
from tests.benchmarks.peers import write_network
from tests.benchmarks.same_pictures import CLASSES, read_folder

BATCH_SIZE, SIDE = 32, 200
MEAN, VARIANCE = 130.0, 2500.0
# Of Xception fewer: a picture takes some 10 times as long.
PICTURES = {"autoencoder": 360, "xception": 96}


@dataclass(frozen=True, eq=False)
class Contest:
    """One model, in memory and exported, and the pictures.

    Attributes:
        name: Of the model.
        model: In memory.
        images: Folder of pictures, one folder a class.
        paths: The pictures in it, in the order of both.
        work_dir: Run directory that holds the export.
    """

    name: str
    model: keras.Model
    images: Path
    paths: list[Path]
    work_dir: Path

    @property
    def saved_model(self) -> Path:
        return self.work_dir / self.name / "export" / "1"

    def judge_by_keras(self) -> np.ndarray:
        size, channels = self.model.input_shape[1], self.model.input_shape[3]
        pictures = read_folder(self.images, size=size, batch_size=BATCH_SIZE, channels=channels)
        outputs = self.model.predict(pictures.prefetch(tf.data.AUTOTUNE), verbose=0)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        return tf.nn.softmax(logits).numpy()

    def write_for_peers(self, folder: Path, images: np.ndarray) -> tuple[Path, Path]:
        """The network with images, and the list of pictures."""
        form = {}
        if isinstance(self.model.output, dict):
            boxes = self.model.output["evidence"].shape[-1]
            form = {"form": np.array([self.model.input_shape[1], boxes, MEAN, VARIANCE])}
        network = write_network(
            folder / "network.npz", self.name, self.model, images=images, **form
        )
        (folder / "paths.txt").write_text("\n".join(map(str, self.paths)))
        return network, folder / "paths.txt"

    def judge(self, served: ServedModel) -> np.ndarray:
        found, drift = [], DriftLog(served.path, watches=True)
        with replacing_answers(self.work_dir, served.classes) as write:
            for outcome in judge_ahead(served.answer, read_batches(self.paths)):
                answers = make_answers(outcome, served)
                drift.add(outcome.outputs)
                write(answers)
                found += [answer.probabilities for answer in answers]
        return np.array(found, np.float32)


def export(folder: Path, model: keras.Model, facts: ServingFacts) -> None:
    """With all that drift is watched by; its figures do not matter to the time it takes."""
    count = len(facts.classes)
    features = np.random.default_rng(0).normal(size=[400, find_features(model).shape[-1]])
    space = fit_feature_space(features, np.arange(400) % count, classes=count)
    write_saved_model(folder, model, facts, space=space)
    names = list_statistics(reconstructs=isinstance(model.output, dict))
    measured = Measured(
        tuple(map(str, range(400))), np.arange(400) % count, features[:, : len(names)]
    )
    baseline = fit_baseline(names, facts.classes, train=measured, validation=measured)
    (folder / DRIFT_BASELINE).parent.mkdir()
    baseline.write(folder / DRIFT_BASELINE)


def build(name: str, paths: list[Path]) -> keras.Model:
    """Random weights; Xception's statistics are calibrated, so that no features vanish."""
    keras.utils.set_random_seed(0)
    if name == "autoencoder":
        size = MODELS[name].image_size
        return build_autoencoder(
            image_size=size, channels=1, classes=6, mean=MEAN, variance=VARIANCE
        )
    model = MODELS[name].build(image_size=SIDE, channels=1, classes=6)
    some = paths[:: -(-len(paths) // 32)]
    pixels = [tf.io.decode_jpeg(path.read_bytes(), channels=1) for path in some]
    calibrate_batch_norm(model, [tf.cast(tf.stack(pixels), tf.float32)])
    return model


def make_contest(name: str, data: Path, folder: Path) -> Contest:
    """NEU's published validation pictures, or NIOSCOPE_PICTURES of them, evenly taken."""
    published = sorted((data / "neu-det" / "validation" / "images").rglob("*.jpg"))
    most = int(os.environ.get("NIOSCOPE_PICTURES", PICTURES[name]))
    for label in CLASSES:  # Of few pictures a class may have none.
        (folder / "images" / label).mkdir(parents=True, exist_ok=True)
    for path in published[:: -(-len(published) // most)]:
        (folder / "images" / path.parent.name / path.name).symlink_to(path)
    paths = sorted((folder / "images").rglob("*.jpg"))
    model = build(name, paths)
    contest = Contest(name, model, folder / "images", paths, folder / "run")
    facts = ServingFacts(CLASSES, CLASSES, "", 0.0, MODELS[name].cam_layer, "letterbox")
    export(contest.saved_model, model, facts)
    return contest
