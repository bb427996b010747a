"""What the audit found, put in order for its page: by code, and duplicates by pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from records.faults import sets_aside
from records.types import Finding

ROWS_SHOWN = 200
"""Findings of one code in the page; all are in `audit.json`."""
PAIRS_SHOWN = 40
"""Duplicates shown as pictures, of all codes together."""

_DUPLICATE_ORDER = ("near_duplicate_across_splits", "exact_duplicate", "near_duplicate")


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings of one code and remedy.

    Attributes:
        code: Of all of them.
        remedy: Likewise.
        is_set_aside: Whether the pictures are not used.
        findings: The first `ROWS_SHOWN` as they come; of duplicates the pairs to be shown.
        count: How many there are.
    """

    code: str
    remedy: str
    is_set_aside: bool
    findings: tuple[Finding, ...]
    count: int

    @property
    def left(self) -> int:
        """How many are not in `findings`."""
        return self.count - len(self.findings)


def group_findings(findings: Iterable[Finding]) -> list[FindingGroup]:
    """All findings, those that set a picture aside first, then by code."""
    return _group(findings, rows=ROWS_SHOWN)


def group_duplicates(findings: Iterable[Finding]) -> list[FindingGroup]:
    """The findings about two files, the leaks first; `PAIRS_SHOWN` in all, as many of each code."""
    pairs = [finding for finding in findings if finding.other]
    rows = PAIRS_SHOWN // max(len({finding.code for finding in pairs}), 1)
    return sorted(_group(pairs, rows=rows), key=lambda group: _rank_duplicate(group.code))


def _group(findings: Iterable[Finding], *, rows: int) -> list[FindingGroup]:
    groups: dict[tuple[bool, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[not sets_aside(finding), finding.code, finding.remedy].append(finding)
    return [
        FindingGroup(code, remedy, not is_used, tuple(members[:rows]), len(members))
        for (is_used, code, remedy), members in sorted(groups.items())
    ]


def _rank_duplicate(code: str) -> int:
    if code in _DUPLICATE_ORDER:
        return _DUPLICATE_ORDER.index(code)
    return len(_DUPLICATE_ORDER)
