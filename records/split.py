"""Who trains, who validates, who tests: decided by the pictures' content and the seed alone.

Neither the order in which a disk lists its files nor their names have a say, and one class has none
in another's: pictures added to class A leave every picture of class B where it was. Pictures that
show the same, or that the user groups, stand on one side.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from records import faults
from records.duplicates import STRICTNESS
from records.errors import InputError
from records.groups import Groups
from records.types import SPLITS, Example, Finding, Split

TEST_FRACTION = 0.20
VALIDATION_FRACTION = 0.16
"""Of all pictures, when no split was published; the rest, 64 %, is for training."""
VALIDATION_OF_TRAIN_FRACTION = 0.15
"""Of the published training pictures, when a test split was published but no validation split."""
_PUBLISHED: frozenset[Split | None] = frozenset({"train", "test"})
"""Splits that are kept where both were published."""


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The examples of each split, and what had to be said about them.

    Attributes:
        splits: All of `SPLITS`; no group is in two of them.
        findings: Pictures left out of all splits and remarks.
    """

    splits: dict[Split, tuple[Example, ...]]
    findings: tuple[Finding, ...]


def assign_splits(examples: Iterable[Example], groups: Groups, *, seed: int) -> SplitResult:
    """Gives every example a split.

    Published training and test pictures stay what they are, but for those that show what a picture
    of a stricter split shows (test before validation before train): these are left out. A
    validation split that was not published is drawn from the training pictures of each class, and a
    picture that is in no published split is left out. When no test split was published, all three
    splits are drawn from each class: ordered by content, the first groups go to test, the next to
    validation, the rest to train. Test or validation pictures without training pictures are
    refused, because a draw would train on what was published to measure with. Whether every class
    is in every split is for `require_every_class` to say.

    Args:
        examples: The usable pictures, in any order, each content once (`records.audit` drops
            copies): two of the same bytes could come to lie in two splits.
        groups: Which of them belong together.
        seed: Seed of the draw; without effect on splits that were all published.

    Raises:
        InputError: A split was published without a training split.
        ValueError: Two examples have the same content.
    """
    ordered = order_by_content(examples, seed=seed, purpose="split")
    if len({example.sha256 for example in ordered}) < len(ordered):
        raise ValueError("two examples have the same content")
    published = {example.published_split for example in ordered}
    if published >= _PUBLISHED:
        splits, findings = _keep_published(ordered, groups)
    else:
        _require_published_train(ordered)
        splits, findings = _draw_all(ordered, groups), _remark_on_partial(published)
    return SplitResult(splits, tuple(findings))


def require_every_class(examples: Sequence[Example], result: SplitResult) -> None:
    """Looks whether every class can be trained on, validated and tested.

    Args:
        examples: What `assign_splits` was given.
        result: What it returned.

    Raises:
        InputError: A class is missing from a split.
    """
    present = {name: {example.label for example in result.splits[name]} for name in SPLITS}
    needed = (
        f"Add pictures until the class has {len(SPLITS)} at least that do not show the same, "
        "one for each split"
    )
    if {example.published_split for example in examples} >= _PUBLISHED:
        needed = "Move pictures of that class into the split"
    for label, count in sorted(Counter(example.label for example in examples).items()):
        missing = [name for name in SPLITS if label not in present[name]]
        if missing:
            raise InputError(
                f"The class {label} has too few usable pictures ({count}): none is left for "
                f"{' and '.join(missing)}.",
                f"{needed} (many more for a result to trust), or remove the class.",
            )


def order_by_content(examples: Iterable[Example], *, seed: int, purpose: str) -> list[Example]:
    """Puts examples in an order that depends on their bytes, `seed` and `purpose` alone.

    Orders of different `purpose` are unrelated.
    """

    def rank(example: Example) -> str:
        return hashlib.sha256(f"{purpose}/{seed}/{example.sha256}".encode()).hexdigest()

    return sorted(examples, key=rank)


def _keep_published(
    ordered: Sequence[Example], groups: Groups
) -> tuple[dict[Split, tuple[Example, ...]], list[Finding]]:
    unlisted = sorted(example.source_id for example in ordered if example.published_split is None)
    reason = "other pictures have a published split, this one has none"
    findings = [faults.NO_PUBLISHED_SPLIT.found(path, reason) for path in unlisted]
    crossing = _find_crossing([item for item in ordered if item.published_split], groups)
    left_out = {finding.path for finding in crossing}
    kept = [example for example in ordered if example.source_id not in left_out]
    splits = {
        name: tuple(example for example in kept if example.published_split == name)
        for name in SPLITS
    }
    if not splits["validation"]:
        validation, train = _draw(splits["train"], VALIDATION_OF_TRAIN_FRACTION, groups)
        splits |= {"validation": validation, "train": train}
    return splits, findings + crossing


