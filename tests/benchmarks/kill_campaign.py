"""Every stage killed at random moments, with all its processes: no torn file, the same results.

    python -m pytest -s tests/benchmarks/kill_campaign.py

`NIOSCOPE_KILLS` says how many kills in all (200), `NIOSCOPE_SEED` which moments, `NIOSCOPE_STAGES`
which stages, `NIOSCOPE_BASE` the folder of an earlier campaign, whose results are taken for the
stages that are not asked for, and `NIOSCOPE_SIGNAL` what by: `KILL`, `INT` or `TERM`. After the
last two the process must also end with 130 or 143 and one line, leave no draft and no process, and
hold no lock.

A moment is drawn either from the time that the stage takes, or as so many changes to what it writes
and some milliseconds after the last of them. Kills come in a row on one folder, about `IN_A_ROW` of
them; after each every file that has its final name is read as what it is. Then the same command
runs to its end, and what it leaves is compared with what a run leaves that nobody disturbed: bytes,
but for times (`TIMES`) and for files that differ between two undisturbed runs as well, of which the
values are compared as far as they have any. TensorFlow is loaded ahead of all runs, and the runs
are forks: a kill while it is loaded would show nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from records.sample import draw_data_set
from tests.benchmarks.kill_traces import (
    SIGNAL,
    find_torn,
    find_unclean,
    list_files,
    read_results_of,
)
from tests.nursery import Nursery, Run

KILLS = int(os.environ.get("NIOSCOPE_KILLS", "200"))
SEED = int(os.environ.get("NIOSCOPE_SEED", "0"))
BASE = os.environ.get("NIOSCOPE_BASE", "")
ASKED = os.environ.get("NIOSCOPE_STAGES", "")
IN_A_ROW, POLL_SECONDS = 8, 0.02
TRAINING = ("--image_size=32", "--pretrain_epochs=1", "--epochs=2", "--batch_size=8")


@dataclass(frozen=True)
class Stage:
    """A command, what it starts from, and its share of the kills."""

    name: str
    flags: tuple[str, ...]
    share: int
    after: str = ""  # The stage whose results it starts from.
    first: str = ""  # Python that is run before.
    ends: Callable[[Path], bool] | None = None  # Of one that does not end by itself.
    once: str = ""  # What no command replaces.


STAGES = (
    Stage("sample", ("--stage=sample", "--data_dir={}/drawn"), 20,
          first="from records.sample import COUNTS as c; c.update(train=14, validation=5, test=5)"),
    Stage("records", ("--stage=records", "--workers=1"), 60),
    Stage("voc", ("--stage=records", "--to=voc", "--output_dir={}/voc"), 40, "records", once="voc"),
    Stage("train", ("--stage=train", *TRAINING), 40, "records"),
    Stage("eval", ("--stage=eval",), 22, "train"),
    Stage("explain", ("--stage=explain", "--cam_methods=gradcam,layercam"), 18, "eval"),
    Stage("export", ("--stage=export", "--keep_versions=2"), 8, "eval"),
    Stage("predict", ("--stage=predict", "--output_dir={}/out", "--overlays"), 22, "export"),
    Stage("watch", ("--stage=predict", "--output_dir={}/out", "--overlays", "--watch"), 22,
          "export", ends=lambda work_dir: count_copies(work_dir) >= 12),
    Stage("all", ("--stage=all", *TRAINING, "--cam_methods=gradcam", "--workers=1"), 6),
)  # fmt: skip


@dataclass
class Row:
    """A line of the table."""

    stage: str
    kills: int = 0
    writing: int = 0
    torn: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    unclean: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (self.kills, self.writing, len(self.torn), len(self.differing), len(self.unclean))
        return f"| {self.stage} | " + " | ".join(map(str, counts)) + " |"


HEAD = "| stage | kills | after the first change | torn files | differing results | not clean |"


def count_copies(work_dir: Path) -> int:
    """Pictures that a watch is done with: the copy comes last."""
    return sum(1 for _ in work_dir.glob("out/*io/*.png"))


class Campaign:
    """Runs the stages below `folder`."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder, self.nursery, self.draw = folder, nursery, random.Random(SEED)
        self.pictures = folder / "pictures"
        counts = {"train": 24, "validation": 12, "test": 12}
        draw_data_set(self.pictures, seed=5, counts=counts, nio_share=0.4)  # type: ignore[arg-type]
        self.whole: dict[str, Path] = {}
        self.unsteady: dict[str, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self.changes: dict[str, int] = {}

    def start(self, stage: Stage, work_dir: Path) -> Run:
        flags = [flag.format(work_dir) for flag in stage.flags]
        flags += [f"--work_dir={work_dir}"] * (stage.name != "sample")
        if stage.name in ("records", "all"):
            flags.append(f"--data_dir={self.pictures}")
        if "--stage=predict" in stage.flags:
            flags.append(f"--images={self.pictures / 'test' / 'images'}")
        return self.nursery.start(*flags, first=stage.first)

    def finish(self, stage: Stage, work_dir: Path) -> tuple[float, int]:
        """Runs to the end; returns the seconds it took and the changes that were seen."""
        started, changes = time.monotonic(), 0
        run, before = self.start(stage, work_dir), list_files(work_dir)
        while run.poll() is None:
            after = list_files(work_dir)
            changes, before = changes + (after != before), after
            if stage.ends and stage.ends(work_dir):
                time.sleep(1)
                run.send(signal.SIGTERM)
                assert run.wait() == 143, run.errors()
                return time.monotonic() - started, changes
            time.sleep(POLL_SECONDS)
        assert run.status == 0, (stage.name, run.status, run.errors())
        return time.monotonic() - started, changes

    def prepare(self, stage: Stage, *, runs: int) -> None:
        """Undisturbed runs: the results to compare with, and what is not the same in all.

        They run in folders of one name, because some results hold the paths.
        """
        kept = BASE and Path(BASE) / f"whole-{stage.name}"
        if runs == 1 and kept and kept.exists():
            self.whole[stage.name] = kept
            return
        found = []
        for number in range(runs):
            work_dir = self.fresh(stage)
            self.seconds[stage.name], self.changes[stage.name] = self.finish(stage, work_dir)
            found.append(read_results_of(stage.name, work_dir))
            if not number:
                self.whole[stage.name] = self.folder / f"whole-{stage.name}"
                shutil.copytree(work_dir, self.whole[stage.name])
        first, last = found[0], found[-1]
        names = first.keys() | last.keys()
        self.unsteady[stage.name] = {name for name in names if first.get(name) != last.get(name)}

    def fresh(self, stage: Stage) -> Path:
        """A run directory as the stage before left it."""
        work_dir = self.folder / "run"
        shutil.rmtree(work_dir, ignore_errors=True)
        if stage.after:
            shutil.copytree(self.whole[stage.after], work_dir)
        else:
            work_dir.mkdir()
        return work_dir

    def kill(self, stage: Stage, work_dir: Path, row: Row) -> bool:
        """Kills a run at a random moment; False when it had ended before."""
        by_change = self.draw.random() < 0.7
        wanted = self.draw.randint(1, max(1, self.changes[stage.name])) if by_change else 0
        until = self.draw.uniform(0.0, self.seconds[stage.name])
        after_change = self.draw.uniform(0.0, 0.05)
        run, before, seen = self.start(stage, work_dir), list_files(work_dir), 0
        started = time.monotonic()
        while run.poll() is None:
            after = list_files(work_dir)
            seen, before = seen + (after != before), after
            if (seen >= wanted) if by_change else (time.monotonic() - started > until):
                time.sleep(after_change * by_change)
                break
            if time.monotonic() - started > self.seconds[stage.name] and stage.ends:
                break
            time.sleep(POLL_SECONDS)
        if run.poll() is not None:
            assert run.status == 0, (stage.name, run.status, run.errors())
            return False
        run.send(SIGNAL, group=SIGNAL == signal.SIGKILL)
        run.wait()
        row.kills += 1
        row.writing += seen > 0
        row.torn += find_torn(work_dir)
        if SIGNAL != signal.SIGKILL:
            row.unclean += find_unclean(run, work_dir)
        for problem in (*row.torn[-3:], *row.unclean[-3:]):
            print(f"  {stage.name}: {problem}", flush=True)
        return True

    def run(self, stage: Stage, kills: int) -> Row:
        row = Row(stage.name)
        while row.kills < kills:
            work_dir = self.fresh(stage)
            for _ in range(min(IN_A_ROW, kills - row.kills)):
                is_done = not self.kill(stage, work_dir, row)
                if is_done or (stage.once and (work_dir / stage.once).exists()):
                    break
            else:
                self.finish(stage, work_dir)
            row.differing += self.compare(stage, work_dir)
        return row

    def compare(self, stage: Stage, work_dir: Path) -> list[str]:
        """Names of results that are not those of an undisturbed run."""
        folders = (work_dir, self.whole[stage.name])
        found, whole = (read_results_of(stage.name, folder) for folder in folders)
        steady = (whole.keys() | found.keys()) - self.unsteady[stage.name]
        names = sorted(name for name in steady if found.get(name) != whole.get(name))
        if names:
            print(f"  {stage.name}: differs: {names[:5]}", flush=True)
        return names


@pytest.mark.timeout(0)
def test_no_kill_tears_a_file_or_changes_a_result(tmp_path: Path) -> None:
    asked = [stage for stage in STAGES if not ASKED or stage.name in ASKED.split(",")]
    of_name = {stage.name: stage for stage in STAGES}
    needed = list(asked)
    for stage in needed:  # It grows on the way.
        needed += [of_name[stage.after]] if stage.after else []
    rows, started = [], time.monotonic()
    with Nursery(tmp_path) as nursery:
        campaign = Campaign(tmp_path, nursery)
        for stage in (stage for stage in STAGES if stage in needed):
            campaign.prepare(stage, runs=2 if stage in asked else 1)
            if stage not in asked:
                continue
            print(f"{stage.name}: {campaign.seconds[stage.name]:.1f} s, not the same in two "
                  f"runs: {sorted(campaign.unsteady[stage.name])}", flush=True)  # fmt: skip
            share = stage.share / sum(other.share for other in asked)
            rows.append(campaign.run(stage, round(KILLS * share)))
            print(rows[-1], f"{time.monotonic() - started:.0f} s", flush=True)
    print(f"\n{HEAD}\n|{' --- |' * 6}", *rows, sep="\n")
    assert not [problem for row in rows for problem in (*row.torn, *row.differing, *row.unclean)]
