"""The command line as a user gives it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {
    "autoencoder": ["--image_size=64", "--epochs=3", "--pretrain_epochs=1"],
    "xception": [
        "--image_size=71", "--epochs=1", "--pretrain_epochs=1", "--views=1",
        "--backbone_weights=calibrated", "--cam_methods=gradcam++,layercam",
    ],
}  # fmt: skip


def nioscope(*flags: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "main.py", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
