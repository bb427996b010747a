"""What TensorFlow Serving reads besides the graph: warm-up requests, and settings for the server.

In a version, below `assets.extra/`: `tf_serving_warmup_requests`, which the server answers before
it takes others, and `labels.txt` for people and clients. Beside the versions: `models.config`,
`batching.config`, `monitoring.config` and `compose.yaml`. The server polls that folder for versions
and takes only what is called by an integer; other files do no harm there.

Nothing here needs TensorFlow or `tensorflow-serving-api`: the few fields of `PredictionLog` that a
request consists of are described to protobuf (`records.proto_types`). Sources:
tensorflow_serving/apis/{prediction_log,predict,model}.proto and
tensorflow/core/framework/{tensor,tensor_shape}.proto.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from PIL import Image

from records.atomic import replacing, write_text
from records.pictures import probe_pixels
from records.proto_types import Kind, add_field, build_message, describe_file
from records.tfrecord import frame

WARMUP_NAME: Final = "tf_serving_warmup_requests"
LABELS_NAME: Final = "labels.txt"
SERVER_FILES: Final = ("models.config", "batching.config", "monitoring.config", "compose.yaml")
WARMUP_BATCHES: Final = (1, 2, 4, 8)
"""Pictures of each warm-up request of a signature; none above `max_batch_size` of
`batching.config`, because a server that batches refuses those, and with them the model."""

_ENCODED_SIGNATURES: Final = ("serving_default", "explain", "monitor")
_PIXEL_SIGNATURE: Final = "predict_tensor"
_STRING, _UINT8 = 7, 4  # of tensorflow/core/framework/types.proto

# Message: field, number, protobuf type or message, whether repeated. A map is on the wire what
# `inputs` is here, a list of keys and values.
_MESSAGES: Final[dict[str, tuple[tuple[str, int, int | str, bool], ...]]] = {
    "Dim": (("size", 1, Kind.TYPE_INT64, False),),
    "TensorShapeProto": (("dim", 2, "Dim", True),),
    "TensorProto": (
        ("dtype", 1, Kind.TYPE_INT32, False),
        ("tensor_shape", 2, "TensorShapeProto", False),
        ("tensor_content", 4, Kind.TYPE_BYTES, False),
        ("string_val", 8, Kind.TYPE_BYTES, True),
    ),
    "InputsEntry": (
        ("key", 1, Kind.TYPE_STRING, False),
        ("value", 2, "TensorProto", False),
    ),
    "ModelSpec": (("signature_name", 3, Kind.TYPE_STRING, False),),
    "PredictRequest": (
        ("model_spec", 1, "ModelSpec", False),
        ("inputs", 2, "InputsEntry", True),
    ),
    "PredictLog": (("request", 1, "PredictRequest", False),),
    "PredictionLog": (("predict_log", 6, "PredictLog", False),),
}
_FIRST_LINE: Final = re.compile(r"# SHA-256 of the lines below: ([0-9a-f]{64})\n")


def write_version_extras(
    candidate: Path,
    pictures: Sequence[bytes],
    *,
    classes: Sequence[str],
    image_size: int,
    channels: int,
) -> None:
    """Writes warm-up requests and labels into a version that is not yet published.

    Each signature gets a request of 1, 2, 4 and 8 pictures, which are taken in turn.

    Args:
        candidate: Folder of the SavedModel.
        pictures: Of which to make requests, at least one; JPEG, PNG or BMP as records hold them.
        classes: Class names in the order of the model's outputs.
        image_size: Side of the model's square input in pixels.
        channels: 1 for grey, 3 for colour.

    Raises:
        ValueError: There is no picture.
        PictureError: One cannot be decoded.
    """
    if not pictures:
        raise ValueError("warm-up requests need at least one picture; received none")
    extra = candidate / "assets.extra"
    write_text(extra / LABELS_NAME, "".join(f"{_one_line(name)}\n" for name in classes))
    with replacing(extra / WARMUP_NAME) as draft:
        draft.write_bytes(b"".join(map(frame, _encode_requests(pictures, image_size, channels))))


def write_server_files(export: Path, *, model_name: str) -> None:
    """Writes the settings of a server beside the versions.

    A file is written where it is missing, or is as an earlier export wrote it: its first line
    holds the digest of the others. One that was edited stays as it is, and so does one that is
    already right.

    Args:
        export: The folder that TensorFlow Serving polls.
        model_name: What clients call the model.

    Raises:
        ValueError: The name has other characters than letters, digits, `_`, `.` and `-`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", model_name):
        raise ValueError(f"model_name must be letters, digits, _, . and -; received {model_name!r}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    for name in SERVER_FILES:
        body = environment.get_template(f"{name}.j2").render(model_name=model_name)
        text = f"# SHA-256 of the lines below: {_digest(body)}\n{body}"
        if _may_write(export / name, text):
            write_text(export / name, text)


def _encode_requests(pictures: Sequence[bytes], image_size: int, channels: int) -> Iterator[bytes]:
    """A serialised `PredictionLog` for each signature and batch size."""
    pixels = [_fit_pixels(encoded, image_size, channels) for encoded in pictures]
    for size in WARMUP_BATCHES:
        for signature in _ENCODED_SIGNATURES:
            encoded = list(itertools.islice(itertools.cycle(pictures), size))
            tensor = {"dtype": _STRING, "tensor_shape": _shape(size), "string_val": encoded}
            yield _encode_request(signature, "image_bytes", tensor)
        images = np.stack(list(itertools.islice(itertools.cycle(pixels), size)))
        tensor = {
            "dtype": _UINT8,
            "tensor_shape": _shape(*images.shape),
            "tensor_content": images.tobytes(),
        }
        yield _encode_request(_PIXEL_SIGNATURE, "images", tensor)


def _encode_request(signature: str, key: str, tensor: dict[str, Any]) -> bytes:
    request = {
        "model_spec": {"signature_name": signature},
        "inputs": [{"key": key, "value": tensor}],
    }
    encoded: bytes = _PredictionLog(predict_log={"request": request}).SerializeToString()
    return encoded


def _shape(*sides: int) -> dict[str, Any]:
    return {"dim": [{"size": side} for side in sides]}


def _fit_pixels(encoded: bytes, image_size: int, channels: int) -> np.ndarray:
    """The picture in grey, stretched: uint8 `[image_size, image_size, channels]`.

    To warm a model up the shape alone matters; what the pixels show is near enough.
    """
    _, luma = probe_pixels(encoded)
    small = Image.fromarray(luma).resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(small)[..., np.newaxis], channels, axis=-1)


def _one_line(name: str) -> str:
    # The number of a line is the index of its class, whatever characters a name has.
    return " ".join(name.splitlines())


def _may_write(path: Path, text: str) -> bool:
    """Whether `text` is to go there: nothing is, or what an earlier export left untouched."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    earlier = path.read_bytes().decode("utf-8", "replace")
    first = _FIRST_LINE.match(earlier)
    untouched = first is not None and first[1] == _digest(earlier[first.end() :])
    return untouched and earlier != text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _describe() -> Any:
    """The `FileDescriptorProto` of `_MESSAGES`."""
    file = describe_file("nioscope_serving")
    for message, fields in _MESSAGES.items():
        description = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            add_field(file, description, name, number, kind, repeated=repeated)
    return file


_PredictionLog: Final[Any] = build_message(_describe(), "PredictionLog")
