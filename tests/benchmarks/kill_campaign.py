"""Every stage killed at random moments, with all its processes: no torn file, the same results.

    python -m pytest -s tests/benchmarks/kill_campaign.py

`NIOSCOPE_KILLS` says how many kills in all (200), `NIOSCOPE_SEED` which moments, `NIOSCOPE_STAGES`
which stages, `NIOSCOPE_BASE` the folder of an earlier campaign, whose results are taken for the
stages that are not asked for, and `NIOSCOPE_SIGNAL` what by: `KILL`, `INT` or `TERM`. After the
last two the process must also end with 130 or 143 and one line, leave no draft and no process, and
hold no lock.

A moment is drawn either from the time that the stage takes, or as so many changes to what it
writes and some milliseconds after the last of them. Kills come in a row on one folder, about
`IN_A_ROW` of them; after each every file that has its final name is read as what it is. Then the
same command runs to its end, and what it leaves is compared with what a run leaves that nobody
disturbed: bytes, but for times (`TIMES`) and for files that differ between two undisturbed runs as
well, of which the values are compared as far as they have any. TensorFlow is loaded ahead of all
runs, and the runs are forks: a kill while it is loaded would show nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from pipeline.ending import MESSAGE
from pipeline.modelfacts import ModelFacts
from pipeline.provenance import digest_files
from pipeline.rundir import RunDir
from pipeline.serving.published import find_difference
from pipeline.training.checkpoint import read_state
from records.manifest import file_digest, read_manifest, verify_shards
from records.sample import draw_data_set
from records.tfrecord import read_frames
from tests.nursery import NUMBERS, Nursery, Run, is_free

KILLS = int(os.environ.get("NIOSCOPE_KILLS", "200"))
SEED = int(os.environ.get("NIOSCOPE_SEED", "0"))
SIGNAL = NUMBERS[os.environ.get("NIOSCOPE_SIGNAL", "KILL")]
BASE = os.environ.get("NIOSCOPE_BASE", "")
ASKED = os.environ.get("NIOSCOPE_STAGES", "")
IN_A_ROW = 8
POLL_SECONDS = 0.02
TIMES = re.compile(
    r'("(?:[a-z_]*seconds|created|[a-z_]*wait[a-z_]*|modified_ns)": )[-+0-9.eE]+', re.IGNORECASE
)
MODEL = "autoencoder"
TRAINING = ("--image_size=32", "--pretrain_epochs=1", "--epochs=2", "--batch_size=8")
# What has no final name, or is only there while somebody works on it.
DRAFTS = re.compile(r"(^|/)(\.draft-|\.candidate-|\.removed-|\.sample-draft|[^/]*-(draft|old)/)")
STAYS = re.compile(r"(^|/)(records-draft/|checkpoint/)")  # A run that is told to end keeps these.
UNCOMPARED = re.compile(r"(^|/)(settings/|logs/|\.predict\.lock|lock$)")


@dataclass(frozen=True)
class Stage:
    """A command, what it starts from, and its share of the kills."""

    name: str
    flags: tuple[str, ...]
    share: int
    after: str = ""  # The stage whose results it starts from.
    first: str = ""  # Python that is run before.
    ends: Callable[[Path], bool] | None = None  # Of one that does not end by itself.
    once: str = ""  # What is refused when it is there: no command replaces it.


STAGES = (
    Stage("sample", ("--stage=sample", "--data_dir={}/drawn"), 20,
          first="from records.sample import COUNTS as c; c.update(train=14, validation=5, test=5)"),
    Stage("records", ("--stage=records", "--workers=1"), 60),
    Stage("voc", ("--stage=records", "--to=voc", "--output_dir={}/voc"), 40, "records",
          once="voc"),
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
            found.append(read_results(work_dir))
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
        found, whole = read_results(work_dir), read_results(self.whole[stage.name])
        if stage.name == "export":  # A kill may come after the version has appeared.
            found, whole = (newest_version(results) for results in (found, whole))
        steady = (whole.keys() | found.keys()) - self.unsteady[stage.name]
        names = sorted(name for name in steady if found.get(name) != whole.get(name))
        if names:
            print(f"  {stage.name}: differs: {names[:5]}", flush=True)
        return names


def list_files(folder: Path) -> dict[str, int]:
    """Every file and its size."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found[f"{parent}/{name}"] = os.stat(f"{parent}/{name}").st_size  # noqa: PTH116
            except OSError:
                continue
    return {name: size for name, size in found.items() if "/settings/" not in name}


