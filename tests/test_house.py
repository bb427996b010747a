"""The house of DESIGN: who may import whom, how large a file may be, what must stay light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("records", "models", "pipeline", "pipeline.explaining", "pipeline.stages")
ALLOWED = {
    "records": {"records"},
    "models": {"models"},
    "pipeline": {"pipeline", "records"},
    "pipeline.explaining": {"records", "models", "pipeline", "pipeline.explaining"},
    "pipeline.stages": {"records", "models", "pipeline", "pipeline.explaining"},
}
MODULES = sorted(path for room in ("records", "models", "pipeline") for path in
                 (REPOSITORY / room).rglob("*.py"))  # fmt: skip


def room_of(module: str) -> str:
    """The room a dotted module name belongs to, or an empty string."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default="")


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
    rooms = {room_of(module) for module in imported_modules(path)} - {""}
    assert rooms <= ALLOWED[room_of(dotted(path))]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_reads_flags_or_imports_main(path: Path) -> None:
    assert not {m for m in imported_modules(path) if m.split(".")[0] in ("absl", "main", "tests")}


@pytest.mark.parametrize("path", [*MODULES, REPOSITORY / "main.py"], ids=dotted)
def test_a_file_can_be_read_at_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250


def test_the_import_rule_can_fail(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text("from pipeline import inputs\nimport models.cam\n")
    rooms = {room_of(name) for name in imported_modules(module)} - {""}
    assert rooms == {"pipeline", "models"}
    assert room_of("pipeline.stages.train") == "pipeline.stages"
    assert room_of("numpy") == ""


@pytest.mark.parametrize(
    "module",
    ["main", "pipeline.config", "pipeline.rundir", "pipeline.modelfacts", "records.manifest",
     "records.layouts", "records.audit", "records.split", "records.voc", "pipeline.metrics",
     "models.registry", "pipeline.threshold", "pipeline.report", "pipeline.audit_page",
     "pipeline.stages.sample", "pipeline.stages.records"],
)  # fmt: skip
def test_what_needs_no_tensorflow_does_not_import_it(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize(
    ("program", "flag"), [("ablation.py", "--arms"), ("first_system.py", "--stage")]
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
