"""`audit.html`: one self-contained page about a data set, for the person who has to mend it."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.pages.audit_counts import (
    MODEL_SIDE_PX,
    SMALL_BOX_PX,
    BoxCount,
    count_boxes,
    count_classes,
    count_kinds,
    highest_error_rate,
    measure_range,
)
from pipeline.pages.audit_findings import FindingGroup, group_duplicates, group_findings
from pipeline.pages.audit_plots import (
    CHART_UNITS,
    draw_coverage,
    draw_grey_lines,
    draw_size_dots,
    measure_coverage,
)
from pipeline.pages.audit_thumbs import Thumbnail, Wanted, make_thumbnails
from pipeline.pages.page import write_page
from records.faults import sets_aside
from records.types import SPLITS, Example, Finding, Split

if TYPE_CHECKING:
    from records.audit import Audit

PAGE_NAME = "audit.html"
CLASSES_SHOWN = 40
"""Classes with a contact sheet, a curve or a map of boxes; all are counted."""
SHEET_PICTURES = 24
"""In a contact sheet at most."""
PAGE_PICTURES = 360
"""In all contact sheets together."""

_SIZES_LISTED = 12  # more different ones are drawn instead
_LONGEST_TEXT = 300
_NAMES_IN_CAPTION = 3
_JOINERS = "\u200c\u200d"  # of Persian words and of emoji


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture of the page.

    Attributes:
        source_id: Its path below the data folder.
        fate: The split it is in, `used` before there are splits, or `set aside`.
        boxes: Such as `2 void, 1 bridge`; empty when there is none.
        thumbnail: None when the file can no longer be opened.
    """

    source_id: str
    fate: str
    boxes: str
    thumbnail: Thumbnail | None


@dataclass(frozen=True, slots=True)
class BoxMap:
    """The boxes of one class and where they lie.

    Attributes:
        count: Their number and sizes.
        uri: The map as PNG.
        highest: The largest part of the boxes that covers one place, 0 to 1.
    """

    count: BoxCount
    uri: str
    highest: float


def write_audit_page(
    path: Path, audit: Audit, splits: Mapping[Split, Sequence[Example]] | None
) -> None:
    """Writes the page, whole or not at all.

    Opens some of the pictures again, below `audit.source`; one that is gone by now is left blank.

    Args:
        path: Where the page goes.
        audit: The data set.
        splits: The pictures of each split, or None when none was made.

    Raises:
        OSError: The page cannot be written.
    """
    filters = {"readable": make_readable, "number": lambda value: f"{value:,.0f}"}
    write_page(path, "audit.html.j2", _collect(audit, splits), filters=filters)


def make_readable(text: str) -> str:
    """The text as a person should see it.

    What would be invisible or turn the line around is written as a backslash and its code; the
    middle of a text longer than anybody would read is left out.
    """
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]} … {text[-half:]}"
    return "".join(
        mark if mark.isprintable() or mark in _JOINERS else ascii(mark)[1:-1] for mark in text
    )


def choose_sheets(
    classes: Sequence[str], examples: Iterable[Example]
) -> dict[str, tuple[Example, ...]]:
    """The pictures of each contact sheet: the first by content, whose order no name decides.

    At most `CLASSES_SHOWN` classes with `SHEET_PICTURES` each, and `PAGE_PICTURES` in all.
    """
    shown = classes[:CLASSES_SHOWN]
    each = min(SHEET_PICTURES, PAGE_PICTURES // max(len(shown), 1))
    members: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda item: (item.sha256, item.source_id)):
        members[example.label].append(example)
    return {name: tuple(members[name][:each]) for name in shown}


