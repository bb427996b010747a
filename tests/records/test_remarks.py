from __future__ import annotations

from records.remarks import FEW_PICTURES, remark_on_classes, remark_on_samples
from records.types import Example, Sample


def sample(path: str, *, annotated: bool = False) -> Sample:
    return Sample(path, "a.xml" if annotated else None, path.split("/")[0], None)


def example(number: int, label: str) -> Example:
    return Example(f"{number}.png", "png", False, 8, 8, True, 64, str(number), label, (), None)


def test_a_name_that_occurs_again_is_reported_whatever_its_case_and_encoding() -> None:
    findings = remark_on_samples(
        [
            sample("io/1.png"),
            sample("nio/1.PNG"),
            sample("io/\u00fc.png"),
            sample("nio/u\u0308.png"),
        ]
    )
    assert [(item.code, item.path, item.is_error) for item in findings] == [
        ("duplicate_name", "nio/1.PNG", False),
        ("duplicate_name", "nio/u\u0308.png", False),
    ]
    assert findings[0].reason == "io/1.png has the same file name"
    assert remark_on_samples([sample("io/1.png"), sample("io/1.jpg")]) == []


def test_a_picture_that_alone_lacks_an_annotation_is_reported() -> None:
    annotated = [sample(f"nio/{index}.png", annotated=True) for index in range(3)]
    bare = [sample("nio/8.png"), sample("nio/9.png")]
    findings = remark_on_samples([*annotated, *bare, sample("io/7.png")])
    assert [(item.code, item.path) for item in findings] == [
        ("no_annotation", "nio/8.png"),
        ("no_annotation", "nio/9.png"),
    ]
    assert findings[0].reason.endswith("while 3 pictures of its class have one")
    assert remark_on_samples([*annotated[:2], *bare]) == []  # Half have none: no oversight.
    unlabelled = [Sample(f"{index}.png", None, None, None) for index in range(2)]
    assert remark_on_samples(unlabelled) == []


def test_small_classes_are_reported() -> None:
    sizes = {"a": 1, "b": 2, "c": 3, "d": FEW_PICTURES - 1, "e": FEW_PICTURES}
    examples = [example(index, label) for label, size in sizes.items() for index in range(size)]
    found = [(item.path, item.is_error) for item in remark_on_classes(examples)]
    assert found == [("a", False), ("b", False), ("c", False), ("d", False)]
    assert remark_on_classes(examples)[0].reason == "the class has 1 usable picture"
