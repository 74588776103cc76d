"""Protocol buffers in files: small ones whole, large ones reduced to the parts of them that are small.

Files are read, never mapped into memory: a file that a copy truncates while it is mapped ends the process (SIGBUS),
and the daemon reads folders that others are writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.files.open_file import OpenFile

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
# A file up to this size is read in one piece: graphs with their weights in a file of their own are 20 KB to 2 MB.
_WHOLE_BYTES = 4 * 1024**2
# Fields up to this size are kept; weights are larger, names and shapes are far below, and paths end here.
_SMALL_BYTES = 4 * 1024
_CHUNK_BYTES = 256 * 1024
# Limits of what is kept, as a parsed message takes up to 16 times its bytes, and one of no bytes about 100. The graph
# of a large model has some megabytes and 20,000 nodes; each item of a long list is a field.
_MAX_KEPT_BYTES = 16 * 1024**2
_MAX_FIELDS = 4_000_000
_MAX_DEPTH = 32
_VARINT_BYTES = 10  # 64 bits in groups of 7

# By field number, the messages inside a message whose small parts are wanted even where they are large themselves.
Schema = Mapping[int, Any]


class MalformedProtobuf(ValueError):
    """The bytes are not a protocol buffer, or are cut off."""


def read_message(file: OpenFile, schema: Schema) -> bytes:
    """The message that ``file`` holds, whole if it is small, else without its large fields.

    What ``schema`` names is kept, reduced in the same way. Raises MalformedProtobuf and InvalidModelFolder.
    """
    if file.size_bytes <= _WHOLE_BYTES:
        return file.read_at(0, file.size_bytes)
    return _Reduction(file).message(0, file.size_bytes, schema, 0)


class _Reduction:
    """Walks a large file in chunks and collects what is small."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._chunk = b""
        self._base = 0
        self._kept_bytes = 0
        self._fields = 0

    def message(self, start: int, end: int, schema: Schema, depth: int) -> bytes:
        if depth > _MAX_DEPTH:
            raise MalformedProtobuf("its messages are nested too deeply")
        parts = []
        position = start
        while position < end:
            tag, content = self._varint(position)
            stop = self._end(tag & 7, content)
            if tag & 7 == _LENGTH_DELIMITED:
                length, content = self._varint(content)
                stop = content + length
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise MalformedProtobuf(f"it has more than {_MAX_FIELDS} parts")
            if stop > end:
                raise MalformedProtobuf(f"field {tag >> 3} at byte {position} does not fit its message")
            if stop - content <= _SMALL_BYTES:
                parts.append(self._bytes(position, stop))
            elif tag >> 3 in schema:
                inner = self.message(content, stop, schema[tag >> 3], depth + 1)
                parts.append(_encoded(tag) + _encoded(len(inner)) + inner)
            position = stop
        return b"".join(parts)

    def _end(self, wire_type: int, content: int) -> int:
        if wire_type == _VARINT:
            return self._varint(content)[1]
        if wire_type in (_FIXED64, _FIXED32):
            return content + (8 if wire_type == _FIXED64 else 4)
        if wire_type == _LENGTH_DELIMITED:
            return content
        raise MalformedProtobuf(f"wire type {wire_type} at byte {content}")

    def _varint(self, position: int) -> tuple[int, int]:
        index = self._index(position, _VARINT_BYTES)
        try:
            value, end = _varint(self._chunk, index)
        except IndexError as error:
            raise MalformedProtobuf(f"the file ends at byte {self._base + len(self._chunk)}") from error
        return value, end - index + position

    def _bytes(self, start: int, end: int) -> bytes:
        self._kept_bytes += end - start
        if self._kept_bytes > _MAX_KEPT_BYTES:
            raise MalformedProtobuf(f"it is larger than {_MAX_KEPT_BYTES} bytes without its weights")
        index = self._index(start, end - start)
        return self._chunk[index : index + end - start]

    def _index(self, position: int, length: int) -> int:
        """Where ``position`` is in the chunk, with ``length`` bytes after it unless the file ends before."""
        index = position - self._base
        if not 0 <= index <= len(self._chunk) - length:
            self._chunk = self._file.read_at(position, max(length, _CHUNK_BYTES))
            self._base, index = position, 0
        return index


def _encoded(value: int) -> bytes:
    """``value`` as a varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` and where it ends. Raises MalformedProtobuf, and IndexError at the end of ``data``."""
    value = shift = 0
    for _ in range(_VARINT_BYTES):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise MalformedProtobuf(f"no number ends at byte {position}")
