"""From an ONNX model in memory to its ``Contents``, within limits of time and memory that hold for any bytes.

What is asked of a message is asked once: each access to a field costs 0.1 us, as much as parsing a node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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
    external_data,
)
from registry.onnx.protobuf import MalformedProtobuf

_MAX_ITEMS = 1_000_000  # nodes and tensors; the largest published graphs have some ten thousand
_MAX_DEPTH = 32
_MAX_NESTED_BYTES = 64 * 1024**2  # of all graphs inside graphs, each with what is inside it
# Operators whose attributes hold graphs, and the one that holds a tensor.
_WITH_CONTENTS = frozenset({b"If", b"Loop", b"Scan", b"SequenceMap", b"Constant"})


def contents_of(data: bytes, operators: Collection[str] | None) -> Contents:
    """What the model ``data`` consists of; of its nodes those whose type is one of ``operators``, all if that is None.

    Raises MalformedProtobuf if it is not an ONNX model.
    """
    reader = _Reader(None if operators is None else frozenset(name.encode() for name in operators))
    try:
        reader.read(data)
    except DecodeError as error:
        raise MalformedProtobuf("it is cut off, or some of its bytes are damaged") from error
    except UnicodeDecodeError as error:
        raise MalformedProtobuf("one of its names is not UTF-8") from error
    return reader.contents


class _Reader:
    """Goes through one model, from message to message."""

    def __init__(self, operators: frozenset[bytes] | None) -> None:
        self._operators = operators
        self._items = 0
        self._depth = 0
        self._nested_bytes = 0
        # What the layers of a model have in common is read once.
        self._attributes: dict[tuple[bytes, ...], Mapping[str, int | str]] = {}
        self._types: dict[bytes, tuple[int, tuple[int | None, ...]]] = {}
        self.contents = Contents()

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
                inputs = tuple([name.decode() for name in node.input[:]])
                keep(Node(op_type.decode(), inputs, self._values(node.attribute[:])))

    def _values(self, attributes: list[bytes]) -> Mapping[str, int | str]:
        """The attributes of a node that are of interest, by name."""
        key = tuple(attributes)
        known = self._attributes.get(key)
        if known is None:
            pairs = map(_attribute, attributes)
            known = self._attributes[key] = {name: value for name, value in pairs if value is not None}
        return known

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
        self.contents.tensors += map(_tensor, tensors)

    def _value(self, value: Any) -> Input:
        """An input of the graph."""
        content = value.type
        known = self._types.get(content)
        if known is None:
            known = self._types[content] = _type(content)
        return Input(value.name.decode(), *known)

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > _MAX_ITEMS:
            raise MalformedProtobuf(f"it has more than {_MAX_ITEMS} nodes and tensors")


def _tensor(tensor: Any) -> Tensor:
    dims = tuple(tensor.dims[:])
    elements = prod(dims)
    name = tensor.name.decode()
    if elements > MAX_ELEMENTS or len(dims) > MAX_DIMENSIONS:
        raise MalformedProtobuf(f"tensor {name[:100]!r} has an impossible shape")
    data_type, entries = tensor.data_type, tensor.external_data
    external: ExternalData | None = None
    if entries:
        needed_bytes = (elements * ELEMENT_BITS.get(data_type, 0) + 7) // 8
        find = entries.get
        external = external_data(find("location", b""), find("offset", b"0"), find("length", b"0"), needed_bytes)
    return Tensor(name, dims, elements, data_type, external)


def _attribute(content: bytes) -> tuple[str, int | str | None]:
    """Name and value of an attribute; None for a value that is of no interest here."""
    attribute = Attribute.FromString(content)
    value: int | str | None = None
    if attribute.HasField("i"):
        value = attribute.i if attribute.i >= 0 else None
    elif attribute.HasField("s"):
        value = attribute.s.decode("utf-8", "replace")
    return attribute.name.decode(), value


def _type(content: bytes) -> tuple[int, tuple[int | None, ...]]:
    """Element type and dimensions of a TypeProto; 0 and none for what is no tensor."""
    tensor = Type.FromString(content).tensor_type
    return tensor.elem_type, tuple(_dimensions(tensor.shape.dim[:MAX_DIMENSIONS]))


def _dimensions(dims: Iterable[Any]) -> Iterable[int | None]:
    """None for one that has a name instead of a value."""
    for dim in dims:
        has_value = dim.HasField("dim_value") and dim.dim_value < MAX_ELEMENTS
        yield dim.dim_value if has_value else None
