"""Files of a run that somebody changed: refused with a remedy, whatever stands in them."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.drift.baseline import DriftBaseline, Reference
from pipeline.drift.log import DriftLog
from pipeline.evaluation.decision import parse_rule
from pipeline.modelfacts import ModelFacts
from pipeline.pages.report_pictures import read_json
from pipeline.predicting.answer_files import decode_answer
from pipeline.predicting.output_folder import COPIES, read_copies
from pipeline.provenance import digest_files
from pipeline.serving.published import find_difference
from pipeline.training.checkpoint import State, read_state, write_state
from records.errors import InputError
from records.manifest import MANIFEST_NAME, read_manifest
from records.untrusted import MAX_JSON_BYTES
from tests.pipeline.json_mutants import mutate
from tests.pipeline.model_facts import make_facts

FACTS = make_facts(training={"phases": [], "seconds": 1.0}, versions={"keras": "3"})
BASELINE = DriftBaseline(
    ("io", "nio"), (Reference("mean_grey", "train", ((1.0, 2.0), (2.0,), ()), 0.1),)
)
RULE = {
    "threshold": 0.5,
    "temperature": 1.0,
    "log_shares": [-0.5, -0.9],
    "review": {"budget": 0.0, "low": 0.0, "high": 0.0, "validation_share": 0.0},
}
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "manifest": (MANIFEST_NAME, lambda path: read_manifest(path.parent)),
    "config": ("config.json", ModelFacts.read),
    "drift baseline": ("drift.json", DriftBaseline.read),
    "copies": (COPIES, lambda path: read_copies(path.parent, must_be_ours=True)),
    "any other": ("metrics.json", read_json),
    "model card": (
        "assets.extra/model_card.json",
        lambda path: find_difference(path.parents[1], {}),
    ),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_json_of_ours_is_refused(tmp_path: Path, kind: str) -> None:
    name, read = READERS[kind]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for content in (
        *(b"", b"{", b"\xff", b"NaN", b'{"a": Infinity}', b"1e999", b"9" * 5000, b"\0" * 100),
        *(b"[" * 100_000, b'{"a":' * 100_000, "{}".encode("utf-16")),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.remedy and len(caught.value.problem) < 600
    with path.open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(InputError, match="larger than"):
        read(path)
    path.unlink()
    os.mkfifo(path)  # Opened, it would be waited for.
    with pytest.raises((InputError, OSError), match="It is no file"):
        read(path)


def test_any_value_anywhere_in_the_facts_is_refused_or_one_that_they_may_have(
    tmp_path: Path,
) -> None:
    FACTS.write(tmp_path / "config.json")
    whole = json.loads((tmp_path / "config.json").read_text())
    for what, values in mutate(whole):
        (tmp_path / "config.json").write_text(json.dumps(values))
        try:
            facts = ModelFacts.read(tmp_path / "config.json")
        except InputError:
            continue
        assert type(facts.image_size) is type(facts.channels) is type(facts.seed) is int, what
        assert facts.image_size > 0 and facts.channels in (1, 3), what
        assert all(isinstance(name, str) for name in facts.classes), what
        json.dumps(facts.classes, ensure_ascii=False).encode()


def test_any_value_anywhere_in_the_rule_is_refused_or_decides() -> None:
    logits = np.array([[0.0, 1.0], [2.0, -1.0]])
    for what, values in mutate(RULE):
        try:
            rule = parse_rule(values, FACTS)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # What `read_evaluation` takes for damage.
        decided = rule.decide(logits)
        assert np.isfinite(decided.probabilities).all(), what


def test_any_value_anywhere_in_the_baseline_is_refused_or_ranks(tmp_path: Path) -> None:
    path = tmp_path / "assets.extra" / "drift.json"
    path.parent.mkdir()
    BASELINE.write(path)
    outputs = {"statistics": np.ones([60, 1]), "label_index": np.arange(60) % 2}
    for what, values in mutate(json.loads(path.read_text())):
        path.write_text(json.dumps(values))
        try:
            log = DriftLog(tmp_path, watches=True)
            log.add(outputs)
            log.write(tmp_path)
        except InputError:
            continue
        except Exception as error:
            raise AssertionError(what) from error


def test_lines_of_answers_that_nobody_wrote_are_refused() -> None:
    for line in (
        "[" * 100_000,
        "3",
        "null",
        "[]",
        "{}",
        '"a"',
        '{"probabilities": 3}',
        "\0",
        "NaN",
    ):
        with pytest.raises(ValueError):
            decode_answer(line, ("io", "nio"))


def test_a_state_with_a_digest_of_its_own_is_none(tmp_path: Path) -> None:
    def forge(content: bytes) -> State | None:
        (tmp_path / "a.state").write_bytes(hashlib.sha256(content).digest() + content)
        return read_state(tmp_path / "a.state")

    write_state(tmp_path / "a.state", State({"w": [np.ones(3)]}, {"epoch": 1}))
    assert read_state(tmp_path / "a.state") is not None
    for facts in (b"", b"[" * 100_000, b"[]", b"{}", b'{"counts": {"w": 9}, "facts": 1}'):
        archive = io.BytesIO()
        np.savez(archive, facts=np.frombuffer(facts, np.uint8))
        assert forge(archive.getvalue()) is None
    pickled = io.BytesIO()
    np.savez(pickled, facts=np.array([{"a": 1}], object))
    for content in (
        pickled.getvalue(),
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x80\x04.",
    ):
        assert forge(content) is None


# Versions that are no longer what was published


@pytest.fixture
def version(tmp_path: Path) -> Path:
    version = tmp_path / "1"
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/labels.txt"):
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    files = digest_files(version)
    for name in ("assets.extra/model_card.json", "assets.extra/golden/golden.json"):
        path = version / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"files": files}))
    (version / "assets.extra/model_card.md").write_text("card")
    return version


def compare(version: Path) -> str:
    return find_difference(version, digest_files(version))


def test_a_version_as_it_was_published_passes_with_or_without_its_card(version: Path) -> None:
    assert compare(version) == ""
    (version / "assets.extra/signed_off.txt").write_text("by QA")
    (version / ".DS_Store").touch()
    assert compare(version) == ""
    (version / "assets.extra/model_card.json").unlink()
    assert compare(version) == ""


@pytest.mark.parametrize("has_card", [True, False])
def test_every_change_is_named(version: Path, has_card: bool) -> None:
    if not has_card:
        (version / "assets.extra/model_card.json").unlink()
    graph, added = version / "saved_model.pb", version / "saved_model.cpb"
    graph.write_text("saved_model.pc")
    assert compare(version) == "saved_model.pb differs"
    (version / "assets.extra/labels.txt").unlink()
    added.touch()  # TensorFlow would read it in place of the graph.
    expected = (
        "assets.extra/labels.txt is missing, saved_model.pb differs, saved_model.cpb was added"
    )
    assert compare(version) == expected
    graph.unlink()
    graph.symlink_to("/dev/zero")
    assert "saved_model.pb is missing" in compare(version)


def test_a_version_without_digests_is_told_of(
    version: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("assets.extra/model_card.json", "assets.extra/golden/golden.json"):
        (version / name).write_text("{}")
    assert compare(version) == ""
    assert "carries no digests" in capsys.readouterr().err


def test_names_in_the_list_lead_nowhere(version: Path) -> None:
    listed: dict[str, Any] = {"../../etc/passwd": "0" * 64, "/dev/zero": "0" * 64, "\0": 3}
    (version / "assets.extra/model_card.json").write_text(json.dumps({"files": listed}))
    assert compare(version).startswith(
        r"\x00 is missing, ../../etc/passwd is missing, /dev/zero is missing"
    )
    for files in ([], 3, "a", [["a", "b"]]):
        (version / "assets.extra/model_card.json").write_text(json.dumps({"files": files}))
        with pytest.raises(InputError, match="cannot be read"):
            compare(version)
