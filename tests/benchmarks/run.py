"""`make bench`: runs the benchmarks one after another and makes one table of what they say.

    PYTHONPATH=. python tests/benchmarks/run.py [--parts NAME ...] [--all] [--again] [--table]

The peers get an environment of their own, from PyPI (`peers.txt`), in `.bench/peers`. What a part
has measured is kept in `.bench/rows.jsonl` when the part is through, and not measured again, so
that a run can be interrupted; `--again` forgets it. The table is printed, and written into
BUILD_NOTES.md between its two marks when every part is through.

Imports nothing of this project: a library that is installed brings a package called `tests`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BENCH = REPOSITORY / ".bench"
ROWS = BENCH / "rows.jsonl"
NOTES = REPOSITORY / "BUILD_NOTES.md"
MARKS = "<!-- bench -->", "<!-- /bench -->"
PEERS = Path(os.environ.get("NIOSCOPE_PEERS", BENCH / "peers"))
REQUIREMENTS = HERE / "peers.txt"
# grad-cam asks for torchvision and does without: see `torch_maps.import_pytorch_grad_cam`.
WITHOUT_DEPENDENCIES = "grad-cam>=1.5.7,<1.6"
DRAFT_VARIABLE = "NIOSCOPE_ROWS"
PARTS = (
    *("records", "inputs", "training", "accuracy", "predict", "networks", "maps", "start"),
    *("memory", "growth", "backbone"),
)
# They measure ours alone, or check what is equal.
FURTHER_PARTS = ("map_equality", "near_duplicates", "cluster", "serving")


@dataclass(frozen=True)
class Row:
    """What one comparison gave.

    Attributes:
        part: The benchmark it is of.
        what: What was done.
        against: By whom else, or what ours grew to.
        ours: Our figure, the median.
        theirs: The other one.
        unit: Of both: `pictures/s`, `s` or `MB`.
        ratios: Of each round: how many times better ours is; of growth the cost of the larger work
            to that of the smaller.
        growth: Whether it is growth.
        at_least: The other was given up: it is worse than its figure says.
    """

    part: str
    what: str
    against: str
    ours: float
    theirs: float
    unit: str
    ratios: tuple[float, ...]
    growth: bool = False
    at_least: bool = False

    def to_json(self) -> str:
        """One line, with the day."""
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        return json.dumps({"date": today, **dataclasses.asdict(self)})


def main() -> int:
    """Runs what is not measured yet; returns 1 when a part failed, 2 without peers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=[*PARTS, *FURTHER_PARTS], default=PARTS)
    parser.add_argument("--all", action="store_true", help="ours alone and equality as well")
    parser.add_argument("--again", action="store_true", help="forget what was measured")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    asked = parser.parse_args()
    BENCH.mkdir(exist_ok=True)
    if asked.again:
        ROWS.unlink(missing_ok=True)
    parts = [*asked.parts, *(FURTHER_PARTS if asked.all else ())]
    failed: list[str] = []
    if not asked.table:
        if problem := set_up_peers():
            print(f"The peers cannot be installed into {PEERS}: {problem}", file=sys.stderr)
            return 2
        failed = [part for part in parts if part not in finished_parts() and not run_part(part)]
    lines = read_lines()
    table = format_table(lines)
    print(f"\n{table}")
    if failed:
        print(f"\nNot through: {', '.join(failed)}; the same command goes on.", file=sys.stderr)
        return 1
    if set(PARTS) <= finished_parts() or asked.table:
        NOTES.write_text(put_between_marks(NOTES.read_text(encoding="utf-8"), table))
    return 0


