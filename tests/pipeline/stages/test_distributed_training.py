"""`train` by several processes on one machine, as on several machines, with the real program.

Takes minutes; `tests/pipeline/distribution/test_replica_loop.py` has two replicas in one process.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.distribution.tf_config import Place
from records.pictures import probe_bytes
from records.shards import write_records
from records.types import AnnotatedObject, BoundingBox, Example, Split

REPOSITORY = Path(__file__).resolve().parents[3]
CLASSES = ("io", "nio")
COUNTS: dict[Split, int] = {"train": 30, "validation": 9, "test": 1}
FLAGS = [
    "--image_size=32", "--pretrain_epochs=2", "--epochs=5", "--batch_size=8",
    "--pretraining=masked", "--augment=flip|noise(0.02)", "--learning_rate=0.003",
]  # fmt: skip
BACKBONE = [
    "--model=xception", "--backbone_weights=calibrated", "--pretraining=default", "--views=2",
    "--image_size=71", "--pretrain_epochs=1", "--epochs=2", "--full_epochs=1",
    # At the model's own rate so few pictures end in a validation loss of 25, and 1e-2 is rounding.
    "--learning_rate=0.0001",
]  # fmt: skip
LAST_WORDS = "start all of them again"
pytestmark = pytest.mark.skipif(
    not int(os.environ.get("NIOSCOPE_TRAINING_KILLS", "0")),
    reason="trains for minutes; NIOSCOPE_TRAINING_KILLS=1 runs it",
)


def draw_example(folder: Path, split: Split, number: int) -> Example:
    """Noise; a picture that is not in order has one or two bright spots, in boxes."""
    rng = np.random.default_rng([len(split), number])
    image, objects = rng.integers(0, 150, (40, 40), np.uint8), []
    for _ in range(number % 2 + (number % 8 == 1)):
        left, top = (int(x) for x in rng.integers(0, 32, 2))
        image[top : top + 8, left : left + 8] += 100
        objects.append(AnnotatedObject("spot", BoundingBox(left, top, left + 8, top + 8)))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    path = folder / f"{split}_{number}.png"
    path.write_bytes(buffer.getvalue())
    facts = probe_bytes(buffer.getvalue())
    return Example(
        path.name, facts.image_format, False, facts.width, facts.height, facts.is_grey,
        facts.size_bytes, facts.sha256, CLASSES[number % 2], tuple(objects), None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of 30 training pictures in four files or so."""
    folder = tmp_path_factory.mktemp("spots")
    (folder / "pictures").mkdir()
    manifest = write_records(
        folder / "records",
        source=folder / "pictures",
        name="spots",
        layout="flat",
        classes=CLASSES,
        box_classes=("spot",),
        splits={
            split: tuple(draw_example(folder / "pictures", split, number) for number in range(n))
            for split, n in COUNTS.items()
        },
        seed=0,
        target_shard_bytes=13_000,
    )
    assert len(manifest.shards["train"]) >= 2
    return folder / "records"


def make_run(folder: Path, records: Path) -> Path:
    folder.mkdir()
    (folder / "records").symlink_to(records)
    return folder


def start(
    work_dir: Path, *flags: str, cluster: list[str] | None = None, place: Place | None = None
) -> subprocess.Popen[str]:
    # oneDNN's kernels round by how many pictures a replica has. Adam's first step is as large for a
    # gradient of nothing but rounding as for any other: on these few pictures 1e-6 became 2e-2.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    environment |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}
    if cluster and place:
        task = {"type": "worker", "index": place.index}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": cluster}, "task": task})
        flags = (*flags, "--distribute=multiworker")
    return subprocess.Popen(
        [sys.executable, "main.py", "--stage=train", f"--work_dir={work_dir}", *FLAGS, *flags],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(
    folders: list[Path], *flags: str, seeds: tuple[int, int] = (0, 0)
) -> list[subprocess.Popen[str]]:
    """Two workers, each with a run directory of its own, as on machines that share no disk."""
    sockets = [socket.socket() for _ in folders]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    cluster = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        start(folder, f"--seed={seed}", *flags, cluster=cluster, place=Place(index, 2))
        for index, (folder, seed) in enumerate(zip(folders, seeds, strict=True))
    ]


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    try:
        output, _ = process.communicate(timeout=800)
    except subprocess.TimeoutExpired:
        process.kill()  # The other worker then ends by itself.
        raise
    assert process.returncode == status, output
    return output


