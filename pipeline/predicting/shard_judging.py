"""What one worker of a cluster does with its share of the pictures: judges it as one machine does.

TensorFlow is loaded when the first pictures come, the SavedModel stays for the next ones.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.predicting.incoming import Picture, read_batches
from records.errors import InputError
from records.places import Place
from records.quiet import load_tensorflow

if TYPE_CHECKING:
    from pipeline.predicting.judging import Outcome
    from pipeline.serving.saved_model import ServedModel

# Not the maps: no answer holds them, and they are large.
_SENT_BACK = frozenset(
    {"decision", "label_index", "probabilities", "reconstruction_error", "score", "statistics"}
)
_one_shard = threading.Lock()  # The model takes all cores by itself.


def judge_shard(
    saved_model: Path, digest: str, folder: Path, paths: Sequence[Place]
) -> list[Outcome]:
    """Judges pictures in the batches that they are in on one machine.

    Args:
        saved_model: Folder of the SavedModel.
        digest: SHA-256 of it.
        folder: Where paths begin that begin nowhere else.
        paths: The pictures, `pipeline.predicting.incoming.SHARD_SIZE` at most.

    Returns:
        What became of each batch, in order; without the pictures' bytes.

    Raises:
        InputError: The SavedModel cannot be loaded, or is another one.
    """
    with _one_shard:
        load_tensorflow()
        from pipeline.predicting.judging import judge_ahead

        served = _load(saved_model, digest)
        batches = read_batches(folder / path for path in paths)
        names = iter(paths)
        return [_lighten(outcome, names) for outcome in judge_ahead(served.answer, batches)]


@functools.lru_cache(maxsize=1)
def _load(saved_model: Path, digest: str) -> ServedModel:
    from pipeline.serving.saved_model import load_served

    served = load_served(saved_model)
    if served.digest != digest:
        raise InputError(
            f"The SavedModel {saved_model} is another one for a worker.",
            "Give every machine the same file system under the same paths.",
        )
    return served


def _lighten(outcome: Outcome, names: Iterator[Place]) -> Outcome:
    def lighten(picture: Picture) -> Picture:
        return dataclasses.replace(picture, path=next(names), encoded=b"")

    return dataclasses.replace(
        outcome,
        pictures=tuple(map(lighten, outcome.pictures)),
        outputs={name: rows for name, rows in outcome.outputs.items() if name in _SENT_BACK},
    )
