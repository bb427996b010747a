"""What a killed run left, read as what it is, and held against what an undisturbed one leaves."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from pipeline.ending import MESSAGE
from pipeline.modelfacts import ModelFacts
from pipeline.provenance import digest_files
from pipeline.rundir import RunDir
from pipeline.serving.published import find_difference
from pipeline.training.checkpoint import read_state
from records.manifest import file_digest, read_manifest, verify_shards
from records.tfrecord import read_frames
from tests.nursery import NUMBERS, Run, is_free

SIGNAL = NUMBERS[os.environ.get("NIOSCOPE_SIGNAL", "KILL")]
TIMES = re.compile(
    r'("(?:[a-z_]*seconds|created|[a-z_]*wait[a-z_]*|modified_ns)": )[-+0-9.eE]+', re.IGNORECASE
)
MODEL = "autoencoder"
# What has no final name, or is only there while somebody works on it.
DRAFTS = re.compile(r"(^|/)(\.draft-|\.candidate-|\.removed-|\.sample-draft|[^/]*-(draft|old)/)")
STAYS = re.compile(r"(^|/)(records-draft/|checkpoint/)")  # A run that is told to end keeps these.
UNCOMPARED = re.compile(r"(^|/)(settings/|logs/|\.predict\.lock|lock$)")


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


def read_results_of(stage: str, work_dir: Path) -> dict[str, str]:
    """`read_results` after a stage, of its newest version alone."""
    results = read_results(work_dir)
    # A kill may come after a version has appeared; then there are two.
    return newest_version(results) if stage == "export" else results


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