def _collect(audit: Audit, splits: Mapping[Split, Sequence[Example]] | None) -> dict[str, Any]:
    """The variables of the template."""
    used = list(audit.examples) if splits is None else list(itertools.chain(*splits.values()))
    duplicates = group_duplicates(audit.findings)
    chosen = choose_sheets(audit.classes, used)
    sheets, pairs = _show_pictures(audit, splits, chosen, duplicates)
    return {
        "folder": audit.source.resolve().name,
        "layout": audit.layout,
        "is_verified": audit.is_verified,
        "is_compared": audit.is_compared,
        "groups_shared": audit.groups.count_shared(),
        "splits": SPLITS if splits is not None else (),
        "pictures": len(used),
        "set_aside": len(_list_set_aside(audit, used)),
        "classes": count_classes(audit.classes, used, splits),
        "highest_error_rate": highest_error_rate,
        "groups": group_findings(audit.findings),
        "duplicates": list(zip(duplicates, pairs, strict=True)),
        "sheets": sheets,
        "lines": _draw_lines(audit),
        "chart_units": CHART_UNITS,
        "small_box_px": SMALL_BOX_PX,
        "model_side_px": MODEL_SIDE_PX,
        "grey_steps": max(map(len, audit.histograms.values()), default=0),
    } | _collect_measures(used)


def _collect_measures(used: Sequence[Example]) -> dict[str, Any]:
    sizes = Counter((example.width, example.height) for example in used)
    boxes = count_boxes(used)
    return {
        "kinds": count_kinds(used),
        "sizes": sorted(sizes.items(), key=lambda item: (-item[1], item[0])),
        "are_sizes_drawn": len(sizes) > _SIZES_LISTED,
        "size_dots": draw_size_dots(sizes),
        "widths": measure_range(example.width for example in used),
        "heights": measure_range(example.height for example in used),
        "aspects": measure_range(example.width / example.height for example in used),
        "bytes": measure_range(example.size_bytes for example in used),
        "boxes": boxes,
        "box_maps": [_draw_map(count) for count in boxes[:CLASSES_SHOWN]],
    }


def _draw_lines(audit: Audit) -> list[Any]:
    names = [name for name in audit.classes if name in audit.histograms]
    return draw_grey_lines({name: audit.histograms[name] for name in names})


def _draw_map(count: BoxCount) -> BoxMap:
    coverage = measure_coverage(count.corners)
    return BoxMap(count, draw_coverage(coverage), float(coverage.max()))


def _list_set_aside(audit: Audit, used: Iterable[Example]) -> set[str]:
    """Files that an error names or that no split took; not the classes that are too small."""
    named = {finding.path for finding in audit.findings if sets_aside(finding)}
    everything = named - set(audit.classes) | {example.source_id for example in audit.examples}
    return everything - {example.source_id for example in used}


def _show_pictures(
    audit: Audit,
    splits: Mapping[Split, Sequence[Example]] | None,
    sheets: Mapping[str, Sequence[Example]],
    duplicates: Iterable[FindingGroup],
) -> tuple[dict[str, list[ShownPicture]], list[list[tuple[Finding, ShownPicture, ShownPicture]]]]:
    """Opens all pictures of the page at once: those of the sheets, and the pairs of each group."""
    known = {example.source_id: example for example in audit.examples}
    fates = _describe_fates(audit, splits)
    pairs = [(item.path, item.other) for group in duplicates for item in group.findings]
    wanted = [
        Wanted(example.source_id, example.objects, is_turned=example.is_converted)
        for example in itertools.chain(*sheets.values())
    ]
    wanted += [
        Wanted(path, is_turned=path not in known or known[path].is_converted)
        for path in itertools.chain(*pairs)
    ]
    shown = (
        ShownPicture(
            item.source_id,
            fates.get(item.source_id, "set aside"),
            _describe_boxes(item),
            thumbnail,
        )
        for item, thumbnail in zip(wanted, make_thumbnails(audit.source, wanted), strict=True)
    )
    return (
        {name: [next(shown) for _ in members] for name, members in sheets.items()},
        [[(item, next(shown), next(shown)) for item in group.findings] for group in duplicates],
    )


def _describe_fates(
    audit: Audit, splits: Mapping[Split, Sequence[Example]] | None
) -> dict[str, str]:
    if splits is None:
        return {example.source_id: "used" for example in audit.examples}
    return {item.source_id: split for split, members in splits.items() for item in members}


def _describe_boxes(wanted: Wanted) -> str:
    counts = Counter(item.name for item in wanted.objects).most_common()
    texts = [f"{count} {name}" for name, count in counts[:_NAMES_IN_CAPTION]]
    more = len(counts) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "")
