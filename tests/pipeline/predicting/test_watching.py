"""What has arrived, by a clock of the test's own."""

from __future__ import annotations

import io
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.ending import Interrupted
from pipeline.predicting.answer_log import Known
from pipeline.predicting.incoming import path_text, read_picture
from pipeline.predicting.watching import Arrivals, look_until, until_told


def encode(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 15), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@dataclass
class Watch:
    """A watched folder; judging means that a picture is known."""

    folder: Path
    known: dict[str, Known] = field(default_factory=dict)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.arrivals = Arrivals(
            self.folder, self.known, patience_seconds=5.0, clock=lambda: self.now
        )

    def look(self) -> list[str]:
        """One look a second; names of what was judged, with `!` behind what cannot be."""
        self.now += 1.0
        due = self.arrivals.sift([read_picture(path) for path in self.arrivals.look()])
        for picture in due:
            self.known[path_text(picture.path)] = Known(picture.stamp, picture.sha256)
        return [picture.path.name + "!" * bool(picture.problem) for picture in due]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def put(path: Path, content: bytes, *, seconds: int = 1) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))


def test_a_picture_is_judged_at_the_second_look_and_once(watch: Watch) -> None:
    put(watch.folder / "a.png", encode(0))
    assert watch.look() == []
    put(watch.folder / "sub" / "b.png", encode(1))
    (watch.folder / "notes.txt").write_text("no picture")
    (watch.folder / ".c.png").write_bytes(encode(2))
    assert [watch.look() for _ in range(8)] == [["a.png"], ["b.png"], *[[]] * 6]


def test_pictures_come_in_the_order_of_their_time(watch: Watch) -> None:
    for name, seconds in (("c", 1), ("b", 3), ("a", 2), ("d", 2)):
        put(watch.folder / f"{name}.png", encode(0), seconds=seconds)
    watch.look()
    assert watch.look() == ["c.png", "a.png", "d.png", "b.png"]


def test_a_picture_is_never_judged_half_written(watch: Watch) -> None:
    content = encode(0)
    for end in range(10, len(content), 20):
        put(watch.folder / "a.png", content[:end], seconds=end)
        assert watch.look() == []
    put(watch.folder / "a.png", content[:-1], seconds=5000)
    assert [watch.look() for _ in range(3)] == [[]] * 3  # It stands still, but is not whole.
    put(watch.folder / "a.png", content, seconds=5001)
    assert [watch.look() for _ in range(3)] == [[], ["a.png"], []]


def test_what_stays_broken_is_told_once_when_patience_ends(watch: Watch) -> None:
    put(watch.folder / "a.png", encode(0)[:-1])
    assert [watch.look() for _ in range(9)] == [[]] * 5 + [["a.png!"], [], [], []]
    put(watch.folder / "a.png", encode(0), seconds=2)  # It was whole after all.
    assert [watch.look() for _ in range(3)] == [[], ["a.png"], []]


def test_one_that_takes_anothers_place_is_judged_and_one_touched_is_not(watch: Watch) -> None:
    put(watch.folder / "a.png", encode(0))
    assert [watch.look() for _ in range(3)] == [[], ["a.png"], []]
    put(watch.folder / "a.png", encode(0), seconds=2)
    assert [watch.look() for _ in range(3)] == [[], [], []]
    assert watch.known[str(watch.folder / "a.png")].stamp[1] == 2 * 10**9  # Not read again.
    put(watch.folder / "a.png", encode(1), seconds=3)
    assert [watch.look() for _ in range(3)] == [[], ["a.png"], []]


def test_what_changes_while_it_is_read_waits(watch: Watch) -> None:
    path = watch.folder / "a.png"
    put(path, encode(0))
    watch.look()
    (ready,) = watch.arrivals.look()
    picture = read_picture(ready)
    put(path, encode(1), seconds=2)
    assert watch.arrivals.sift([picture]) == []
    assert watch.arrivals.sift([read_picture(ready)]) == []  # Whole, but new since the look.
    path.unlink()
    assert watch.arrivals.sift([picture]) == []
    assert watch.look() == []


def test_pipes_and_links_hold_nothing_up(watch: Watch) -> None:
    os.mkfifo(watch.folder / "pipe.png")
    (watch.folder / "nowhere.png").symlink_to("missing.png")
    (watch.folder / "loop.png").symlink_to("loop.png")
    (watch.folder / "folder.png").mkdir()
    put(watch.folder / "missing.bin", encode(3))
    looks = [watch.look() for _ in range(7)]
    assert looks == [[]] * 5 + [["pipe.png!"], []]
    (watch.folder / "missing.bin").rename(watch.folder / "missing.png")
    assert [sorted(watch.look()) for _ in range(3)] == [[], ["missing.png", "nowhere.png"], []]


def test_a_folder_that_is_not_there_is_waited_for(watch: Watch) -> None:
    put(watch.folder / "a.png", encode(0))
    away = watch.folder.with_name(watch.folder.name + "-away")
    watch.look()
    watch.folder.rename(away)
    assert watch.look() == []
    away.rename(watch.folder)
    assert [watch.look() for _ in range(3)] == [[], ["a.png"], []]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_after_the_look(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    (tmp_path / "a.png").write_bytes(encode(0))
    with pytest.raises(Interrupted) as ended, until_told() as told:
        for paths in look_until(told, Arrivals(tmp_path, {}), look_seconds=0.01):
            assert paths == [tmp_path / "a.png"]
            assert not told.is_set()
            os.kill(os.getpid(), number)
        assert told.is_set()
        assert signal.getsignal(number) == before  # A second time ends the process.
    assert ended.value.status == 128 + number
    assert signal.getsignal(number) == before
