"""Asks a SavedModel as TensorFlow Serving would: no Keras, nothing of the project that made it.

Run as a program of its own, in a process that has nothing else loaded:

    python -I clean_session.py SAVED_MODEL_DIR [--sheet SHEET.json ...] [--findings FINDINGS.json]

It loads the graph tagged `serve` into a plain `Session`, shows it pictures, and holds what it says
to sheets of expected answers; without any, to the SavedModel's own golden set. It prints what
differs and exits with 1, or with 0 when nothing does. A sheet is JSON: `name`; `records`, TFRecord
files as seen from the sheet; `classes`; `tolerance` of a probability; `pictures`, as
the records have them, each with `source_id`, `sha256`, `label`, `decision` and `probabilities`;
`closely`, the names of those to be shown in every way, null for all; `files`, SHA-256 of its files.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    # TensorFlow imports Keras by itself where it can; here it cannot, and nothing else may.
    sys.modules.update(dict.fromkeys(("keras", "tf_keras")))  # type: ignore[arg-type]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

GOLDEN_SHEET = "assets.extra/golden/golden.json"
_16_BIT_PNG = b"\x89PNG\r\n\x1a\n", b"\x10"  # signature, and bit depth at 24
_NO_ANSWER = "no answer"


class Way(NamedTuple):
    """How pictures are shown: `form` is `bytes`, `base64` (as REST sends them) or `pixels`."""

    signature: str
    form: str
    batch_size: int


EVERY_PICTURE = Way("serving_default", "bytes", 32)
CLOSELY = (
    *(Way("serving_default", "bytes", size) for size in (1, 2, 7)),
    *(Way("explain", "bytes", size) for size in (1, 2, 7, 32)),
    *(Way("predict_tensor", "pixels", size) for size in (1, 2, 7, 32)),
    # Once: what the graph is given is the same as above, in batches of whichever size.
    *(Way(signature, "base64", 7) for signature in ("serving_default", "explain")),
    Way("monitor", "bytes", 7),  # last: a SavedModel may be without it
)


class Picture(NamedTuple):
    """Bytes or uint8 pixels, the answer expected, and whether the pixels are not a resized copy."""

    shown: Any
    expected: dict[str, Any]
    is_own: bool = True


class Served:
    """A SavedModel in a plain Session."""

    def __init__(self, folder: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self.signatures = graph.signature_def

    def ask(self, way: Way, shown: Sequence[Any]) -> list[dict[str, Any]]:
        """The outputs for each picture of a batch; texts are `str`.

        Raises:
            ValueError: An output's first dimension is not the batch, or is no JSON.
        """
        if way.form == "base64":
            instances = [{"b64": base64.b64encode(encoded).decode()} for encoded in shown]
            request = json.loads(json.dumps({"instances": instances}))
            shown = [base64.b64decode(item["b64"], validate=True) for item in request["instances"]]
        definition = self.signatures[way.signature]
        (fed,) = definition.inputs.values()
        fetched = {name: output.name for name, output in definition.outputs.items()}
        outputs = self._session.run(fetched, {fed.name: list(shown)})
        for name, values in outputs.items():
            if values.shape[:1] != (len(shown),):
                raise ValueError(f"{name} has shape {values.shape} for {len(shown)} pictures")
            if values.dtype == object:
                outputs[name] = np.vectorize(bytes.decode, otypes=[object])(values)
        rows = [{name: values[i] for name, values in outputs.items()} for i in range(len(shown))]
        if way.form == "base64":
            reply = json.dumps({"predictions": rows}, allow_nan=False, default=lambda x: x.tolist())
            rows = json.loads(reply)["predictions"]
        return rows


def examine(served: Served, sheet_path: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Holds the SavedModel in `folder` to a sheet.

    Yields:
        A finding for each way of asking: `set`, the fields of `Way`, how many `pictures` were
        shown, how many of them as their `own` bytes or pixels, the `largest_difference` of a
        probability, and `wrong`: name and reason of each picture that was answered differently.

    Raises:
        ValueError: A file of the SavedModel or a record is not the one that the sheet is about.
    """
    sheet = json.loads(sheet_path.read_text(encoding="utf-8"))
    for name, digest in sheet["files"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{folder / name} is not the file that was published")
    names = sheet["closely"]
    closely: list[Picture] = []

    def read() -> Iterator[Picture]:
        for picture in _read_pictures(sheet, sheet_path.parent):
            if names is None or picture.expected["source_id"] in names:
                closely.append(picture)
            yield picture

    yield (first := _hold(served, EVERY_PICTURE, read(), sheet))
    if any(why.startswith(_NO_ANSWER) for _, why in first["wrong"]):
        return
    pixels = _to_pixels(served, closely)
    for way in CLOSELY if "monitor" in served.signatures else CLOSELY[:-1]:
        yield _hold(served, way, pixels if way.form == "pixels" else closely, sheet)


def find_fault(row: dict[str, Any], expected: dict[str, Any], sheet: dict[str, Any]) -> str:
    """Says what is wrong with an answer; empty if nothing is."""
    for name, value in row.items():
        values = np.asarray(value)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"{name} is not a number"
        if name == "heatmap" and not ((values >= 0) & (values <= 1)).all():
            return "its heatmap is not within 0 to 1"
    if [*row["classes"], row["classes"][row["label_index"]]] != [*sheet["classes"], row["label"]]:
        return f"the classes are {', '.join(row['classes'])}, number {row['label_index']} of them"
    for name in ("label", "decision"):
        if row[name] != expected[name]:
            return f"{name} {row[name]} instead of {expected[name]}"
    gap = _measure_gap(row, expected)
    return f"a probability differs by {gap:.1e}" if gap > sheet["tolerance"] else ""


def describe(found: dict[str, Any]) -> str:
    """Says what a way of asking that gave wrong answers was, and of which pictures."""
    first = "; ".join(f"{name} ({why})" for name, why in found["wrong"][:5])
    return (
        f"{found['set']}: {len(found['wrong'])} of {found['pictures']} pictures by the signature "
        f"{found['signature']}, as {found['form']} in batches of {found['batch_size']}: {first}"
    )


def _hold(
    served: Served, way: Way, pictures: Iterable[Picture], sheet: dict[str, Any]
) -> dict[str, Any]:
    count, own, largest, wrong = 0, 0, 0.0, []
    queue = iter(pictures)
    while batch := list(itertools.islice(queue, way.batch_size)):
        count, own = count + len(batch), own + sum(picture.is_own for picture in batch)
        expected = [picture.expected for picture in batch]
        try:
            rows = served.ask(way, [picture.shown for picture in batch])
        except (ValueError, KeyError, tf.errors.OpError) as error:
            reason = f"{_NO_ANSWER}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            wrong += [(answer["source_id"], reason) for answer in expected]
            continue
        for row, answer in zip(rows, expected, strict=True):
            largest = max(largest, _measure_gap(row, answer))
            if fault := find_fault(row, answer, sheet):
                wrong.append((answer["source_id"], fault))
    names = {"set": sheet["name"], **way._asdict()}
    return names | {"pictures": count, "own": own, "largest_difference": largest, "wrong": wrong}


def _measure_gap(row: dict[str, Any], expected: dict[str, Any]) -> float:
    gaps = np.abs(np.subtract(row["probabilities"], expected["probabilities"]))
    return float(np.nan_to_num(gaps, nan=1.0, posinf=1.0).max())  # strict JSON has no NaN


def _read_pictures(sheet: dict[str, Any], folder: Path) -> Iterator[Picture]:
    paths = [folder / name for name in sheet["records"]]
    records = (r for path in paths for r in tf.compat.v1.io.tf_record_iterator(str(path)))
    for record, expected in zip(records, sheet["pictures"], strict=True):
        feature = tf.train.Example.FromString(record).features.feature
        encoded = feature["image/encoded"].bytes_list.value[0]
        if hashlib.sha256(encoded).hexdigest() != expected["sha256"]:
            raise ValueError(f"the record of {expected['source_id']} holds another picture")
        yield Picture(encoded, expected)


def _to_pixels(served: Served, pictures: Sequence[Picture]) -> list[Picture]:
    """The same pictures as whole grey values of the size of the model's input.

    A picture of another size is resized and rounded. It is then another picture, so that what is
    expected of its pixels is what the SavedModel says of them as a PNG.
    """
    (fed,) = served.signatures["predict_tensor"].inputs.values()
    _, *size, channels = (dimension.size for dimension in fed.tensor_shape.dim)
    shown = []
    for encoded, expected, _ in pictures:
        pixels = tf.io.decode_image(encoded, channels=0, expand_animations=False)
        is_deep = (encoded[:8], encoded[24:25]) == _16_BIT_PNG
        is_own = pixels.shape == (*size, channels) and not is_deep
        if pixels.shape[-1] != channels:
            pixels = tf.repeat(pixels[..., :1], channels, axis=-1)
        resized = tf.round(tf.image.resize(pixels, size, antialias=True))
        fitted = tf.cast(tf.clip_by_value(resized, 0, 255), tf.uint8)
        if not is_own:
            (row,) = served.ask(EVERY_PICTURE, [tf.io.encode_png(fitted).numpy()])
            expected = expected | {
                name: row[name] for name in ("label", "decision", "probabilities")
            }
        shown.append(Picture(fitted.numpy(), expected, is_own))
    return shown


def main(arguments: Sequence[str]) -> int:
    """Examines a SavedModel and prints what is wrong with it; returns the exit status."""
    parser = argparse.ArgumentParser(description="Holds a SavedModel to expected answers.")
    parser.add_argument("saved_model", type=Path)
    parser.add_argument("--sheet", type=Path, action="append", help="default: the golden set")
    parser.add_argument("--findings", type=Path, help="where to write all findings, as JSON")
    given = parser.parse_args(arguments)
    tf.compat.v1.logging.set_verbosity("ERROR")
    findings: list[dict[str, Any]] = []
    try:
        served = Served(given.saved_model)
        for sheet in given.sheet or [given.saved_model / GOLDEN_SHEET]:
            findings += examine(served, sheet, given.saved_model)
    except Exception as error:  # Whatever a damaged file makes of it.
        print(f"{given.saved_model} could not be examined: {type(error).__name__}: {error}")
        return 1
    wrong = [describe(found) for found in findings if found["wrong"]]
    if given.findings:
        given.findings.write_text(json.dumps({"findings": findings, "wrong": wrong}))
    largest = max(found["largest_difference"] for found in findings)
    print("\n".join(wrong) or f"All answers are as expected, probabilities to {largest:.1e}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
