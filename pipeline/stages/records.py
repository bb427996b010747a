"""The stage `records`: a data folder in, audited and split TFRecords out; or the way back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Settings
from pipeline.pages.audit_page import PAGE_NAME, write_audit_page
from pipeline.rundir import RunDir
from records.atomic import building
from records.audit import AUDIT_NAME, REJECTS_NAME, Audit, audit, require_usable, write_audit
from records.cluster import ClusterWorkers
from records.errors import InputError
from records.faults import order_findings, sets_aside
from records.layouts import Discovery, find_samples, format_discovery
from records.manifest import read_manifest
from records.shards import BYTES_A_MB, find_foreign, write_records
from records.split import SplitResult, assign_splits, require_every_class
from records.to_voc import write_voc
from records.types import SPLITS, Example, Finding, Sample, Split
from records.workers import Workers

MAX_UNUSABLE_FRACTION = 0.5
"""Above it the folder was misread or damaged, rather than one with some faults."""

_FINDINGS_SHOWN = 5


def run(settings: Settings) -> None:
    """Writes `records/` of the run directory and prints what is in it.

    A run that fails leaves the records of an earlier one as they were. The audit of a run that
    wrote no records is in `audit/` beside them, until a run writes records.

    Raises:
        InputError: The folder, its layout, its classes or its published splits cannot be used; more
            than `MAX_UNUSABLE_FRACTION` of the pictures cannot be used; or `settings.strict` and
            there was anything to find fault with.
    """
    run_dir = RunDir(settings.work_dir, settings.model)
    if settings.to == "voc":
        _write_back(settings, run_dir)
        return
    _require_own(run_dir.records)
    assert settings.data_dir is not None, "the flags were checked"
    discovery = find_samples(settings.data_dir, settings.layout)
    print(format_discovery(discovery, is_detected=settings.layout == "auto"), flush=True)
    with _choose_workers(settings, discovery) as workers:
        found = audit(
            discovery,
            workers=workers,
            verify=settings.verify_pictures,
            near_duplicates=settings.near_duplicates,
            group_regex=settings.group_regex,
        )
        try:
            require_usable(found)
            _require_most_usable(found, discovery.samples)
            assigned = assign_splits(found.examples, found.groups, seed=settings.seed)
            found = _add_findings(found, assigned)
            require_every_class(found.examples, assigned)
            _require_no_findings(found, strict=settings.strict)
        except InputError as error:
            raise _refuse(error, found, folder=run_dir.audit, strict=settings.strict) from error
        if settings.audit_only:
            _write_audit_files(found, run_dir.audit, assigned.splits)
            print(format_audit(found, assigned, run_dir.audit))
            return
        _write(settings, run_dir, found, assigned, workers)
    _remove_audit(run_dir.audit)
    print(format_audit(found, assigned, run_dir.records))
    print(f"Records are in {run_dir.records}.")


def _choose_workers(settings: Settings, discovery: Discovery) -> Workers:
    """The processes of this machine, or those of a cluster."""
    if not settings.scheduler:
        return Workers(settings.workers)
    first, last = (discovery.source / discovery.samples[place].source_id for place in (0, -1))
    return ClusterWorkers(settings.scheduler, seen=[first, last])


def format_audit(found: Audit, assigned: SplitResult, folder: Path) -> str:
    """Says what was found: a table of pictures a class and split, and the faults."""
    lines = [f"Layout {found.layout}. Pictures:", *_format_counts(found.classes, assigned.splits)]
    for is_lost, title in ((True, "Set aside"), (False, "Used, with a remark")):
        counts = Counter(item.code for item in found.findings if sets_aside(item) == is_lost)
        lines += [f"{title}:"] * bool(counts)
        lines += [f"  {code}  {count}" for code, count in sorted(counts.items())]
    left_out = ["damage behind the headers"] * (not found.is_verified)
    left_out += ["near-duplicates"] * (not found.is_compared)
    lines += [f"Not looked for: {', '.join(left_out)}."] * bool(left_out)
    where = f"{folder / AUDIT_NAME}; to look at: {folder / PAGE_NAME}."
    lines.append(f"Each of them is in {where}" if found.findings else f"The audit is {where}")
    return "\n".join(lines)


def _write_back(settings: Settings, run_dir: RunDir) -> None:
    """Writes the records as pictures and annotations."""
    folder = settings.output_dir or run_dir.root / "voc"
    written = write_voc(read_manifest(run_dir.records), folder)
    for name, new_name in sorted(written.renamed.items()):
        print(f"The class {name} is called {new_name} there, because a folder cannot be called so.")
    print(f"{written.count} pictures and their annotations are in {folder}.")


def _write(
    settings: Settings, run_dir: RunDir, found: Audit, assigned: SplitResult, workers: Workers
) -> None:
    """Writes audit and records beside those of an earlier run, then puts them in their place."""
    try:
        with building(run_dir.records) as draft:
            _write_audit_files(found, draft, assigned.splits)
            write_records(
                draft,
                source=found.source,
                name=found.source.resolve().name,
                layout=found.layout,
                classes=found.classes,
                box_classes=found.box_classes,
                splits=assigned.splits,
                seed=settings.seed,
                workers=workers,
                earlier=run_dir.records,
                target_shard_bytes=settings.shard_mb * BYTES_A_MB,
            )
    except OSError as error:
        raise InputError(
            f"{run_dir.records} cannot be written: {error.strerror}.",
            "Make room on the disk, change the folder's permissions or give another --work_dir; "
            "earlier records are as they were.",
        ) from error


def _write_audit_files(
    found: Audit, folder: Path, splits: dict[Split, tuple[Example, ...]] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_audit(found, folder)
    write_audit_page(folder / PAGE_NAME, found, splits)


def _remove_audit(folder: Path) -> None:
    """Removes the audit of an earlier run; the folder too, unless something else lies in it."""
    with contextlib.suppress(OSError):
        for name in (AUDIT_NAME, REJECTS_NAME, PAGE_NAME):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _require_own(folder: Path) -> None:
    """Looks whether nothing but records is where records are going to be put.

    Raises:
        InputError: Something else is there, which would be lost.
    """
    foreign = find_foreign(folder, (AUDIT_NAME, REJECTS_NAME, PAGE_NAME))
    if foreign:
        raise InputError(
            f"{foreign} is in the place of the records, and no run wrote it.",
            "Move it elsewhere, or give another --work_dir.",
        )


def _add_findings(found: Audit, assigned: SplitResult) -> Audit:
    findings = order_findings([*found.findings, *assigned.findings])
    return dataclasses.replace(found, findings=findings)


def _format_counts(classes: Sequence[str], splits: dict[Split, tuple[Example, ...]]) -> list[str]:
    rows = [["", *SPLITS, "all"]]
    of_split = {split: Counter(item.label for item in splits[split]) for split in SPLITS}
    for name in classes:
        counts = [of_split[split][name] for split in SPLITS]
        rows.append([name, *map(str, counts), str(sum(counts))])
    totals = [len(splits[split]) for split in SPLITS]
    rows.append(["all", *map(str, totals), str(sum(totals))])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        f"  {row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _refuse(error: InputError, found: Audit, *, folder: Path, strict: bool) -> InputError:
    """Keeps the audit of a failed run in `folder` and adds to `error` what was found, and where."""
    findings = [item for item in found.findings if strict or sets_aside(item)]
    problem = "\n".join([error.problem, *_format_first(findings, strict=strict)])
    try:
        _write_audit_files(found, folder, None)
    except OSError as cause:
        where = f"(The audit cannot be written to {folder}: {cause.strerror}.)"
    else:
        where = f"The audit is {folder / AUDIT_NAME}; to look at: {folder / PAGE_NAME}."
    return InputError(problem, f"{error.remedy} {where}")


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
