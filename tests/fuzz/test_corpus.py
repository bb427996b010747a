"""Every file of the fuzzers' corpus is answered as it should be; needs no fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).resolve().parent
FILES = sorted(path for kind in ("corpus", "regressions") for path in (HERE / kind).rglob("*.*"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_file_of_the_corpus_is_answered(target: str) -> None:
    files = [path for path in FILES if path.parent.name == target]
    assert len(files) > 3
    for path in files:
        try:
            TARGETS[target](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} is answered wrongly") from error


def test_no_file_is_for_no_target_and_all_are_small() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert sum(path.stat().st_size for path in FILES) < 200_000
