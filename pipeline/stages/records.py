"""The stage `records`: a data folder in, audited and split TFRecords out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config import Settings
from pipeline.rundir import RunDir
from records.audit import Audit, audit, write_audit
from records.errors import InputError
from records.faults import SET_ASIDE_CODES
from records.layouts import find_samples
from records.manifest import Manifest, withdraw_manifest
from records.shards import write_records
from records.split import assign_splits
from records.types import SPLITS, Finding, Sample

MAX_UNUSABLE_FRACTION = 0.5
"""Above it the folder was misread or damaged, rather than one with some faults."""

_FINDINGS_SHOWN = 5


def run(settings: Settings) -> None:
    """Writes `records/` of the run directory and prints what is in it.

    `audit.json` and `rejects.csv` are written first, so that they are there to look into when the
    pictures then turn out not to be usable. Records of an earlier run end with that: they are not
    those that the new audit describes.

    Raises:
        InputError: The folder, its layout or its classes cannot be used; more than
            `MAX_UNUSABLE_FRACTION` of the pictures cannot be used; or `settings.strict` and there
            was anything to find fault with.
    """
    if settings.data_dir is None:
        raise InputError(
            "The stage records needs the folder of pictures.", "Add --data_dir=FOLDER."
        )
    run_dir = RunDir(settings.work_dir, settings.model)
    run_dir.make()
    discovery = find_samples(settings.data_dir, settings.layout)
    found = audit(discovery)
    _write_audit(found, run_dir.records)
    _require_most_usable(found, discovery.samples, folder=run_dir.records)
    _require_no_findings(found, strict=settings.strict, folder=run_dir.records)
    assigned = assign_splits(found.examples, seed=settings.seed)
    if assigned.findings:
        found = dataclasses.replace(found, findings=found.findings + assigned.findings)
        _write_audit(found, run_dir.records)
        _require_no_findings(found, strict=settings.strict, folder=run_dir.records)
    manifest = write_records(
        run_dir.records,
        name=settings.data_dir.resolve().name,
        layout=found.layout,
        classes=found.classes,
        box_classes=found.box_classes,
        splits=assigned.splits,
        seed=settings.seed,
    )
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
        lines.append(f"Each of them is in {manifest.folder / 'audit.json'}.")
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


def _write_audit(found: Audit, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        withdraw_manifest(folder)
        write_audit(found, folder)
    except OSError as error:
        raise InputError(
            f"The audit cannot be written to {folder}: {error.strerror}.",
            "Make room on the disk, change the folder's permissions or give another --work_dir.",
        ) from error


def _sets_aside(finding: Finding) -> bool:
    return finding.is_error or finding.code in SET_ASIDE_CODES


def _require_most_usable(found: Audit, samples: Sequence[Sample], *, folder: Path) -> None:
    errors = [item for item in found.findings if item.is_error]
    # Not all that is missing from the examples: a copy of a used picture is no sign of damage.
    unusable = {sample.source_id for sample in samples} & {item.path for item in errors}
    if len(unusable) > MAX_UNUSABLE_FRACTION * len(samples):
        raise InputError(
            f"{len(unusable)} of {len(samples)} pictures cannot be used:\n{_format_first(errors)}",
            f"See {folder / 'audit.json'}; check --data_dir and --layout, or mend the files.",
        )


def _require_no_findings(found: Audit, *, strict: bool, folder: Path) -> None:
    if strict and found.findings:
        raise InputError(
            f"--strict, and there is something to find fault with:\n"
            f"{_format_first(found.findings)}",
            f"See {folder / 'audit.json'}; mend the files or leave --strict out.",
        )


def _format_first(findings: Sequence[Finding]) -> str:
    counts = Counter(item.code for item in findings)
    lines = [f"  {code}  {count}" for code, count in sorted(counts.items())]
    lines += [f"  {item.path}: {item.reason}" for item in findings[:_FINDINGS_SHOWN]]
    left = len(findings) - _FINDINGS_SHOWN
    return "\n".join(lines + [f"  and {left} more"] * (left > 0))