def read_results(work_dir: Path) -> dict[str, str]:
    """A digest of every result, without the times in it."""
    found = {}
    for path in sorted(work_dir.rglob("*")):
        name = path.relative_to(work_dir).as_posix()
        if path.is_file() and not UNCOMPARED.search(name) and not DRAFTS.search(name):
            content = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                content = TIMES.sub(r"\1 0", content.decode()).encode()
            if path.name == "history.csv":
                content = without_times(path)
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def without_times(path: Path) -> bytes:
    rows = list(csv.DictReader(path.open(newline="")))
    return repr([{k: v for k, v in row.items() if "second" not in k and "wait" not in k}
                 for row in rows]).encode()  # fmt: skip


def newest_version(results: dict[str, str]) -> dict[str, str]:
    """Those of the newest version under a number of its own."""
    at = re.compile(r"(.*/export/)(\d+)(/.*)")
    newest = max(int(match[2]) for match in map(at.match, results) if match)
    return {
        at.sub(r"\1N\3", name): digest
        for name, digest in results.items()
        if not (match := at.match(name)) or int(match[2]) == newest
    }


def find_torn(work_dir: Path) -> list[str]:
    """Files with their final names that are not whole."""
    torn = []
    for path in sorted(work_dir.rglob("*")):
        name = path.relative_to(work_dir).as_posix()
        if path.is_file() and not DRAFTS.search(name):
            try:
                require_whole(path)
            except Exception as error:
                torn.append(f"{name}: {type(error).__name__} {error}")
    return [*torn, *find_torn_wholes(work_dir)]


def require_whole(path: Path) -> None:
    is_log = "overlays" not in path.parts and path.parent.name == "out"
    if ".tfrecord-" in path.name:
        list(read_frames(path))
    elif path.suffix == ".json" and not path.name.endswith(".lock"):
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix in (".jsonl", ".csv"):
        text = path.read_text(encoding="utf-8")
        if is_log:  # A watch adds to these; a line that is cut short is cut off at its start.
            text = text[: text.rfind("\n") + 1]
        if text and not text.endswith("\n"):
            raise ValueError("its last line has no end")
        if path.suffix == ".jsonl":
            [json.loads(line) for line in text.splitlines()]
        elif len({len(row) for row in csv.reader(text.splitlines())}) > 1:
            raise ValueError("its lines differ in length")
    elif path.suffix in (".png", ".jpg"):
        with Image.open(path) as picture:
            picture.load()
    elif path.suffix == ".html":
        if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            raise ValueError("its end is missing")
    elif path.suffix == ".xml":
        ElementTree.parse(path)
    elif path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                raise ValueError("a member is damaged")
    elif path.suffix == ".state" and read_state(path) is None:
        raise ValueError("its digest is another")


def find_torn_wholes(work_dir: Path) -> Iterator[str]:
    """Sets of files that say they are whole and are not."""
    run_dir = RunDir(work_dir, MODEL)
    try:
        if (run_dir.records / "manifest.json").exists():
            verify_shards(read_manifest(run_dir.records))
        if run_dir.config.exists():
            digest = ModelFacts.read(run_dir.config).weights_digest
            if digest != file_digest(run_dir.weights):
                yield "config.json is of another model"
        for version in run_dir.export.glob("[0-9]*"):
            difference = find_difference(version, digest_files(version))
            if difference:
                yield f"version {version.name}: {difference}"
    except Exception as error:
        yield f"{type(error).__name__}: {error}"


def find_unclean(run: Run, work_dir: Path) -> Iterator[str]:
    """What a run that was told to end must not do."""
    # Before `main` and after it the signal itself ends the process, which is 128 more to a shell.
    if run.status not in (128 + SIGNAL, -SIGNAL, 0):
        yield f"status {run.status}"
    if run.errors().strip() not in ((MESSAGE,) if run.status == 128 + SIGNAL else ("", MESSAGE)):
        yield f"said {run.errors()[-800:]!r}"
    if left := run.left_behind():
        yield f"processes {left}"
    for path in work_dir.rglob("*"):
        name = path.relative_to(work_dir).as_posix()
        if path.name.endswith("lock") and not is_free(path):
            yield f"{name} is held"
        if path.is_file() and DRAFTS.search(name) and not STAYS.search(name):
            yield f"{name} is left"


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