def history(work_dir: Path, model: str = "autoencoder") -> list[dict[str, float]]:
    with (work_dir / model / "history.csv").open() as file:
        return [
            {k: float(v) for k, v in row.items()
             if v and k not in ("phase", "seconds", "input_wait_fraction")}
            for row in csv.DictReader(file)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, records: Path) -> list[Path]:
    """The run directories of two workers that have trained."""
    folder = tmp_path_factory.mktemp("two")
    folders = [make_run(folder / name, records) for name in ("chief", "other")]
    processes = start_two(folders)
    for process in processes:
        finish(process)
    return folders


@pytest.mark.timeout(900)
def test_two_workers_train_as_one_does(tmp_path: Path, records: Path, two: list[Path]) -> None:
    alone = make_run(tmp_path / "alone", records)
    finish(start(alone, "--parts=2"))
    wanted, found = history(alone), history(two[0])
    assert len(wanted) == 7
    for row, other in zip(wanted, found, strict=True):
        assert other == pytest.approx(row, abs=1e-5)
    assert wanted[-1]["val_loss"] < wanted[2]["val_loss"]


@pytest.mark.timeout(1800)
def test_two_workers_train_a_backbone_as_one_does(tmp_path: Path, records: Path) -> None:
    folders = [make_run(tmp_path / name, records) for name in ("chief", "other", "alone")]
    for process in start_two(folders[:2], *BACKBONE):
        finish(process)
    finish(start(folders[2], "--parts=2", *BACKBONE))
    found, wanted = (history(folders[i], "xception") for i in (0, 2))
    assert len(wanted) == 4
    for row, other in zip(wanted, found, strict=True):
        assert other == pytest.approx(row, abs=1e-5)
    assert [path.name for path in folders[1].rglob("*")] == ["records"]
    kept = [sorted(x.name for x in folders[i].glob("xception/trunk/*/*")) for i in (0, 2)]
    assert kept[0] == ["validation.rows", "view-0-part-0-of-2.rows", "view-1-part-0-of-2.rows"]
    assert set(kept[1]) - set(kept[0]) == {f"view-{view}-part-1-of-2.rows" for view in (0, 1)}


def test_only_the_chief_writes(two: list[Path]) -> None:
    assert [path.name for path in two[1].rglob("*")] == ["records"]
    training = json.loads((two[0] / "autoencoder" / "config.json").read_text())["training"]
    assert (training["distribute"], training["workers"], training["parts"]) == ("multiworker", 2, 2)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lost", [1, 0])
def test_after_a_worker_was_killed_all_start_again_and_end_the_same(
    tmp_path: Path, records: Path, two: list[Path], lost: int
) -> None:
    folders = [make_run(tmp_path / name, records) for name in ("chief", "other")]
    processes = start_two(folders)
    stdout = processes[0].stdout
    assert stdout is not None
    for line in stdout:
        if line.startswith("joint 2/"):
            break
    processes[lost].send_signal(signal.SIGKILL)
    output = finish(processes[1 - lost], status=2)
    processes[lost].communicate()
    assert LAST_WORDS in output
    assert "Traceback" not in output
    assert not (folders[0] / "autoencoder" / "config.json").exists()
    outputs = [finish(process) for process in start_two(folders)]
    # The others have what they go on from of the chief alone.
    assert all("joint: goes on after epoch" in output for output in outputs)
    assert history(folders[0]) == history(two[0])
    models = [folder / "autoencoder" / "model.keras" for folder in (folders[0], two[0])]
    assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.timeout(900)
def test_workers_that_are_to_do_different_things_are_refused(tmp_path: Path, records: Path) -> None:
    folders = [make_run(tmp_path / name, records) for name in ("chief", "other")]
    for process in start_two(folders, seeds=(0, 1)):
        output = finish(process, status=2)
        assert "not started with the same flags, records and versions" in output
        assert "Traceback" not in output
    assert not (folders[0] / "autoencoder" / "checkpoint").exists()
