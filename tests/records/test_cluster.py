"""Tasks done by the workers of a Dask cluster, and what is said of those that cannot do them."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import distributed
import pytest

from records import cluster, elsewhere
from records.cluster import ClusterWorkers
from records.elsewhere import read_facts, require_alike
from records.errors import InputError
from records.layouts import find_samples
from records.manifest import Manifest
from records.types import Example, Split
from tests.clusters import REPOSITORY, find_pids, running, scheduling, started, wait_for

Splits = dict[Split, tuple[Example, ...]]
Write = Callable[..., Manifest]
SMALL_SHARD_BYTES = 1500
WORKERS = 2


@pytest.fixture(scope="module")
def dask() -> Iterator[distributed.LocalCluster]:
    with running(WORKERS) as local:
        local.scheduler.allowed_failures = 1
        yield local


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_results_come_in_the_order_of_the_tasks(dask: distributed.LocalCluster) -> None:
    with ClusterWorkers(dask.scheduler_address) as workers:
        for count, together in ((1, 8), (50, 1), (1003, 50)):
            found = list(workers.map(math.isqrt, range(count), together=together))
            assert found == [math.isqrt(number) for number in range(count)]


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_cluster_does_all_of_them(dask: distributed.LocalCluster, tasks: int) -> None:
    with ClusterWorkers(dask.scheduler_address) as workers:
        found = {int(path.name) for path in workers.map(Path.resolve, [Path("/proc/self")] * tasks)}
    assert found
    assert found <= set(find_pids(dask))


def test_an_error_comes_back_whole(dask: distributed.LocalCluster) -> None:
    with ClusterWorkers(dask.scheduler_address) as workers, pytest.raises(InputError) as caught:
        list(workers.map(find_samples, [Path("absent")]))
    assert caught.value.problem == "The data folder absent does not exist."
    assert caught.value.remedy == "Give --data_dir=FOLDER."


def test_a_task_that_ends_its_workers_is_an_error(dask: distributed.LocalCluster) -> None:
    with ClusterWorkers(dask.scheduler_address) as workers, pytest.raises(InputError) as caught:
        list(workers.map(signal.raise_signal, [signal.SIGKILL]))
    assert "ended from outside by the same task" in caught.value.problem
    wait_for(dask, WORKERS)


def stop_at(picture: Path, kept: Path) -> None:
    """Lets whoever reads a picture wait; keeps the picture."""
    picture.rename(kept)
    os.mkfifo(picture)


def wait_for_reader(dask: distributed.LocalCluster, pipe: Path) -> int:
    """Process id of the worker that waits for a pipe that is open for writing."""
    while not (readers := [pid for pid in find_pids(dask) if pipe in list_open(pid)]):
        time.sleep(0.01)
    return readers[0]


@pytest.mark.parametrize("place", [0, 12])
def test_a_worker_killed_while_it_writes_a_shard_leaves_no_trace(
    dask: distributed.LocalCluster, tmp_path: Path, splits: Splits, write: Write, place: int
) -> None:
    write = functools.partial(write, splits=splits, target_shard_bytes=SMALL_SHARD_BYTES)
    write(tmp_path / "one")
    folder, kept = tmp_path / "many", tmp_path / "kept"
    pipe = tmp_path / "pictures" / splits["train"][place % len(splits["train"])].source_id
    stop_at(pipe, kept)

    def kill_reader() -> None:
        with pipe.open("wb"):
            reader = wait_for_reader(dask, pipe)
            assert any(path.parent == folder for path in list_open(reader))
            kept.replace(pipe)
            os.kill(reader, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool, ClusterWorkers(dask.scheduler_address) as workers:
        killed = pool.submit(kill_reader)
        write(folder, workers=workers)
        killed.result()
    assert read_all(folder) == read_all(tmp_path / "one")
    wait_for(dask, WORKERS)


def test_what_a_run_that_ended_left_at_work_does_not_write_into_the_next(
    dask: distributed.LocalCluster, tmp_path: Path, splits: Splits, write: Write
) -> None:
    first = splits["train"][0]
    other = "nio" if first.label == "io" else "io"
    changed: Splits = {
        **splits,
        "train": (dataclasses.replace(first, label=other), *splits["train"][1:]),
    }
    write(tmp_path / "one", splits=changed)
    folder, kept = tmp_path / "many", tmp_path / "kept"
    pipe = tmp_path / "pictures" / first.source_id
    encoded = pipe.read_bytes()
    stop_at(pipe, kept)
    with ThreadPoolExecutor(1) as pool:
        with ClusterWorkers(dask.scheduler_address) as workers:
            ended = pool.submit(write, folder, splits=splits, workers=workers)
            waited_for = pipe.open("wb")
            reader = wait_for_reader(dask, pipe)
            (left_at_work,) = (path for path in list_open(reader) if path.parent == folder)
        assert isinstance(ended.exception(), InputError)
        kept.replace(pipe)
        with ClusterWorkers(dask.scheduler_address) as workers:
            written = pool.submit(write, folder, splits=changed, workers=workers)
            while left_at_work.exists():
                time.sleep(0.01)
            with waited_for:
                waited_for.write(encoded)  # It goes on, and finds that its draft is gone.
            written.result()
    assert read_all(folder) == read_all(tmp_path / "one")
    time.sleep(0.3)  # For what was left at work, if it still is.
    assert read_all(folder) == read_all(tmp_path / "one")


def list_open(pid: int) -> list[Path]:
    """The files that a process holds open."""
    return [Path(os.path.realpath(link)) for link in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.parametrize("where", ["of all maps", "of one map"])
def test_a_worker_that_does_not_see_the_files_does_nothing(
    dask: distributed.LocalCluster, tmp_path: Path, where: str
) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    gone.touch()
    made = [tmp_path / str(number) for number in range(3)]
    seen = [there, gone]
    with ClusterWorkers(dask.scheduler_address, seen=seen if "all" in where else []) as workers:
        gone.unlink()
        with pytest.raises(InputError, match="cannot read") as caught:
            list(workers.map(Path.mkdir, made, seen=seen))
    assert str(gone) in caught.value.problem
    assert "same file system" in caught.value.remedy
    assert not any(path.exists() for path in made)


def test_what_is_not_here_either_need_not_be_seen(
    dask: distributed.LocalCluster, tmp_path: Path
) -> None:
    with ClusterWorkers(dask.scheduler_address, seen=[tmp_path / "absent"]) as workers:
        assert list(workers.map(abs, [-1])) == [1]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"Python": "3.12"}, "Python 3.12 instead of 3.11"),
        ({"numpy": "2.3.0", "dask": "1"}, "numpy 2.3.0 instead of 2.4.1, dask 1 instead of 2"),
    ],
)
def test_other_versions_are_named(own: dict[str, str], words: str) -> None:
    asked = {"Python": "3.11", "numpy": "2.4.1", "dask": "2"}
    require_alike("Worker a", asked, asked)
    with pytest.raises(InputError) as caught:
        require_alike("Worker a", {**asked, **own}, asked)
    assert caught.value.problem == f"Worker a works with {words}."


def test_facts_name_the_code(tmp_path: Path) -> None:
    facts = read_facts()
    assert facts["Python"] == "3.11"
    for room in ("models", "pipeline", "records"):
        shutil.copytree(REPOSITORY / room, tmp_path / room)
    digest = elsewhere._digest_code(tmp_path)
    assert digest.startswith(facts["the code of Nioscope"])
    (tmp_path / "records" / "notes.txt").touch()
    assert elsewhere._digest_code(tmp_path) == digest
    (tmp_path / "records" / "errors.py").rename(tmp_path / "records" / "mistakes.py")
    assert elsewhere._digest_code(tmp_path) != digest


def test_no_scheduler_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    started_at = time.monotonic()
    with (
        pytest.raises(InputError, match="no scheduler answers there") as caught,
        ClusterWorkers("tcp://127.0.0.1:9"),
    ):
        pass
    assert "dask scheduler" in caught.value.remedy
    assert time.monotonic() - started_at < 30


def test_certificates_are_asked_for() -> None:
    with pytest.raises(InputError, match="no certificates"), ClusterWorkers("tls://127.0.0.1:9"):
        pass


def test_workers_with_other_code_or_none_are_told(tmp_path: Path) -> None:
    for room in ("models", "pipeline", "records"):
        shutil.copytree(REPOSITORY / room, tmp_path / "other" / room)
    with (tmp_path / "other" / "records" / "png.py").open("a") as file:
        file.write("# another version\n")
    with scheduling(tmp_path) as (address, _):
        for code, problem in (
            (tmp_path / "other", "the code of Nioscope"),
            (None, "do not know the code"),
        ):
            with (
                started("worker", address, "--no-nanny", code=code, folder=tmp_path),
                ClusterWorkers(address) as workers,
                pytest.raises(InputError, match=problem) as caught,
            ):
                list(workers.map(abs, [-1]))
            assert "checkout" in caught.value.remedy


def test_a_scheduler_that_is_lost_is_told_and_one_without_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        scheduling(tmp_path) as (address, process),
        ClusterWorkers(address) as workers,
    ):
        assert f"{address} has no workers yet" in capsys.readouterr().err
        ending = threading.Timer(1, process.kill)
        ending.start()
        with pytest.raises(InputError, match="was lost"):
            list(workers.map(abs, [-1, -2]))
        ending.join()
