"""What can be said of a data set's pictures without opening them, and of its classes after."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from records import faults
from records.listing import compose, name_of
from records.types import Example, Finding, Sample

FEW_PICTURES = 20
"""Below it a class has 4 test pictures at most: a result on them says next to nothing."""


def remark_on_samples(samples: Sequence[Sample]) -> list[Finding]:
    """Reports file names that occur twice, and pictures that alone lack an annotation."""
    return [*_find_same_names(samples), *_find_unannotated(samples)]


def remark_on_classes(examples: Iterable[Example]) -> list[Finding]:
    """Reports classes with few usable pictures; path is the class's name."""
    counts = Counter(example.label for example in examples)
    findings = []
    for name, count in sorted(counts.items()):
        if count < FEW_PICTURES:
            reason = f"the class has {count} usable picture{'s' * (count != 1)}"
            findings.append(faults.CLASS_TOO_SMALL.found(name, reason))
    return findings


def _find_same_names(samples: Sequence[Sample]) -> list[Finding]:
    """Names are compared as the least careful file system would: composed, whatever their case."""
    first: dict[str, str] = {}
    findings = []
    for sample in samples:
        known = first.setdefault(compose(name_of(sample.source_id)).casefold(), sample.source_id)
        if known != sample.source_id:
            reason = f"{known} has the same file name"
            finding = faults.SAME_NAME.found(sample.source_id, reason)
            findings.append(finding)
    return findings


def _find_unannotated(samples: Sequence[Sample]) -> list[Finding]:
    """In a class most of whose pictures have boxes, those without are an oversight."""
    of_class: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.label is not None:
            of_class[sample.label].append(sample)
    findings = []
    for members in of_class.values():
        bare = [sample for sample in members if sample.annotation is None]
        if 2 * len(bare) < len(members):
            annotated = len(members) - len(bare)
            reason = f"it has no annotation, while {annotated} pictures of its class have one"
            findings += [faults.NO_ANNOTATION.found(item.source_id, reason) for item in bare]
    return findings
