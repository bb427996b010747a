"""Judging pictures from files: `predict` against Keras, PyTorch, and the cores' arithmetic.

All judge NEU's published validation pictures by the same weights and must give the same answers.
Ours reads, hashes and looks through every file, judges by the exported SavedModel, watches drift
and writes CSV and JSON lines; the others end with probabilities in memory: Keras' `predict` is fed
by `image_dataset_from_directory`, PyTorch by a `DataLoader`. NEU's pictures are 200 x 200, what
Xception takes here; for the autoencoder all resize with antialiasing. NIOSCOPE_PICTURES says how
many pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.serving.saved_model import load_served
from tests.benchmarks.arithmetic import count_operations, multiply
from tests.benchmarks.contest import Contest, make_contest
from tests.benchmarks.peers import Peer
from tests.benchmarks.rounds import CORES, Way, rounds_or, state, take_rounds

SINGLES = 200


@pytest.fixture(scope="module", params=["autoencoder", "xception"])
def contest(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Contest:
    return make_contest(request.param, real_data, tmp_path_factory.mktemp(request.param))


@pytest.mark.timeout(3600)
def test_judging_files(contest: Contest, tmp_path: Path) -> None:
    served, count = load_served(contest.saved_model), len(contest.paths)
    images = np.zeros([8, *contest.model.input_shape[1:]], np.float32)
    answers: dict[str, np.ndarray] = {}

    def keep(name: str, judge: Callable[[], np.ndarray]) -> None:
        answers[name] = judge()

    out, files = tmp_path / "out.npz", contest.write_for_peers(tmp_path, images)
    operations = count * count_operations(contest.model)
    with Peer("torch_predict.py", *files, out) as peer:
        ways: dict[str, Way] = {
            "ours": lambda: keep("ours", lambda: contest.judge(served)),
            "Keras predict": lambda: keep("Keras", contest.judge_by_keras),
            "PyTorch": lambda: peer.ask("files"),
            f"the arithmetic of {CORES} cores": lambda: multiply(operations),
        }
        taken = take_rounds(ways, rounds=rounds_or(5))
    assert np.abs(answers["ours"] - answers["Keras"]).max() < 1e-4
    assert (answers["ours"].argmax(axis=1) == answers["Keras"].argmax(axis=1)).all()
    # Another decoder and, in the autoencoder, another padding: `bench_networks` compares answers.
    assert np.load(out)["probabilities"].shape == answers["ours"].shape
    for name in list(ways)[1:]:
        what = f"judging {count} files, {contest.name}"
        state("predict", what, name, taken["ours"], taken[name], pictures=count)


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
