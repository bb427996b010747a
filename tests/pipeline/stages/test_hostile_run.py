"""A run whose classes have names made to do harm, and whose files somebody changed or linked.

All in one process, by the command line itself: a message and status 2, or an answer; and nothing
is written but below `--work_dir` and `--output_dir`.
"""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from models.autoencoder import build_autoencoder
from pipeline.pages.report import write_report
from pipeline.rundir import RunDir
from records.errors import InputError
from records.manifest import file_digest
from tests.in_process import answer
from tests.pipeline.json_mutants import mutate
from tests.pipeline.stages.predict_bench import draw, read_table
from tests.pipeline.tiny_run import SIZE, make_run

SCRIPT = "<script>alert(1)</script>"
CLASSES = ("../../up", SCRIPT, "=cmd|' /C calc'!A0", "{{7*7}} $\\frac{", "con", "CON")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Evaluated, explained and exported, with answers; the other tests take copies."""
    root = tmp_path_factory.mktemp("hostile")
    run_dir = make_run(root, CLASSES)
    for stage in ("explain", "export"):
        methods = ["--cam_methods=layercam"] if stage == "explain" else []
        status, printed = answer(f"--stage={stage}", f"--work_dir={run_dir.root}", *methods)
        assert status == 0, printed
    return run_dir


@pytest.fixture
def copied(exported: RunDir, tmp_path: Path) -> RunDir:
    shutil.copytree(exported.root, tmp_path / "run")
    for number in range(3):
        draw(tmp_path / "pictures" / f"{number}.png", number)
    return RunDir(tmp_path / "run", exported.model)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a file in it, to which links lead."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    return folder


def ask(run_dir: RunDir, stage: str, *flags: str) -> tuple[int, str]:
    return answer(f"--stage={stage}", f"--work_dir={run_dir.root}", *flags)


def predict(run_dir: RunDir, *flags: str) -> tuple[int, str]:
    return ask(run_dir, "predict", f"--images={run_dir.root.parent / 'pictures'}", *flags)


def refuse(run_dir: RunDir, stage: str, *words: str, flags: tuple[str, ...] = ()) -> None:
    status, printed = ask(run_dir, stage, *flags)
    assert status == 2, printed
    assert "Remedy:" in printed and "Traceback" not in printed
    for word in words:
        assert word in printed, printed


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# Names


def test_names_of_classes_do_no_harm(copied: RunDir, tmp_path: Path) -> None:
    output = tmp_path / "sorted"
    status, printed = predict(copied, f"--output_dir={output}", "--overlays")
    assert status == 0, printed
    assert {path.name for path in tmp_path.iterdir()} == {"run", "pictures", "sorted"}
    inside = output.resolve(), copied.root.resolve()
    for path in (*output.rglob("*"), *copied.root.rglob("*")):
        assert any(path.resolve().is_relative_to(folder) for folder in inside)
        assert path.name == path.name.strip() and "<" not in path.name, path
    for page in copied.root.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text and "{{7*7}}" in text
    for table in (*copied.root.rglob("*.csv"), *output.rglob("*.csv")):
        lines = table.read_text(encoding="utf-8").splitlines()
        cells = [cell for line in lines for cell in line.split(",")]
        assert not any(cell.lstrip('"').startswith("=cmd") for cell in cells), table
    card = (copied.export / "1/assets.extra/model_card.md").read_text(encoding="utf-8")
    assert "<script>alert" not in card and "{{7\\*7}}" in card
    labels = (copied.export / "1/assets.extra/labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == list(CLASSES)
    for name in ("models.config", "batching.config", "monitoring.config", "compose.yaml"):
        assert not any(word in (copied.export / name).read_text() for word in CLASSES[:4])
    assert {row["predicted"] for row in read_table(output)} <= {*CLASSES, f"'{CLASSES[2]}"}


# Files that somebody changed


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CHANGES: dict[str, Callable[[Path], object]] = {
    "saved_model.pb differs": lambda version: flip_bit(version / "saved_model.pb"),
    "variables.data-00000-of-00001 differs": lambda version: flip_bit(
        version / "variables/variables.data-00000-of-00001"
    ),
    "drift.json differs": lambda version: change_json(
        version / "assets.extra/drift.json", classes=["a"]
    ),
    "golden.json differs": lambda version: change_json(
        version / "assets.extra/golden/golden.json", tolerance=1.0
    ),
    "saved_model.cpb was added": lambda version: (version / "saved_model.cpb").touch(),
    "variables/x was added": lambda version: (version / "variables/x").touch(),
    "variables.index is missing": lambda version: (version / "variables/variables.index").unlink(),
    "model_card.json cannot be read": lambda version: flip_card(version),
}


def flip_card(version: Path) -> None:
    (version / "assets.extra/model_card.json").write_text("[" * 100_000)


def test_a_version_that_somebody_changed_judges_nothing(copied: RunDir) -> None:
    version = copied.export / "1"
    whole = copied.root.parent / "whole"
    shutil.copytree(version, whole)
    pictures = f"--images={copied.root.parent / 'pictures'}"
    for words, change in CHANGES.items():
        change(version)
        refuse(copied, "predict", words, "--stage=export", flags=(pictures,))
        shutil.rmtree(version)
        shutil.copytree(whole, version)
    assert not copied.predict.joinpath("predictions.csv").exists()
    status, printed = predict(copied)
    assert status == 0, printed


def rewrite_archive(path: Path, **members: str | bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        content: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in (content | members).items():
            archive.writestr(name, value)


def with_code(folder: Path) -> str:
    """The configuration of a model whose `Lambda` writes a file when it is called."""
    marker = folder / "run.txt"
    image = keras.Input((SIZE, SIZE, 1), name="image")
    run = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    path = folder / "code.keras"
    keras.Model(image, keras.layers.Lambda(run, name="logits")(image)).save(path)
    marker.unlink(missing_ok=True)
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json").decode()


def test_a_model_that_somebody_changed_is_refused(copied: RunDir, tmp_path: Path) -> None:
    whole = copied.weights.read_bytes()
    flip_bit(copied.weights)
    refuse(copied, "eval", "is not the model that its config.json describes")
    # With the digest given anew, what is in the file still does no harm.
    for_system = {
        "module": "os", "class_name": "system", "config": f"touch {tmp_path}/run.txt",
        "registered_name": None,
    }  # fmt: skip
    for members in (
        {"config.json": with_code(tmp_path)},
        {"config.json": json.dumps(for_system)},
        {"config.json": "[" * 100_000},
        {"config.json": "{}"},
        {"model.weights.h5": b"no weights"},
        {"../up.txt": "up", "assets/../../up.txt": "up", "/tmp/nioscope-up.txt": "up"},
    ):
        copied.weights.write_bytes(whole)
        rewrite_archive(copied.weights, **members)
        change_json(copied.config, weights_digest=file_digest(copied.weights))
        if "../up.txt" in members:
            status, printed = ask(copied, "eval")
            assert status in (0, 2), printed
        else:
            refuse(copied, "eval", "is not a model that this program made")
    other = build_autoencoder(image_size=64, channels=1, classes=6, mean=1.0, variance=1.0)
    other.save(copied.weights)
    change_json(copied.config, weights_digest=file_digest(copied.weights))
    refuse(copied, "eval", "it takes (None, 64, 64, 1)")
    copied.weights.write_bytes(b"PK\x03\x04")
    change_json(copied.config, weights_digest=file_digest(copied.weights))
    refuse(copied, "eval", "is not a model")
    assert not list(tmp_path.rglob("run.txt")) and not list(tmp_path.rglob("up.txt"))
    assert not Path("/tmp/nioscope-up.txt").exists()


def test_a_config_that_somebody_changed_is_refused(copied: RunDir) -> None:
    whole = copied.config.read_text()
    for values, words in (
        ({"image_size": 10**9}, "image_size is not what a training writes"),
        ({"image_size": 64}, "by its config.json it takes"),
        ({"channels": 3}, "by its config.json it takes"),
        ({"cam_layer": "../x"}, "../x"),
        ({"classes": list("abcdef"), "fail_classes": []}, "other classes"),
        ({"classes": "abcdef", "fail_classes": []}, "classes is no list"),
        ({"resize": "crop"}, "resize is not"),
    ):
        copied.config.write_text(whole)
        change_json(copied.config, **values)
        refuse(copied, "export", words)


def test_an_evaluation_that_somebody_changed_is_refused(copied: RunDir) -> None:
    flip_bit(copied.predictions)
    refuse(copied, "export", "another predictions than")
    metrics = json.loads(copied.metrics.read_text())
    metrics["digests"]["predictions"] = file_digest(copied.predictions)
    copied.metrics.write_text(json.dumps(metrics))
    status, printed = ask(copied, "export")
    assert status == 2, printed
    change_json(copied.threshold, temperature=0)
    metrics["digests"]["threshold"] = file_digest(copied.threshold)
    copied.metrics.write_text(json.dumps(metrics))
    refuse(copied, "export", "temperature 0")


def test_figures_that_somebody_changed_make_a_page_or_a_message(copied: RunDir) -> None:
    # Pictures take most of a page's time, and are not what is looked at here.
    for path in (*copied.eval.rglob("*.png"), *copied.explain.rglob("*.png"), copied.history):
        path.unlink(missing_ok=True)
    draw_lots = random.Random(0)
    for path, count in ((copied.metrics, 60), (copied.threshold, 15)):
        whole = path.read_text()
        mutants = list(mutate(json.loads(whole), (None, -1, "x", [], {}, 1e308)))
        for what, values in draw_lots.sample(mutants, count):
            path.write_text(json.dumps(values))
            try:
                write_report(copied)
            except InputError:
                continue
            except Exception as error:
                raise AssertionError(f"{path.name}: {what}") from error
        path.write_text(whole)


# Links that somebody planted


def test_links_in_the_place_of_our_files_lead_nowhere(copied: RunDir, outside: Path) -> None:
    mine, settings = outside / "mine.txt", copied.root / "settings"
    settings.mkdir(exist_ok=True)
    for path in (copied.report, settings / "autoencoder-eval.json"):
        path.unlink(missing_ok=True)
        path.symlink_to(mine)
    (copied.root / ".writable").symlink_to(outside / "new")
    shutil.rmtree(copied.eval)
    copied.eval.symlink_to(outside)
    status, printed = ask(copied, "eval")
    assert status == 0, printed
    assert not copied.report.is_symlink() and not copied.eval.is_symlink()
    for name, stage in (("autoencoder.lock", "train"), ("records.lock", "records")):
        (settings / name).unlink(missing_ok=True)
        (settings / name).symlink_to(mine)
        flags = (f"--data_dir={copied.root.parent / 'pictures'}",) if stage == "records" else ()
        status, printed = ask(copied, stage, *flags)
        assert status == 2 and "It is a link" in printed, printed
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"mine.txt": "mine"}


@pytest.mark.timeout(120)
def test_links_in_an_output_folder_lead_nowhere(
    copied: RunDir, outside: Path, tmp_path: Path
) -> None:
    output = tmp_path / "sorted"
    output.mkdir()
    for name, flags in (
        (".predict.lock", ()),
        ("predictions.jsonl", ("--watch",)),
        ("copies.json", ()),
        ("predictions.csv", ()),
    ):
        path = output / name
        path.symlink_to(outside / "mine.txt")
        status, printed = predict(copied, f"--output_dir={output}", *flags)
        assert status == 2, printed
        path.unlink()
        for hidden in output.iterdir():
            hidden.unlink()
    (output / ".draft-overlays").symlink_to(outside)
    status, printed = predict(copied, f"--output_dir={output}", "--overlays")
    assert status == 0, printed
    for name in ("predictions.csv", "rejects.csv", "drift.json"):
        (output / name).unlink()
        (output / name).symlink_to(outside / "mine.txt")
    status, printed = predict(copied, f"--output_dir={output}")
    assert status == 0, printed
    assert len(read_table(output)) == 3
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"mine.txt": "mine"}
