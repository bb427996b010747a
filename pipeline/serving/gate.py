"""The gate before publishing: a SavedModel must give the evaluation's answers in every way.

It is asked in a process of its own, without Keras or this project, by the program that it carries
itself (`pipeline.serving.golden_set`).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.predictions import Predictions
from pipeline.serving.golden_set import CHECKER, SHEET, PictureSet, format_sheet, rows_by_class
from records.atomic import write_json
from records.errors import InputError

TOLERANCES = {"float32": 1e-5, "bfloat16": 1.0}
"""Largest difference of a probability by precision; labels and decisions may never differ."""
CLOSELY_AT_MOST = 40
"""Pictures of a set that are shown in every way; all are shown once."""

_LINES_AT_MOST = 8
_OUTPUT_SHOWN = 4000

Findings = list[dict[str, Any]]


@dataclass(frozen=True)
class GateResult:
    """What the gate looked at before it let a SavedModel pass.

    Attributes:
        precision: `float32` or `bfloat16`: what the SavedModel computes in.
        tolerance: The largest difference of a probability that is allowed.
        largest_difference: The largest that was seen, in whichever way.
        pictures: How many pictures of each set had to get the evaluation's answer.
        pictures_every_way: How many of them by every signature, in every batch size and form.
        pictures_own_pixels: How many of those `predict_tensor` was given as they are, because their
            size and channels are the model's; the others were resized, and `serving_default` was
            asked about the same pixels.
        signatures: Signatures that were asked.
        forms: How pictures were given: as bytes, in base64 as REST sends them, as pixels.
        batch_sizes: Pictures a request, the last one of a set apart.
    """

    precision: str
    tolerance: float
    largest_difference: float
    pictures: dict[str, int]
    pictures_every_way: dict[str, int]
    pictures_own_pixels: dict[str, int]
    signatures: tuple[str, ...]
    forms: tuple[str, ...]
    batch_sizes: tuple[int, ...]


def require_same_answers(
    candidate: Path, sets: Sequence[PictureSet], *, precision: str
) -> GateResult:
    """Has a clean process hold the SavedModel to the sets and to its golden set.

    Args:
        candidate: Folder of the SavedModel, with its golden set.
        sets: Other pictures. All of them are shown, some of every class in every way.
        precision: One of `TOLERANCES`.

    Raises:
        InputError: A label or decision is not as expected, a probability differs too much, or what
            is answered is no map or number. The message has sets, signatures, batch sizes and
            pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        sheets = [_write_sheet(Path(folder), one, TOLERANCES[precision]) for one in sets]
        findings, wrong = _examine(
            candidate, [*sheets, candidate / SHEET], Path(folder, "findings.json")
        )
    if wrong:
        raise _refuse(wrong, precision)
    result = _summarise(findings, precision)
    for one in sets:
        if result.pictures.get(one.name) != len(one.expected.source_ids):
            raise RuntimeError(f"not all pictures of {one.name} were shown: {result.pictures}")
    return result


def choose_closely(expected: Predictions) -> list[str]:
    """Names of at most `CLOSELY_AT_MOST` pictures: the first of every class in turn."""
    turns = itertools.zip_longest(*rows_by_class(expected))
    rows = (row for turn in turns for row in turn if row is not None)
    return [expected.source_ids[row] for row in itertools.islice(rows, CLOSELY_AT_MOST)]


def format_result(result: GateResult) -> str:
    """Says in a paragraph what was checked."""
    *first, last = (f"{count} {name}" for name, count in result.pictures.items())
    sizes = ", ".join(map(str, result.batch_sizes))
    return (
        f"Checked in a clean process: labels and decisions of {', '.join(first)} and {last} "
        f"pictures are the evaluation's, probabilities to {result.largest_difference:.1e}; "
        f"{sum(result.pictures_every_way.values())} of them by {', '.join(result.signatures)}, in "
        f"batches of {sizes}, as {', '.join(result.forms)}."
    )


def _write_sheet(folder: Path, pictures: PictureSet, tolerance: float) -> Path:
    path = folder / f"{pictures.name}.json"
    shards = tuple(shard.resolve() for shard in pictures.shards)  # a sheet is somewhere else
    pictures = dataclasses.replace(pictures, shards=shards)
    closely = choose_closely(pictures.expected)
    write_json(path, format_sheet(pictures, tolerance=tolerance, closely=closely))
    return path


def _examine(candidate: Path, sheets: Sequence[Path], findings: Path) -> tuple[Findings, list[str]]:
    """What was found, and a line for each way in which pictures were answered wrongly."""
    flags = [part for sheet in sheets for part in ("--sheet", str(sheet))]
    done = subprocess.run(
        [sys.executable, "-I", str(candidate / CHECKER), str(candidate), *flags,
         "--findings", str(findings)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    values = json.loads(findings.read_text(encoding="utf-8")) if findings.exists() else None
    if values is None or bool(values["wrong"]) != bool(done.returncode):
        said = done.stdout + done.stderr[-_OUTPUT_SHOWN:]
        raise RuntimeError(f"the SavedModel could not be examined:\n{said}")
    return values["findings"], values["wrong"]


def _refuse(wrong: Sequence[str], precision: str) -> InputError:
    more = len(wrong) - _LINES_AT_MOST
    lines = [*wrong[:_LINES_AT_MOST], *[f"and in {more} further ways"] * (more > 0)]
    text = "\n  ".join(lines)
    remedy = "Run the stages train and eval again: what was evaluated is another model."
    if precision != "float32":
        remedy = "Leave --export_precision out: this model does not bear it."
    return InputError(
        "Nothing was published: the SavedModel does not give the evaluation's answers.\n  " + text,
        remedy,
    )


def _summarise(findings: Findings, precision: str) -> GateResult:
    def values(field: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(found[field] for found in findings))

    every_picture: dict[str, int] = {}
    for found in findings:
        every_picture.setdefault(found["set"], found["pictures"])  # They come first.
    pixels = [found for found in findings if found["form"] == "pixels"]
    return GateResult(
        precision=precision,
        tolerance=TOLERANCES[precision],
        largest_difference=max(found["largest_difference"] for found in findings),
        pictures=every_picture,
        pictures_every_way={found["set"]: found["pictures"] for found in pixels},
        pictures_own_pixels={found["set"]: found["own"] for found in pixels},
        signatures=values("signature"),
        forms=values("form"),
        batch_sizes=tuple(sorted(values("batch_size"))),
    )
