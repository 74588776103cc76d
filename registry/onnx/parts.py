"""What is read from an ONNX file: nodes, tensors and where their bytes are, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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