def set_up_peers() -> str:
    """Makes the environment of the peers if it is not there; returns what went wrong."""
    stamp, wanted = PEERS / "peers.txt", REQUIREMENTS.read_text() + WITHOUT_DEPENDENCIES
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    install = [str(PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for command in (
        [sys.executable, "-m", "venv", str(PEERS)],
        [*install, "--requirement", str(REQUIREMENTS)],
        [*install, "--no-deps", WITHOUT_DEPENDENCIES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr or done.stdout)[-800:]
    stamp.write_text(wanted)
    return ""


def run_part(part: str) -> bool:
    """Runs one benchmark in a process of its own; keeps its rows if it went through."""
    draft = BENCH / "draft.jsonl"
    draft.unlink(missing_ok=True)
    print(f"\n=== {part} ===", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"),
            *("-o", "python_files=bench_*.py", f"tests/benchmarks/bench_{part}.py"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, DRAFT_VARIABLE: str(draft), "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    seconds = round(time.monotonic() - started)
    print(f"=== {part}: {seconds} s ===", flush=True)
    rows = draft.read_text() if draft.exists() else ""
    # Without the real pictures everything is skipped, which is no failure by itself.
    if done.returncode or (part in PARTS and not rows):
        return False
    with ROWS.open("a") as file:
        file.write(rows + json.dumps({"done": part, "seconds": seconds}) + "\n")
    return True


def read_lines() -> list[dict[str, object]]:
    """All that is kept."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def finished_parts() -> set[str]:
    """The parts that are through."""
    return {str(line["done"]) for line in read_lines() if "done" in line}


def format_table(lines: list[dict[str, object]]) -> str:
    """What machine, what versions, and a row a comparison, as Markdown."""
    dates = sorted({str(line.pop("date")) for line in lines if "date" in line})
    rows = [Row(**line) for line in lines if "what" in line]  # type: ignore[arg-type]
    order = {part: number for number, part in enumerate([*PARTS, *FURTHER_PARTS])}
    rows.sort(key=lambda row: order[row.part])
    seconds = sum(int(str(line["seconds"])) for line in lines if "done" in line)
    return "\n".join(
        [
            f"{describe_machine()}; {' and '.join(dates[:1] + dates[1:][-1:])}; `make bench`, "
            f"{seconds / 60:.0f} min. {describe_versions()}. A ratio is the median of interleaved "
            "rounds with its range: above 1 ours is better; in rows of *growth* it is what the "
            "larger work costs to what the smaller one does.",
            "",
            "| | | ours | theirs | ratio |",
            "| --- | --- | --- | --- | --- |",
            *map(format_row, rows),
        ]
    )


def format_row(row: Row) -> str:
    """One line of the table."""
    sign = "> " if row.at_least else ""
    ratio = f"{sign}{round_off(statistics.median(row.ratios))}"
    if len(row.ratios) > 1:
        ends = " to ".join(round_off(end(row.ratios)) for end in (min, max))
        ratio += f" ({ends}, {len(row.ratios)} rounds)"
    if row.growth:
        ratio = f"*growth* {ratio}"
    figures = [f"{round_off(value)} {row.unit}" for value in (row.ours, row.theirs)]
    cells = row.what, row.against, figures[0], sign + figures[1], ratio
    return f"| {' | '.join(cells)} |"


def round_off(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 1 else f"{value:.1f}" if (
        value >= 10
    ) else f"{value:.2f}"  # fmt: skip


def describe_machine() -> str:
    """Processor, cores and memory."""
    name = platform.processor() or platform.machine()
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        name = value.strip() if key.strip() == "model name" else name
        flags |= set(value.split()) if key.strip() == "flags" else set()
    has = [text for flag, text in (("avx512f", "AVX-512"), ("amx_tile", "AMX")) if flag in flags]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {name} ({', '.join(has) or 'no AVX-512'}), {gigabytes:.0f} GB"


def describe_versions() -> str:
    """Of what was compared."""
    ours = [f"{name} {metadata.version(name)}" for name in ("tensorflow", "keras", "tf-keras-vis",
            "tensorflow-datasets")]  # fmt: skip
    found = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in metadata.distributions(
            path=[str(path) for path in PEERS.glob("lib/python3*/site-packages")]
        )
    }
    theirs = [f"{name} {found[name]}" for name in ("torch", "openvino", "torchcam", "grad-cam")
              if name in found]  # fmt: skip
    return ", ".join([f"Python {platform.python_version()}", *ours, *theirs])


def put_between_marks(notes: str, table: str) -> str:
    """The notes with the table in place of the one before."""
    before, first, rest = notes.partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not first or not second:
        raise ValueError(f"{NOTES} lacks {MARKS[0]} or {MARKS[1]}")
    return f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"


if __name__ == "__main__":
    sys.exit(main())
