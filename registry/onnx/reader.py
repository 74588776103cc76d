"""From an ONNX model in memory to its parts, within limits of time and memory that hold for any bytes.

What is asked of a message is asked once: each access to a field costs 0.1 us, as much as parsing a node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

from registry.onnx.messages import Attribute, DecodeError, Function, Graph, Model, Type
from registry.onnx.parts import (
    ELEMENT_BITS,
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    Contents,
    ExternalData,
    Input,
    Node,
    Tensor,
)
from registry.onnx.protobuf import MalformedProtobuf

_MAX_ITEMS = 1_000_000  # nodes and tensors; the largest published graphs have some ten thousand
_MAX_DEPTH = 32
_MAX_NESTED_BYTES = 64 * 1024**2  # of all graphs inside graphs, each with what is inside it
_MAX_FILE_BYTES = 2**53
# Operators whose attributes hold graphs, and the one that holds a tensor.
_WITH_CONTENTS = frozenset({b"If", b"Loop", b"Scan", b"SequenceMap", b"Constant"})


# Plain tuples, as there are hundreds of each. Operator, attributes for ``attributes_of``, and names of inputs.
RawNode = tuple[bytes, tuple[bytes, ...], list[bytes]]
# Name, dimensions, elements, data type, and of an external one location, first byte and end.
RawTensor = tuple[bytes, list[int], int, int, tuple[bytes, int, int] | None]


@dataclass(slots=True)
class RawContents:
    """Like ``Contents``, with texts as bytes that need not be UTF-8, and ``tensors`` as messages for ``tensor_of``."""

    nodes: list[RawNode] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@contextmanager
def malformed() -> Iterator[None]:
    """Raises MalformedProtobuf for what protobuf's parser, and the decoding of texts, raise inside."""
    try:
        yield
    except DecodeError as error:
        raise MalformedProtobuf("it is cut off, or some of its bytes are damaged") from error
    except UnicodeDecodeError as error:
        raise MalformedProtobuf("one of its names is not UTF-8") from error


def contents_of(data: bytes) -> Contents:
    """What the model ``data`` consists of. Raises MalformedProtobuf if it is not an ONNX model."""
    with malformed():
        raw = raw_contents_of(data, None)
        return Contents(list(map(_node, raw.nodes)), list(map(_tensor, raw.tensors)), raw.inputs, raw.outputs)


def raw_contents_of(data: bytes, operators: Collection[bytes] | None) -> RawContents:
    """Of the nodes those whose type is one of ``operators``, all if that is None.

    Raises MalformedProtobuf, and what ``malformed`` turns into it.
    """
    reader = _Reader(operators)
    reader.read(data)
    return reader.contents


class _Reader:
    """Goes through one model, from message to message."""

    def __init__(self, operators: Collection[bytes] | None) -> None:
        self._operators = operators
        self._items = 0
        self._depth = 0
        self._nested_bytes = 0
        # What the layers of a model have in common is read once.
        self._types: dict[bytes, tuple[int, tuple[int | None, ...]]] = {}
        self.contents = RawContents()

    def read(self, data: bytes) -> None:
        model = Model.FromString(data)
        for content in model.graph[:]:
            graph = Graph.FromString(content)
            self._graph(graph)
            self.contents.inputs += map(self._value, graph.input)
            self.contents.outputs += [output.name.decode() for output in graph.output]
        for content in model.functions[:]:
            self._nodes(Function.FromString(content).node)
        if not self._items:
            raise MalformedProtobuf("it has no graph")

    def _graph(self, graph: Any) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise MalformedProtobuf("its graphs are nested too deeply")
        self._nodes(graph.node)
        self._tensors(graph.initializer)
        for sparse in graph.sparse_initializer:
            self._tensors((sparse.values, sparse.indices))
        self._depth -= 1

    def _nodes(self, nodes: Any) -> None:
        self._count(len(nodes))
        operators, keep = self._operators, self.contents.nodes.append
        for node in nodes:
            op_type = node.op_type
            if op_type in _WITH_CONTENTS:
                for content in node.attribute[:]:
                    self._nested(Attribute.FromString(content))
            if operators is None or op_type in operators:
                keep((op_type, tuple(node.attribute[:]), node.input[:]))

    def _nested(self, attribute: Any) -> None:
        """The graphs and tensors inside an attribute."""
        for content in (*attribute.g, *attribute.graphs):
            self._nested_bytes += len(content)
            if self._nested_bytes > _MAX_NESTED_BYTES:
                raise MalformedProtobuf(f"its nested graphs have more than {_MAX_NESTED_BYTES} bytes")
            self._graph(Graph.FromString(content))
        if attribute.HasField("t"):
            self._tensors((attribute.t,))
        self._tensors(attribute.tensors)
        if attribute.HasField("sparse_tensor"):
            self._tensors((attribute.sparse_tensor.values, attribute.sparse_tensor.indices))
        for sparse in attribute.sparse_tensors:
            self._tensors((sparse.values, sparse.indices))

    def _tensors(self, tensors: Any) -> None:
        self._count(len(tensors))
        self.contents.tensors += tensors

    def _value(self, value: Any) -> Input:
        """An input of the graph."""
        content = value.type
        known = self._types.get(content)
        if known is None:
            known = self._types[content] = type_of(content)
        return Input(value.name.decode(), *known)

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > _MAX_ITEMS:
            raise MalformedProtobuf(f"it has more than {_MAX_ITEMS} nodes and tensors")


