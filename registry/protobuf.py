"""Protocol buffer wire format, read from a file field by field without loading what the caller skips.

Buffered reads rather than a memory map: a file that a copy truncates while it is mapped ends the process (SIGBUS), and
the daemon reads folders that others are writing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_CHUNK_BYTES = 64 * 1024
_VARINT_BYTES = 10  # 64 bits in groups of 7
_PACKED_BYTES = 1024  # only shapes are read this way


class MalformedProtobuf(ValueError):
    """The bytes are not a protocol buffer, or are cut off."""


class Field(NamedTuple):
    """One field of a message. ``value`` is the number of a varint; ``start`` and ``end`` are file offsets otherwise."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


class ProtobufFile:
    """A message in a file; nested messages are ranges of it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        self._chunk = b""
        self._base = 0

    def __enter__(self) -> ProtobufFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message between two offsets. Raises MalformedProtobuf."""
        position = start
        while position < end:
            tag, position = self._varint(position)
            number, wire_type = tag >> 3, tag & 7
            value = 0
            field_start = position
            if wire_type == VARINT:
                value, position = self._varint(position)
            elif wire_type == LENGTH_DELIMITED:
                length, field_start = self._varint(position)
                position = field_start + length
            elif wire_type in (FIXED64, FIXED32):
                position += 8 if wire_type == FIXED64 else 4
            else:
                raise MalformedProtobuf(f"wire type {wire_type} at byte {field_start}")
            if position > end or number == 0:
                raise MalformedProtobuf(f"field {number} at byte {field_start} does not fit its message")
            yield Field(number, wire_type, value, field_start, position)
        if position != end:
            raise MalformedProtobuf(f"the message that ends at byte {end} is cut off")

    def content(self, field: Field, *, limit: int = 64 * 1024) -> bytes:
        """The bytes of a length-delimited field of at most ``limit`` bytes. Raises MalformedProtobuf."""
        length = field.end - field.start
        if field.wire_type != LENGTH_DELIMITED or length > limit:
            raise MalformedProtobuf(
                f"field {field.number} at byte {field.start} is not a text of {limit} bytes at most"
            )
        index = field.start - self._base
        if not (index >= 0 and index + length <= len(self._chunk)):
            self._load(field.start, length)
            index = 0
        if index + length > len(self._chunk):
            raise MalformedProtobuf(f"the file ends inside field {field.number} at byte {field.start}")
        return self._chunk[index : index + length]

    def text(self, field: Field) -> str:
        try:
            return self.content(field).decode()
        except UnicodeDecodeError as error:
            raise MalformedProtobuf(f"field {field.number} at byte {field.start} is not UTF-8") from error

    def varints(self, field: Field) -> Iterator[int]:
        """The numbers of a repeated integer field, which may be packed into one."""
        if field.wire_type == VARINT:
            yield field.value
            return
        if field.wire_type != LENGTH_DELIMITED or field.end - field.start > _PACKED_BYTES:
            raise MalformedProtobuf(f"field {field.number} at byte {field.start} is not a short list of integers")
        position = field.start
        while position < field.end:
            value, position = self._varint(position)
            yield value

    def _varint(self, position: int) -> tuple[int, int]:
        index = position - self._base
        if not (index >= 0 and index + _VARINT_BYTES <= len(self._chunk)):
            self._load(position, _CHUNK_BYTES)
            index = 0
        value = shift = 0
        for byte in self._chunk[index : index + _VARINT_BYTES]:
            value |= (byte & 0x7F) << shift
            position += 1
            if byte < 0x80:
                return value, position
            shift += 7
        raise MalformedProtobuf(f"no number ends at byte {position}")

    def _load(self, position: int, length: int) -> None:
        if position >= self.size:
            raise MalformedProtobuf(f"the file ends at byte {self.size}")
        self._file.seek(position)
        self._chunk = self._file.read(max(length, _CHUNK_BYTES))
        self._base = position
