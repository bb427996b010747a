"""Work done by the workers of a Dask cluster, with the same result as by this machine's processes.

Tasks and results go as bytes, so that Dask looks into neither. What a killed worker had is done
again by another; so a task must be harmless when it is done twice, even at the same time. Tasks
of a run that was killed are dropped by the scheduler when the run's connection ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from typing import TYPE_CHECKING, TypeVar

from records.ahead import map_ahead
from records.elsewhere import SENT_WITH, Order, read_facts, require_alike
from records.errors import InputError
from records.places import Place, is_readable
from records.workers import TASKS_AHEAD, Workers, cut

if TYPE_CHECKING:
    from distributed import Client, Security

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_ADDRESS = re.compile(r"(tcp|tls)://[^/\s]+:\d{1,5}")
_CONNECT_SECONDS = 5


class ClusterWorkers(Workers):
    """A context in which functions are mapped over tasks by all workers of a cluster.

    Args:
        scheduler: Address of its Dask scheduler, such as `tcp://host:8786`.
        seen: Files that every worker must be able to read under the paths they have here, if this
            process can.

    Raises:
        InputError: When it is entered: Dask is not installed, no scheduler answers there, or it
            has another version of Dask.
    """

    def __init__(self, scheduler: str, *, seen: Sequence[Place] = ()) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._seen = tuple(path for path in seen if is_readable(path))
        self._client: Client | None = None

    def _open(self) -> None:
        self._client = _connect(self._scheduler)

    def _close(self, *, wait: bool) -> None:
        if self._client:
            self._client.close()
            self._client = None

    def map(
        self,
        work: Callable[[_Task], _Result],
        tasks: Sequence[_Task],
        *,
        seen: Sequence[Place] = (),
        together: int = 1,
    ) -> Generator[_Result, None, None]:
        """As `Workers.map`; a worker that is not like this process is an error.

        Raises:
            InputError: A worker has other versions or other code, or cannot read a file of `seen`;
                the scheduler was lost; or a task ended several workers one after another.
        """
        assert self._client, "it is entered first"
        # Not pure: what was done for another run may have been undone since.
        executor: Executor = self._client.get_executor(pure=False)
        threads = sum(self._client.nthreads().values())
        pieces = cut(tasks, max(1, min(together, len(tasks) // (4 * threads or 1))))
        paths = tuple(str(path.absolute()) for path in (*self._seen, *seen))
        orders = (pickle.dumps(Order(read_facts(), paths, work, piece)) for piece in pieces)
        ahead = map_ahead(pickle.loads, orders, executor, most=max(TASKS_AHEAD, 2 * threads))
        with self._telling_losses(), contextlib.closing(ahead) as found:
            for results in found:
                yield from pickle.loads(results)

    @contextlib.contextmanager
    def _telling_losses(self) -> Iterator[None]:
        from distributed.scheduler import KilledWorker

        try:
            yield
        except ModuleNotFoundError as error:
            raise InputError(
                f"Workers of {self._scheduler} do not know the code of Nioscope, or not all that "
                f"it needs: {error}.",
                "Start all workers with PYTHONPATH set to the folder of this checkout.",
            ) from error
        except CancelledError as error:
            raise InputError(
                f"The scheduler {self._scheduler} was lost.",
                "Start it and its workers again, then give the same command again.",
            ) from error
        except KilledWorker as error:
            raise InputError(
                f"Several workers of {self._scheduler} were ended from outside by the same task; "
                "most often the memory did not suffice.",
                "Give the workers more memory, or start fewer of them on each machine.",
            ) from error


def require_cluster(scheduler: str) -> None:
    """Looks whether a cluster can be asked at all.

    Raises:
        InputError: It is no address, or Dask is not installed.
    """
    if not _ADDRESS.fullmatch(scheduler):
        raise InputError(
            f"--scheduler={scheduler} is no address of a Dask scheduler.",
            "Give one such as tcp://host:8786.",
        )
    if importlib.util.find_spec("distributed") is None:
        raise InputError(
            "--scheduler needs Dask, which is not installed.",
            "Run: pip install 'distributed>=2026.8,<2027'",
        )


def _connect(scheduler: str) -> Client:
    require_cluster(scheduler)
    import distributed

    _require_certificates(scheduler, distributed.Security())
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # What counts is raised.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `require_alike` says what differs, and what to do.
            client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler={scheduler}: no scheduler answers there ({error}).",
            "Start one (dask scheduler) and its workers (dask worker ADDRESS), or correct the "
            "address.",
        ) from error
    try:
        _look_at_scheduler(client, f"The scheduler {scheduler}")
    except BaseException:
        client.close()
        raise
    return client


def _require_certificates(scheduler: str, security: Security) -> None:
    given = security.get_connection_args("client").get("ssl_context")
    if scheduler.startswith("tls:") and given is None:
        raise InputError(
            f"--scheduler={scheduler} asks for TLS, and Dask was given no certificates.",
            "Name them in Dask's own configuration, under distributed.comm.tls.",
        )


def _look_at_scheduler(client: Client, who: str) -> None:
    found = client.get_versions()["scheduler"]["packages"]
    require_alike(who, found, {name: read_facts()[name] for name in SENT_WITH})
    if not client.nthreads():
        print(f"{who} has no workers yet; waiting for: dask worker ADDRESS", file=sys.stderr)
