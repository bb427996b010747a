"""The message `tf.train.Example`, without TensorFlow.

Built from a description of `example.proto` and `feature.proto` (tensorflow/core/example) in a pool
of its own, so that it does not get in the way of TensorFlow's, where both are in one process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError

_PACKAGE: Final = "nioscope"
_Field: Final = descriptor_pb2.FieldDescriptorProto
_LISTS: Final = (
    ("bytes_list", "BytesList", _Field.TYPE_BYTES),
    ("float_list", "FloatList", _Field.TYPE_FLOAT),
    ("int64_list", "Int64List", _Field.TYPE_INT64),
)
"""The kinds of a `Feature` in the order of their field numbers, from 1."""


def _describe() -> Any:
    """The `FileDescriptorProto` of the five messages an `Example` consists of."""
    # In proto3 numbers are packed, which is what both files say of their lists.
    file = descriptor_pb2.FileDescriptorProto(
        name="nioscope/example.proto", package=_PACKAGE, syntax="proto3"
    )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, message, kind) in enumerate(_LISTS, start=1):
        _add_field(file.message_type.add(name=message), "value", 1, kind, repeated=True)
        _add_field(feature, field, number, message).oneof_index = 0
    features = file.message_type.add(name="Features")
    # What `map<string, Feature>` stands for.
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, _Field.TYPE_STRING)
    _add_field(entry, "value", 2, "Feature")
    _add_field(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    _add_field(file.message_type.add(name="Example"), "features", 1, "Features")
    return file


def _add_field(
    message: Any, name: str, number: int, kind: int | str, *, repeated: bool = False
) -> Any:
    """Adds a field of a protobuf type, or of the message that `kind` names."""
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = kind
    return field


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_describe().SerializeToString())
Example: Final[Any] = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.Example")
)
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
