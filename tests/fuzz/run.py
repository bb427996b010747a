"""Looks for bytes that one of our readers answers wrongly to, with atheris (libFuzzer).

PYTHONPATH=. python tests/fuzz/run.py annotation --seconds=600

What is found lies in `.fuzz/` as `<target>-crash-*` (or `-timeout-`, `-oom-`): mend the reader, and
put the file into `tests/fuzz/regressions/<target>/` under a name that says what it is.
"""

from __future__ import annotations

import argparse
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
# A library that is installed brings a package of this name, which would hide ours.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [str(HERE.parent)]

with atheris.instrument_imports(include=["records"]):
    from tests.fuzz.targets import TARGETS
    from tests.records.annotation_mutants import MUTATIONS
    from tests.records.mutants import mutate

Mutate = Callable[[bytes, random.Random], bytes]


def mutate_annotation(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(MUTATIONS)(rng, data)


MUTATORS: dict[str, Mutate] = {"annotation": mutate_annotation, "picture": mutate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path(".fuzz"), help="what is found goes here")
    given = parser.parse_args()
    grown = given.out / given.target  # Bytes that reached something new; a later run starts there.
    grown.mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [
            *(sys.argv[0], str(grown), *(str(path) for path in seed_folders(given.target))),
            *(f"-max_total_time={given.seconds}", "-timeout=20", "-rss_limit_mb=4096"),
            *("-max_len=65536", "-print_final_stats=1"),
            f"-artifact_prefix={given.out}/{given.target}-",
        ],
        TARGETS[given.target],
        custom_mutator=make_mutator(MUTATORS.get(given.target)),
    )
    atheris.Fuzz()


def seed_folders(target: str) -> list[Path]:
    return [path for kind in ("corpus", "regressions") if (path := HERE / kind / target).is_dir()]


def make_mutator(ours: Mutate | None) -> Callable[[bytes, int, int], bytes]:
    """Half of the mutants are made as the format has it, the others by libFuzzer."""

    def change(data: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if ours is not None and data and rng.random() < 0.5:
            try:
                return ours(data, rng)[:longest]
            except Exception:  # What is no longer of the format cannot be changed by its rules.
                pass
        changed: bytes = atheris.Mutate(data, longest)
        return changed

    return change


if __name__ == "__main__":
    main()
