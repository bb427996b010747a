"""Opens every picture and annotation of a data set once, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from records import faults
from records.atomic import write_json, write_text
from records.checks import NOTHING_FOUND, check_names, choose_label, choose_vocabulary
from records.duplicates import drop_duplicates
from records.errors import InputError
from records.fingerprints import FINGERPRINT_DTYPE, FINGERPRINT_LENGTH
from records.groups import Groups, form_groups
from records.layouts import Discovery
from records.opening import HISTOGRAM_BINS, Look, Opened, open_samples
from records.places import Place
from records.remarks import remark_on_classes, remark_on_samples
from records.sheets import format_csv
from records.types import Example, Finding, Sample, build_objects
from records.workers import Workers, cut

AUDIT_NAME = "audit.json"
REJECTS_NAME = "rejects.csv"
_SAMPLES_A_TASK = 64
_TASKS_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Audit:
    """A data set that was looked through.

    Attributes:
        source: The data folder.
        layout: As in `Discovery`.
        classes: Class names of the pictures, sorted.
        box_classes: Class names of the objects, sorted; they may be others than `classes`.
        examples: The usable pictures, ordered by `source_id`.
        groups: Which examples must stay on one side of every split.
        findings: Everything that is wrong, ordered by path.
        histograms: Of each class, the mean over its pictures, copies too, of the fractions of
            pixels in each of `HISTOGRAM_BINS` ranges of grey; empty where none was decoded.
        is_verified: Whether every picture was decoded whole.
        is_compared: Whether near-duplicates were looked for.
    """

    source: Place
    layout: str
    classes: tuple[str, ...]
    box_classes: tuple[str, ...]
    examples: tuple[Example, ...]
    groups: Groups
    findings: tuple[Finding, ...]
    histograms: dict[str, tuple[float, ...]]
    is_verified: bool
    is_compared: bool = True


class _Gathered:
    """What the workers found, put together in the order of the samples."""

    def __init__(self, samples: tuple[Sample, ...]) -> None:
        self.samples = samples
        self.findings: list[Finding] = []
        self.examples: list[Example] = []
        self._prints = np.zeros((len(samples), FINGERPRINT_LENGTH), FINGERPRINT_DTYPE)
        self._positions: dict[str, int] = {}
        self._names: list[tuple[Sample, tuple[str, ...]]] = []
        self._histograms: dict[str, npt.NDArray[np.float64]] = defaultdict(
            lambda: np.zeros(HISTOGRAM_BINS)
        )

    def add(self, position: int, opened: Opened) -> None:
        """Takes in what was found of the sample at `position`."""
        sample = self.samples[position]
        self.findings += opened.findings
        if opened.names:
            self._names.append((sample, opened.names))
        if opened.facts is None or any(finding.is_error for finding in opened.findings):
            return
        objects = build_objects(opened.objects)
        label = choose_label(objects) if sample.label is None else sample.label
        split = sample.published_split
        fields = (*opened.facts[:-1], label, objects, split, opened.facts[-1])
        self.examples.append(Example(sample.source_id, *fields))
        if opened.fingerprint is not None:
            self._positions[sample.source_id] = position
            self._prints[position] = opened.fingerprint
        if opened.histogram is not None:
            self._histograms[label] += opened.histogram

    def check_names(self) -> None:
        """Sets aside what holds objects of unknown classes, once all names are known."""
        folders = frozenset(item.label for item in self.samples if item.label is not None)
        counts: Counter[str] = Counter()
        for _, names in self._names:
            counts.update(names)
        vocabulary = choose_vocabulary(folders, counts)
        found = [
            finding
            for sample, names in self._names
            for finding in check_names(sample, names, vocabulary)
        ]
        unusable = {finding.path for finding in found if finding.is_error}
        self.findings += found
        self.examples = [item for item in self.examples if item.source_id not in unusable]

    def choose_fingerprints(self, examples: Iterable[Example]) -> npt.NDArray[np.float16]:
        """The fingerprint of each of some examples."""
        return self._prints[[self._positions[item.source_id] for item in examples]]

    def mean_histograms(self) -> dict[str, tuple[float, ...]]:
        """The mean histogram of each class."""
        return {
            label: tuple((total / total.sum()).tolist())
            for label, total in sorted(self._histograms.items())
        }


def audit(
    discovery: Discovery,
    *,
    workers: Workers | None = None,
    verify: bool = True,
    near_duplicates: bool = True,
    group_regex: str = "",
) -> Audit:
    """Opens every picture and annotation; sets the unusable ones aside and says why.

    Whether enough is left is for `require_usable` to say, once the audit is kept.

    Args:
        discovery: What was found in the data folder.
        workers: Who does it; the result does not depend on their number.
        verify: Whether to decode every picture whole. Otherwise headers alone are looked at, which
            finds no damage behind them and no near-duplicates.
        near_duplicates: Whether to look for near-duplicates.
        group_regex: As `records.groups.form_groups` takes it.
    """
    workers = workers or Workers(1)
    gathered = _Gathered(discovery.samples)
    look = Look(discovery.source.absolute(), verify, describe=verify and near_duplicates)
    for position, opened in enumerate(_open_all(discovery.samples, look, workers)):
        gathered.add(position, opened)
    gathered.check_names()
    kept, copies = drop_duplicates(gathered.examples)
    groups, alike = form_groups(
        kept,
        gathered.choose_fingerprints(kept) if look.describe else None,
        source=discovery.source,
        workers=workers,
        group_regex=group_regex,
    )
    findings = [
        *discovery.findings,
        *remark_on_samples(discovery.samples),
        *gathered.findings,
        *copies,
        *alike,
        *remark_on_classes(kept),
    ]
    return Audit(
        source=discovery.source,
        layout=discovery.layout,
        classes=tuple(sorted({example.label for example in kept})),
        box_classes=tuple(sorted({item.name for example in kept for item in example.objects})),
        examples=kept,
        groups=groups,
        findings=faults.order_findings(findings),
        histograms=gathered.mean_histograms(),
        is_verified=verify,
        is_compared=look.describe,
    )


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
            "every_picture_decoded": audit.is_verified,
            "near_duplicates_looked_for": audit.is_compared,
            "groups": audit.groups.count_shared(),
            "pictures_per_class": pictures,
            "findings_per_code": Counter(finding.code for finding in audit.findings),
            "findings": [dataclasses.asdict(finding) for finding in audit.findings],
        },
    )
    rejects = [
        (finding.path, finding.code, finding.reason, finding.remedy)
        for finding in audit.findings
        if faults.sets_aside(finding)
    ]
    write_text(folder / REJECTS_NAME, format_csv([("path", "code", "reason", "remedy"), *rejects]))


def _open_all(samples: Sequence[Sample], look: Look, workers: Workers) -> Iterator[Opened]:
    work = functools.partial(open_samples, look)
    with tqdm(total=len(samples), desc="audit", unit="pictures", disable=None) as progress:
        pieces = cut(samples, _SAMPLES_A_TASK)
        for piece in workers.map(work, pieces, together=_TASKS_TOGETHER):
            yield from piece
            progress.update(len(piece))
