"""Opens every picture and annotation of a data set once, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from records import faults
from records.atomic import write_json, write_text
from records.checks import (
    NOTHING_FOUND,
    check_annotation,
    choose_label,
    choose_vocabulary,
    locate_annotation,
)
from records.duplicates import drop_duplicates
from records.errors import InputError
from records.layouts import Discovery
from records.pictures import PictureError, PictureFacts, probe
from records.sheets import format_csv
from records.types import AnnotatedObject, Annotation, Example, Finding, Sample
from records.voc import AnnotationError, read_annotation

AUDIT_NAME = "audit.json"
REJECTS_NAME = "rejects.csv"
_EXTENSIONS = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "bmp": (".bmp", ".dib"),
}


@dataclass(frozen=True, slots=True)
class Audit:
    """A data set that was looked through.

    Attributes:
        layout: As in `Discovery`.
        classes: Class names of the pictures, sorted.
        box_classes: Class names of the objects, sorted; they may be others than `classes`.
        examples: The usable pictures, ordered by `source_id`.
        findings: Everything that is wrong, ordered by path.
    """

    layout: str
    classes: tuple[str, ...]
    box_classes: tuple[str, ...]
    examples: tuple[Example, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A sample whose files were read; `facts` or `annotation` is None where that failed."""

    sample: Sample
    facts: PictureFacts | None
    annotation: Annotation | None
    findings: tuple[Finding, ...]


def audit(discovery: Discovery) -> Audit:
    """Opens every picture and annotation; sets the unusable ones aside and says why.

    Works with as many threads as there are cores; the result does not depend on their number.
    Whether enough is left is for `require_usable` to say, once the audit is kept.
    """
    opened = _open_all(discovery.samples)
    vocabulary = choose_vocabulary(
        frozenset(sample.label for sample in discovery.samples if sample.label is not None),
        (item.annotation for item in opened if item.annotation is not None),
    )
    examples: list[Example] = []
    findings = list(discovery.findings)
    for item in opened:
        example, found = _judge(item, vocabulary)
        findings += found
        examples += [example] if example else []
    kept, copies = drop_duplicates(examples)
    ordered = faults.order_findings([*findings, *copies])
    classes = tuple(sorted({example.label for example in kept}))
    names = {item.name for example in kept for item in example.objects}
    return Audit(discovery.layout, classes, tuple(sorted(names)), kept, ordered)


def require_usable(audit: Audit) -> None:
    """Looks whether the pictures that are left can be told apart.

    Raises:
        InputError: There are none, or all are of one class.
    """
    if len(audit.classes) > 1:
        return
    if not audit.examples:
        errors = [finding for finding in audit.findings if finding.is_error]
        raise InputError(
            "None of the pictures can be used.",
            errors[0].remedy if errors else "Give another --data_dir.",
        )
    where = "in a folder of their own beside it"
    if audit.layout in ("voc", "flat"):
        where = f"annotated with other objects, or with none (class {NOTHING_FOUND})"
    raise InputError(
        f"All {len(audit.examples)} usable pictures are of one class, {audit.classes[0]}.",
        f"Add pictures of a second class, {where}.",
    )


def write_audit(audit: Audit, folder: Path) -> None:
    """Writes `audit.json` (everything) and `rejects.csv` (the pictures that are not used).

    `rejects.csv` can be opened in a spreadsheet: a cell that would be taken for a formula begins
    with a single quote.
    """
    pictures = Counter(example.label for example in audit.examples)
    write_json(
        folder / AUDIT_NAME,
        {
            "layout": audit.layout,
            "classes": audit.classes,
            "box_classes": audit.box_classes,
            "pictures_per_class": pictures,
            "findings_per_code": Counter(finding.code for finding in audit.findings),
            "findings": [dataclasses.asdict(finding) for finding in audit.findings],
        },
    )
    rejects = [
        (finding.path, finding.code, finding.reason, finding.remedy)
        for finding in audit.findings
        if finding.is_error or finding.code in faults.SET_ASIDE_CODES
    ]
    write_text(folder / REJECTS_NAME, format_csv([("path", "code", "reason", "remedy"), *rejects]))


def _open_all(samples: Sequence[Sample]) -> list[_Opened]:
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(
            tqdm(
                threads.map(_open, samples),
                total=len(samples),
                desc="audit",
                unit="pictures",
                disable=None,
            )
        )


def _open(sample: Sample) -> _Opened:
    if sample.label is None and sample.annotation_path is None:
        reason = "it has no annotation, so that its class is not known"
        return _Opened(
            sample, None, None, (faults.UNLABELLED_PICTURE.found(sample.source_id, reason),)
        )
    facts, annotation = None, None
    findings = []
    try:
        facts = probe(sample.image_path)
        findings += _check_extension(sample, facts)
    except PictureError as error:
        findings.append(error.fault.found(sample.source_id, error.reason))
    try:
        if sample.annotation_path is not None:
            annotation = read_annotation(sample.annotation_path)
    except AnnotationError as error:
        reason = f"{locate_annotation(sample)}: {error}"
        findings.append(faults.BROKEN_ANNOTATION.found(sample.source_id, reason))
    return _Opened(sample, facts, annotation, tuple(findings))


def _check_extension(sample: Sample, facts: PictureFacts) -> list[Finding]:
    extension = sample.image_path.suffix.lower()
    if extension in _EXTENSIONS[facts.image_format]:
        return []
    reason = f"its name ends in {extension}, but it is a {facts.image_format.upper()}"
    return [faults.WRONG_EXTENSION.found(sample.source_id, reason)]


def _judge(
    opened: _Opened, vocabulary: frozenset[str] | None
) -> tuple[Example | None, tuple[Finding, ...]]:
    """Makes the example, unless something is wrong that sets the picture aside."""
    sample, facts, findings = opened.sample, opened.facts, opened.findings
    if facts is None:
        return None, findings
    objects: tuple[AnnotatedObject, ...] = ()
    if opened.annotation is not None:
        checked = check_annotation(sample, facts, opened.annotation, vocabulary=vocabulary)
        objects, findings = checked.objects, findings + checked.findings
    if any(finding.is_error for finding in findings):
        return None, findings
    example = Example(
        source_id=sample.source_id,
        image_path=sample.image_path,
        image_format=facts.image_format,
        width=facts.width,
        height=facts.height,
        is_grey=facts.is_grey,
        sha256=facts.sha256,
        label=choose_label(objects) if sample.label is None else sample.label,
        objects=objects,
        published_split=sample.published_split,
    )
    return example, findings
