"""What the audit's page counts and groups, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pages.audit_counts import (
    count_boxes,
    count_classes,
    count_kinds,
    highest_error_rate,
    measure_range,
)
from pipeline.pages.audit_findings import PAIRS_SHOWN, ROWS_SHOWN, group_duplicates, group_findings
from records.types import AnnotatedObject, BoundingBox, Example, Finding, Split


def _example(
    name: str,
    label: str = "io",
    *,
    size: tuple[int, int] = (100, 50),
    image_format: str = "jpeg",
    is_grey: bool = True,
    is_converted: bool = False,
    objects: tuple[AnnotatedObject, ...] = (),
) -> Example:
    return Example(
        source_id=name,
        image_format=image_format,
        is_converted=is_converted,
        width=size[0],
        height=size[1],
        is_grey=is_grey,
        size_bytes=1_000,
        sha256=name,
        label=label,
        objects=objects,
        published_split=None,
    )


def _boxed(name: str, *corners: float) -> AnnotatedObject:
    return AnnotatedObject(name, BoundingBox(*corners))


def _finding(code: str, path: str, *, is_error: bool = False, other: str = "") -> Finding:
    return Finding(code, path, "a reason", f"Mend {code}.", is_error, other)


def test_classes_are_counted_a_split() -> None:
    one, two, three = _example("1"), _example("2"), _example("3", "nio")
    splits: dict[Split, tuple[Example, ...]] = {"train": (one, three), "test": (two,)}
    first, second, third = count_classes(["io", "nio", "none"], [], splits)
    assert (first.name, first.pictures) == ("io", 2)
    assert first.per_split == {"train": 1, "validation": 0, "test": 1}
    assert second.per_split == {"train": 1, "validation": 0, "test": 0}
    assert third.pictures == 0


def test_classes_are_counted_without_splits() -> None:
    counts = count_classes(["io", "nio"], [_example("1"), _example("2")], None)
    assert [(item.name, item.per_split, item.pictures) for item in counts] == [
        ("io", {}, 2),
        ("nio", {}, 0),
    ]


@pytest.mark.parametrize(("pictures", "bound"), [(59, 0.05), (299, 0.01), (2_995, 0.001)])
def test_error_rate_without_an_error(pictures: int, bound: float) -> None:
    # The smallest numbers whose bound is not above 5, 1 and 0.1 %.
    assert highest_error_rate(pictures) <= bound < highest_error_rate(pictures - 1)
    assert highest_error_rate(0) == 1.0


def test_range() -> None:
    found = measure_range([4, 1, 3, 10])
    assert (found.smallest, found.median, found.largest) == (1, 3.5, 10)
    assert measure_range([]).largest == 0


def test_a_way_of_saving_that_tells_classes_apart_is_marked() -> None:
    examples = [_example(f"a{n}", "io") for n in range(8)]
    examples += [_example(f"b{n}", "nio") for n in range(2)]
    examples += [_example(f"c{n}", "nio", image_format="png", is_grey=False) for n in range(2)]
    examples += [_example("d", "io", image_format="png", is_converted=True)]
    found = [(kind.text, kind.pictures, kind.tells_classes_apart) for kind in count_kinds(examples)]
    assert found == [
        ("JPEG, grey", 10, False),  # 8 of 9 against 2 of 4
        ("PNG, colour", 2, True),  # 0 of 9 against 2 of 4
        ("PNG, grey, converted by the records", 1, False),
    ]


def test_boxes_are_measured_a_class() -> None:
    examples = [
        _example("1", objects=(_boxed("void", 10, 5, 30, 15), _boxed("void", 0, 0, 100, 50))),
        _example("2", objects=(_boxed("crack", 0, 0, 3, 50),)),
        _example("3", size=(10, 20), objects=(_boxed("void", 5, 10, 10, 20),)),
    ]
    crack, void = count_boxes(examples)
    assert (crack.name, crack.pictures, len(crack.corners)) == ("crack", 1, 1)
    assert (void.name, void.pictures, len(void.corners)) == ("void", 2, 3)
    assert void.corners.tolist() == [[0.1, 0.1, 0.3, 0.3], [0, 0, 1, 1], [0.5, 0.5, 1, 1]]
    assert (void.width_px.smallest, void.width_px.median, void.width_px.largest) == (5, 20, 100)
    assert (void.height_px.smallest, void.height_px.largest) == (10, 50)
    assert void.area_fraction.smallest == pytest.approx(0.04)
    # 3 of 100 columns are 3.84 of 128, less than 4; the lowest void is 12.8 rows high.
    assert (crack.small, void.small) == (1, 0)
    assert count_boxes([_example("4")]) == []


def test_a_box_is_tiny_by_the_scale_of_the_longest_side() -> None:
    """A picture keeps its proportions in the model's square."""
    example = _example("1", size=(1280, 100), objects=(_boxed("crack", 0, 0, 60, 30),))
    assert [box.small for box in count_boxes([example])] == [1]  # 3 of 128 pixels


def test_findings_are_grouped_those_that_set_aside_first() -> None:
    findings = [
        _finding("b_code", "1"),
        _finding("z_code", "2", is_error=True),
        _finding("exact_duplicate", "3", other="1"),
        _finding("b_code", "4"),
    ]
    groups = group_findings(findings)
    assert [(group.code, group.is_set_aside, group.count) for group in groups] == [
        ("exact_duplicate", True, 1),
        ("z_code", True, 1),
        ("b_code", False, 2),
    ]
    assert [finding.path for finding in groups[2].findings] == ["1", "4"]


@given(st.integers(1, 3 * ROWS_SHOWN))
def test_no_finding_is_lost_from_the_count(number: int) -> None:
    [group] = group_findings(_finding("code", str(index)) for index in range(number))
    assert (group.count, group.left) == (number, max(0, number - ROWS_SHOWN))
    assert len(group.findings) + group.left == number


_COUNTS = st.dictionaries(
    st.sampled_from(["near_duplicate", "exact_duplicate", "other"]), st.integers(1, 60)
)


@given(_COUNTS)
def test_pairs_of_every_code_are_shown_and_not_too_many(counts: dict[str, int]) -> None:
    findings = [
        _finding(code, str(n), other="x") for code, count in counts.items() for n in range(count)
    ]
    groups = group_duplicates([*findings, _finding("box_outside", "y", is_error=True)])
    assert {group.code: group.count for group in groups} == counts
    assert sum(len(group.findings) for group in groups) <= PAIRS_SHOWN
    assert all(group.findings for group in groups)


def test_leaks_come_first_among_the_duplicates() -> None:
    codes = ["else", "near_duplicate", "exact_duplicate", "near_duplicate_across_splits"]
    groups = group_duplicates([_finding(code, code, other="x") for code in codes])
    assert [group.code for group in groups] == codes[::-1]
