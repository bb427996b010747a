"""TFRecord framing: records to the bytes of a file and back, each with its checksums.

A record in a file is its length (uint64), the masked CRC-32C of these 8 bytes (uint32), the data,
and the masked CRC-32C of the data (uint32), all little-endian. The mask turns a checksum by 15 bits
and adds a constant, so that the checksum of bytes that hold checksums stays meaningful.

Source: tensorflow/core/lib/io/record_writer.h and
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import google_crc32c

_LENGTH: Final = struct.Struct("<Q")
_CHECKSUM: Final = struct.Struct("<I")
_HEADER_BYTES: Final = _LENGTH.size + _CHECKSUM.size
_MASK_DELTA: Final = 0xA282EAD8


class RecordError(ValueError):
    """A TFRecord file is damaged.

    Attributes:
        number: Of the first bad record; the first record of a file has the number 1.
        offset: Where that record begins in the file, in bytes.
        reason: What is wrong with it.
    """

    def __init__(self, number: int, offset: int, reason: str) -> None:
        super().__init__(f"record {number} {reason}")
        self.number = number
        self.offset = offset
        self.reason = reason


def frame(record: bytes) -> bytes:
    """The bytes that stand for a record in a TFRecord file, as `tf.io.TFRecordWriter` writes it."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _checksum(length), record, _checksum(record)))


def read_frames(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file, both checksums of each looked at.

    Holds one record at a time. A length beyond the end of the file is not trusted, so that damage
    cannot make it ask for more memory than the file is long.

    Raises:
        RecordError: A record is cut short, its length is damaged or its data are.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        number, offset = 1, 0
        while offset < size:
            record = _read_frame(file, number, offset, size - offset)
            yield record
            number, offset = number + 1, offset + _HEADER_BYTES + len(record) + _CHECKSUM.size


def _read_frame(file: BinaryIO, number: int, offset: int, left: int) -> bytes:
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise RecordError(number, offset, "is cut short")
    length = header[: _LENGTH.size]
    if header[_LENGTH.size :] != _checksum(length):
        raise RecordError(number, offset, "has a damaged length")
    (count,) = _LENGTH.unpack(length)
    if _HEADER_BYTES + count + _CHECKSUM.size > left:
        raise RecordError(number, offset, "is cut short")
    record, checksum = file.read(count), file.read(_CHECKSUM.size)
    if len(record) < count or len(checksum) < _CHECKSUM.size:
        raise RecordError(number, offset, "is cut short")
    if checksum != _checksum(record):
        raise RecordError(number, offset, "has damaged data")
    return record


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    turned = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return _CHECKSUM.pack((turned + _MASK_DELTA) & 0xFFFFFFFF)


def count_frames(path: Path) -> int:
    """How many whole records a TFRecord file holds, by their lengths alone.

    Neither data nor checksums are read, which makes it quick, and right only for a file that is
    known to be undamaged.

    Raises:
        OSError: The file cannot be read.
    """
    count, offset = 0, 0
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while len(length := file.read(_LENGTH.size)) == _LENGTH.size:
            offset += _HEADER_BYTES + _LENGTH.unpack(length)[0] + _CHECKSUM.size
            if offset > size:
                break
            count += 1
            file.seek(offset)
    return count


def describe_damage(path: Path, count: int) -> str:
    """Says what is wrong with a file of `count` records that is not what it was.

    Raises:
        OSError: The file cannot be read.
    """
    found = 0
    try:
        for _ in read_frames(path):
            found += 1
    except RecordError as error:
        if error.number > count:
            surplus = path.stat().st_size - error.offset
            return f"holds {surplus} bytes behind its {count} records that are no record"
        return f"is damaged: record {error.number} of {count} {error.reason}"
    if found < count:
        return f"ends after record {found} of {count}"
    if found > count:
        return f"holds {found} records instead of {count}"
    return f"holds {count} undamaged records, but not those its manifest describes"
