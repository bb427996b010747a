"""What became of new pictures, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.evaluation.decision import REVIEW
from pipeline.predicting.answer_files import PREDICTIONS, REJECTS, Answer
from records.errors import InputError


@dataclass
class Tally:
    """Counts answers.

    Attributes:
        strict: Whether a picture without an answer is an error.
        labels: Pictures decided for each class.
        reviews: Pictures that are for a person to look at.
        rejects: Pictures without an answer.
        first_reject: The first of them, with the reason.
    """

    strict: bool = False
    labels: Counter[str] = field(default_factory=Counter)
    reviews: int = 0
    rejects: int = 0
    first_reject: str = ""

    def add(self, answers: Sequence[Answer]) -> None:
        """Takes in further answers.

        Raises:
            InputError: One is missing, and `strict`.
        """
        for answer in answers:
            if not answer.error:
                self.labels[answer.label] += 1
                self.reviews += answer.decision == REVIEW
                continue
            if self.strict:
                raise InputError(
                    f"--strict, and {answer.file} cannot be judged: {answer.error}.",
                    "Mend or remove the picture, or leave --strict out.",
                )
            self.rejects += 1
            self.first_reject = self.first_reject or f"{answer.file}: {answer.error}"

    def require_any(self, images: str, output: Path) -> None:
        """Looks whether any picture was judged.

        Raises:
            InputError: None was.
        """
        if not self.labels:
            raise InputError(
                f"None of the {self.rejects} pictures of --images={images} can be judged; "
                f"{self.first_reject}.",
                f"See {output / REJECTS}.",
            )

    def summarize(self, classes: Sequence[str], saved_model: Path, output: Path) -> str:
        """The figures in a few lines, and where the answers are."""
        lines = [f"Judged {self.labels.total()} pictures by {saved_model}:"]
        lines += [f"  {name}  {self.labels[name]}" for name in classes]
        if self.reviews:
            lines.append(f"  of these for a person to look at  {self.reviews}")
        if self.rejects:
            lines.append(f"  set aside  {self.rejects} (see {output / REJECTS})")
        return "\n".join([*lines, f"Answers: {output / PREDICTIONS}"])
