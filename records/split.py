"""Who trains, who validates, who tests: decided by the pictures' content and the seed alone.

Neither the order in which a disk lists its files nor their names have a say, and one class has none
in another's: pictures added to class A leave every picture of class B where it was.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from records import faults
from records.errors import InputError
from records.types import SPLITS, Example, Finding, Split

TEST_FRACTION = 0.20
VALIDATION_FRACTION = 0.16
"""Of all pictures, when no split was published; the rest, 64 %, is for training."""
VALIDATION_OF_TRAIN_FRACTION = 0.15
"""Of the published training pictures, when a test split was published but no validation split."""


@dataclass(frozen=True, slots=True)
class SplitResult:
    """The examples of each split, and what had to be said about them.

    Attributes:
        splits: All of `SPLITS`; every class is in each of them.
        findings: Pictures left out of all splits (errors) and remarks (warnings).
    """

    splits: dict[Split, tuple[Example, ...]]
    findings: tuple[Finding, ...]


def assign_splits(examples: Iterable[Example], *, seed: int) -> SplitResult:
    """Gives every example a split.

    Published training and test pictures stay what they are; a validation split that was not
    published is drawn from the training pictures of each class, and a picture that is in no
    published split is left out. When no test split was published, all three splits are drawn from
    each class: ordered by content, the first go to test, the next to validation, the rest to train.
    Test or validation pictures without training pictures are refused, because a draw would train
    on what was published to measure with.

    Args:
        examples: The usable pictures, in any order, each content once (`records.audit` drops
            copies): two of the same bytes could come to lie in two splits.
        seed: Seed of the draw; without effect on splits that were all published.

    Raises:
        InputError: A class would be missing from a split, or a split was published without a
            training split.
        ValueError: Two examples have the same content.
    """
    ordered = order_by_content(examples, seed=seed, purpose="split")
    if len({example.sha256 for example in ordered}) < len(ordered):
        raise ValueError("two examples have the same content")
    published = {example.published_split for example in ordered}
    if {"train", "test"} <= published:
        splits, findings = _keep_published(ordered)
        needed = "Move pictures of that class into the split"
    else:
        _require_published_train(ordered)
        splits, findings = _draw_all(ordered), _remark_on_partial(published)
        needed = f"Add pictures until the class has {len(SPLITS)} at least, one for each split"
    _require_every_class(splits, ordered, needed=needed)
    return SplitResult(splits, tuple(findings))


def order_by_content(examples: Iterable[Example], *, seed: int, purpose: str) -> list[Example]:
    """Puts examples in an order that depends on their bytes, `seed` and `purpose` alone.

    Orders of different `purpose` are unrelated.
    """

    def rank(example: Example) -> str:
        return hashlib.sha256(f"{purpose}/{seed}/{example.sha256}".encode()).hexdigest()

    return sorted(examples, key=rank)


def _keep_published(
    ordered: Sequence[Example],
) -> tuple[dict[Split, tuple[Example, ...]], list[Finding]]:
    splits = {
        name: tuple(example for example in ordered if example.published_split == name)
        for name in SPLITS
    }
    if not splits["validation"]:
        validation, train = _draw(splits["train"], VALIDATION_OF_TRAIN_FRACTION)
        splits |= {"validation": validation, "train": train}
    unlisted = sorted(example.source_id for example in ordered if example.published_split is None)
    reason = "other pictures have a published split, this one has none"
    return splits, [faults.NO_PUBLISHED_SPLIT.found(path, reason) for path in unlisted]


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


def _draw_all(ordered: Sequence[Example]) -> dict[Split, tuple[Example, ...]]:
    test, rest = _draw(ordered, TEST_FRACTION)
    validation, train = _draw(rest, VALIDATION_FRACTION / (1.0 - TEST_FRACTION))
    return {"train": train, "validation": validation, "test": test}


def _remark_on_partial(published: set[Split | None]) -> list[Finding]:
    names = " and ".join(name for name in SPLITS if name in published)
    reason = f"only {names} was published; all three splits were drawn anew"
    return [faults.PUBLISHED_SPLIT_UNUSED.found(".", reason)] if names else []


def _draw(
    ordered: Sequence[Example], fraction: float
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Takes the first `fraction` of each class, one picture at least; returns (taken, rest)."""
    by_class: dict[str, list[Example]] = {}
    for example in ordered:
        by_class.setdefault(example.label, []).append(example)
    taken: list[Example] = []
    rest: list[Example] = []
    for _, members in sorted(by_class.items()):
        cut = max(1, round(fraction * len(members)))
        taken += members[:cut]
        rest += members[cut:]
    return tuple(taken), tuple(rest)


def _require_every_class(
    splits: dict[Split, tuple[Example, ...]], examples: Sequence[Example], *, needed: str
) -> None:
    present = {name: {example.label for example in splits[name]} for name in SPLITS}
    for label in sorted({example.label for example in examples}):
        missing = [name for name in SPLITS if label not in present[name]]
        if missing:
            count = sum(example.label == label for example in examples)
            raise InputError(
                f"The class {label} has too few usable pictures ({count}): none is left for "
                f"{' and '.join(missing)}.",
                f"{needed} (many more for a result to trust), or remove the class.",
            )
