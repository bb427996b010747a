"""What each part of the models is worth: trains with and without it, over several seeds.

    PYTHONPATH=. python tests/benchmarks/ablation.py --data=NEU-DET --out=.ablation

Compares on the validation split, the only one that choices may be made on; with `--test` the named
arms are evaluated on the test split too, once. Further flags, such as --image_size=64, go to every
training. Whatever has been measured is kept in `<out>/results.csv` and not measured again, so that
a run of hours can be interrupted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from records.sheets import format_csv

REPOSITORY = Path(__file__).resolve().parents[2]
_COLUMNS = ("arm", "seed", "validation", "test", "auroc", "seconds", "waited")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        model: `--model`.
        flags: What is different.
        program: What is run.
    """

    model: str
    flags: tuple[str, ...] = ()
    program: tuple[str, ...] = ("main.py",)


_TEN, _CALIBRATED = "--labels_per_class=10", "--backbone_weights=calibrated"
_ALONE = ("--reconstruction_weight=0", "--pretrain_epochs=0")
ARMS: dict[str, Arm] = {
    "autoencoder": Arm("autoencoder"),
    "autoencoder, reconstruction weight 0": Arm("autoencoder", ("--reconstruction_weight=0",)),
    "autoencoder, no pretraining": Arm("autoencoder", ("--pretrain_epochs=0",)),
    "autoencoder, neither": Arm("autoencoder", _ALONE),
    "autoencoder, denoising": Arm("autoencoder", ("--pretraining=denoising",)),
    "autoencoder, masked": Arm("autoencoder", ("--pretraining=masked",)),
    "autoencoder, boxes not used": Arm("autoencoder", ("--evidence_weight=0",)),
    "autoencoder, pictures standardized": Arm("autoencoder", ("--standardize",)),
    "autoencoder, twice the rate": Arm("autoencoder", ("--learning_rate=0.002",)),
    "10 labels a class": Arm("autoencoder", (_TEN,)),
    "10 labels a class, neither": Arm("autoencoder", (_TEN, *_ALONE)),
    "first system": Arm(
        "autoencoder",
        (*_ALONE, "--evidence_weight=0"),
        ("tests/benchmarks/first_system.py",),
    ),
    "Xception, frozen": Arm("xception", (_CALIBRATED, "--epochs=0")),
    "Xception, fine-tuned, one view": Arm("xception", (_CALIBRATED, "--views=1")),
    "Xception, fine-tuned": Arm("xception", (_CALIBRATED,)),
}


def main() -> None:
    """Measures what is not measured yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(".ablation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--test", action="store_true", help="evaluate on the test split as well")
    asked, flags = parser.parse_known_args()
    results = _read(asked.out / "results.csv")
    for seed in range(asked.seeds):
        for name in asked.arms:
            key = (name, str(seed))
            if key in results and not (asked.test and not results[key]["test"]):
                continue
            results[key] = _measure(
                name, seed, asked.data, asked.out / str(seed), flags, test=asked.test
            )
            rows = [[row[column] for column in _COLUMNS] for row in results.values()]
            (asked.out / "results.csv").write_text(format_csv([list(_COLUMNS), *rows]))
    print(format_table(list(results.values())))


def format_table(rows: list[dict[str, str]]) -> str:
    """Mean and standard deviation over the seeds, an arm a line, as Markdown."""
    lines = ["| | seeds | validation | test | train, s |", "| --- | --- | --- | --- | --- |"]
    for name in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == name]
        figures = [_describe([row[column] for row in own]) for column in ("validation", "test")]
        seconds = np.mean([float(row["seconds"]) for row in own])
        lines.append(f"| {name} | {len(own)} | {' | '.join(figures)} | {seconds:.0f} |")
    return "\n".join(lines)


def _describe(values: list[str]) -> str:
    numbers = [100 * float(value) for value in values if value]
    if not numbers:
        return ""
    spread = f" ± {np.std(numbers, ddof=1):.2f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.2f} %{spread}"


def _measure(
    name: str, seed: int, data: Path, work_dir: Path, flags: list[str], *, test: bool
) -> dict[str, str]:
    arm = ARMS[name]
    own = [f"--work_dir={work_dir}", f"--model={arm.model}", f"--seed={seed}"]
    if not (work_dir / "records" / "manifest.json").exists():
        _run(("main.py",), "--stage=records", f"--data_dir={data}", *own)
    print(f"\n=== {name}, seed {seed} ===", flush=True)
    # Every training pays for its own pass through the trunk.
    shutil.rmtree(work_dir / arm.model / "trunk", ignore_errors=True)
    # What makes the arm comes last: it holds whatever else was asked for.
    _run(arm.program, "--stage=train", *own, *flags, *arm.flags)
    training = json.loads((work_dir / arm.model / "config.json").read_text())["training"]
    row = {
        "arm": name,
        "seed": str(seed),
        "validation": _kept_accuracy(work_dir / arm.model / "history.csv", training["phases"][-1]),
        "seconds": str(training["seconds"]),
        "waited": str(training["input_wait_fraction"]),
        "test": "",
        "auroc": "",
    }
    if test:
        _run(arm.program, "--stage=eval", *own)
        metrics = json.loads((work_dir / arm.model / "eval" / "metrics.json").read_text())
        row["test"] = str(metrics["accuracy"]["value"])
        if metrics["binary"]:
            row["auroc"] = str(metrics["binary"]["roc"]["area"])
    return row


def _kept_accuracy(history: Path, phase: dict[str, object]) -> str:
    with history.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == phase["name"]]
    return rows[int(str(phase["best_epoch"])) - 1]["val_accuracy"]


def _run(program: tuple[str, ...], *flags: str) -> None:
    subprocess.run(
        [sys.executable, *program, *flags],
        cwd=REPOSITORY,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def _read(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row["arm"], row["seed"]): row for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
