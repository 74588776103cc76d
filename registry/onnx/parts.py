"""What is read from an ONNX file: nodes, tensors and where their bytes are, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from registry.onnx.protobuf import MalformedProtobuf

# TensorProto.DataType -> bits of one element, where it can be a weight or a cache.
ELEMENT_BITS = {
    1: 32,  # FLOAT
    2: 8,  # UINT8
    3: 8,  # INT8
    4: 16,  # UINT16
    5: 16,  # INT16
    6: 32,  # INT32
    7: 64,  # INT64
    9: 8,  # BOOL
    10: 16,  # FLOAT16
    11: 64,  # DOUBLE
    12: 32,  # UINT32
    13: 64,  # UINT64
    16: 16,  # BFLOAT16
    17: 8,  # FLOAT8E4M3FN
    18: 8,
    19: 8,
    20: 8,
    21: 4,  # UINT4
    22: 4,  # INT4
    23: 4,  # FLOAT4E2M1
    25: 2,  # UINT2
    26: 2,  # INT2
}
MAX_ELEMENTS = 2**53
MAX_DIMENSIONS = 16
_MAX_FILE_BYTES = 2**53


class ExternalData(NamedTuple):
    """The bytes of one tensor: from ``offset`` to ``end`` of ``location``, which is relative to the graph's folder."""

    location: str
    offset: int
    end: int


class Tensor(NamedTuple):
    name: str
    dims: tuple[int, ...]
    elements: int
    data_type: int
    external: ExternalData | None


class Node(NamedTuple):
    """``attributes`` are those that are whole numbers from 0 or texts."""

    op_type: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, int | str]

    def integer(self, name: str) -> int | None:
        """The value of an attribute that is a whole number, None if there is none."""
        value = self.attributes.get(name)
        return value if isinstance(value, int) else None


class Input(NamedTuple):
    """``dims`` has None for one that is only known when the graph runs."""

    name: str
    data_type: int
    dims: tuple[int | None, ...]


@dataclass(slots=True)
class Contents:
    """``nodes`` and ``tensors`` also of subgraphs and functions; ``inputs`` and ``outputs`` of the main graph only."""

    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def external_data(location: bytes, offset: bytes, length: bytes, needed_bytes: int) -> ExternalData:
    """The values of ONNX's external data entries; the length is ``needed_bytes``, as the shape says, at least.

    Raises MalformedProtobuf.
    """
    try:
        start, stated_bytes = int(offset), int(length)
    except ValueError as error:
        raise MalformedProtobuf("an external tensor has an offset or length that is not a number") from error
    if not (0 <= start <= _MAX_FILE_BYTES and 0 <= stated_bytes <= _MAX_FILE_BYTES and location):
        raise MalformedProtobuf("an external tensor has no location, or an impossible offset or length")
    return ExternalData(location.decode(), start, start + max(stated_bytes, needed_bytes))
