"""The files by which TensorFlow Datasets and the Object Detection API know our records.

`features.json`, `dataset_info.json` and the label names are written as tensorflow-datasets 4.9.10
writes them (`feature.proto` and `dataset_info.proto` in their JSON form), without needing it: its
`builder_from_directory` flattens the nested dictionary below to the keys of `records.schema`. The
label map is the text form of the Object Detection API's `string_int_label_map.proto`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

FEATURES_NAME: Final = "features.json"
DATASET_INFO_NAME: Final = "dataset_info.json"
LABELS_NAME: Final = "image-class-label.labels.txt"
LABEL_MAP_NAME: Final = "label_map.pbtxt"

_VERSION: Final = "1.0.0"
_MODULES: Final = "tensorflow_datasets.core.features"
_FILE_TEMPLATE: Final = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"

_NAME_LENGTH: Final = 100
"""A file's name holds 255 bytes, and a split and numbers come behind this one."""

Json = dict[str, Any]


def dataset_name(text: str) -> str:
    """Makes a name that TensorFlow Datasets takes: a letter, then `a-z`, `0-9` and `_`.

    Accents go, what else is foreign becomes `_`; a name without a letter first gets `data` there.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    name = name[:_NAME_LENGTH]
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def features_json(*, classes: Sequence[str], channels: int, bits: int = 8) -> Json:
    """The value of `features.json`.

    Args:
        classes: Class names; only their number goes in, the names are in `LABELS_NAME`.
        channels: 1 or 3: what the reader decodes every picture to.
        bits: 8 or 16, likewise. With 8, TensorFlow gives the upper byte of a 16-bit PNG. With 16,
            it gives that PNG as it is and an 8-bit PNG times 257, but a JPEG or BMP times 256: only
            where all pictures are 16-bit PNGs is that what one expects.
    """
    side = _sequence(_tensor("float32"))
    flag = _sequence(_tensor("int64"))
    image = {
        "encoded": _image(channels, bits),
        "format": _text(),
        "height": _tensor("int64"),
        "width": _tensor("int64"),
        "filename": _text(),
        "source_id": _text(),
        "key": _dict({"sha256": _text()}),
        "class": _dict({"label": _class_label(len(classes)), "text": _text()}),
        "object": _dict(
            {
                "bbox": _dict({"xmin": side, "ymin": side, "xmax": side, "ymax": side}),
                "class": _dict({"label": flag, "text": _sequence(_text())}),
                "difficult": flag,
                "truncated": flag,
            }
        ),
    }
    return _dict({"image": _dict(image)})


def dataset_info_json(
    *, name: str, shard_lengths: Mapping[str, Sequence[int]], shard_bytes: Mapping[str, int]
) -> Json:
    """The value of `dataset_info.json`.

    Args:
        name: Name of the data set: a lower-case letter, then letters, digits and underscores.
        shard_lengths: Records in each shard of each split, in order.
        shard_bytes: Size of all shards of each split in bytes.
    """
    return {
        "name": name,
        "version": _VERSION,
        "fileFormat": "tfrecord",
        "description": "Pictures of parts with a class each and boxes, written by Nioscope.",
        "splits": [
            {
                "name": split,
                "filepathTemplate": _FILE_TEMPLATE,
                # Protobuf's JSON form has 64-bit integers as strings.
                "numBytes": str(shard_bytes[split]),
                "shardLengths": [str(length) for length in lengths],
            }
            for split, lengths in shard_lengths.items()
        ],
    }


def labels_text(classes: Sequence[str]) -> str:
    """The text of `LABELS_NAME`: a class name a line, in the order of the labels."""
    return "".join(f"{name}\n" for name in classes)


def label_map_text(box_classes: Sequence[str]) -> str:
    """The text of `LABEL_MAP_NAME`: the classes of the boxes, counted from 1."""
    # A JSON string is a string of protobuf's text form too: quotes, backslashes, UTF-8.
    return "".join(
        f"item {{\n  id: {index}\n  name: {json.dumps(name, ensure_ascii=False)}\n}}\n"
        for index, name in enumerate(box_classes, start=1)
    )


def _feature(module: str, python_class: str, kind: str, content: Json) -> Json:
    return {"pythonClassName": f"{_MODULES}.{module}.{python_class}", kind: content}


def _dict(features: Json) -> Json:
    return _feature("features_dict", "FeaturesDict", "featuresDict", {"features": features})


def _text() -> Json:
    return _feature("text_feature", "Text", "text", {})


def _tensor(dtype: str) -> Json:
    content = {"dtype": dtype, "encoding": "none", "shape": {}}
    return _feature("tensor_feature", "Tensor", "tensor", content)


def _sequence(feature: Json) -> Json:
    content = {"feature": feature, "length": "-1"}
    return _feature("sequence_feature", "Sequence", "sequence", content)


def _class_label(num_classes: int) -> Json:
    content = {"numClasses": str(num_classes)}
    return _feature("class_label_feature", "ClassLabel", "classLabel", content)


def _image(channels: int, bits: int) -> Json:
    content = {"dtype": f"uint{bits}", "shape": {"dimensions": ["-1", "-1", str(channels)]}}
    return _feature("image_feature", "Image", "image", content)
