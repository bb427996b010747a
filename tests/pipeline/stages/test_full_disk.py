"""Every stage of a model on a disk that fills up: one message, nothing lost, and later it goes on.

NIOSCOPE_FAULTS=1 runs it (minutes), where a small file system can be mounted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.file_systems import mounted
from tests.in_process import answer

pytestmark = pytest.mark.skipif(
    "NIOSCOPE_FAULTS" not in os.environ, reason="takes minutes; NIOSCOPE_FAULTS=1 runs it"
)
FLAGS = {
    "train": ["--image_size=32", "--pretrain_epochs=1", "--epochs=1", "--batch_size=8"],
    "eval": [],
    "explain": ["--cam_methods=gradcam"],
    "export": [],
    "predict": ["--images={}", "--overlays"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with all that the stages start from."""
    from tests.pipeline.tiny_run import make_run

    folder = tmp_path_factory.mktemp("whole")
    run = make_run(folder).root
    assert answer("--stage=export", f"--work_dir={run}")[0] == 0
    return run


def size_of(folder: Path) -> int:
    """Bytes as pages hold them, and one page for each folder and file."""
    return sum(4096 + -(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*"))


def read_all(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("free_bytes", [0, 40_000, 120_000, 400_000])
@pytest.mark.parametrize("stage", list(FLAGS))
def test_a_stage_without_room(tmp_path: Path, whole: Path, stage: str, free_bytes: int) -> None:
    with mounted(tmp_path / "small", size_bytes=size_of(whole) + 65_536 + free_bytes) as small:
        run = small / "run"
        shutil.copytree(whole, run)
        kept = {
            name: content
            for name, content in read_all(run).items()
            if name.startswith("records/") or "/export/1/" in name
        }
        pictures = whole.parent / "pictures"
        flags = [flag.format(pictures) for flag in FLAGS[stage]]
        status, printed = answer(f"--stage={stage}", f"--work_dir={run}", *flags)
        assert status in (0, 2), printed
        assert (
            (status == 0)
            or "No space left on device" in printed
            or "more than the disk" in (printed)
        ), printed
        assert "Remedy: " in printed or status == 0
        after = read_all(run)
        assert {name: after.get(name) for name in kept} == kept
        subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
        status, printed = answer(f"--stage={stage}", f"--work_dir={run}", *flags)
        assert status == 0, printed
        assert not list(run.rglob(".draft-*")) and not list(run.rglob(".candidate-*"))
