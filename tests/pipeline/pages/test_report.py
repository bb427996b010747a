"""`report.html`: what it says, that it is self-contained, and that names cannot break it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.answers import Answers
from pipeline.evaluation.assessment import assess
from pipeline.evaluation.baseline import measure_baseline
from pipeline.evaluation.decision import Decided, DecisionRule, format_rule
from pipeline.evaluation.review import ReviewBand
from pipeline.evaluation.threshold import choose_threshold
from pipeline.pages.report import write_report
from pipeline.rundir import RunDir
from records.atomic import write_json
from records.errors import InputError
from records.faults import SET_ASIDE_CODES
from records.types import Finding
from tests.pipeline.model_facts import make_facts
from tests.pipeline.pages.html_page import Page

_PLOT_SIZE = (90, 45)  # at 144 dots an inch 60 by 30 CSS pixels
_NO_REVIEW = ReviewBand()
_MARKUP = '<img src=x onerror="alert(1)">'


def _write_png(path: Path, size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 128).save(path)


def _write_evaluation(
    run: RunDir,
    *,
    matrix: list[list[int]],
    classes: tuple[str, ...],
    positives: int = 60,
    grey_step: float = 0.0,
    line_defect_rate: float = 0.01,
    review: ReviewBand = _NO_REVIEW,
    comparison: dict[str, Any] | None = None,
) -> None:
    counts = np.array(matrix)
    true, predicted = (
        np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape)
    )
    probabilities = np.full((len(true), len(counts)), 0.2 / (len(counts) - 1))
    probabilities[np.arange(len(true)), predicted] = 0.8
    positive_class = classes[1] if len(classes) == 2 else ""
    chosen = choose_threshold(np.full(positives, 0.25), np.ones(positives, bool))
    rule = DecisionRule(
        classes=classes,
        fail_classes=classes[1:],
        positive_class=positive_class,
        threshold=chosen.threshold,
        temperature=1.25,
        log_shares=(0.0,) * len(classes),
        review=review,
    )
    logits = np.log(probabilities)
    unsure = review.contains(probabilities, positive=rule.positive)
    decided = Decided(
        probabilities, predicted, tuple("review" if one else "pass" for one in unsure)
    )
    error = np.where(true == 1, 4.25, 3.5) if positive_class else None
    _, values = assess(
        rule, Answers(true, logits, error), decided, line_defect_rate=line_defect_rate
    )
    grey = np.random.default_rng(1).normal(size=len(true)) + grey_step * true
    baseline = measure_baseline(
        train_grey=grey,
        train_true=true,
        test_grey=grey,
        test_true=true,
        positive=1 if positive_class else None,
    )
    write_json(run.metrics, values | {"baseline": baseline, "comparison": comparison})
    write_json(run.threshold, format_rule(rule, chosen if positive_class else None))
    for name in ("confusion_matrix", "confusion_matrix_normalized", "curves"):
        _write_png(run.eval / f"{name}.png", _PLOT_SIZE)


def _write_facts(run: RunDir, classes: tuple[str, ...]) -> None:
    phase = {"name": "joint", "epochs_run": 9, "best_epoch": 7, "best_value": 0.125}
    make_facts(
        classes=classes,
        positive_class=classes[1],
        fail_classes=(classes[1],),
        image_size=96,
        cam_layer="last",
        seed=7,
        records_digest="c0ffee",
        weights_digest="decade",
        training={"augment": "flip", "phases": [phase | {"stopped": "no gain", "seconds": 4.5}]},
        versions={"keras": "3.15.1"},
        git_commit="0123abcd-dirty",
    ).write(run.config)


def _write_data_set(run: RunDir, classes: tuple[str, ...]) -> None:
    counts = {
        split: dict.fromkeys(classes, 100 * number + 11)
        for number, split in enumerate(("train", "validation", "test"))
    }
    facts = {"name": "boards", "layout": "split", "split_seed": 3, "source_digest": "f00d"}
    write_json(
        run.records / "manifest.json",
        facts | {"schema_version": 1, "classes": classes, "counts": counts},
    )
    finding = Finding("corrupt", "1.png", "it is", "Replace it.", is_error=True)
    harmless = Finding("odd_box", "2.png", "it is odd", "Look at it.", is_error=False)
    copy = Finding(next(iter(SET_ASIDE_CODES)), "3.png", "again", "Drop one.", is_error=False)
    findings = [dataclasses.asdict(item) for item in (copy, harmless, finding, finding)]
    write_json(run.records / "audit.json", {"findings": findings})


def _write_pictures(folder: Path, index: Path, source_ids: list[str], **facts: Any) -> None:
    entries = []
    for number, source_id in enumerate(source_ids):
        _write_png(folder / f"{number:02d}.png")
        entries.append({"file": f"{number:02d}.png", "source_id": source_id} | facts)
    write_json(index, entries)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A whole run of two classes: 3 of 59 bad ones escaped, 2 of 200 good ones were stopped."""
    run, classes = RunDir(tmp_path, "autoencoder"), ("io", "nio")
    _write_evaluation(run, matrix=[[198, 2], [3, 56]], classes=classes)
    _write_facts(run, classes)
    _write_data_set(run, classes)
    said = {"true": "nio", "predicted": "io", "probability": 0.875}
    _write_pictures(run.eval / "errors", run.eval / "errors.json", ["bad/1.png"], **said)
    _write_pictures(run.explain, run.explain / "maps.json", ["bad/2.png", "3.png"], **said)
    _write_png(run.history.with_suffix(".png"), _PLOT_SIZE)
    return run


