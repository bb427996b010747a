from __future__ import annotations

import json

import pytest

from pipeline.distribution.tf_config import Place, read_place
from records.errors import InputError

TWO = {"worker": ["a:1", "b:2"]}


def place_of(cluster: object, task: object) -> Place:
    return read_place("multiworker", {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})})


def test_without_many_workers_there_is_one() -> None:
    for distribute in ("none", "mirrored"):
        assert read_place(distribute, {"TF_CONFIG": "nonsense"}) == Place(0, 1)


def test_workers_are_counted_as_tensorflow_counts_them() -> None:
    assert [place_of(TWO, {"type": "worker", "index": i}) for i in (0, 1)] == [
        Place(0, 2),
        Place(1, 2),
    ]
    with_chief = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    assert place_of(with_chief, {"type": "chief", "index": 0}) == Place(0, 3)
    assert place_of(with_chief, {"type": "worker", "index": 1}) == Place(2, 3)
    assert [Place(i, 2).is_chief for i in (0, 1)] == [True, False]


WORKER = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not set"),
        ("{", "no JSON"),
        ("[]", "no cluster"),
        ('{"cluster": {}, "task": {}}', "no cluster"),
        (json.dumps({"cluster": TWO}), "no task"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 2}}), "index 2, of 2"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": -1}}), "index -1"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": "0"}}), "index '0'"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": True}}), "index True"),
        (json.dumps({"cluster": TWO, "task": {"index": 0}}), "type None"),
        (json.dumps({"cluster": TWO, "task": {"type": [], "index": 0}}), "type []"),
        (json.dumps({"cluster": TWO, "task": {"type": "chief", "index": 0}}), "type 'chief'"),
        (json.dumps({"cluster": {**TWO, "ps": ["c:3"]}, "task": WORKER}), "names ps"),
        (json.dumps({"cluster": {**TWO, "chief": ["c:3", "d:4"]}, "task": WORKER}), "one chief"),
        (json.dumps({"cluster": {"worker": ["a:1", "a:1"]}, "task": WORKER}), "same address"),
        (json.dumps({"cluster": {"worker": ["a"]}, "task": WORKER}), "'a' is no address"),
        (json.dumps({"cluster": {"worker": ["a:0"]}, "task": WORKER}), "'a:0' is no address"),
        (json.dumps({"cluster": {"worker": ["a:65536"]}, "task": WORKER}), "'a:65536' is no"),
        (json.dumps({"cluster": {"worker": "a:1"}, "task": WORKER}), "no list"),
        ("[" * 100_000, "TF_CONFIG"),
    ],
)
def test_a_wrong_setting_is_told_with_an_example_of_a_right_one(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_place("multiworker", {"TF_CONFIG": text} if text else {})
    assert words in caught.value.problem
    example = caught.value.remedy.split("TF_CONFIG='")[1].removesuffix("'")
    assert read_place("multiworker", {"TF_CONFIG": example}) == Place(0, 2)
