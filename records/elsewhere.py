"""Tasks done on another machine, which must be like the one that gives them.

With a task comes the name of its function, not the function: a worker with other versions, other
code or other files would give other results without a word. So every task says what it was given
by, and one that would not be done alike is not done at all.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import pickle
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from records.errors import InputError
from records.places import is_readable, locate

SENT_WITH = ("dask", "distributed", "cloudpickle", "msgpack", "tornado")
"""Packages that must be the same all the way to a worker."""
_WORKS_WITH = ("lxml", "numpy", "pillow", "scipy", "simplejpeg", "tensorflow")
_CODE = "the code of Nioscope"
_ROOMS = ("models", "pipeline", "records")


class Order(NamedTuple):
    """Some tasks for a worker.

    Pickled, it is what a worker does with it: `pickle.loads` calls `carry_out` there. So nobody on
    the way has to know our code, and a worker that does not says so.

    Attributes:
        facts: `read_facts` of who gives it.
        seen: Files that this one can read, and the worker must be able to.
        work: A function of a module, or a `functools.partial` of one.
        tasks: What it is given, one after another.
    """

    facts: Mapping[str, str]
    seen: tuple[str, ...]
    work: Callable[[Any], Any]
    tasks: Sequence[Any]

    def __reduce__(self) -> tuple[Callable[..., bytes], tuple[Any, ...]]:
        # Inner bytes: what they name may not be there, where the facts are compared first.
        return carry_out, (self.facts, self.seen, pickle.dumps((self.work, self.tasks)))


def carry_out(facts: Mapping[str, str], seen: Sequence[str], payload: bytes) -> bytes:
    """Does the tasks of an `Order`, by a process that is like the one which gave it.

    Returns:
        What the function gave for each, pickled.

    Raises:
        InputError: This process has other versions, other code, or does not see the files.
    """
    who = f"The worker on {socket.gethostname()}"
    require_alike(who, read_facts(), facts)
    for path in seen:
        if not is_readable(locate(path)):
            raise InputError(
                f"{who} cannot read {path}, which was there when the run began.",
                "Give every machine the same file system under the same paths, and its workers "
                "the right to read and write there; for a URL the same plugin and credentials.",
            )
    work, tasks = pickle.loads(payload)
    return pickle.dumps([work(task) for task in tasks])


@functools.cache
def read_facts() -> dict[str, str]:
    """What the results of this process depend on: version by name, and a digest of our code.

    Read once: what a process has loaded stays as it was when files change.
    """
    facts = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in (*SENT_WITH, *_WORKS_WITH):
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "none"
    return {**facts, _CODE: _digest_code(Path(__file__).parents[1])[:12]}


def require_alike(who: str, own: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """Compares what `read_facts` says here and there.

    Args:
        who: Whose facts they are, such as `The worker on line-7`.
        own: What they are.
        asked: Those of the process that gives the tasks.

    Raises:
        InputError: They differ.
    """
    others = [
        f"{name} {own.get(name, 'none')} instead of {fact}"
        for name, fact in asked.items()
        if own.get(name) != fact
    ]
    if others:
        raise InputError(
            f"{who} works with {', '.join(others)}.",
            "Install the same requirements on every machine, and start the scheduler and all "
            "workers again in the same checkout.",
        )


def _digest_code(checkout: Path) -> str:
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((checkout / room).rglob("*.py")):
            name = path.relative_to(checkout).as_posix()
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
