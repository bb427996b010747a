"""What ours costs as pictures, pixels a picture and classes grow by 10: seconds and memory.

`records`, `train` (an epoch; the model's input grows with the pictures), `eval` and `predict`, as
commands: what every start costs is in, so that 10 times the work costs less than 10 times as much.
`predict` judges 1,000 and 10,000 pictures. Near-duplicates are looked for once, in a row of its
own. NIOSCOPE_MANY says how many pictures there are at first, 1,200 to 1,800 (with fewer, 60 classes
do not have one for every split), NIOSCOPE_FACTOR how many times as many there are then.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from models.autoencoder import build_autoencoder
from models.serving import ServingFacts
from tests.benchmarks.commands import measure_memory, ours, time_last_epoch
from tests.benchmarks.contest import export
from tests.benchmarks.growth import Grown, grow
from tests.benchmarks.rounds import rounds_or, state

MANY = min(1800, int(os.environ.get("NIOSCOPE_MANY", "1800")))
FACTOR = int(os.environ.get("NIOSCOPE_FACTOR", "10"))

Costs = dict[str, list[tuple[float, float]]]
"""By the stage: seconds and MB of each round."""


@pytest.fixture(scope="module")
def grown(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Grown]:
    folder = tmp_path_factory.mktemp("growth")
    return list(grow(real_data / "neu-det", folder, factor=FACTOR, most=MANY))


@functools.cache
def make_export(work_dir: Path, size: int, classes: int) -> Path:
    """Random weights; what they are costs nothing."""
    names = tuple(f"class {number:02}" for number in range(classes))
    model = build_autoencoder(
        image_size=size, channels=1, classes=classes, mean=130.0, variance=2500.0
    )
    facts = ServingFacts(names, names, "", 0.0, "gated", "letterbox")
    export(work_dir / "autoencoder" / "export" / "1", model, facts)
    return work_dir


def link_pictures(data: Grown, folder: Path) -> Path:
    if not folder.exists():
        folder.mkdir()
        found = sorted(data.folder.glob("*/images/*/*.jpg"))[: data.judged]
        for path in found:
            (folder / f"{path.parent.name}_{path.name}").symlink_to(path)
    return folder


def measure_all(data: Grown, work_dir: Path) -> dict[str, tuple[float, float]]:
    """Seconds and MB of each stage; of an epoch seconds alone."""
    own = f"--work_dir={work_dir / 'run'}"
    flags = "--stage=records", f"--data_dir={data.folder}", "--nonear_duplicates"
    costs = {"records": measure_memory(ours(*flags, own))}
    flags = "--stage=train", f"--image_size={data.model_px}", "--pretrain_epochs=0"
    costs["an epoch of training"] = time_last_epoch(ours(*flags, "--epochs=2", own)), 0.0
    costs["eval"] = measure_memory(ours("--stage=eval", own))
    exported = make_export(work_dir / "served", data.model_px, data.classes)
    images = link_pictures(data, work_dir / "judged")
    flags = "--stage=predict", f"--work_dir={exported}", f"--images={images}"
    return {**costs, "predict": measure_memory(ours(*flags))}


@pytest.mark.timeout(7200)
def test_growth(grown: list[Grown], tmp_path: Path) -> None:
    costs: dict[str, Costs] = {data.name: {} for data in grown}
    for _ in range(rounds_or(2)):
        for data in grown:
            work_dir = tmp_path / (data.name or "plain")
            work_dir.mkdir(exist_ok=True)
            for stage, cost in measure_all(data, work_dir).items():
                costs[data.name].setdefault(stage, []).append(cost)
    smaller = costs.pop("")
    for name, stages in costs.items():
        for stage, found in stages.items():
            state_both(f"{stage}, {name} x {FACTOR}", found, smaller[stage])


def state_both(what: str, larger: list[tuple[float, float]],
               smaller: list[tuple[float, float]]) -> None:  # fmt: skip
    for unit, own, other in zip(
        ("s", "MB"), zip(*larger, strict=True), zip(*smaller, strict=True), strict=True
    ):
        if other[0]:
            state("growth", what, "before", own, other, unit=unit, growth=True)


@pytest.mark.timeout(7200)
def test_near_duplicates(grown: list[Grown], tmp_path: Path) -> None:
    costs = [
        measure_memory(
            ours("--stage=records", f"--data_dir={data.folder}", f"--work_dir={tmp_path / name}")
        )
        for name, data in (("many", grown[1]), ("few", grown[0]))
    ]
    what = f"records with the search for near-duplicates, pictures x {FACTOR}"
    state_both(what, costs[:1], costs[1:])
