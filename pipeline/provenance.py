"""What made a result: versions, commit, machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from records.manifest import file_digest
from records.quiet import ONEDNN_SWITCH

_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "tf-keras-vis", "pillow", "lxml")


def versions() -> dict[str, str]:
    """Python's version and those of the packages a result depends on."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def machine() -> dict[str, Any]:
    """What the time and the last bits of a result depend on: processor, cores, oneDNN's setting."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        ONEDNN_SWITCH: os.environ.get(ONEDNN_SWITCH, ""),
    }


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder, by its path below it, in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}


def join_digests(files: Mapping[str, str]) -> str:
    """SHA-256 over the names and contents of all files of a folder, from its `digest_files`."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def git_commit() -> str:
    """Commit of this project's checkout, `-dirty` behind it when files differ, or `unknown`."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        answer = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"
