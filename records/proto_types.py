"""Messages of Protocol Buffers, built from a description in place of a compiled `.proto` file.

Each is built in a pool of its own, so that it does not get in the way of TensorFlow's, where both
are in one process.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Kind: Final = descriptor_pb2.FieldDescriptorProto
"""Where protobuf names its types: `Kind.TYPE_INT64`."""


def describe_file(name: str) -> Any:
    """An empty `FileDescriptorProto` in proto3, where lists of numbers are packed.

    Args:
        name: Of the package, and of the file that it stands for.
    """
    return descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")


def add_field(
    file: Any, message: Any, name: str, number: int, kind: int | str, *, repeated: bool = False
) -> Any:
    """Adds a field of a protobuf type, or of the message of `file` that `kind` names."""
    label = Kind.LABEL_REPEATED if repeated else Kind.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if isinstance(kind, str):
        field.type, field.type_name = Kind.TYPE_MESSAGE, f".{file.package}.{kind}"
    else:
        field.type = kind
    return field


def build_message(file: Any, name: str) -> Any:
    """The class of the message `name` of a described file."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
