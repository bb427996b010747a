"""The stage `records`: a data folder in, audited and split TFRecords out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config import Settings
from pipeline.rundir import RunDir
from records.audit import AUDIT_NAME, REJECTS_NAME, Audit, audit, require_usable, write_audit
from records.errors import InputError
from records.faults import SET_ASIDE_CODES, order_findings
from records.layouts import find_samples
from records.manifest import Manifest, withdraw_manifest
from records.shards import write_records
from records.split import assign_splits
from records.types import SPLITS, Finding, Sample

MAX_UNUSABLE_FRACTION = 0.5
"""Above it the folder was misread or damaged, rather than one with some faults."""
FAILED_NAME = "records-failed"
"""Folder of the run directory for the audit of a run that wrote no records."""

_FINDINGS_SHOWN = 5


def run(settings: Settings) -> None:
    """Writes `records/` of the run directory and prints what is in it.

    A run that fails before it writes leaves the records of an earlier one as they were; its audit
    is then in `records-failed/` beside them until a run succeeds.

    Raises:
        InputError: The folder, its layout, its classes or its published splits cannot be used; more
            than `MAX_UNUSABLE_FRACTION` of the pictures cannot be used; or `settings.strict` and
            there was anything to find fault with.
    """
    if settings.data_dir is None:
        raise InputError(
            "The stage records needs the folder of pictures.", "Add --data_dir=FOLDER."
        )
    run_dir = RunDir(settings.work_dir, settings.model)
    run_dir.make()
    failed = run_dir.root / FAILED_NAME
    discovery = find_samples(settings.data_dir, settings.layout)
    found = audit(discovery)
    try:
        require_usable(found)
        _require_most_usable(found, discovery.samples)
        assigned = assign_splits(found.examples, seed=settings.seed)
        findings = order_findings([*found.findings, *assigned.findings])
        found = dataclasses.replace(found, findings=findings)
        _require_no_findings(found, strict=settings.strict)
    except InputError as error:
        raise _refuse(error, found, folder=failed, strict=settings.strict) from error
    _replace_audit(found, run_dir.records)
    manifest = write_records(
        run_dir.records,
        name=settings.data_dir.resolve().name,
        layout=found.layout,
        classes=found.classes,
        box_classes=found.box_classes,
        splits=assigned.splits,
        seed=settings.seed,
    )
    _remove_audit(failed)
    print(format_summary(manifest, found.findings))


def format_summary(manifest: Manifest, findings: Iterable[Finding]) -> str:
    """Says what the records hold: a table of pictures a class and split, and the faults found."""
    lines = [f"Layout {manifest.layout}. Pictures:", *_format_counts(manifest)]
    findings = tuple(findings)
    for set_aside, title in ((True, "Set aside"), (False, "Used, with a remark")):
        counts = Counter(item.code for item in findings if _sets_aside(item) == set_aside)
        lines += [f"{title}:"] * bool(counts)
        lines += [f"  {code}  {count}" for code, count in sorted(counts.items())]
    if findings:
        lines.append(f"Each of them is in {manifest.folder / AUDIT_NAME}.")
    lines.append(f"Records are in {manifest.folder}.")
    return "\n".join(lines)


def _format_counts(manifest: Manifest) -> list[str]:
    rows = [["", *SPLITS, "all"]]
    for name in manifest.classes:
        counts = [manifest.counts[split][name] for split in SPLITS]
        rows.append([name, *map(str, counts), str(sum(counts))])
    totals = [manifest.count(split) for split in SPLITS]
    rows.append(["all", *map(str, totals), str(sum(totals))])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        f"  {row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _replace_audit(found: Audit, folder: Path) -> None:
    """Ends the records of an earlier run, which the new audit does not describe, and writes it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        withdraw_manifest(folder)
        write_audit(found, folder)
    except OSError as error:
        raise InputError(
            f"The audit cannot be written to {folder}: {error.strerror}.",
            "Make room on the disk, change the folder's permissions or give another --work_dir.",
        ) from error


def _remove_audit(folder: Path) -> None:
    """Removes the audit of a failed run; the folder too, unless something else lies in it."""
    with contextlib.suppress(OSError):
        for name in (AUDIT_NAME, REJECTS_NAME):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _refuse(error: InputError, found: Audit, *, folder: Path, strict: bool) -> InputError:
    """Keeps the audit of a failed run in `folder` and adds to `error` what was found, and where."""
    findings = [item for item in found.findings if strict or _sets_aside(item)]
    problem = "\n".join([error.problem, *_format_first(findings, strict=strict)])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_audit(found, folder)
    except OSError as cause:
        where = f"(The audit cannot be written to {folder}: {cause.strerror}.)"
    else:
        where = f"The audit is {folder / AUDIT_NAME}."
    return InputError(problem, f"{error.remedy} {where}")


def _sets_aside(finding: Finding) -> bool:
    return finding.is_error or finding.code in SET_ASIDE_CODES


def _require_most_usable(found: Audit, samples: Sequence[Sample]) -> None:
    errors = {item.path for item in found.findings if item.is_error}
    # Not all that is missing from the examples: a copy of a used picture is no sign of damage.
    unusable = {sample.source_id for sample in samples} & errors
    if len(unusable) > MAX_UNUSABLE_FRACTION * len(samples):
        raise InputError(
            f"{len(unusable)} of {len(samples)} pictures cannot be used.",
            "Check --data_dir and --layout, or mend the files.",
        )


def _require_no_findings(found: Audit, *, strict: bool) -> None:
    if strict and found.findings:
        raise InputError(
            "--strict, and there is something to find fault with.",
            "Mend the files or leave --strict out.",
        )


def _format_first(findings: Sequence[Finding], *, strict: bool) -> list[str]:
    """How many pictures or files are concerned, by which codes, and the first findings."""
    if not findings:
        return []
    counts = Counter(item.code for item in findings)
    codes = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
    number = len({item.path for item in findings})
    left = len(findings) - _FINDINGS_SHOWN
    return [
        f"  {'Found fault with' if strict else 'Set aside'}: {number} ({codes})",
        *[f"  {item.path}: {item.reason}" for item in findings[:_FINDINGS_SHOWN]],
        *[f"  and {left} more"] * (left > 0),
    ]
