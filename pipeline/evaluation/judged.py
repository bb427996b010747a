"""Pictures that a model is asked about, and the table of what it said."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.answers import Answers
from pipeline.evaluation.decision import Decided, DecisionRule
from pipeline.evaluation.predictions import Predictions
from records.manifest import Manifest
from records.parsing import read_records
from records.types import Split


@dataclass(frozen=True)
class JudgedPictures:
    """Some splits of some records, one after another.

    Attributes:
        manifest: Of the records.
        splits: In their order.
    """

    manifest: Manifest
    splits: tuple[Split, ...]

    @functools.cached_property
    def shards(self) -> list[Path]:
        """Their TFRecord files."""
        return [path for split in self.splits for path in self.manifest.shard_paths(split)]

    @functools.cached_property
    def count(self) -> int:
        """How many pictures they are."""
        return sum(map(self.manifest.count, self.splits))

    @functools.cached_property
    def names(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of each picture."""
        return [
            (record["source_id"].decode(), record["sha256"].decode())
            for record in read_records(self.shards)
        ]


def tabulate(
    rule: DecisionRule, pictures: JudgedPictures, answers: Answers, decided: Decided, *, model: str
) -> Predictions:
    """Puts names, truth, answers and decisions side by side.

    Args:
        rule: What was decided by.
        pictures: What was judged.
        answers: To `pictures`.
        decided: About them.
        model: SHA-256 of the model.
    """
    source_ids, digests = zip(*pictures.names, strict=True)
    return Predictions(
        classes=rule.classes,
        source_ids=source_ids,
        digests=digests,
        true=answers.true,
        predicted=decided.predicted,
        decisions=decided.decisions,
        scores=None if rule.positive is None else decided.probabilities[:, rule.positive],
        probabilities=decided.probabilities,
        reconstruction_error=answers.reconstruction_error,
        model=model,
    )
