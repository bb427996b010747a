"""The house of DESIGN: who may import whom, how large a file may be, what must stay light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# Whom the modules of a room may import besides their own; no room is reached by a way back.
ALLOWED = {
    "records": set(),
    "models": set(),
    "pipeline": {"records", "pipeline.inputs"},
    "pipeline.distribution": {"records"},
    "pipeline.inputs": {"records", "pipeline.distribution"},
    "pipeline.training": {"records", "pipeline", "pipeline.distribution", "pipeline.inputs"},
    "pipeline.evaluation": {"records", "pipeline"},
    "pipeline.maps": {"records", "pipeline.evaluation"},
    "pipeline.figures": {"records", "pipeline.evaluation", "pipeline.maps"},
    "pipeline.pages": {"records", "pipeline", "pipeline.evaluation", "pipeline.figures"},
    "pipeline.drift": {"records"},
    "pipeline.serving": {
        "records", "pipeline", "pipeline.drift", "pipeline.evaluation", "pipeline.pages",
    },
    "pipeline.predicting": {
        "records", "pipeline", "pipeline.drift", "pipeline.evaluation", "pipeline.figures",
        "pipeline.serving",
    },
    "pipeline.explaining": {
        "records", "models", "pipeline", "pipeline.figures", "pipeline.maps",
    },
}  # fmt: skip
ALLOWED["pipeline.stages"] = set(ALLOWED)
MODULES = sorted(path for room in ("records", "models", "pipeline") for path in
                 (REPOSITORY / room).rglob("*.py"))  # fmt: skip


def room_of(module: str) -> str:
    """The room a dotted module name belongs to, or an empty string."""
    return max((r for r in ALLOWED if f"{module}.".startswith(f"{r}.")), key=len, default="")


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at any depth; `from a import b` counts as `a.b` as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    rooms = {room_of(module) for module in imported_modules(path) if module not in ALLOWED} - {""}
    own = room_of(dotted(path))
    assert rooms - {own} <= ALLOWED[own]


def test_stages_do_not_import_each_other() -> None:
    for path in (REPOSITORY / "pipeline" / "stages").glob("*.py"):
        assert not {m for m in imported_modules(path) if m.startswith("pipeline.stages")}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_reads_flags_or_imports_main(path: Path) -> None:
    assert not {m for m in imported_modules(path) if m.split(".")[0] in ("absl", "main", "tests")}


@pytest.mark.parametrize(
    "path",
    [*MODULES, *(REPOSITORY / "tests" / "benchmarks").glob("*.py"), REPOSITORY / "main.py"],
    ids=dotted,
)
def test_a_file_can_be_read_at_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250


def test_the_import_rule_can_fail(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text("from pipeline import rundir\nimport models.cam\n")
    rooms = {room_of(name) for name in imported_modules(module)} - {""}
    assert rooms == {"pipeline", "models"}
    assert room_of("pipeline.stages.train") == "pipeline.stages"
    assert room_of("pipeline.maps.sanity") == "pipeline.maps"
    assert room_of("numpy") == ""


WITHOUT_TENSORFLOW = (
    "main", "pipeline.config", "pipeline.rundir", "pipeline.modelfacts", "records.manifest",
    "records.layouts", "records.audit", "records.split", "records.voc", "models.registry",
    "pipeline.evaluation.metrics", "pipeline.evaluation.threshold", "pipeline.pages.report",
    "pipeline.pages.audit_page", "pipeline.stages.sample", "pipeline.stages.records",
)  # fmt: skip
# One process for all: the first that loads it is named.
IMPORT_ONE_BY_ONE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if {"tensorflow", "keras"} & sys.modules.keys():
        sys.exit(name)
"""


def test_what_needs_no_tensorflow_does_not_import_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ONE_BY_ONE, *WITHOUT_TENSORFLOW],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        ("ablation.py", "--arms"),
        ("first_system.py", "--stage"),
        ("shard_plan.py", "--dispatch_seconds"),
        ("run.py", "--parts"),
    ],
)
def test_a_program_of_the_benchmarks_starts(program: str, flag: str) -> None:
    # As a file: a library that is installed brings a package called `tests`, which hides this one.
    done = subprocess.run(
        [
            sys.executable,
            f"tests/benchmarks/{program}",
            "--helpfull" if flag == "--stage" else "-h",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert flag in done.stdout, done.stderr


def test_the_top_level_is_as_short_as_agreed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    assert {name.split("/")[0] for name in tracked} <= {
        ".ci", ".gitignore", "BUILD_NOTES.md", "LICENSE", "Makefile", "README.md", "main.py",
        "models", "pipeline", "pyproject.toml", "records", "requirements-dev.txt",
        "requirements.txt", "tests",
    }  # fmt: skip