def tensor_of(message: Any) -> RawTensor:
    """Raises MalformedProtobuf for numbers that no machine can hold."""
    name, dims = message.name, message.dims[:]
    elements = prod(dims)
    if elements > MAX_ELEMENTS or len(dims) > MAX_DIMENSIONS:
        raise MalformedProtobuf(f"tensor {name[:100].decode()!r} has an impossible shape")
    data_type, entries = message.data_type, message.external_data
    if not entries:
        return name, dims, elements, data_type, None
    needed_bytes = (elements * ELEMENT_BITS.get(data_type, 0) + 7) // 8
    return name, dims, elements, data_type, _external_data(entries, needed_bytes)


def _external_data(entries: Any, needed_bytes: int) -> tuple[bytes, int, int]:
    """Location, first byte and end, which is ``needed_bytes`` further at least, as the shape says."""
    location = entries["location"]  # protobuf's maps have no bytes for what is not there
    try:
        start, stated_bytes = int(entries["offset"] or 0), int(entries["length"] or 0)
    except ValueError as error:
        raise MalformedProtobuf("an external tensor has an offset or length that is not a number") from error
    if not (0 <= start <= _MAX_FILE_BYTES and 0 <= stated_bytes <= _MAX_FILE_BYTES and location):
        raise MalformedProtobuf("an external tensor has no location, or an impossible offset or length")
    return location, start, start + max(stated_bytes, needed_bytes)


def _tensor(message: Any) -> Tensor:
    name, dims, elements, data_type, data = tensor_of(message)
    external = ExternalData(data[0].decode(), *data[1:]) if data else None
    return Tensor(name.decode(), tuple(dims), elements, data_type, external)


def _node(raw: RawNode) -> Node:
    op_type, attributes, inputs = raw
    return Node(op_type.decode(), tuple([name.decode() for name in inputs]), attributes_of(attributes))


def attributes_of(attributes: Iterable[bytes]) -> dict[str, int | str]:
    """Those that are of interest, by name."""
    return {name: value for name, value in map(_attribute, attributes) if value is not None}


def _attribute(content: bytes) -> tuple[str, int | str | None]:
    """Name and value of an attribute; None for a value that is of no interest here."""
    attribute = Attribute.FromString(content)
    value: int | str | None = None
    if attribute.HasField("i"):
        value = attribute.i if attribute.i >= 0 else None
    elif attribute.HasField("s"):
        value = attribute.s.decode("utf-8", "replace")
    return attribute.name.decode(), value


def type_of(content: bytes) -> tuple[int, tuple[int | None, ...]]:
    """Element type and dimensions of a TypeProto; 0 and none for what is no tensor."""
    tensor = Type.FromString(content).tensor_type
    return tensor.elem_type, tuple(_dimensions(tensor.shape.dim[:MAX_DIMENSIONS]))


def _dimensions(dims: Iterable[Any]) -> Iterable[int | None]:
    """None for one that has a name instead of a value."""
    for dim in dims:
        has_value = dim.HasField("dim_value") and dim.dim_value < MAX_ELEMENTS
        yield dim.dim_value if has_value else None
