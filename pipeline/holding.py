"""Who may work in a run directory at the same time: one rule for all stages.

A stage holds what it writes and shares what it reads, from its start to its end; what it cannot
have at once it is refused, with the process that has it.

* `records` holds the records of the run directory; with `--to=voc` it shares them.
* `train`, `eval`, `explain` and `export` hold their model and share the records.
* `all` holds its model from the first stage to the last.
* `predict` needs neither: a version that is published never changes. It holds the folder of its
  answers (`pipeline.predicting.output_folder`), and `sample` its folder of pictures.

So two models are trained beside each other on the same records, and `predict`, also with `--watch`,
runs beside everything. The locks are the kernel's: a process that was killed holds none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.rundir import RunDir
from records.atomic import locked, open_own
from records.errors import InputError
from records.untrusted import read_json

_SHOWN = 200


@contextlib.contextmanager
def holding_model(run_dir: RunDir) -> Iterator[None]:
    """Holds everything of a model.

    Raises:
        InputError: Another process does.
    """
    with _having(run_dir.model_lock, f"The model {run_dir.model_dir}"):
        yield


@contextlib.contextmanager
def holding_records(run_dir: RunDir, *, shared: bool) -> Iterator[None]:
    """Holds the records of a run, or shares them with others that only read them.

    Raises:
        InputError: Another process holds them, or shares them where they are to be held.
    """
    with _having(run_dir.records_lock, f"The folder {run_dir.records}", shared=shared):
        yield


@contextlib.contextmanager
def holding_for(stage: str, run_dir: RunDir, *, to: str, has_model: bool) -> Iterator[None]:
    """Has for the block what a stage needs, by the rule above.

    Args:
        stage: Its name, not `all`.
        run_dir: Where it works.
        to: Value of `--to`.
        has_model: Whether this process holds the model already.

    Raises:
        InputError: Another process is in the way.
    """
    with contextlib.ExitStack() as stack:
        if stage not in ("sample", "predict"):
            writes = stage == "records" and to != "voc"
            stack.enter_context(holding_records(run_dir, shared=not writes))
        if stage in ("train", "eval", "explain", "export") and not has_model:
            stack.enter_context(holding_model(run_dir))
        yield


@contextlib.contextmanager
def _having(lock: Path, what: str, *, shared: bool = False) -> Iterator[None]:
    with locked(lock, shared=shared) as is_ours:
        if not is_ours:
            raise InputError(
                f"{what} is in use by {_read_holder(lock)}.",
                "Wait for its end, or give another --work_dir.",
            )
        with open_own(lock, "w", encoding="utf-8") as file:
            command = shlex.join(sys.argv)
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "command": command}, file)
        yield


def _read_holder(lock: Path) -> str:
    """Which process wrote its name into a lock last, if it can still be the one that has it."""
    try:
        holder = read_json(lock)
        pid, host, command = int(holder["pid"]), str(holder["host"]), ascii(holder["command"])
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
    if host == socket.gethostname() and not Path(f"/proc/{pid}").exists():
        return "another process"  # One of those that share it; the last has ended.
    return f"process {pid} on {ascii(host)[1:-1]} ({command[1:-1][:_SHOWN]})"
