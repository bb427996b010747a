"""A watch: each picture once, after restarts and kills too, and none half written."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.ending import Interrupted
from pipeline.predicting import watching
from pipeline.stages import predict
from tests.pipeline.stages.predict_bench import (
    TWO,
    Bench,
    draw,
    export_tiny,
    make_bench,
    read_lines,
    read_rejects,
    read_table,
    tree,
)

REPOSITORY = Path(__file__).resolve().parents[3]
KILLS = int(os.environ.get("NIOSCOPE_KILLS", "3"))
PICTURES = 240 if KILLS > 3 else 120
SECONDS_AT_MOST = 120.0
# Starts a watch for each line it is given, without importing TensorFlow again for each.
NURSERY = """
import functools, os, sys
from pathlib import Path
from pipeline.predicting import watching
from pipeline.config import Settings
from records.quiet import load_tensorflow
from pipeline.stages import predict

root = Path(sys.argv[1])
predict.look_until = functools.partial(watching.look_until, look_seconds=0.02)
settings = Settings(stage="predict", work_dir=root / "run", images=str(root / "pictures"),
                    output_dir=root / "sorted", watch=True, overlays=True)
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            predict.run(settings)
        finally:
            os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    return export_tiny(folder / "1", TWO).parent


@pytest.fixture
def bench(tmp_path: Path, exports: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    quick = functools.partial(watching.look_until, look_seconds=0.02)
    impatient = functools.partial(watching.Arrivals, patience_seconds=0.2)
    monkeypatch.setattr(predict, "look_until", quick)
    monkeypatch.setattr(predict, "Arrivals", impatient)
    return make_bench(tmp_path, exports)


def count_lines(folder: Path) -> int:
    path = folder / "predictions.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS_AT_MOST
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)


def watch(
    bench: Bench, *steps: tuple[Callable[[], object], int], output: Path | None = None
) -> None:
    """Watches; takes each step and waits for as many answers, then tells the watch to end."""
    folder = output or bench.export.parent / "watch"

    def act() -> None:
        wait_for(lambda: signal.getsignal(signal.SIGTERM) != signal.SIG_DFL)
        try:
            for step, answers in steps:
                step()
                wait_for(lambda answers=answers: count_lines(folder) >= answers)  # type: ignore[misc]
            time.sleep(0.3)  # Nothing more comes.
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    actor = threading.Thread(target=act, daemon=True)
    actor.start()
    with pytest.raises(Interrupted) as ended:
        bench.run(watch=True, output=output)
    assert ended.value.status == 143
    actor.join()


def nothing() -> None:
    """The step of one who waits."""


def read_names(folder: Path) -> list[str]:
    return [Path(line["file"]).name for line in read_lines(folder)]


def test_pictures_that_arrive_are_judged_once_and_after_a_restart(bench: Bench) -> None:
    def add_two() -> None:
        draw(bench.pictures / "4.png", 4)
        (bench.pictures / "3.png").write_bytes(b"no picture")

    watch(bench, (nothing, 3), (add_two, 5), output=bench.sorted)
    assert sorted(read_names(bench.sorted)) == [f"{number}.png" for number in range(5)]
    assert read_rejects(bench.sorted).keys() == {"3.png"}
    first = tree(bench.sorted)
    watch(bench, output=bench.sorted)
    assert tree(bench.sorted) == first

    def replace() -> None:
        draw(bench.pictures / "0.png", 10)
        (bench.pictures / "1.png").touch()
        draw(bench.pictures / "sub" / "5.png", 5)

    watch(bench, (replace, 7), output=bench.sorted)
    counts = Counter(read_names(bench.sorted))
    assert counts == {**{f"{number}.png": 1 for number in range(6)}, "0.png": 2}
    rows, lines = read_table(bench.sorted), read_lines(bench.sorted)
    assert [row["source_id"] for row in rows] == [line["file"] for line in lines]
    assert all(Path(line["file"]).is_absolute() for line in lines)
    copies = {line["copy"]: Path(line["file"]) for line in lines if "copy" in line}
    assert len(copies) == 6 and copies.keys() == {n for n in tree(bench.sorted) if "/" in n}
    both = [name for name, path in copies.items() if path.name == "0.png"]
    assert {(bench.sorted / name).read_bytes() for name in both} == {
        first[next(name for name in both if name in first)],
        (bench.pictures / "0.png").read_bytes(),
    }


