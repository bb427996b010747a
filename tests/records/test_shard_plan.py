from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
from tensorflow_datasets.core import naming

from records.errors import InputError
from records.manifest import read_manifest
from records.shard_plan import cut_into_shards, name_shard
from records.shards import find_foreign
from tests.records.test_manifest import VALUES, put


@pytest.mark.parametrize("number", [1, 99_999, 100_000, 2_000_000])
def test_names_are_those_of_tensorflow_datasets(number: int) -> None:
    template = naming.ShardedFileTemplate(
        data_dir="", dataset_name="x_ray", split="train", filetype_suffix="tfrecord"
    )
    for index in {0, number // 2, number - 1}:
        name = template.relative_filepath(shard_index=index, num_shards=number)
        assert name_shard("x_ray", "train", index, number) == str(name)


def test_names_of_a_hundred_thousand_shards_sort_as_the_shards_do() -> None:
    assert name_shard("a", "test", 7, 99_999) == "a-test.tfrecord-00007-of-99999"
    assert name_shard("a", "test", 7, 100_000) == "a-test.tfrecord-000007-of-100000"
    names = [name_shard("a", "test", index, 100_001) for index in (0, 9, 99_999, 100_000)]
    assert names == sorted(names)


def test_a_manifest_of_a_hundred_thousand_shards_can_be_read(tmp_path: Path) -> None:
    values = copy.deepcopy(VALUES)
    for index, shard in enumerate(values["shards"]["train"], 99_998):
        shard["file"] = name_shard("x_ray", "train", index, 100_000)
        (tmp_path / shard["file"]).touch()
    manifest = read_manifest(put(tmp_path, values))
    assert [shard.file[-16:] for shard in manifest.shards["train"]] == [
        "099998-of-100000",
        "099999-of-100000",
    ]
    assert find_foreign(tmp_path, ()) is None


@pytest.mark.parametrize(
    "ending",
    ["0001-of-0002", "00001-of-", "00001-of-00002.gz", "0000\u0661-of-00001"],
)
def test_what_is_no_name_of_a_shard_is_refused(tmp_path: Path, ending: str) -> None:
    values = copy.deepcopy(VALUES)
    values["shards"]["test"][0]["file"] = f"x_ray-test.tfrecord-{ending}"
    with pytest.raises(InputError, match=r"cannot be read .* no name of a shard"):
        read_manifest(put(tmp_path, values))
    (tmp_path / f"y-test.tfrecord-{ending}").touch()
    assert find_foreign(tmp_path, ()) == tmp_path / f"y-test.tfrecord-{ending}"


def test_shards_are_cut_as_even_as_can_be() -> None:
    assert cut_into_shards(10, 95, target_bytes=32) == [(0, 3), (3, 6), (6, 10)]
    assert cut_into_shards(10, 96, target_bytes=32) == [(0, 3), (3, 6), (6, 10)]
    assert len(cut_into_shards(10, 97, target_bytes=32)) == 4
    assert cut_into_shards(2, 10**9, target_bytes=1) == [(0, 1), (1, 2)]
    assert cut_into_shards(0, 0, target_bytes=32) == [(0, 0)]


def test_the_shards_of_a_billion_pictures() -> None:
    # 14,884 bytes a picture of NEU: 14.884 TB in shards of 32 MB.
    bounds = cut_into_shards(10**9, 14_884 * 10**9, target_bytes=32_000_000)
    assert len(bounds) == 465_125
    assert (bounds[0][0], bounds[-1][1]) == (0, 10**9)
    assert {stop - start for start, stop in bounds} == {2149, 2150}
    assert all(left[1] == right[0] for left, right in itertools.pairwise(bounds))
