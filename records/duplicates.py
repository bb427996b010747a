"""Pictures whose files are the same, byte for byte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from records import faults
from records.types import Example, Finding, Split

STRICTNESS: dict[Split | None, int] = {"test": 0, "validation": 1, "train": 2, None: 3}
"""Of copies in several splits the one with the smallest number stays, so that nothing that is
measured on was trained on."""


def drop_duplicates(
    examples: Iterable[Example],
) -> tuple[tuple[Example, ...], tuple[Finding, ...]]:
    """Keeps one picture of each content.

    The one in the strictest published split stays (test before validation before train), so that
    nothing that is tested on was trained on; among equals one with boxes, then the first by
    `source_id`. Copies with different labels contradict each other: none of them stays.

    Returns:
        The examples that stay, in the order given, and a finding for each that does not.
    """
    examples = tuple(examples)
    copies: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        copies[example.sha256].append(example)
    findings: list[Finding] = []
    dropped: set[str] = set()
    for group in copies.values():
        reported = _judge(sorted(group, key=_rank)) if len(group) > 1 else []
        findings += reported
        dropped.update(finding.path for finding in reported)
    kept = tuple(example for example in examples if example.source_id not in dropped)
    return kept, tuple(findings)


def _rank(example: Example) -> tuple[int, bool, str]:
    return STRICTNESS[example.published_split], not example.objects, example.source_id


def _judge(group: list[Example]) -> list[Finding]:
    """Findings for the copies that are dropped of a group in order of preference."""
    labels = {example.label for example in group}
    if len(labels) == 1:
        reason = f"it holds the same bytes as {group[0].source_id}, which is used"
        kept = group[0].source_id
        return [
            faults.EXACT_DUPLICATE.found(copy.source_id, reason, other=kept) for copy in group[1:]
        ]
    where = ", ".join(f"{example.source_id} ({example.label})" for example in group)
    reason = f"the same bytes have different classes: {where}"
    others = [group[1], *[group[0]] * (len(group) - 1)]
    return [
        faults.CONTRADICTING_DUPLICATE.found(copy.source_id, reason, other=other.source_id)
        for copy, other in zip(group, others, strict=True)
    ]
