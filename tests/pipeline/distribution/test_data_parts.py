from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.distribution.data_parts import DataPart, check_parts, deal_files
from pipeline.distribution.tf_config import Place
from records.errors import InputError
from records.manifest import Manifest, Shard


def manifest_of(counts: list[int]) -> Manifest:
    files = tuple(Shard(f"train-{n}", count, "", "") for n, count in enumerate(counts))
    return Manifest(
        folder=Path("records"),
        name="x",
        layout="flat",
        classes=("a",),
        box_classes=(),
        is_grey=True,
        counts={"train": {"a": sum(counts)}, "validation": {"a": 1}, "test": {"a": 1}},
        shards={"train": files, "validation": (Shard("v", 1, "", ""),), "test": ()},
        source_digest="",
        split_seed=0,
    )


def test_files_are_dealt_in_turn_and_parts_in_order() -> None:
    manifest = manifest_of([5, 4, 3, 2, 1])
    own, parts = deal_files(manifest, parts=2, place=Place(1, 2))
    assert [shard.file for shard in own.shards["train"]] == ["train-1", "train-3"]
    assert parts == (DataPart(1, 6),)
    assert own.shards["validation"] == manifest.shards["validation"]
    assert own.count("train") == 15
    together, both = deal_files(manifest, parts=2, place=Place())
    order = [shard.file[-1] for shard in together.shards["train"]]
    assert (order, both) == (["0", "2", "4", "1", "3"], (DataPart(0, 9), DataPart(1, 6)))
    assert deal_files(manifest, parts=1, place=Place()) == (manifest, ())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 3), st.integers(1, 3))
def test_the_workers_together_have_what_one_alone_has(
    counts: list[int], workers: int, share: int
) -> None:
    manifest, parts = manifest_of(counts), workers * share
    if len(counts) < parts:
        with pytest.raises(InputError, match=f"in {len(counts)} files") as caught:
            deal_files(manifest, parts=parts, place=Place(0, workers))
        assert "--stage=records with a smaller --shard_mb" in caught.value.remedy
        return
    whole = deal_files(manifest, parts=parts, place=Place())
    dealt = [deal_files(manifest, parts=parts, place=Place(i, workers)) for i in range(workers)]
    files = [shard for own, _ in dealt for shard in own.shards["train"]]
    assert tuple(files) == whole[0].shards["train"]
    assert sorted(files, key=lambda x: x.file) == sorted(
        manifest.shards["train"], key=lambda x: x.file
    )
    assert tuple(part for _, own in dealt for part in own) == whole[1]
    for own, of_worker in dealt:
        if of_worker:
            of_files = sum(shard.count for shard in own.shards["train"])
            assert of_files == sum(part.count for part in of_worker)


def test_parts_that_differ_much_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    deal_files(manifest_of([10, 10, 9]), parts=2, place=Place())
    assert "10 to 19 training pictures" in capsys.readouterr().out
    deal_files(manifest_of([10, 9]), parts=2, place=Place())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"parts": 3}, "--parts=3 cannot be shared out among 2 workers"),
        ({"batch_size": 7}, "A batch of 7 pictures"),
        ({"labels_per_class": 10}, "--labels_per_class=10"),
    ],
)
def test_what_cannot_be_done_in_parts_is_refused(values: dict[str, int], words: str) -> None:
    fine = {"parts": 2, "workers": 2, "batch_size": 8, "labels_per_class": 0}
    check_parts(**fine)
    with pytest.raises(InputError) as caught:
        check_parts(**{**fine, **values})
    assert words in caught.value.problem


def test_one_part_takes_any_batch() -> None:
    check_parts(1, workers=1, batch_size=7, labels_per_class=10)