def _read(run: RunDir) -> Page:
    path = write_report(run)
    assert path == run.report
    return Page(path.read_text(encoding="utf-8"))


def test_headline_counts_escapes_and_false_calls(run: RunDir) -> None:
    text = _read(run).text
    # Clopper-Pearson for 3 of 59 and 2 of 200.
    assert "3 of 59 bad parts escaped (5.1 %, 95 % interval 1.1 to 14.1 %)." in text
    assert "2 of 200 good ones were stopped (1.0 %, 95 % interval 0.1 to 3.6 %)." in text
    assert "Bad is nio, good is io." in text


def test_sections_come_in_the_order_of_their_weight(run: RunDir) -> None:
    assert _read(run).headings == [
        "Decision",
        "Confusion matrices",
        "Classes",
        "Curves",
        "Calibration",
        "Worst errors",
        "Least certain",
        "Baseline",
        "Where the model looked",
        "Training",
        "Data set",
        "Provenance",
    ]


def test_every_section_says_what_the_run_holds(run: RunDir) -> None:
    text = _read(run).text
    for said in (
        "A picture is nio when its score is at least 0.24975",
        "true nio, predicted io (probability 87.5 %) bad/1.png",
        "(probability 87.5 %) 3.png",
        "A threshold on the mean grey value alone reaches an area under the ROC curve of 0.",
        "joint 9 7 0.125 no gain 4.5",
        "io 11 111 211",
        "together 22 222 422",
        "corrupt 2 set aside Replace it.",
        " 1 set aside Drop one. odd_box 1 used Look at it.",
        "reconstruction error in grey values: io 3.5, nio 4.25. As a score of its own it has an "
        "area under the ROC curve of 1.0000.",
        "git commit 0123abcd-dirty",
        "weights digest decade",
        "seed 7",
        "augment flip",
        "version of keras 3.15.1",
        "records: source digest f00d",
    ):
        assert said in text


def test_a_line_with_rare_defects_is_spoken_of(run: RunDir) -> None:
    text = _read(run).text
    # 3 of 59 of 1 % and 2 of 200 of 99 % of a million.
    assert (
        "Of a million parts with 1.0 % defects among them that is 508 (106 to 1,415) escapes"
        in text
    )
    assert "and 9,900 (1,201 to 35,298) false calls." in text
    _write_evaluation(run, matrix=[[10, 0], [0, 0]], classes=("io", "nio"))
    assert (
        "that is an unknown number of escapes and 0 (0 to 305,412) false calls" in _read(run).text
    )


def test_the_review_band_says_what_is_left_over(run: RunDir) -> None:
    assert "go to a person" not in _read(run).text
    band = ReviewBand(0.25, low=0.1, high=0.3, validation_share=0.2)
    _write_evaluation(run, matrix=[[198, 2], [3, 56]], classes=("io", "nio"), review=band)
    text = _read(run).text
    # All that were called io have a score of 0.2.
    assert "scores from 0.1 on and below 0.3." in text
    assert "of these test pictures 201 are sent (77.6 %, 95 % interval 72.0 to 82.5 %)" in text
    assert "0 of 56 bad parts escape" in text
    assert "2 of 2 good ones are stopped" in text


def test_the_calibration_is_told(run: RunDir) -> None:
    text = _read(run).text
    assert "divided by a temperature of 1.25" in text
    # 254 of 259 are right where 0.8 was said.
    assert "expected calibration error on the test split is 18." in text