def test_a_watch_gives_the_answers_of_a_single_run(bench: Bench) -> None:
    watch(bench, (nothing, 3))
    bench.run()
    added = {"size_bytes", "modified_ns"}
    watched = read_lines(bench.export.parent / "watch")
    for line, other in zip(watched, read_lines(bench.answers), strict=True):
        assert line.keys() - other.keys() == added
        path = Path(line["file"])
        status = path.stat()
        assert (line["size_bytes"], line["modified_ns"]) == (status.st_size, status.st_mtime_ns)
        assert {name: line[name] for name in other} == {**other, "file": str(path.resolve())}


def test_a_watch_and_other_runs_keep_apart(bench: Bench) -> None:
    watch(bench, (nothing, 3), output=bench.sorted)
    before = tree(bench.root)
    bench.refuse("--watch", "new or empty folder", output=bench.sorted)
    assert tree(bench.root) == before
    other = bench.root / "other"
    bench.run(output=other)
    bench.refuse("--watch", str(other), output=other, watch=True)
    bench.refuse("is no folder", images=bench.pictures / "0.png", watch=True)
    for output in (bench.pictures, bench.pictures / "out", bench.root):
        bench.refuse("lie in one another", output=output, watch=True)


@pytest.fixture
def nursery(bench: Bench) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(bench.root)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=60)


def start(nursery: subprocess.Popen[str]) -> int:
    assert nursery.stdin is not None and nursery.stdout is not None
    print("start", file=nursery.stdin, flush=True)
    while not (line := nursery.stdout.readline().strip()).isdecimal():
        assert nursery.poll() is None
    return int(line)


def end(nursery: subprocess.Popen[str], child: int, number: signal.Signals) -> None:
    assert nursery.stdout is not None
    os.kill(child, number)
    while nursery.stdout.readline().strip() != "ended":
        assert nursery.poll() is None


def arrive(folder: Path, written: Path, told: threading.Event) -> None:
    """Puts one picture after the other into the folder, each in two halves."""
    for number in range(3, PICTURES):
        content = draw(written / f"{number}.png", number).read_bytes()
        with (folder / f"{number}.png").open("wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            told.wait(0.02)
            file.write(content[len(content) // 2 :])


def test_killed_at_any_moment_every_picture_has_one_row(
    bench: Bench, nursery: subprocess.Popen[str], tmp_path: Path
) -> None:
    told, rng = threading.Event(), random.Random(0)
    arriving = threading.Thread(
        target=arrive, args=(bench.pictures, tmp_path / "written", told), daemon=True
    )
    arriving.start()
    for _ in range(KILLS):
        child = start(nursery)
        before = count_lines(bench.sorted)
        if rng.random() < 0.8 and before < PICTURES - 20:
            wait_for(lambda before=before: count_lines(bench.sorted) > before)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.3))
        end(nursery, child, signal.SIGKILL)
    told.set()
    arriving.join()
    child = start(nursery)
    wait_for(lambda: count_lines(bench.sorted) >= PICTURES)
    time.sleep(0.5)
    end(nursery, child, signal.SIGTERM)
    lines = read_lines(bench.sorted)
    assert Counter(Path(line["file"]).name for line in lines) == {
        f"{number}.png": 1 for number in range(PICTURES)
    }
    assert not [line["error"] for line in lines if line["error"]]
    rows = read_table(bench.sorted)
    assert [(row["source_id"], row["sha256"]) for row in rows] == [
        (line["file"], line["sha256"]) for line in lines
    ]
    found = tree(bench.sorted)
    assert len({line["copy"] for line in lines}) == PICTURES
    for line in lines:
        assert found[line["copy"]] == Path(line["file"]).read_bytes()
        assert found[line["overlay"]].startswith(b"\x89PNG")
    assert set(found) == {
        *(line[name] for line in lines for name in ("copy", "overlay")),
        "predictions.csv", "predictions.jsonl", "rejects.csv",
    }  # fmt: skip
