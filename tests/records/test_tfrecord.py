from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.tfrecord import RecordError, count_frames, describe_damage, frame, read_frames

RECORDS = (b"first", b"", b"third record")
FRAMES = tuple(frame(record) for record in RECORDS)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_checksum_is_crc32c() -> None:
    # RFC 3720, B.4: 32 bytes of zeros, of ones, and counting up.
    assert google_crc32c.value(bytes(32)) == 0x8A9136AA
    assert google_crc32c.value(b"\xff" * 32) == 0x62A8AB43
    assert google_crc32c.value(bytes(range(32))) == 0x46DD794E


def test_a_frame_by_hand() -> None:
    # Length 32 first; the mask turns a checksum right by 15 bits and adds a constant.
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    framed = frame(bytes(32))
    assert framed[:8] == b"\x20" + bytes(7)
    assert framed[12:44] == bytes(32)
    assert struct.unpack("<I", framed[44:]) == (masked,)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_the_bytes_are_those_of_tensorflow_s_writer(tmp_path: Path, records: list[bytes]) -> None:
    theirs = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for record in records:
            writer.write(record)
    assert b"".join(map(frame, records)) == theirs.read_bytes()
    assert list(read_frames(theirs)) == records
    assert count_frames(theirs) == len(records)
    read = tf.data.TFRecordDataset(str(write(tmp_path / "ours", b"".join(map(frame, records)))))
    assert list(read.as_numpy_iterator()) == records


def test_every_cut_is_found_where_it_is(tmp_path: Path) -> None:
    whole = b"".join(FRAMES)
    ends = [sum(map(len, FRAMES[:count])) for count in range(len(FRAMES) + 1)]
    for length in range(len(whole)):
        path = write(tmp_path / "cut", whole[:length])
        complete = sum(end <= length for end in ends[1:])
        assert count_frames(path) == complete
        if length in ends:
            assert list(read_frames(path)) == list(RECORDS[:complete])
            assert describe_damage(path, 3) == f"ends after record {complete} of 3"
            continue
        with pytest.raises(RecordError, match=f"record {complete + 1} is cut short") as caught:
            list(read_frames(path))
        assert (caught.value.number, caught.value.offset) == (complete + 1, ends[complete])


def test_every_flipped_bit_is_found_where_it_is(tmp_path: Path) -> None:
    whole = b"".join(FRAMES)
    starts = [sum(map(len, FRAMES[:count])) for count in range(len(FRAMES))]
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path = write(tmp_path / "flipped", bytes(damaged))
            number = sum(start <= at for start in starts)
            in_length = at - starts[number - 1] < 12
            reason = "has a damaged length" if in_length else "has damaged data"
            with pytest.raises(RecordError, match=f"^record {number} {reason}$"):
                list(read_frames(path))
            assert describe_damage(path, 3) == f"is damaged: record {number} of 3 {reason}"


def test_records_before_the_damage_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "file", FRAMES[0] + FRAMES[2][:-1] + b"?")
    records = read_frames(path)
    assert next(records) == b"first"
    with pytest.raises(RecordError, match="record 2 has damaged data"):
        next(records)


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**60)
    crc = google_crc32c.value(length)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    path = write(tmp_path / "file", FRAMES[0] + length + struct.pack("<I", masked) + b"data")
    with pytest.raises(RecordError, match="record 2 is cut short"):
        list(read_frames(path))
    assert count_frames(path) == 1


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (b"".join(FRAMES) + b"12345", "holds 5 bytes behind its 3 records that are no record"),
        (b"".join(FRAMES) + FRAMES[0], "holds 4 records instead of 3"),
        (b"".join(reversed(FRAMES)), "holds 3 undamaged records, but not those its manifest"),
        (b"", "ends after record 0 of 3"),
    ],
)
def test_what_else_can_be_wrong_with_a_file(tmp_path: Path, content: bytes, damage: str) -> None:
    assert describe_damage(write(tmp_path / "file", content), 3).startswith(damage)


def test_an_empty_file_holds_no_records(tmp_path: Path) -> None:
    assert list(read_frames(write(tmp_path / "file", b""))) == []
