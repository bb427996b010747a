"""Judging pictures: `predict` against `keras.Model.predict`, first answers, single ones, memory.

Both judge NEU's published validation pictures by the same weights and must give the same answers.
Ours reads, hashes and looks through every file, judges by the exported SavedModel and writes CSV
and JSON lines; the other is fed by `image_dataset_from_directory` and ends with probabilities in
memory. NEU's pictures are 200 x 200, what Xception takes here; for the autoencoder both resize with
antialiasing. NIOSCOPE_MANY says how many pictures memory is measured with.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
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
from pipeline.predicting.incoming import find_pictures, read_batches
from pipeline.predicting.judging import judge_ahead, make_answers
from pipeline.serving.saved_model import ServedModel, load_served
from tests.benchmarks.bench_memory import read_status
from tests.pipeline.stages.predict_bench import TWO, draw

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS, STARTS, SINGLES = 5, 3, 200
BATCH_SIZE, SIDE = 32, 200
MANY = int(os.environ.get("NIOSCOPE_MANY", "100000"))
MOST = int(os.environ.get("NIOSCOPE_PICTURES", "1000000"))
CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")


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
        dataset = keras.utils.image_dataset_from_directory(
            self.images, image_size=(SIDE, SIDE), batch_size=BATCH_SIZE, shuffle=False,
            color_mode="grayscale" if channels == 1 else "rgb", verbose=False,
        )  # fmt: skip
        resized = dataset.map(
            lambda x, _: tf.image.resize(x, [size, size], antialias=True),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(tf.data.AUTOTUNE)
        outputs = self.model.predict(resized, verbose=0)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        return tf.nn.softmax(logits).numpy()

    def judge(self, served: ServedModel) -> np.ndarray:
        found, drift = [], DriftLog(served.path, watches=True)
        with replacing_answers(self.work_dir, served.classes) as write:
            for outcome in judge_ahead(served.answer, read_batches(self.paths)):
                answers = make_answers(outcome, served)
                drift.add(outcome.outputs)
                write(answers)
                found += [answer.probabilities for answer in answers]
        return np.array(found, np.float32)


@pytest.fixture(scope="module", params=["autoencoder", "xception"])
def contest(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Contest:
    folder = tmp_path_factory.mktemp(request.param)
    published = real_data / "neu-det" / "validation" / "images"
    for path in map(Path, map(str, find_pictures(str(published))[:MOST])):
        link = folder / "images" / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    for name in CLASSES:  # Of few pictures a class may have none.
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
    paths = [Path(str(path)) for path in find_pictures(str(folder / "images"))]
    model = build(request.param, paths)
    contest = Contest(request.param, model, folder / "images", paths, folder / "run")
    facts = ServingFacts(CLASSES, CLASSES, "", 0.0, MODELS[request.param].cam_layer, "letterbox")
    export(contest.saved_model, model, facts)
    return contest


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
            image_size=size, channels=1, classes=6, mean=130.0, variance=2500.0
        )
    model = MODELS[name].build(image_size=SIDE, channels=1, classes=6)
    some = paths[:: -(-len(paths) // 32)]
    pixels = [tf.io.decode_jpeg(path.read_bytes(), channels=1) for path in some]
    calibrate_batch_norm(model, [tf.cast(tf.stack(pixels), tf.float32)])
    return model


@pytest.mark.timeout(3600)
def test_against_keras_predict(contest: Contest) -> None:
    served = load_served(contest.saved_model)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: contest.judge(served),
        "keras": contest.judge_by_keras,
    }
    answers = {name: way() for name, way in ways.items()}  # These warm up, too.
    largest = float(np.abs(answers["ours"] - answers["keras"]).max())
    assert largest < 1e-4
    assert (answers["ours"].argmax(axis=1) == answers["keras"].argmax(axis=1)).all()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS):
        for name in sorted(ways, reverse=bool(round_ % 2)):
            started = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - started)
    ratios = [keras_ / ours for ours, keras_ in zip(times["ours"], times["keras"], strict=True)]
    rates = {name: len(contest.paths) / statistics.median(taken) for name, taken in times.items()}
    print(
        f"\n{contest.name}, {len(contest.paths)} pictures, {ROUNDS} rounds: predict "
        f"{rates['ours']:.1f} pictures/s, Model.predict {rates['keras']:.1f}; ratio "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); largest "
        f"difference of a probability {largest:.1e}"
    )


def test_single_pictures(contest: Contest) -> None:
    served = load_served(contest.saved_model)
    contents = [path.read_bytes() for path in contest.paths[:20]]
    taken = []
    for number in range(SINGLES + 10):
        started = time.perf_counter()
        outputs = served.answer(image_bytes=tf.constant([contents[number % len(contents)]]))
        assert outputs["probabilities"].numpy().shape == (1, 6)
        taken.append(1000 * (time.perf_counter() - started))
    p50, p99 = np.percentile(taken[10:], [50, 99])
    print(f"\n{contest.name}, single pictures: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def test_start_to_first_answer(contest: Contest) -> None:
    times = []
    for _ in range(STARTS):
        seconds, _ = run_predict(contest.work_dir, contest.name, contest.paths[0])
        times.append(seconds)
    started = time.perf_counter()
    load_served(contest.saved_model)
    print(
        f"\n{contest.name}: command to first answer {statistics.median(times):.2f} s "
        f"({min(times):.2f} to {max(times):.2f}, {STARTS} starts), of which the SavedModel "
        f"{time.perf_counter() - started:.2f} s"
    )


@pytest.mark.timeout(3600)
def test_memory_is_flat(tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    tiny = build_autoencoder(image_size=32, channels=1, classes=2, mean=120.0, variance=900.0)
    export(work_dir / "autoencoder" / "export" / "1", tiny, TWO)
    for number in range(50):
        draw(tmp_path / "few" / f"{number}.png", number)
    for count in (MANY // 10, MANY):
        links = tmp_path / f"links {count}"
        links.mkdir()
        for number in range(count):
            (links / f"{number:06d}.png").symlink_to(tmp_path / "few" / f"{number % 50}.png")
        seconds, peak = run_predict(work_dir, "autoencoder", links)
        lines = (work_dir / "autoencoder" / "predict" / "predictions.jsonl").open().readlines()
        assert len(lines) == count
        print(f"\n{count} pictures: peak {peak / 1024:.0f} MB, {seconds:.1f} s")


def run_predict(work_dir: Path, model: str, images: Path) -> tuple[float, int]:
    """Runs the command; returns its seconds and its peak resident memory in kB."""
    flags = ["--stage=predict", f"--work_dir={work_dir}", f"--model={model}", f"--images={images}"]
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(
        [sys.executable, "main.py", *flags], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    ) as process:
        # What the system says at the end counts this process too, of which the other is forked.
        while process.poll() is None:
            status = read_status(Path("/proc", str(process.pid)))
            peak = max(peak, int(status.get("VmHWM", "0 kB").split()[0]))
            time.sleep(0.02)
    assert process.returncode == 0
    return time.perf_counter() - started, peak
