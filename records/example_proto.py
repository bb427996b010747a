"""The message `tf.train.Example`, without TensorFlow.

Built from a description of `example.proto` and `feature.proto` (tensorflow/core/example).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError

from records.proto_types import Kind, add_field, build_message, describe_file

_LISTS: Final = (
    ("bytes_list", "BytesList", Kind.TYPE_BYTES),
    ("float_list", "FloatList", Kind.TYPE_FLOAT),
    ("int64_list", "Int64List", Kind.TYPE_INT64),
)
"""The kinds of a `Feature` in the order of their field numbers, from 1."""


def _describe() -> Any:
    """The `FileDescriptorProto` of the five messages an `Example` consists of."""
    # In proto3 numbers are packed, which is what both files say of their lists.
    file = describe_file("nioscope")
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, message, kind) in enumerate(_LISTS, start=1):
        add_field(file, file.message_type.add(name=message), "value", 1, kind, repeated=True)
        add_field(file, feature, field, number, message).oneof_index = 0
    features = file.message_type.add(name="Features")
    # What `map<string, Feature>` stands for.
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add_field(file, entry, "key", 1, Kind.TYPE_STRING)
    add_field(file, entry, "value", 2, "Feature")
    add_field(file, features, "feature", 1, "Features.FeatureEntry", repeated=True)
    add_field(file, file.message_type.add(name="Example"), "features", 1, "Features")
    return file


Example: Final[Any] = build_message(_describe(), "Example")
"""`tf.train.Example`: the same fields, and the same bytes when serialised."""


def parse_features(serialized: bytes) -> Any:
    """The features of a serialised `Example`: a map from names to `Feature` messages.

    Raises:
        ValueError: It is no `Example`.
    """
    try:
        return Example.FromString(serialized).features.feature
    except DecodeError as error:
        raise ValueError("it is no tf.train.Example") from error


def put_bytes(features: Any, key: str, values: Iterable[bytes]) -> None:
    """Sets a feature to a `BytesList`."""
    content = features[key].bytes_list
    content.value.extend(values)
    content.SetInParent()  # An empty list is of a kind too.


def put_texts(features: Any, key: str, values: Iterable[str]) -> None:
    """Sets a feature to a `BytesList` of UTF-8."""
    put_bytes(features, key, [value.encode() for value in values])


def put_floats(features: Any, key: str, values: Iterable[float]) -> None:
    """Sets a feature to a `FloatList`, which holds float32."""
    content = features[key].float_list
    content.value.extend(values)
    content.SetInParent()


def put_int64s(features: Any, key: str, values: Iterable[int]) -> None:
    """Sets a feature to an `Int64List`."""
    content = features[key].int64_list
    content.value.extend(values)
    content.SetInParent()


def get_bytes(features: Any, key: str) -> list[bytes]:
    """The values of a `BytesList`; a `ValueError` when there is no such feature."""
    return list(_get(features, key, "bytes_list"))


def get_texts(features: Any, key: str) -> list[str]:
    """The values of a `BytesList` of UTF-8; a `ValueError` when there is no such feature."""
    try:
        return [value.decode() for value in _get(features, key, "bytes_list")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{key} is no UTF-8") from error


def get_floats(features: Any, key: str) -> list[float]:
    """The values of a `FloatList`; a `ValueError` when there is no such feature."""
    return list(_get(features, key, "float_list"))


def get_int64s(features: Any, key: str) -> list[int]:
    """The values of an `Int64List`; a `ValueError` when there is no such feature."""
    return list(_get(features, key, "int64_list"))


def _get(features: Any, key: str, kind: str) -> Any:
    # Asked by name, because a protobuf map makes an entry of what it does not have.
    if key not in features:
        raise ValueError(f"it has no {key}")
    if features[key].WhichOneof("kind") != kind:
        raise ValueError(f"{key} is no {kind}")
    return getattr(features[key], kind).value