def test_a_challenger_that_lets_a_caught_defect_escape_is_not_safe(run: RunDir) -> None:
    comparison = {
        "pictures": 259,
        "newly_escaped": [7, 9],
        "newly_caught": [1],
        "newly_stopped": [],
        "newly_passed": [2, 3, 4],
        "only_champion_right": 2,
        "only_challenger_right": 4,
        "mcnemar_p": 0.6875,
        "champion_recall": {"count": 57, "of": 59, "value": 57 / 59, "low": 0.88, "high": 0.99},
        "challenger_recall": {"count": 56, "of": 59, "value": 56 / 59, "low": 0.86, "high": 0.99},
    }
    classes = ("io", "nio")
    _write_evaluation(run, matrix=[[198, 2], [3, 56]], classes=classes, comparison=comparison)
    said = {"true": "nio", "predicted": "io", "probability": 0.875}
    folder = run.eval / "newly_escaped"
    _write_pictures(folder, folder.with_suffix(".json"), ["bad/1.png", "bad/2.png"], **said)
    page = _read(run)
    assert "Not safe to swap in: 2 of the defects that the model in service caught" in page.text
    assert "newly caught 1 good parts newly stopped 0 good parts newly passed 3" in page.text
    assert "2 in service, 4 this one; exact McNemar test p = 0.688" in page.text
    # The second of the two has maps further down.
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == ["#map-0"]
    safe = comparison | {"newly_escaped": []}
    _write_evaluation(run, matrix=[[198, 2], [3, 56]], classes=classes, comparison=safe)
    assert "No defect that the model in service caught would escape." in _read(run).text


def test_page_is_self_contained(run: RunDir) -> None:
    page = _read(run)
    assert len(page.pictures()) == 3 + 1 + 2 + 1
    for attributes in page.pictures():
        kind, content = str(attributes["src"]).split(",")
        assert kind == "data:image/png;base64"
        size = Image.open(io.BytesIO(base64.b64decode(content))).size
        assert (attributes["width"], attributes["height"]) == {
            _PLOT_SIZE: ("60", "30"),
            (60, 40): ("60", "40"),
        }[size]
        assert attributes["alt"]
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    html = run.report.read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(", html)
    assert "default-src 'none'" in html


def test_history_is_drawn_when_only_its_table_is_there(run: RunDir) -> None:
    run.history.with_suffix(".png").unlink()
    run.history.write_text("epoch,phase,loss,val_loss\n1,joint,0.5,0.6\n2,joint,0.4,0.5\n")
    drawn = [
        item for item in _read(run).pictures() if item["alt"] == "Losses and accuracies by epoch"
    ]
    assert int(str(drawn[0]["width"])) > 500


def test_same_run_gives_the_same_bytes(run: RunDir) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


@pytest.mark.parametrize(("positives", "warned"), [(58, True), (59, False)])
def test_a_threshold_without_guarantee_is_warned_of(
    run: RunDir, positives: int, warned: bool
) -> None:
    _write_evaluation(run, matrix=[[9, 1], [1, 9]], classes=("io", "nio"), positives=positives)
    text = _read(run).text
    assert ("The recall is not guaranteed." in text) is warned
    assert ("takes 59, 1 more" in text) is warned


@pytest.mark.parametrize(("grey_step", "warned"), [(0.0, False), (50.0, True)])
def test_a_baseline_as_good_as_the_model_is_warned_of(
    run: RunDir, grey_step: float, warned: bool
) -> None:
    matrix = [[40, 1], [1, 40]]
    _write_evaluation(run, matrix=matrix, classes=("io", "nio"), grey_step=grey_step)
    assert ("The mean grey value alone does as well as the model." in _read(run).text) is warned


def test_more_classes_are_headed_by_the_accuracy(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "xception")
    matrix = [[9, 1, 0], [0, 10, 0], [0, 0, 10]]
    _write_evaluation(run, matrix=matrix, classes=("a", "b", "c"))
    text = _read(run).text
    # Clopper-Pearson for 29 of 30.
    assert (
        "29 of 30 pictures were given the right class (96.7 %, 95 % interval 82.8 to 99.9 %)."
        in text
    )
    assert "A picture is given the class with the highest probability" in text
    assert "A classifier that sees the mean grey value alone is right in" in text
    assert "b 10 100 %, 95 % interval 69.2 to 100 % 90.9 %, 95 % interval 58.7 to 99.8 %" in text


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([[9, 1], [0, 0]], "Escapes are unknown:"),
        ([[0, 0], [1, 9]], "False calls are unknown:"),
    ],
)
def test_one_class_in_the_test_split_is_said(
    run: RunDir, matrix: list[list[int]], said: str
) -> None:
    _write_evaluation(run, matrix=matrix, classes=("io", "nio"))
    text = _read(run).text
    assert said in text
    assert "Undefined: a split holds one class only." in text


