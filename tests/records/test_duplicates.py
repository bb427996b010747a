from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from records.duplicates import drop_duplicates
from records.types import SPLITS, AnnotatedObject, BoundingBox, Example, Finding, Split


def example(source_id: str, content: str, label: str, split: Split | None = None) -> Example:
    return Example(source_id, "png", False, 9, 9, True, 64, content, label, (), split)


def summarise(findings: tuple[Finding, ...]) -> list[tuple[str, bool]]:
    return [(finding.path, finding.is_error) for finding in findings]


def test_of_copies_the_one_that_is_tested_on_stays() -> None:
    examples = [
        example("a", "1", "io", "train"),
        example("b", "2", "io", "train"),
        example("c", "1", "io", "validation"),
        example("d", "1", "io", "test"),
        example("e", "3", "nio", "train"),
    ]
    kept, findings = drop_duplicates(examples)
    assert [item.source_id for item in kept] == ["b", "d", "e"]
    assert summarise(findings) == [("c", False), ("a", False)]
    assert findings[0].reason == "it holds the same bytes as d, which is used"


def test_of_copies_in_one_split_the_first_by_name_stays() -> None:
    kept, findings = drop_duplicates([example("b", "1", "io"), example("a", "1", "io")])
    assert [item.source_id for item in kept] == ["a"]
    assert summarise(findings) == [("b", False)]


def test_of_copies_that_contradict_each_other_none_stays() -> None:
    kept, findings = drop_duplicates(
        [
            example("a", "1", "io", "train"),
            example("b", "1", "nio", "test"),
            example("c", "1", "io", "test"),
        ]
    )
    assert kept == ()
    assert summarise(findings) == [("b", True), ("c", True), ("a", True)]
    assert findings[0].reason == "the same bytes have different classes: b (nio), c (io), a (io)"


EXAMPLES = st.lists(
    st.builds(
        example,
        st.text("abc", min_size=1),
        st.sampled_from("1234"),
        st.sampled_from(["io", "nio"]),
        st.sampled_from([*SPLITS, None]),
    ),
    unique_by=lambda item: item.source_id,
)


@given(EXAMPLES)
def test_no_content_stays_twice_and_every_loss_is_reported(examples: list[Example]) -> None:
    kept, findings = drop_duplicates(examples)
    assert len({item.sha256 for item in kept}) == len(kept)
    lost = {finding.path for finding in findings}
    assert len(findings) == len(lost)
    assert lost == {item.source_id for item in examples} - {item.source_id for item in kept}
    assert [item for item in examples if item.source_id not in lost] == list(kept)
    assert drop_duplicates(kept) == (kept, ())


def test_of_copies_in_one_split_one_with_boxes_stays() -> None:
    box = AnnotatedObject("void", BoundingBox(1, 1, 2, 2))
    boxed = dataclasses.replace(example("b", "1", "io"), objects=(box,))
    kept, _ = drop_duplicates([example("a", "1", "io"), boxed])
    assert kept == (boxed,)