def _find_crossing(examples: Sequence[Example], groups: Groups) -> list[Finding]:
    """A finding for each picture whose group has another in a stricter published split."""
    findings = []
    for group in groups.gather(examples):
        strictest = min(group, key=_rank)
        for example in group:
            if example.published_split != strictest.published_split:
                findings.append(_report_crossing(example, group, groups))
    return findings


def _report_crossing(example: Example, group: Sequence[Example], groups: Groups) -> Finding:
    """Names a picture in a stricter split, one that looks alike if there is one."""
    stricter = [item for item in group if _rank(item)[0] < _rank(example)[0]]
    alike = [
        item
        for item in stricter
        if groups.alike_of[item.source_id] == groups.alike_of[example.source_id]
    ]
    other = min(alike or stricter, key=_rank)
    fault = faults.NEAR_DUPLICATE_ACROSS_SPLITS if alike else faults.GROUP_ACROSS_SPLITS
    reason = (
        f"{other.source_id} of the split {other.published_split} "
        f"{'shows the same' if alike else 'is of the same group'}; "
        f"this one, of {example.published_split}, is left out"
    )
    return fault.found(example.source_id, reason, other=other.source_id)


def _rank(example: Example) -> tuple[int, str]:
    return STRICTNESS[example.published_split], example.source_id


def _require_published_train(examples: Sequence[Example]) -> None:
    """Refuses published splits none of which may be trained on."""
    counts = Counter(item.published_split for item in examples)
    names = [f"{name} ({counts[name]} pictures)" for name in SPLITS if counts[name]]
    if names and not counts["train"]:
        raise InputError(
            f"Of the published splits only {' and '.join(names)} can be used, and none to train "
            "on; a validation split without a test split counts as test.",
            "Add the training pictures (a folder train, or ImageSets/Main/train.txt), or take the "
            "pictures out of the split's folder or list to have all splits drawn.",
        )


def _draw_all(ordered: Sequence[Example], groups: Groups) -> dict[Split, tuple[Example, ...]]:
    test, rest = _draw(ordered, TEST_FRACTION, groups, leave=2)
    validation, train = _draw(rest, VALIDATION_FRACTION / (1.0 - TEST_FRACTION), groups)
    return {"train": train, "validation": validation, "test": test}


def _remark_on_partial(published: set[Split | None]) -> list[Finding]:
    names = " and ".join(name for name in SPLITS if name in published)
    reason = f"only {names} was published; all three splits were drawn anew"
    return [faults.PUBLISHED_SPLIT_UNUSED.found(".", reason)] if names else []


def _draw(
    ordered: Sequence[Example], fraction: float, groups: Groups, *, leave: int = 1
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Takes about `fraction` of each class, one picture at least; returns (taken, rest).

    Of the groups of each class at least `leave` stay in the rest.
    """
    by_class: dict[str, list[list[Example]]] = {}
    for group in groups.gather(ordered):
        by_class.setdefault(_find_main_label(group), []).append(group)
    taken: list[Example] = []
    rest: list[Example] = []
    for _, members in sorted(by_class.items()):
        chosen = _choose(members, max(1, round(fraction * sum(map(len, members)))), leave)
        for index, group in enumerate(members):
            (taken if index in chosen else rest).extend(group)
    return tuple(taken), tuple(rest)


def _find_main_label(group: Sequence[Example]) -> str:
    counts = Counter(example.label for example in group)
    return min(counts, key=lambda label: (-counts[label], label))


def _choose(members: Sequence[Sequence[Example]], target: int, leave: int) -> frozenset[int]:
    """Goes through the groups in order and takes each that brings the count nearer to `target`.

    Where all groups are too large for that, the smallest is taken, unless it is the only one.
    """
    count = 0
    chosen: set[int] = set()
    for index, group in enumerate(members):
        is_nearer = abs(count + len(group) - target) < abs(count - target)
        if is_nearer and len(chosen) + leave < len(members):
            chosen.add(index)
            count += len(group)
    if not chosen and len(members) > leave:
        chosen.add(min(range(len(members)), key=lambda index: len(members[index])))
    return frozenset(chosen)