def test_an_empty_run_directory_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page = _read(RunDir(tmp_path, "xception"))
    assert page.text.endswith("Not evaluated yet: --stage=eval adds the figures.")
    assert page.headings == []


@pytest.mark.parametrize(
    "missing",
    [
        "records/manifest.json",
        "records/audit.json",
        "autoencoder/config.json",
        "autoencoder/history.png",
        "autoencoder/eval/metrics.json",
        "autoencoder/eval/threshold.json",
        "autoencoder/eval/errors.json",
        "autoencoder/eval/errors/00.png",
        "autoencoder/eval/curves.png",
        "autoencoder/explain/maps.json",
        "autoencoder/explain/01.png",
    ],
)
def test_any_file_may_be_missing(run: RunDir, missing: str) -> None:
    (run.root / missing).unlink()
    assert _read(run).text.startswith("Inspection report")


def test_names_with_markup_stay_text(run: RunDir) -> None:
    classes = ("<b>io</b>", _MARKUP)
    _write_evaluation(run, matrix=[[9, 1], [1, 9]], classes=classes)
    _write_facts(run, classes)
    _write_data_set(run, classes)
    said = {"true": classes[0], "predicted": classes[1], "probability": 0.5}
    name = "'\"><script>alert(2)</script>.png"
    _write_pictures(run.eval / "errors", run.eval / "errors.json", [name], **said)
    _write_pictures(run.explain, run.explain / "maps.json", [name], **said)
    page = _read(run)
    assert page.text.count(_MARKUP) >= 6
    assert page.text.count(name) == 2
    assert "<b>io</b>" in page.text
    tags = [tag for tag, _ in page.elements]
    assert "script" not in tags
    assert "b" not in tags
    for _, attributes in page.elements:
        assert not any(attribute.startswith("on") for attribute in attributes)
    assert all(str(picture["src"]).startswith("data:") for picture in page.pictures())


def test_other_records_are_not_called_the_test_split(run: RunDir) -> None:
    metrics = json.loads(run.metrics.read_text())
    write_json(run.metrics, metrics | {"others": "elsewhere/records"})
    text = _read(run).text
    assert "of the records in elsewhere/records, none of which had a part in training" in text
    assert "the test split" not in text


def test_an_index_cannot_lead_out_of_its_folder(run: RunDir) -> None:
    secret = run.root / "secret.png"
    _write_png(secret, (7, 7))
    entry = {"source_id": "x", "true": "io", "predicted": "nio", "probability": 0.5}
    write_json(run.eval / "errors.json", [{"file": "../../../secret.png"} | entry])
    assert all(picture["width"] != "7" for picture in _read(run).pictures())


def test_maps_beyond_the_size_of_a_mail_are_counted(run: RunDir) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1400, 2000), dtype=np.uint8)
    Image.fromarray(noise).save(run.explain / "00.png")
    entry = {"source_id": "x", "true": "io", "predicted": "nio", "probability": 0.5}
    write_json(run.explain / "maps.json", [{"file": "00.png"} | entry] * 3)
    page = _read(run)
    assert "1 more in explain/." in page.text
    assert run.report.stat().st_size < 9_000_000


@pytest.mark.parametrize(
    "damaged",
    [
        "records/manifest.json",
        "autoencoder/eval/metrics.json",
        "autoencoder/eval/curves.png",
        "autoencoder/config.json",
    ],
)
def test_a_damaged_file_is_named_and_the_old_report_stays(run: RunDir, damaged: str) -> None:
    before = write_report(run).read_bytes()
    (run.root / damaged).write_bytes(b"{")
    with pytest.raises(InputError) as caught:
        write_report(run)
    assert str(run.root / damaged) in caught.value.problem
    assert "again" in caught.value.remedy
    assert run.report.read_bytes() == before
    assert not [path for path in run.model_dir.iterdir() if path.name.startswith(".")]


def test_metrics_are_strict_json(run: RunDir) -> None:
    json.loads(run.metrics.read_text(), parse_constant=lambda name: pytest.fail(name))
