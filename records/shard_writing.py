"""What one worker does with its shard: writes it, or finds that it stands already."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import PIL

from records.atomic import replacing
from records.errors import InputError, picture_changed
from records.manifest import SCHEMA_VERSION, Shard, file_digest, read_manifest
from records.pictures import MAX_FILE_BYTES, PictureError, encode_stored
from records.places import Place, read_at_most
from records.schema import encode_example
from records.tfrecord import frame
from records.types import SPLITS, Example, Split, flatten_objects
from records.untrusted import parse_json, require_file

PROGRESS_NAME = "progress.jsonl"
"""Shards finished so far, a line each; there only while records are being written."""

CONVERSION = 1
"""Grows when `encode_stored` makes other pixels of the same file."""

Finished = tuple[tuple[Path, Shard], ...]


class ShardTask(NamedTuple):
    """One shard to be written.

    Attributes:
        split: Which split it is of.
        file: Its name.
        examples: What goes in, in this order.
        finished: Files of this name that an earlier run wrote, and what it said of each.
    """

    split: Split
    file: str
    examples: tuple[Example, ...]
    finished: Finished


def write_shard(
    source: Place,
    folder: Path,
    classes: tuple[str, ...],
    box_classes: tuple[str, ...],
    task: ShardTask,
) -> tuple[Shard, int]:
    """Writes a shard, or keeps the one that stands there if it holds the same.

    Returns:
        The shard, and the sum of its rows' digests: added up over all shards it tells what went in,
        whatever the order.

    Raises:
        InputError: A picture is gone or is no longer what it was.
    """
    rows = [_digest_row(example, task.split) for example in task.examples]
    # What is converted depends on the program that does it.
    is_converted = any(example.is_converted for example in task.examples)
    encoder = f"{CONVERSION} Pillow {PIL.__version__}" if is_converted else ""
    header = json.dumps([SCHEMA_VERSION, classes, box_classes, encoder]).encode()
    plan = hashlib.sha256(b"".join([header, *rows])).hexdigest()
    shard = _take_over(folder / task.file, plan, task.finished)
    if shard is None:
        shard = _write(source, folder / task.file, classes, box_classes, task.examples, plan)
    return shard, sum(int.from_bytes(row, "big") for row in rows)


def read_finished(folder: Path, earlier: Path | None) -> dict[str, Finished]:
    """Shards that earlier runs finished, by their names: in `folder`, and in `earlier` records.

    Whether a file is still what was said of it is for `write_shard` to find out.
    """
    found: dict[str, list[tuple[Path, Shard]]] = defaultdict(list)
    for shard in _read_notes(folder / PROGRESS_NAME):
        found[shard.file].append((folder / shard.file, shard))
    for complete in filter(None, (folder, earlier)):
        with contextlib.suppress(InputError):  # None there, or of another version.
            manifest = read_manifest(complete)
            for shard in (shard for split in SPLITS for shard in manifest.shards[split]):
                found[shard.file].append((complete / shard.file, shard))
    return {file: tuple(shards) for file, shards in found.items()}


def format_note(shard: Shard) -> str:
    """The line of `PROGRESS_NAME` for a finished shard."""
    return json.dumps(asdict(shard)) + "\n"


def _read_notes(path: Path) -> Iterator[Shard]:
    try:
        lines = require_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):  # One may be torn or empty.
            shard = Shard(**parse_json(line))
            if all(isinstance(text, str) for text in (shard.file, shard.sha256, shard.plan)):
                yield shard


def _take_over(path: Path, plan: str, finished: Finished) -> Shard | None:
    for found, shard in finished:
        if shard.plan != plan:
            continue
        try:
            if file_digest(found) != shard.sha256:
                continue
            if found != path:
                _link(found, path)
        except OSError:
            continue
        return shard
    return None


def _link(found: Path, path: Path) -> None:
    with replacing(path) as draft:
        draft.unlink()
        try:
            os.link(found, draft)
        except OSError:  # Not every file system has links.
            shutil.copyfile(found, draft)


def _write(
    source: Place,
    path: Path,
    classes: Sequence[str],
    box_classes: Sequence[str],
    examples: Sequence[Example],
    plan: str,
) -> Shard:
    digest = hashlib.sha256()
    with replacing(path) as draft, draft.open("wb") as file:
        for example in examples:
            record = encode_example(
                example, _read_picture(source, example), classes=classes, box_classes=box_classes
            )
            framed = frame(record)
            file.write(framed)
            digest.update(framed)
    return Shard(file=path.name, count=len(examples), sha256=digest.hexdigest(), plan=plan)


def _read_picture(source: Place, example: Example) -> bytes:
    """Reads what a record holds and proves that it is made of what was audited."""
    path = source / example.source_id
    try:
        encoded = read_at_most(path, MAX_FILE_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} can no longer be read: {error.strerror}.",
            "Put the file back or run --stage=records again without it.",
        ) from error
    if hashlib.sha256(encoded).hexdigest() != example.sha256:
        raise picture_changed(path)
    try:
        return encode_stored(encoded) if example.is_converted else encoded
    except PictureError as error:  # Only its header was looked at in the audit.
        raise InputError(
            f"{path} cannot be converted: {error.reason}.",
            "Run without --noverify_pictures, which sets such pictures aside.",
        ) from error


def _digest_row(example: Example, split: Split) -> bytes:
    """SHA-256 over what a record is made of."""
    row = (
        *(split, example.source_id, example.sha256, example.label),
        *(example.image_format, example.is_converted, example.width, example.height),
        flatten_objects(example.objects),
    )
    return hashlib.sha256(repr(row).encode()).digest()
