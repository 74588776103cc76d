"""The parts of an ONNX file that describe it: nodes, the shapes and places of tensors, the types of inputs.

Weights are never read. Field numbers are those of ``onnx.proto`` (ONNX IR, version 3 on).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from registry.protobuf import FIXED32, FIXED64, VARINT, Field, MalformedProtobuf, ProtobufFile

# ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, StringStringEntryProto, ValueInfoProto, TypeProto
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT = 1, 3
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL_DATA = 1, 2, 8, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_TYPE_ELEMENT = 1, 2, 1, 1

# TensorProto.DataType -> bits of one element, where it can be a weight.
ELEMENT_BITS = {
    1: 32,  # FLOAT
    2: 8,  # UINT8
    3: 8,  # INT8
    6: 32,  # INT32
    7: 64,  # INT64
    9: 8,  # BOOL
    10: 16,  # FLOAT16
    11: 64,  # DOUBLE
    16: 16,  # BFLOAT16
    17: 8,  # FLOAT8E4M3FN
    18: 8,
    19: 8,
    20: 8,
    21: 4,  # UINT4
    22: 4,  # INT4
}
MAX_ELEMENTS = 2**53
_MAX_FILE_BYTES = 2**53
_MAX_ITEMS = 1_000_000  # nodes and tensors; the largest published graphs have some ten thousand
_INT64_SIGN = 2**63


@dataclass(frozen=True, slots=True)
class ExternalData:
    """Where the bytes of one tensor lie: ``location`` is relative to the graph's folder; ``end`` is offset + length."""

    location: str
    end: int


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    elements: int
    data_type: int
    external: ExternalData | None


@dataclass(frozen=True, slots=True)
class Node:
    op_type: str
    inputs: tuple[str, ...]
    integers: Mapping[str, int]


@dataclass(slots=True)
class Contents:
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    input_types: dict[str, int] = field(default_factory=dict)


def read_onnx(path: Path) -> Contents:
    """Raises MalformedProtobuf if ``path`` is not an ONNX model, and OSError."""
    with ProtobufFile(path) as file:
        contents = _read_model(file)
    if not contents.nodes:
        raise MalformedProtobuf("it has no graph")
    return contents


def _read_model(file: ProtobufFile) -> Contents:
    contents = Contents()
    for model_field in file.fields(0, file.size):
        if model_field.number != _MODEL_GRAPH:
            continue
        for count, each in enumerate(_message(file, model_field)):
            if count > _MAX_ITEMS:
                raise MalformedProtobuf(f"its graph has more than {_MAX_ITEMS} parts")
            if each.number == _GRAPH_NODE:
                contents.nodes.append(_read_node(file, each))
            elif each.number == _GRAPH_INITIALIZER:
                contents.tensors.append(_read_tensor(file, each))
            elif each.number == _GRAPH_INPUT:
                name, data_type = _read_input(file, each)
                contents.input_types[name] = data_type
    return contents


def _message(file: ProtobufFile, parent: Field) -> Iterator[Field]:
    if parent.wire_type in (VARINT, FIXED32, FIXED64):
        raise MalformedProtobuf(f"field {parent.number} at byte {parent.start} is not a message")
    return file.fields(parent.start, parent.end)


def _read_node(file: ProtobufFile, parent: Field) -> Node:
    op_type, inputs, integers = "", [], {}
    for each in _message(file, parent):
        if each.number == _NODE_INPUT:
            inputs.append(file.text(each))
        elif each.number == _NODE_OP_TYPE:
            op_type = file.text(each)
        elif each.number == _NODE_ATTRIBUTE:
            name, value = _read_attribute(file, each)
            if value is not None:
                integers[name] = value
    return Node(op_type, tuple(inputs), integers)


def _read_attribute(file: ProtobufFile, parent: Field) -> tuple[str, int | None]:
    name, value = "", None
    for each in _message(file, parent):
        if each.number == _ATTRIBUTE_NAME:
            name = file.text(each)
        elif each.number == _ATTRIBUTE_INT and each.wire_type == VARINT:
            value = each.value if each.value < _INT64_SIGN else None
    return name, value


def _read_tensor(file: ProtobufFile, parent: Field) -> Tensor:
    dims: list[int] = []
    name, data_type, entries = "", 0, {}
    for each in _message(file, parent):
        if each.number == _TENSOR_DIMS:
            dims.extend(file.varints(each))
        elif each.number == _TENSOR_DATA_TYPE:
            data_type = each.value
        elif each.number == _TENSOR_NAME:
            name = file.text(each)
        elif each.number == _TENSOR_EXTERNAL_DATA:
            key, value = _read_entry(file, each)
            entries[key] = value
    elements = prod(dims)
    if elements > MAX_ELEMENTS or len(dims) > 16:
        raise MalformedProtobuf(f"tensor {name!r} has an impossible shape")
    needed = (elements * ELEMENT_BITS.get(data_type, 0) + 7) // 8
    return Tensor(name, elements, data_type, _external(entries, needed) if entries else None)


def _read_entry(file: ProtobufFile, parent: Field) -> tuple[str, str]:
    texts = {each.number: file.text(each) for each in _message(file, parent)}
    return texts.get(_ENTRY_KEY, ""), texts.get(_ENTRY_VALUE, "")


def _external(entries: Mapping[str, str], needed_bytes: int) -> ExternalData:
    """ONNX's external data entries; offset 0 and the length that the shape needs where they are absent."""
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError as error:
        raise MalformedProtobuf("an external tensor has an offset or length that is not a number") from error
    if not (0 <= offset <= _MAX_FILE_BYTES and 0 <= length <= _MAX_FILE_BYTES and entries.get("location")):
        raise MalformedProtobuf("an external tensor has no location, or an impossible offset or length")
    return ExternalData(entries["location"], offset + max(length, needed_bytes))


def _read_input(file: ProtobufFile, parent: Field) -> tuple[str, int]:
    name, data_type = "", 0
    for each in _message(file, parent):
        if each.number == _VALUE_NAME:
            name = file.text(each)
        elif each.number == _VALUE_TYPE:
            data_type = _element_type(file, each)
    return name, data_type


def _element_type(file: ProtobufFile, parent: Field) -> int:
    for each in _message(file, parent):
        if each.number == _TYPE_TENSOR:
            for inner in _message(file, each):
                if inner.number == _TENSOR_TYPE_ELEMENT:
                    return inner.value
    return 0
