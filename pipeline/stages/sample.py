"""The stage `sample`: a drawn data set, to try the other stages on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import Settings
from records.sample import draw_data_set


def run(settings: Settings) -> None:
    """Draws pictures in order and not in order into `settings.data_dir`, and says what to do next.

    Raises:
        InputError: The folder holds something other than an earlier drawing, or cannot be written.
    """
    assert isinstance(settings.data_dir, Path), "the flags were checked"
    pictures = draw_data_set(settings.data_dir, seed=settings.seed)
    print(format_summary(settings, pictures))


def format_summary(settings: Settings, pictures: Mapping[str, Mapping[str, int]]) -> str:
    """Says where the pictures are, how many of each class and split, and the next command."""
    counts = [
        f"  {split:<10}  " + "  ".join(f"{label} {count:>4}" for label, count in classes.items())
        for split, classes in pictures.items()
    ]
    command = shlex.join(
        [
            "python",
            "main.py",
            "--stage=all",
            f"--data_dir={settings.data_dir}",
            f"--work_dir={settings.work_dir}",
        ]
    )
    return "\n".join(
        [f"Drawn with seed {settings.seed} in {settings.data_dir}:", *counts, f"Next: {command}"]
    )
