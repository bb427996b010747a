"""Pictures that arrive in a folder: each is judged once, and none while it is being written.

The folder is looked through again and again; a file system tells every program the same by this,
over a network too, which its notes of changes do not. A picture is taken when its size and its time
of change have stood still from one look to the next and it decodes whole. One that does not decode
is tried again at every look, until it has stood still for `PATIENCE_SECONDS`: then that is its
answer.

A picture is known by its path, size and time of change. When one of these is new it is read again,
and judged unless its content is that of before: a file that another takes the place of is a new
picture, one that was only touched is not. A broken one that changes is given another answer.
"""

from __future__ import annotations

import contextlib
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pipeline.ending import Interrupted
from pipeline.predicting.answer_log import Known
from pipeline.predicting.incoming import path_text, walk_pictures
from records.places import Place

if TYPE_CHECKING:
    from pipeline.predicting.incoming import Picture

LOOK_SECONDS = 1.0
"""From one look to the next; more where a look takes long, so that looking never takes more than a
fifth of the time."""
PATIENCE_SECONDS = 10.0
"""What still cannot be decoded when it has stood still for so long is broken."""
_Stamp = tuple[int, int]


class Arrivals:
    """What has arrived in a folder and has no answer yet.

    Args:
        folder: The folder that is watched, with all below it.
        known: What has an answer, by `path_text`; whoever judges adds to it.
        patience_seconds: See `PATIENCE_SECONDS`.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        folder: Path,
        known: dict[str, Known],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._known = folder, known
        self._patience_seconds, self._clock = patience_seconds, clock
        self._still: dict[Place, tuple[_Stamp, float]] = {}

    def look(self) -> list[Place]:
        """Looks through the folder.

        Returns:
            What may be read: it has no answer, and has stood still since the look before. Sorted
            by time of change, then by name: as it came.
        """
        now, before, ready = self._clock(), self._still, []
        self._still = {}
        for path in walk_pictures(self._folder, on_error=_pass_by):
            stamp = _read_stamp(path)
            known = self._known.get(path_text(path))
            if stamp is None or (known is not None and known.stamp == stamp):
                continue
            earlier = before.get(path)
            stood = earlier is not None and earlier[0] == stamp
            self._still[path] = (stamp, earlier[1] if earlier and stood else now)
            if stood:
                ready.append((stamp[1], path))
        return [path for _, path in sorted(ready)]

    def sift(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Of pictures that were read, those whose answer is due.

        Passed by, perhaps until the next look, is what changed while it was read, what has gone,
        what cannot be decoded and has not stood still for long, and what is known by its content.
        """
        return [picture for picture in pictures if self._is_due(picture)]

    def _is_due(self, picture: Picture) -> bool:
        stamp, since = self._still.get(picture.path, ((0, 0), 0.0))
        if picture.stamp != stamp or _read_stamp(picture.path) != stamp:
            return False
        if picture.problem:
            return self._clock() - since >= self._patience_seconds
        name = path_text(picture.path)
        known = self._known.get(name)
        if known is not None and known.sha256 == picture.sha256:
            self._known[name] = Known(stamp, picture.sha256)
            return False
        return True


@contextlib.contextmanager
def until_told() -> Iterator[threading.Event]:
    """Yields an event that is set when the process is told to end (SIGINT, SIGTERM).

    What is under way can then be brought to its end; told a second time, the process ends at once.

    Raises:
        Interrupted: At the end of the block, when it was told.
    """
    told = threading.Event()
    numbers: list[int] = []
    before: dict[signal.Signals, signal._HANDLER] = {}

    def tell(number: int, _: FrameType | None) -> None:
        numbers.append(number)
        told.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, tell)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if numbers:
        raise Interrupted(numbers[0])


def look_until(
    told: threading.Event, arrivals: Arrivals, *, look_seconds: float = LOOK_SECONDS
) -> Iterator[list[Place]]:
    """Yields what may be read at each look that finds something, until `told` is set."""
    while not told.is_set():
        started = time.monotonic()
        paths = arrivals.look()
        took = time.monotonic() - started
        if paths:
            yield paths
        told.wait(max(look_seconds, 4 * took))


def _read_stamp(path: Place) -> _Stamp | None:
    """Size and time of change; None for folders, and for what a link leads to that is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)


def _pass_by(error: OSError) -> None:
    """A folder that cannot be read now may be at the next look."""
