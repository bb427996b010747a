"""Judges records with a SavedModel as TensorFlow Serving would: no Keras, nothing of this project.

Run as a program of its own, in a process that has nothing else loaded:

    python -I clean_session.py SAVED_MODEL_DIR ANSWERS.json RECORDS.tfrecord...

It loads the graph tagged `serve` into a plain `Session`, feeds the pictures of the records to
`serving_default`, and writes what comes back.
"""

from __future__ import annotations

import json
import sys
from typing import Any

if __name__ == "__main__":
    # TensorFlow imports Keras by itself where it can; here it cannot, and nothing else may.
    sys.modules.update(dict.fromkeys(("keras", "tf_keras")))  # type: ignore[arg-type]

import tensorflow as tf

_SIGNATURE = "serving_default"
# Not a divisor of most counts: the last batch is then a smaller one, as it will be in service.
_BATCH_SIZE = 7


def judge_records(saved_model: str, records: list[str]) -> dict[str, list[Any]]:
    """Answers for every record, in order.

    Args:
        saved_model: Folder of the SavedModel.
        records: TFRecord files with `image/source_id` and `image/encoded`.

    Returns:
        `source_id`, `probabilities`, `label` and `decision`, one entry a record.
    """
    answers: dict[str, list[Any]] = {
        name: [] for name in ("source_id", "probabilities", "label", "decision")
    }
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], saved_model)
        signature = graph.signature_def[_SIGNATURE]
        fed = signature.inputs["image_bytes"].name
        fetched = {
            name: signature.outputs[name].name for name in ("probabilities", "label", "decision")
        }
        batch: list[tuple[str, bytes]] = []

        def flush() -> None:
            if not batch:
                return
            values = session.run(fetched, {fed: [encoded for _, encoded in batch]})
            answers["source_id"] += [name for name, _ in batch]
            answers["probabilities"] += values["probabilities"].tolist()
            for name in ("label", "decision"):
                answers[name] += [value.decode() for value in values[name].tolist()]
            batch.clear()

        for path in records:
            for record in tf.compat.v1.io.tf_record_iterator(path):
                feature = tf.train.Example.FromString(record).features.feature
                name = feature["image/source_id"].bytes_list.value[0].decode()
                batch.append((name, feature["image/encoded"].bytes_list.value[0]))
                if len(batch) == _BATCH_SIZE:
                    flush()
        flush()
    return answers


def main(arguments: list[str]) -> None:
    """Writes the answers as JSON."""
    tf.compat.v1.logging.set_verbosity("ERROR")
    saved_model, answers, *records = arguments
    values = judge_records(saved_model, records)
    with open(answers, "w", encoding="utf-8") as file:  # noqa: PTH123 - no other import than needed
        json.dump(values, file, allow_nan=False)


if __name__ == "__main__":
    main(sys.argv[1:])
