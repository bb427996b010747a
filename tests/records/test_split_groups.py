"""Groups and splits: what shows the same never stands on two sides."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import InputError
from records.groups import Groups
from records.split import SplitResult, assign_splits, require_every_class
from records.types import SPLITS, Example, Split


def make(name: str, label: str, published: Split | None = None) -> Example:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Example(name, "png", False, 8, 8, True, 64, digest, label, (), published)


def group(examples: list[Example], numbers: list[int], alike: list[int] | None = None) -> Groups:
    paths = [example.source_id for example in examples]
    return Groups(
        dict(zip(paths, numbers, strict=True)), dict(zip(paths, alike or numbers, strict=True))
    )


def split_of(result: SplitResult) -> dict[str, Split]:
    return {item.source_id: split for split in SPLITS for item in result.splits[split]}


grouped = st.lists(
    st.tuples(st.sampled_from(["io", "nio"]), st.integers(0, 12)), min_size=1, max_size=80
)


@given(grouped, st.integers(0, 9), st.randoms(use_true_random=False))
def test_no_group_crosses_a_drawn_split_whatever_the_order(
    rows: list[tuple[str, int]], seed: int, shuffler: random.Random
) -> None:
    examples = [make(f"{index}.png", label) for index, (label, _) in enumerate(rows)]
    numbers = [number for _, number in rows]
    groups = group(examples, numbers)
    found = split_of(assign_splits(examples, groups, seed=seed))
    assert set(found) == {example.source_id for example in examples}
    sides: dict[int, set[str]] = {}
    for example, number in zip(examples, numbers, strict=True):
        sides.setdefault(number, set()).add(found[example.source_id])
    assert all(len(side) == 1 for side in sides.values())
    shuffled = shuffler.sample(examples, len(examples))
    assert split_of(assign_splits(shuffled, groups, seed=seed)) == found


def test_groups_of_a_few_still_give_about_the_promised_fractions() -> None:
    examples = [make(f"{index}.png", "io") for index in range(300)]
    groups = group(examples, [index // 3 for index in range(300)])
    result = assign_splits(examples, groups, seed=0)
    # 20 % of 300 is 60; 20 % of the other 240 is 48; both are multiples of 3.
    assert [len(result.splits[split]) for split in SPLITS] == [192, 48, 60]


def test_a_group_too_large_for_a_small_split_goes_to_training() -> None:
    examples = [make(f"{index}.png", "io") for index in range(20)]
    # The first ten are one group; 20 % of 20 is 4, to which ten would be farther than none.
    groups = group(examples, [0] * 10 + list(range(1, 11)))
    result = assign_splits(examples, groups, seed=0)
    assert [len(result.splits[split]) for split in SPLITS] == [13, 3, 4]
    assert {split_of(result)[f"{index}.png"] for index in range(10)} == {"train"}


def test_a_class_of_three_large_groups_has_one_for_each_split() -> None:
    examples = [make(f"{index}.png", "io") for index in range(30)]
    result = assign_splits(examples, group(examples, [i // 10 for i in range(30)]), seed=0)
    assert [len(result.splits[split]) for split in SPLITS] == [10, 10, 10]
    require_every_class(examples, result)


def test_a_class_of_two_groups_cannot_be_split_and_the_reason_is_said() -> None:
    examples = [make(f"{index}.png", "io") for index in range(30)]
    result = assign_splits(examples, group(examples, [i // 15 for i in range(30)]), seed=0)
    with pytest.raises(InputError, match="none is left for") as caught:
        require_every_class(examples, result)
    assert "3 at least that do not show the same" in caught.value.remedy


def test_of_a_group_across_published_splits_only_the_strictest_stays() -> None:
    examples = [
        make("a.png", "io", "train"),
        make("b.png", "io", "validation"),
        make("c.png", "io", "test"),
        make("d.png", "io", "test"),
        make("e.png", "io", "train"),
        make("f.png", "io", "validation"),
        make("g.png", "io", "train"),
    ]
    groups = group(examples, [0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 1, 5, 2])
    result = assign_splits(examples, groups, seed=0)
    assert split_of(result) == {
        "c.png": "test",
        "d.png": "test",
        "f.png": "validation",
        "g.png": "train",
    }
    assert sorted((item.code, item.path, item.other) for item in result.findings) == [
        ("group_across_splits", "e.png", "f.png"),
        ("near_duplicate_across_splits", "a.png", "c.png"),
        ("near_duplicate_across_splits", "b.png", "c.png"),
    ]
    assert not any(item.is_error for item in result.findings)


def test_validation_drawn_from_published_training_pictures_keeps_groups_together() -> None:
    train = [make(f"{index}.png", "io", "train") for index in range(100)]
    test = [make(f"t{index}.png", "io", "test") for index in range(10)]
    numbers = [index // 2 for index in range(100)] + list(range(100, 110))
    result = assign_splits([*train, *test], group([*train, *test], numbers), seed=3)
    found = split_of(result)
    assert all(found[f"{index}.png"] == found[f"{index + 1}.png"] for index in range(0, 100, 2))
    # 15 % of 100 is 15: 7 pairs are 14, the eighth brings it no nearer.
    assert len(result.splits["validation"]) == 14
    assert result.findings == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_long_group_and_two_short_ones_are_one_for_each_split(seed: int) -> None:
    examples = [make(f"{index}.png", "io") for index in range(34)]
    groups = group(examples, [0] * 30 + [1, 1, 2, 2])
    result = assign_splits(examples, groups, seed=seed)
    assert [len(result.splits[split]) for split in SPLITS] == [30, 2, 2]
    require_every_class(examples, result)
