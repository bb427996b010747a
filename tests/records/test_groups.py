from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from records import near_duplicates
from records.errors import InputError
from records.fingerprints import fingerprint
from records.groups import Groups, form_groups
from records.types import Example, Finding
from records.workers import Workers
from tests.records.folders import keep_apart


def draw(folder: Path, name: str, seed: int, *, shift: int = 0, flip: bool = False) -> Example:
    """A texture saved as `name`, of the class that its folder is called."""
    noise = np.random.default_rng(seed).normal(size=(128, 128))
    texture = gaussian_filter(noise, 2.5)[shift : shift + 120, shift : shift + 120]
    pixels = np.clip(128 + 500 * texture[:, :: -1 if flip else 1], 0, 255).astype(np.uint8)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return Example(
        name, "png", False, 120, 120, True, 9, f"{name:>064}", Path(name).parts[0], (), None
    )


def form(folder: Path, examples: list[Example], **flags: Any) -> tuple[Groups, list[Finding]]:
    prints = np.stack([fingerprint(np.array(Image.open(folder / e.source_id))) for e in examples])
    return form_groups(examples, prints, source=folder, **flags)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Example]:
    return [
        draw(tmp_path, "io/a.png", 1),
        draw(tmp_path, "io/b.png", 2),
        draw(tmp_path, "io/c.png", 1, shift=2),
        draw(tmp_path, "nio/d.png", 1, flip=True),
        draw(tmp_path, "nio/e.png", 3),
    ]


def test_near_duplicates_are_one_group_and_each_is_reported_once(
    tmp_path: Path, pictures: list[Example]
) -> None:
    groups, findings = form(tmp_path, pictures)
    numbers = [groups.group_of[example.source_id] for example in pictures]
    assert numbers[0] == numbers[2] == numbers[3]
    assert len(set(numbers)) == 3
    assert groups.alike_of == groups.group_of
    assert groups.count_shared() == {"groups": 1, "pictures": 3}
    assert [len(group) for group in groups.gather(pictures)] == [3, 1, 1]
    assert sorted(item.code for item in findings) == [
        "near_duplicate",
        "near_duplicate_of_other_class",
    ]
    joined = {frozenset((item.path, item.other)) for item in findings}
    assert len(findings) == len(joined) == 2
    assert {name for pair in joined for name in pair} == {"io/a.png", "io/c.png", "nio/d.png"}
    assert all(item.other < item.path for item in findings)
    assert any("their classes differ: io and nio" in item.reason for item in findings)


def test_the_number_of_processes_does_not_matter(
    tmp_path: Path, pictures: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = form(tmp_path, pictures)
    monkeypatch.setattr(near_duplicates, "_HITS_A_TASK", 1)
    assert form(tmp_path, pictures) == alone
    with Workers(2) as workers:
        assert form(tmp_path, pictures, workers=workers) == alone


def test_a_regular_expression_names_further_groups(tmp_path: Path, pictures: list[Example]) -> None:
    alone, _ = form(tmp_path, pictures)
    apart, _ = form(tmp_path, pictures, group_regex=r"/(b|e)\.")
    assert apart.alike_of == apart.group_of == alone.group_of  # b and e have different keys.
    by_folder, _ = form(tmp_path, pictures, group_regex=r"^(\w+)/")
    assert len(set(by_folder.group_of.values())) == 1  # d joins both folders.
    assert by_folder.alike_of == alone.group_of


def test_pictures_of_the_same_key_are_joined_and_others_stay_alone(tmp_path: Path) -> None:
    names = ("io/board7_top.png", "io/board8_top.png", "nio/board7_side.png", "nio/other.png")
    examples = [draw(tmp_path, name, seed) for seed, name in enumerate(names)]
    groups, findings = form(tmp_path, examples, group_regex=r"board(\d+)")
    numbers = [groups.group_of[name] for name in names]
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 3
    assert findings == []
    whole, _ = form(tmp_path, examples, group_regex=r"board\d")
    assert whole.group_of[names[0]] == whole.group_of[names[2]] != whole.group_of[names[1]]


def test_a_regular_expression_that_is_nowhere_found_is_refused(
    tmp_path: Path, pictures: list[Example]
) -> None:
    with pytest.raises(InputError, match=r"found in the path of no picture, such as io/a\.png"):
        form(tmp_path, pictures, group_regex="board")


@pytest.mark.timeout(60)
def test_a_regular_expression_that_never_ends_is_ended(
    tmp_path: Path, pictures: list[Example]
) -> None:
    name = f"io/{'1' * 50}x.png"
    with pytest.raises(InputError, match="takes longer than 1 s for the path") as caught:
        form(tmp_path, [*pictures, draw(tmp_path, name, 9)], group_regex=r"(\d+)+_")
    assert name in caught.value.problem


def test_without_fingerprints_only_the_expression_joins(tmp_path: Path) -> None:
    examples = [draw(tmp_path, f"io/{index}.png", 0) for index in range(3)]
    groups, findings = form_groups(examples, None, source=tmp_path)
    assert groups == keep_apart(examples)
    assert groups.count_shared() == {"groups": 0, "pictures": 0}
    assert findings == []
