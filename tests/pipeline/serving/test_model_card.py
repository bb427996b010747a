"""The model card: that it says what the files of the run say, whatever they say."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.answers import Answers
from pipeline.evaluation.assessment import assess
from pipeline.evaluation.baseline import measure_baseline
from pipeline.evaluation.decision import DecisionRule, format_rule
from pipeline.evaluation.predictions import Predictions, write_predictions
from pipeline.evaluation.rates import Rate
from pipeline.evaluation.result import digest_evaluation, read_evaluation
from pipeline.evaluation.review import ReviewBand
from pipeline.evaluation.robustness import Robustness, robustness_json
from pipeline.evaluation.threshold import choose_threshold
from pipeline.modelfacts import ModelFacts
from pipeline.rundir import RunDir
from pipeline.serving.gate import GateResult
from pipeline.serving.model_card import write_model_card
from records.atomic import write_json
from records.errors import InputError
from records.manifest import Manifest, Shard, file_digest
from records.types import SPLITS, Split
from tests.pipeline.model_facts import make_facts


@dataclass(frozen=True)
class _Gate:
    """Stands for what the export checked; the card takes any dataclass."""

    pictures: dict[str, int] = field(default_factory=lambda: {"validation": 70, "test": 259})
    largest_difference: float = 2.5e-7
    batch_sizes: tuple[int, ...] = (1, 2, 7, 32)
    is_exact: bool = True
    precision: str = "float32"


@dataclass(frozen=True)
class _Run:
    """A run that was evaluated, and the version that is to get a card."""

    run_dir: RunDir
    facts: ModelFacts
    candidate: Path

    def write(self, gate: Any = None, **optional: Any) -> tuple[dict[str, Any], str]:
        """Writes the card and gives both of its forms."""
        evaluation = read_evaluation(self.run_dir, self.facts)
        write_model_card(
            self.candidate,
            run_dir=self.run_dir,
            facts=self.facts,
            evaluation=evaluation,
            gate=gate or _Gate(),
            **optional,
        )
        extra = self.candidate / "assets.extra"
        card = json.loads((extra / "model_card.json").read_text(encoding="utf-8"))
        return card, (extra / "model_card.md").read_text(encoding="utf-8")


def _write_manifest(folder: Path, classes: tuple[str, ...]) -> None:
    counts = {
        split: dict.fromkeys(classes, 10 * number + 1)
        for number, split in enumerate(SPLITS, start=1)
    }
    shards: dict[Split, tuple[Shard, ...]] = {}
    for split in SPLITS:
        file = f"boards-{split}.tfrecord-00000-of-00001"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"")
        shards[split] = (Shard(file, sum(counts[split].values()), "0" * 64, "0" * 64),)
    Manifest(
        folder=folder,
        name="boards",
        layout="folders",
        classes=classes,
        box_classes=(),
        is_grey=True,
        counts=counts,
        shards=shards,
        source_digest="5" * 64,
        split_seed=3,
    ).write()


def _evaluate(
    tmp_path: Path,
    *,
    matrix: list[list[int]],
    classes: tuple[str, ...] = ("io", "nio"),
    positives: int = 60,
    review: ReviewBand | None = None,
    robustness: dict[str, Any] | None = None,
    fail_classes: tuple[str, ...] | None = None,
    **more: Any,
) -> _Run:
    """A run whose test pictures were judged as `matrix` says, true classes as rows."""
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
        fail_classes=classes[1:] if fail_classes is None else fail_classes,
        positive_class=positive_class,
        threshold=chosen.threshold if positive_class else 0.0,
        temperature=1.0,
        log_shares=(0.0,) * len(classes),
        review=review or ReviewBand(),
    )
    run_dir = RunDir(tmp_path, "autoencoder")
    _write_manifest(run_dir.records, classes)
    facts = make_facts(
        classes=classes,
        fail_classes=rule.fail_classes,
        positive_class=positive_class,
        weights_digest="3" * 64,
        records_digest="4" * 64,
        versions={"tensorflow": "2.21.0"},
        git_commit="abc",
    )
    facts.write(run_dir.config)
    logits = np.log(probabilities).astype(np.float32)
    decided = rule.decide(logits)
    assert (decided.predicted == predicted).all()
    _, values = assess(rule, Answers(true, logits, None), decided, line_defect_rate=0.01)
    grey = np.random.default_rng(1).normal(size=len(true))
    baseline = measure_baseline(
        train_grey=grey, train_true=true, test_grey=grey, test_true=true, positive=rule.positive
    )
    write_predictions(
        run_dir.predictions,
        Predictions(
            classes=classes,
            source_ids=tuple(f"{row}.png" for row in range(len(true))),
            digests=("",) * len(true),
            true=true,
            predicted=decided.predicted,
            decisions=decided.decisions,
            scores=None if rule.positive is None else decided.probabilities[:, rule.positive],
            probabilities=decided.probabilities,
        ),
    )
    write_json(run_dir.threshold, format_rule(rule, chosen if positive_class else None))
    digests = digest_evaluation(run_dir, weights_digest="3" * 64)
    write_json(
        run_dir.metrics,
        values
        | {"baseline": baseline, "robustness": robustness, "comparison": None, "digests": digests}
        | more,
    )
    candidate = tmp_path / "candidate"
    (candidate / "variables").mkdir(parents=True)
    (candidate / "saved_model.pb").write_bytes(b"graph")
    (candidate / "variables" / "variables.index").write_bytes(b"weights")
    return _Run(run_dir, facts, candidate)


@pytest.fixture
def run(tmp_path: Path) -> _Run:
    """Of 59 bad ones 3 escaped, of 200 good ones 2 were stopped."""
    return _evaluate(tmp_path, matrix=[[198, 2], [3, 56]])


def test_its_figures_are_those_of_the_evaluation(run: _Run) -> None:
    card, text = run.write()
    metrics = json.loads(run.run_dir.metrics.read_text())
    found = card["evaluation"]
    assert found["accuracy"] == metrics["accuracy"]
    assert found["binary"]["escapes"] == metrics["binary"]["escapes"]
    assert found["binary"]["auroc"] == metrics["binary"]["roc"]["area"]
    assert found["decisions"] == {"fail": 58, "pass": 201}
    # Clopper-Pearson for 3 of 59, 2 of 200 and 254 of 259.
    assert "| escapes: nio taken for io | 5.1 % | 1.1 to 14.1 % | 3 of 59 |" in text
    assert "| false calls: io taken for nio | 1.0 % | 0.1 to 3.6 % | 2 of 200 |" in text
    assert "| class right | 98.1 % | 95.6 to 99.4 % | 254 of 259 |" in text


def test_data_and_digests_are_those_of_the_files(run: _Run) -> None:
    card, text = run.write()
    assert card["data"]["counts"]["test"] == {"io": 31, "nio": 31}
    assert "| nio | 11 | 21 | 31 |" in text
    assert card["digests"] == {
        "records": "4" * 64,
        "source": "5" * 64,
        "weights": "3" * 64,
        **{
            name: file_digest(getattr(run.run_dir, name))
            for name in ("config", "metrics", "threshold", "predictions")
        },
    }
    for digest in (*card["digests"].values(), *card["files"].values()):
        assert f" {digest} |" in text
    assert card["software"]["training"] == {"commit": "abc", "tensorflow": "2.21.0"}


def test_it_lists_every_other_file_of_the_version(run: _Run) -> None:
    first, _ = run.write()
    assert first["files"].keys() == {"saved_model.pb", "variables/variables.index"}
    (run.candidate / "assets.extra" / "labels.txt").write_text("io\nnio\n")
    again, _ = run.write()
    assert again["files"].keys() - first["files"].keys() == {"assets.extra/labels.txt"}
    for name, digest in again["files"].items():
        assert file_digest(run.candidate / name) == digest


def test_the_same_run_gives_the_same_bytes(run: _Run) -> None:
    extra = run.candidate / "assets.extra"
    written = []
    for _ in range(2):
        run.write()
        written.append({path.name: path.read_bytes() for path in extra.iterdir()})
    assert written[0] == written[1]
    assert written[0].keys() == {"model_card.md", "model_card.json"}


def test_a_promise_is_made_only_with_enough_defects(tmp_path: Path) -> None:
    _, kept = _evaluate(tmp_path / "a", matrix=[[9, 1], [1, 9]], positives=59).write()
    _, few = _evaluate(tmp_path / "b", matrix=[[9, 1], [1, 9]], positives=58).write()
    # The smallest of 59 scores: 0.05 ** (1 / 59) of all future ones are above it.
    assert "with 95.0 % confidence at least 95.0 % of all nio are caught" in kept
    assert "Below 59 nio among the validation pictures no promise could have been made" in kept
    assert "Promise" not in few
    assert "takes 59 nio among the validation pictures; there were 58." in few


def test_what_few_test_pictures_leave_open(tmp_path: Path) -> None:
    card, text = _evaluate(tmp_path, matrix=[[20, 0], [0, 59]]).write()
    open_rates = {one["name"]: one["not_ruled_out"] for one in card["evaluation"]["per_class"]}
    np.testing.assert_allclose(open_rates["io"], 1 - 0.05 ** (1 / 20))
    assert (
        "io: 20 test pictures. Even all of them right would leave open an error rate of 13.9 %"
        in text
    )
    assert (
        "nio: 59 test pictures. Even all of them right would leave open an error rate of 5.0 %"
        in text
    )


def test_a_class_without_test_pictures_is_unknown_not_perfect(tmp_path: Path) -> None:
    card, text = _evaluate(
        tmp_path, classes=("io", "a", "b"), matrix=[[5, 0, 0], [0, 5, 0], [0, 0, 0]]
    ).write()
    assert card["evaluation"]["per_class"][2]["recall"]["value"] is None
    assert "| b: recognised | unknown | | no such picture |" in text
    assert "b: no test picture, so nothing is known." in text


def test_more_classes_have_neither_threshold_nor_escapes(tmp_path: Path) -> None:
    card, text = _evaluate(
        tmp_path, classes=("a", "b", "c"), matrix=[[5, 1, 0]] * 3, fail_classes=("a", "b", "c")
    ).write()
    assert card["evaluation"]["binary"] is None
    assert card["rule"]["threshold"] is None
    assert "* The class with the highest probability." in text
    assert "All its classes are defects, so it lets nothing pass." in text
    assert "escapes" not in text
    assert "* `pass`" not in text


def test_test_pictures_of_one_class_leave_the_curves_out(tmp_path: Path) -> None:
    card, text = _evaluate(tmp_path, matrix=[[9, 1], [0, 0]]).write()
    assert card["evaluation"]["binary"]["auroc"] is None
    assert "Area under" not in text
    assert "an unknown number would escape" in text


def test_the_review_band_is_told_where_there_is_one(tmp_path: Path) -> None:
    band = ReviewBand(budget=0.1, low=0.1875, high=0.21875, validation_share=0.05)
    # Answers are 0.2 or 0.8 here: every picture taken for io is in the band.
    card, text = _evaluate(tmp_path, matrix=[[8, 0], [1, 9]], review=band).write()
    assert "* `review`: a person decides. Meant for at most 10.0 % of the pictures" in text
    assert "* To a person: scores from 0.1875 to below 0.21875." in text
    assert card["evaluation"]["decisions"] == {"fail": 9, "review": 9}
    assert "| sent to a person | 50.0 % | 26.0 to 74.0 % | 9 of 18 |" in text
    _, without = _evaluate(tmp_path / "b", matrix=[[8, 0], [1, 9]]).write()
    assert "person" not in without


def _rate(value: float) -> Rate:
    return Rate(int(100 * value), 100, value, value, value)


def test_robustness_is_told_where_it_was_measured(tmp_path: Path) -> None:
    recalls = {("", 0.0): 0.99, ("noise", 50.0): 0.98, ("noise", 40.0): 0.9, ("defocus", 1.0): 0.97}
    measured = [
        Robustness(kind, level, "", *(_rate(recall),) * 4)
        for (kind, level), recall in recalls.items()
    ]
    values = robustness_json(measured, target_recall=0.95)
    card, text = _evaluate(tmp_path, matrix=[[9, 1], [1, 9]], robustness=values).write()
    assert card["evaluation"]["robustness"]["levels"]["noise"] == [50.0, 40.0]
    assert "| noise | 50, 40 dB | 40 dB |" in text
    assert "| defocus | 1 px | none of these |" in text
    assert "were not measured" not in text
    _, without = _evaluate(tmp_path / "b", matrix=[[9, 1], [1, 9]]).write()
    assert "were not measured (`--robustness` does)" in without


def test_a_model_no_better_than_the_mean_grey_value_is_shown_up(tmp_path: Path) -> None:
    rival = {"kind": "threshold", "auroc": 1.0, "balanced_accuracy": 1.0}
    _, text = _evaluate(tmp_path, matrix=[[9, 1], [1, 9]], baseline=rival).write()
    assert "The mean grey value alone does as well" in text


def test_what_was_checked_is_there_word_for_word(run: _Run) -> None:
    card, text = run.write()
    assert card["gate"] == {
        "pictures": {"validation": 70, "test": 259},
        "largest_difference": 2.5e-7,
        "batch_sizes": [1, 2, 7, 32],
        "is_exact": True,
        "precision": "float32",
    }
    assert "| pictures: validation | 70 |" in text
    assert "| largest difference | 2.5e-07 |" in text
    assert "| batch sizes | 1, 2, 7, 32 |" in text
    assert "| is exact | yes |" in text


def test_the_result_of_the_gate_is_taken_as_it_is(run: _Run) -> None:
    gate = GateResult(
        precision="bfloat16",
        tolerance=1.0,
        largest_difference=0.0625,
        pictures={"test": 259},
        pictures_every_way={"test": 64},
        pictures_own_pixels={},
        signatures=("serving_default", "explain"),
        forms=("bytes",),
        batch_sizes=(1, 32),
    )
    card, text = run.write(gate)
    assert card["gate"] == json.loads(json.dumps(dataclasses.asdict(gate)))
    assert "| pictures every way: test | 64 |" in text
    assert "This version computes in bfloat16." in text


def test_figures_of_another_precision_are_not_passed_off_as_its_own(run: _Run) -> None:
    words = "The figures above are those of the float32 model"
    _, text = run.write(_Gate(precision="bfloat16"))
    assert "This version computes in bfloat16. " + words in text
    assert words not in run.write()[1]


def test_figures_of_both_precisions_stand_side_by_side(run: _Run) -> None:
    figures = {
        "evaluated": {"log_loss": 0.25, "auroc": None},
        "served": {"log_loss": 0.26, "auroc": None},
    }
    card, text = run.write(_Gate(precision="bfloat16"), precision_figures=figures)
    assert card["precision_figures"] == figures
    assert "| on the test pictures | float32, as evaluated | bfloat16, as served |" in text
    assert "| log loss | 0.250000 | 0.260000 |" in text
    assert "auroc" not in text
    card, text = run.write()
    assert card["precision_figures"] is None
    assert "as evaluated" not in text


def test_names_cannot_break_its_tables(tmp_path: Path) -> None:
    names = ("io|*a*", "<b>\n_c_")
    card, text = _evaluate(tmp_path, matrix=[[9, 1], [1, 9]], classes=names).write()
    assert card["model"]["classes"] == list(names)
    assert r"| io\|\*a\* | 11 | 21 | 31 |" in text
    assert r"| \<b\> \_c\_ | 11 | 21 | 31 |" in text
    tables = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
    widths = {line.count("|") for line in tables}
    assert widths == {3, 4, 5}


def test_every_table_is_whole(run: _Run) -> None:
    # A line that is not part of the table above it would be shown as it is.
    _, text = run.write()
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if any(line.startswith("|") for line in lines):
            assert all(line.startswith("|") and line.endswith("|") for line in lines), block
            assert len({line.count("|") for line in lines}) == 1, block
            assert set(lines[1]) <= set("| -:")
    assert "\n\n\n" not in text
    assert "None" not in text


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"binary": null}', '{"binary": 1}'])
def test_damaged_figures_are_one_message(run: _Run, text: str | None) -> None:
    evaluation = read_evaluation(run.run_dir, run.facts)
    run.run_dir.metrics.unlink()
    if text is not None:
        run.run_dir.metrics.write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json.*\n.*--stage=eval"):
        write_model_card(
            run.candidate,
            run_dir=run.run_dir,
            facts=run.facts,
            evaluation=evaluation,
            gate=_Gate(),
        )
    assert not (run.candidate / "assets.extra").exists()
