"""A run directory with a tiny SavedModel and a folder of pictures, for the tests of `predict`."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from models.autoencoder import build_autoencoder
from models.serving import ServingFacts, write_saved_model
from pipeline.config import Settings
from pipeline.stages import predict
from records.errors import InputError

TWO = ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "gated", "letterbox")
THREE = ServingFacts(
    ("copies.json", "../up", "io"), ("copies.json", "../up"), "", 0.0, "gated", "stretch"
)


def export_tiny(folder: Path, facts: ServingFacts, *, seed: int = 0) -> Path:
    """Writes a SavedModel of 32 pixels, of random weights; returns `folder`."""
    keras.utils.set_random_seed(seed)
    count = len(facts.classes)
    model = build_autoencoder(image_size=32, channels=1, classes=count, mean=120.0, variance=900.0)
    write_saved_model(folder, model, facts)
    return folder


@dataclass(frozen=True)
class Bench:
    """A run directory that holds a SavedModel and nothing else, and a folder of pictures."""

    root: Path

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def export(self) -> Path:
        return self.root / "run" / "autoencoder" / "export"

    @property
    def answers(self) -> Path:
        return self.export.parent / "predict"

    @property
    def sorted(self) -> Path:
        return self.root / "sorted"

    def settings(
        self, images: Path | str = "", output: Path | None = None, **flags: Any
    ) -> Settings:
        return Settings(
            stage="predict",
            work_dir=self.root / "run",
            images=str(images or self.pictures),
            output_dir=output,
            **flags,
        )

    def run(self, images: Path | str = "", output: Path | None = None, **flags: Any) -> None:
        predict.run(self.settings(images, output, **flags))

    def refuse(
        self, *words: str, images: Path | str = "", output: Path | None = None, **flags: Any
    ) -> None:
        with pytest.raises(InputError) as caught:
            self.run(images, output, **flags)
        for word in words:
            assert word in str(caught.value)


def make_bench(root: Path, exports: Path, *, pictures: int = 3) -> Bench:
    bench = Bench(root)
    bench.export.parent.mkdir(parents=True)
    bench.export.symlink_to(exports)
    for number in range(pictures):
        draw(bench.pictures / f"{number}.png", number)
    return bench


def draw(path: Path, seed: int = 0, image_format: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(values).save(path, image_format)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".predict.lock"
    }


def read_rejects(folder: Path) -> dict[str, str]:
    with (folder / "rejects.csv").open(encoding="utf-8") as file:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_lines(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    lines = (folder / "predictions.jsonl").read_bytes().decode("ascii").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]
