"""Evaluations beyond the first: against another model, and on other records."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records.sample import draw_data_set
from tests.in_process import answer


def ask(*flags: str, status: int = 0) -> str:
    """What the command line prints with these flags; the status must be the one given."""
    found, printed = answer(*flags)
    assert found == status, printed
    return printed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of an evaluated autoencoder."""
    work_dir = tmp_path_factory.mktemp("evaluated")
    draw_data_set(work_dir / "pictures", seed=5, counts={"train": 96, "validation": 40, "test": 40})
    own = [f"--data_dir={work_dir / 'pictures'}", f"--work_dir={work_dir / 'run'}"]
    for stage in ("records", "train", "eval"):
        ask(f"--stage={stage}", *own, "--image_size=32", "--epochs=1", "--pretrain_epochs=0")
    return work_dir / "run"


def test_a_model_is_compared_with_itself_and_with_a_better_one(run: Path, tmp_path: Path) -> None:
    work_dir, model = run, "autoencoder"
    champion = tmp_path / "champion"
    shutil.copytree(work_dir / model / "eval", champion / model / "eval")
    flags = [
        "--stage=eval", f"--work_dir={work_dir}", f"--model={model}", f"--baseline={champion}",
        "--gate", "--target_recall=0.1", "--confidence=0.5",
    ]  # fmt: skip
    ask(*flags, "--target_recall=0.999", "--confidence=0.9")
    metrics = work_dir / model / "eval" / "metrics.json"
    rule = json.loads((work_dir / model / "eval" / "threshold.json").read_text())
    assert (rule["target_recall"], rule["confidence"]) == (0.999, 0.9)
    # A champion that catches everything, against a threshold that lets some escape.
    table = champion / model / "eval" / "predictions.csv"
    rows = list(csv.DictReader(table.open()))
    for row in rows:
        row["predicted"], row["decision"] = row["true"], {"io": "pass", "nio": "fail"}[row["true"]]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    printed = ask(*flags, status=3)
    values = json.loads(metrics.read_text())["comparison"]
    escaped = len(values["newly_escaped"])
    assert 0 < escaped == values["champion_recall"]["count"] - values["challenger_recall"]["count"]
    assert f"{escaped} defect" in printed
    shown = json.loads((metrics.parent / "newly_escaped.json").read_text())
    assert len(shown) == escaped
    changes = csv.DictReader((metrics.parent / "comparison.csv").open())
    assert sum(row["change"] == "newly_escaped" for row in changes) == escaped
    assert "Not safe to swap in" in (work_dir / model / "report.html").read_text()
    ask("--stage=eval", f"--work_dir={work_dir}", f"--model={model}")


def test_a_model_is_evaluated_on_other_records_but_not_on_its_own(
    run: Path, tmp_path: Path
) -> None:
    work_dir, model = run, "autoencoder"
    draw_data_set(tmp_path / "new", seed=9, counts={"train": 24, "validation": 10, "test": 10})
    flags = ["--stage=records", f"--data_dir={tmp_path / 'new'}", f"--work_dir={tmp_path / 'run'}"]
    ask(*flags)
    flags = ["--stage=eval", f"--work_dir={work_dir}", f"--model={model}"]
    before = (work_dir / model / "report.html").read_bytes()
    ask(*flags, f"--eval_records={tmp_path / 'run' / 'records'}")
    (folder,) = (work_dir / model).glob("eval-*")
    assert len(list(csv.DictReader((folder / "predictions.csv").open()))) == 44
    rules = [
        json.loads((place / "threshold.json").read_text())
        for place in (folder, work_dir / model / "eval")
    ]
    assert rules[0] == rules[1]
    assert "Counted on all 44 pictures of the records in" in (folder / "report.html").read_text()
    assert (work_dir / model / "report.html").read_bytes() == before
    printed = ask(*flags, f"--eval_records={work_dir / 'records'}", status=2)
    assert "136 of its 176 pictures" in printed
    strange = tmp_path / "strange"
    for name in ("io", "void"):
        shutil.copytree(tmp_path / "new" / "test" / "images" / "io", strange / name)
        for number, path in enumerate(sorted((strange / name).iterdir())):
            grey = np.full([32, 32], 9 * number + len(name), np.uint8)
            Image.fromarray(grey).save(path)
    ask("--stage=records", f"--data_dir={strange}", f"--work_dir={tmp_path / 'other'}")
    printed = ask(*flags, f"--eval_records={tmp_path / 'other' / 'records'}", status=2)
    assert "the class void, which the model does not know" in printed
