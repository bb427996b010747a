"""The real program many times without loading TensorFlow each time.

A process that has loaded everything forks for each command; the child is a session of its own, so
that it can be killed with all that it started, and runs `main.py` as the command line does, to the
interpreter's end. What is not seen this way is the loading itself, where nothing is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REPOSITORY = Path(__file__).resolve().parents[1]
# Asked for on its standard input, answered on a pipe of its own.
_PROGRAM = """
import importlib, json, os, sys
import main
from absl import app
from records.quiet import load_tensorflow

load_tensorflow()
for stage in ("sample", "records", "train", "evaluate", "explain", "export", "predict"):
    importlib.import_module(f"pipeline.stages.{stage}")
answers = os.fdopen(int(sys.argv[1]), "w")
print("ready", file=answers, flush=True)
own = False
while not own and (line := sys.stdin.readline()):
    asked = json.loads(line)
    if "flags" in asked:
        pid = os.fork()
        own = not pid
        if not own:
            print(json.dumps(pid), file=answers, flush=True)
    else:
        pid, status = os.waitpid(asked["pid"], asked["options"])
        code = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(code), file=answers, flush=True)
if own:
    os.setsid()
    for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    answers.close()
    exec(asked["first"])
    for name in main.FLAGS:
        main.FLAGS[name].unparse()
    sys.argv = ["main.py", *asked["flags"]]
    app.run(main.main, argv=sys.argv, flags_parser=main.parse_flags)
"""


@dataclass
class Run:
    """A command under way: in the nursery, or a process of its own."""

    pid: int
    errors_path: Path
    nursery: Nursery
    process: subprocess.Popen[bytes] | None = None
    status: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        if self.status is None and self.process:
            self.status = self.process.poll()
        elif self.status is None:
            self.status = self.nursery.ask(pid=self.pid, options=os.WNOHANG)
        return self.status

    def wait(self, seconds: float = 300.0) -> int:
        until = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < until, f"still running: {self.errors()}"
            time.sleep(0.002)
        assert self.status is not None
        return self.status

    def send(self, number: int, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def errors(self) -> str:
        return self.errors_path.read_text(encoding="utf-8", errors="replace")

    def left_behind(self) -> list[int]:
        """Processes of its session that still run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.pid and fields[0] != "Z":
                    found.append(int(path.parent.name))
        return found


class Nursery:
    """A context in which commands are run; TensorFlow is loaded when the first one needs it.

    Args:
        folder: For what the commands print.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=60)

    def start(self, *flags: str, first: str = "", own_process: bool = False) -> Run:
        """Starts `main.py` with these flags.

        Args:
            flags: Of the command line.
            first: Python that is run in the process before.
            own_process: Whether it is started as a user does it, by `python main.py`.
        """
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        if own_process:
            with out.open("wb") as stdout, err.open("wb") as stderr:
                process = subprocess.Popen(
                    [sys.executable, "main.py", *flags],
                    cwd=REPOSITORY,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            return Run(process.pid, err, self, process)
        pid = self.ask(flags=flags, out=str(out), err=str(err), first=first)
        return Run(pid, err, self)

    def finish(self, *flags: str, status: int = 0, first: str = "", own: bool = False) -> str:
        """Runs a command to its end; returns what it said on stderr."""
        run = self.start(*flags, first=first, own_process=own)
        assert run.wait() == status, (flags, run.status, run.errors())
        return run.errors()

    def ask(self, **question: Any) -> Any:
        process = self._process or self._open()
        assert process.stdin is not None
        print(json.dumps(question), file=process.stdin, flush=True)
        return json.loads(self._answers.readline())

    def _open(self) -> subprocess.Popen[str]:
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(writing)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            pass_fds=[writing],
            env={**os.environ, "MPLBACKEND": "Agg"},
        )
        os.close(writing)
        assert self._answers.readline().strip() == "ready"
        return self._process


def is_free(lock: Path) -> bool:
    """Whether nobody holds or shares a lock."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


NUMBERS = {name: signal.Signals[f"SIG{name}"] for name in ("KILL", "INT", "TERM")}
