"""Faults of the machine and of those who use it, put to the real program.

Told to end, a full disk, a folder that cannot be written, a clock that goes backwards, pictures
that change while they are read. What needs TensorFlow runs with NIOSCOPE_FAULTS=1 (minutes); kills
are in `tests/benchmarks/kill_campaign.py`.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.ending import MESSAGE
from records.manifest import read_manifest, verify_shards
from records.schema import decode_example
from records.tfrecord import read_frames
from records.types import SPLITS
from tests.file_systems import mounted, read_only
from tests.in_process import answer
from tests.nursery import REPOSITORY, Nursery, Run, is_free

TRAINING = ("--image_size=32", "--pretrain_epochs=1", "--epochs=2", "--batch_size=8")
needs_minutes = pytest.mark.skipif(
    "NIOSCOPE_FAULTS" not in os.environ, reason="takes minutes; NIOSCOPE_FAULTS=1 runs it"
)


def encode(seed: int, side: int = 48) -> bytes:
    content = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 200 + 55 * (seed % 2), (side, side), np.uint8)
    Image.fromarray(noise).save(content, "PNG")
    return content.getvalue()


def draw_folder(folder: Path, count: int = 60) -> Path:
    for index in range(count):
        path = folder / ("io", "nio")[index % 2] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(index))
    return folder


def read_all(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    (tmp_path / "said").mkdir()
    with Nursery(tmp_path / "said") as nursery:
        yield nursery


def wait_for(run: Run, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition() and run.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def ask(*flags: str, status: int = 0) -> str:
    """What the command line prints, asked in this process: where the process is not the subject."""
    found, printed = answer(*flags)
    assert found == status, printed
    return printed


def require_clean_end(run: Run, number: int) -> None:
    assert (run.wait(), run.errors().strip()) == (128 + number, MESSAGE)
    assert not run.left_behind()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_records_that_are_told_to_end_go_on_later(
    nursery: Nursery, tmp_path: Path, number: signal.Signals
) -> None:
    pictures, run_dir = draw_folder(tmp_path / "pictures", 150), tmp_path / "run"
    flags = ("--stage=records", f"--data_dir={pictures}", "--workers=2", "--nonear_duplicates")
    run = nursery.start(*flags, f"--work_dir={run_dir}", own_process=True)
    wait_for(run, (run_dir / "settings" / "autoencoder-records.json").exists)
    run.send(number)
    require_clean_end(run, number)
    assert is_free(run_dir / "settings" / "records.lock")
    assert not list(run_dir.rglob(".draft-*"))
    ask(*flags, f"--work_dir={run_dir}")
    ask(*flags, f"--work_dir={tmp_path / 'whole'}")
    assert read_all(run_dir / "records") == read_all(tmp_path / "whole" / "records")


def test_a_second_process_is_refused_and_the_first_goes_on(
    nursery: Nursery, tmp_path: Path
) -> None:
    pictures = draw_folder(tmp_path / "pictures", 90)
    flags = ("--stage=records", f"--data_dir={pictures}", f"--work_dir={tmp_path / 'run'}")
    first = nursery.start(*flags, "--workers=1", own_process=True)
    lock = tmp_path / "run" / "settings" / "records.lock"
    wait_for(first, lambda: lock.exists() and lock.stat().st_size > 0)
    errors = nursery.finish(*flags, own=True, status=2)
    assert f"is in use by process {first.pid} on" in errors and "main.py --stage=records" in errors
    assert first.wait() == 0, first.errors()
    verify_shards(read_manifest(tmp_path / "run" / "records"))


def test_no_room_for_drawn_pictures(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", size_bytes=2**20) as small:
        errors = ask("--stage=sample", f"--data_dir={small}", status=2)
        assert f"cannot be written to {small}: No space left on device" in errors
        assert "Traceback" not in errors and not list(small.iterdir())


def test_no_room_for_records_and_then_some(tmp_path: Path) -> None:
    pictures = draw_folder(tmp_path / "pictures", 90)
    flags = ("--stage=records", f"--data_dir={pictures}", "--workers=1", "--nonear_duplicates")
    ask(*flags, f"--work_dir={tmp_path / 'whole'}")
    whole = read_all(tmp_path / "whole" / "records")
    size = sum(map(len, whole.values()))
    with mounted(tmp_path / "small", size_bytes=size // 2) as small:
        errors = ask(*flags, f"--work_dir={small}", status=2)
        assert "No space left on device" in errors and "Remedy: Make room" in errors
        assert "Traceback" not in errors
        subprocess.run(["mount", "-o", f"remount,size={3 * size}", small], check=True)
        ask(*flags, f"--work_dir={small}")
        assert read_all(small / "records") == whole


@pytest.mark.parametrize("stage", ["records", "train", "eval", "explain", "export", "predict"])
def test_a_run_directory_that_cannot_be_written(tmp_path: Path, stage: str) -> None:
    run = tmp_path / "run"
    for name in ("records/manifest.json", "autoencoder/config.json", "autoencoder/export/1/x",
                 "autoencoder/eval/metrics.json"):  # fmt: skip
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    before = read_all(run)
    (tmp_path / "p").mkdir()
    flags = (f"--stage={stage}", f"--data_dir={tmp_path / 'p'}", "--images=x.png")
    with read_only(run):
        errors = ask(*flags, f"--work_dir={run}", status=2)
    assert f"The run directory {run} cannot be written: Read-only file system" in errors
    assert "Traceback" not in errors and read_all(run) == before


def test_folders_for_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("drawn", "voc"):
        (tmp_path / name).mkdir()
    with read_only(tmp_path / "drawn") as drawn:
        errors = ask("--stage=sample", f"--data_dir={drawn}", status=2)
        assert f"cannot be written to {drawn}: Read-only file system" in errors
    flags = ("--stage=records", f"--work_dir={tmp_path / 'run'}")
    ask(*flags, f"--data_dir={draw_folder(tmp_path / 'pictures')}")
    with read_only(tmp_path / "voc") as voc:
        errors = ask(*flags, "--to=voc", f"--output_dir={voc / 'new'}", status=2)
        assert "Read-only file system" in errors and "Traceback" not in errors
        assert not list(voc.iterdir())


# Every look at the clock is an hour before the last; it begins in 1970, as without a battery.
BACKWARDS = """
import itertools, time
hours = itertools.count()
time.time = lambda: {start} - 3600.0 * next(hours)
time.time_ns = lambda: int(1e9 * time.time())
"""


def test_a_clock_that_goes_backwards_changes_no_record(tmp_path: Path) -> None:
    pictures = draw_folder(tmp_path / "pictures")
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        os.utime(path, (-number * 86_400, -number * 86_400))
    flags = [f"--data_dir={pictures}", "--stage=records", "--workers=1"]
    ask(*flags, f"--work_dir={tmp_path / 'whole'}")
    code = BACKWARDS.format(start=0) + (
        "import main, sys\nfrom absl import app\n"
        "app.run(main.main, argv=['main.py', *sys.argv[1:]], flags_parser=main.parse_flags)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *flags, f"--work_dir={tmp_path / 'run'}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert read_all(tmp_path / "run" / "records") == read_all(tmp_path / "whole" / "records")


def disturb(paths: list[Path], contents: list[bytes], told: threading.Event) -> None:
    """Each file in turn: other bytes in its place, half of them, more behind them, or none."""
    for number in itertools.count():
        path, content = paths[number % len(paths)], contents[number % len(contents)]
        kind = number % 5
        if kind == 0:
            draft = path.with_name(f".{path.name}")
            draft.write_bytes(content)
            draft.replace(path)
        elif kind == 1:
            path.write_bytes(content[: len(content) // 2])
        elif kind == 2:
            with path.open("ab") as file:
                file.write(b"more")
        elif kind == 3:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(content)
        if told.wait(0.001):
            return


def test_pictures_that_change_while_they_are_read(nursery: Nursery, tmp_path: Path) -> None:
    pictures, run = draw_folder(tmp_path / "pictures", 80), tmp_path / "run"
    unsteady = sorted(pictures.rglob("*.png"))[::8]
    contents = [encode(1000 + number) for number in range(7)]
    told = threading.Event()
    thread = threading.Thread(target=disturb, args=(unsteady, contents, told), daemon=True)
    thread.start()
    flags = ("--stage=records", f"--data_dir={pictures}", f"--work_dir={run}", "--workers=1")
    ended = nursery.start(*flags, own_process=True)
    status = ended.wait()
    told.set()
    thread.join()
    assert status in (0, 2) and "Traceback" not in ended.errors(), ended.errors()
    if status == 2:
        assert "changed while the records were being made" in ended.errors() or (
            "can no longer be read" in ended.errors()
        ), ended.errors()
        assert not (run / "records").exists()
        ask(*flags)
    verify_shards(manifest := read_manifest(run / "records"))
    for split in SPLITS:
        for path in manifest.shard_paths(split):
            for record in map(decode_example, read_frames(path)):
                assert hashlib.sha256(record.encoded).hexdigest() == record.sha256
