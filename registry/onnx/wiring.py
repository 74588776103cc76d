"""How the nodes of a graph are connected, and copies of a graph that compute the same with less work.

For those who run a graph themselves; what the registry tells of a model is in ``registry.onnx.facts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from registry.onnx.messages import Attribute, Model, NumberAttribute, Type, WiredGraph
from registry.onnx.parts import Input
from registry.onnx.protobuf import MalformedProtobuf
from registry.onnx.reader import attributes_of, malformed, type_of

_INT64 = 7  # TensorProto.DataType
_INT64_BYTES = 8
# The AttributeProto "axis", a whole number (type 2), of value 1.
_AXIS_1 = b"\x0a\x04axis\x18\x01\xa0\x01\x02"
_GATHERED = "slmreg/gathered"


class WiredNode(NamedTuple):
    """``attributes`` are those that are whole numbers from 0 or texts; a name "" is an input that is left out."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Of a main graph. ``constants`` are the dimensions of what is stored in it, by name.

    ``numbers`` are those of them that are one int64. ``switches`` are numbers of nodes which choose between constants:
    nothing is computed in their branches.
    """

    nodes: tuple[WiredNode, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Input, ...]
    constants: Mapping[str, tuple[int, ...]]
    numbers: Mapping[str, int]
    switches: frozenset[int]


def read_wiring(data: bytes) -> Wiring:
    """Of the model ``data``. Raises MalformedProtobuf if it is none."""
    with malformed():
        graph = _graph(Model.FromString(data))
        constants = {tensor.name.decode(): tuple(tensor.dims) for tensor in graph.initializer}
        numbers: dict[str, int] = {}
        for node in graph.node:
            if node.op_type == b"Constant" and node.output:
                name = node.output[0].decode()
                constants[name] = _dims_of_constant(node)
                found = _numbers_of_constant(node) if prod(constants[name]) == 1 else ()
                if found:
                    numbers[name] = found[0]
        return Wiring(
            nodes=tuple(map(_node, graph.node)),
            inputs=tuple(map(_value, graph.input)),
            outputs=tuple(map(_value, graph.output)),
            constants=constants,
            numbers=numbers,
            switches=frozenset(place for place, node in enumerate(graph.node) if _is_switch(node)),
        )


def with_gather(data: bytes, node: int, tensor: str, positions: str) -> bytes:
    """The model ``data``, in which the node with that number takes only some rows of ``tensor``.

    Those along its second axis that a new input of the graph, the int64 vector ``positions``, names.
    Raises MalformedProtobuf.
    """
    with malformed():
        model = Model.FromString(data)
        graph = _graph(model)
        taker = graph.node[node]
        for place, name in enumerate(taker.input[:]):
            if name == tensor.encode():
                taker.input[place] = _GATHERED.encode()
        gather = graph.node.add(op_type=b"Gather", attribute=[_AXIS_1])
        gather.input.extend([tensor.encode(), positions.encode()])
        gather.output.append(_GATHERED.encode())
        kind = Type()
        kind.tensor_type.elem_type = _INT64
        kind.tensor_type.shape.dim.add()
        graph.input.add(name=positions.encode(), type=kind.SerializeToString())
        return _whole(model, graph)


def with_stored_shapes(data: bytes) -> bytes:
    """The model ``data``, in which weights that a node takes in another shape are stored in that shape, too.

    A reshaped tensor has the bytes of the one it was made of, so both are the same part of the file of weights, and
    nothing copies it. ``data`` itself where nothing is reshaped. Raises MalformedProtobuf.
    """
    with malformed():
        model = Model.FromString(data)
        graph = _graph(model)
        reshaped = _reshaped(graph)
        for place, tensor in reversed(reshaped):
            del graph.node[place]
            graph.initializer.append(tensor)
        return _whole(model, graph) if reshaped else data


def _reshaped(graph: Any) -> list[tuple[int, Any]]:
    """Numbers of nodes that only reshape a tensor in a file of weights, and what comes out of each."""
    fixed = {bytes(tensor.name): tensor for tensor in graph.initializer if tensor.external_data}
    for given in graph.input:  # whoever runs the graph may replace it
        fixed.pop(given.name, None)
    outputs = {output.name for output in graph.output}
    shapes = {
        name: _numbers_of_constant(node) for node in graph.node if node.op_type == b"Constant" for name in node.output
    }
    found = []
    for place, node in enumerate(graph.node):
        tensor = fixed.get(node.input[0]) if _is_reshape(node) and node.output[0] not in outputs else None
        shape = () if tensor is None else shapes.get(node.input[1], ())
        if tensor is not None and shape and min(shape) > 0 and prod(shape) == prod(tensor.dims):
            found.append((place, _in_shape(tensor, node.output[0], shape)))
    return found


def _is_reshape(node: Any) -> bool:
    return node.op_type == b"Reshape" and not node.domain and len(node.input) == 2 and len(node.output) == 1


def _in_shape(tensor: Any, name: bytes, shape: tuple[int, ...]) -> Any:
    other = type(tensor)()
    other.CopyFrom(tensor)
    other.name = name
    other.dims[:] = shape
    return other


def _whole(model: Any, graph: Any) -> bytes:
    model.graph[0] = graph.SerializeToString()
    whole: bytes = model.SerializeToString()
    return whole


def _graph(model: Any) -> Any:
    if len(model.graph) != 1:
        raise MalformedProtobuf(f"it has {len(model.graph)} graphs")
    return WiredGraph.FromString(model.graph[0])


def _node(node: Any) -> WiredNode:
    return WiredNode(
        node.op_type.decode(),
        tuple(name.decode() for name in node.input),
        tuple(name.decode() for name in node.output),
        attributes_of(node.attribute),
    )


def _value(value: Any) -> Input:
    return Input(value.name.decode(), *type_of(value.type))


def _is_switch(node: Any) -> bool:
    if node.op_type != b"If":
        return False
    attributes = map(Attribute.FromString, node.attribute)
    branches = [WiredGraph.FromString(branch) for each in attributes for branch in each.g]
    return bool(branches) and all(inner.op_type == b"Constant" for branch in branches for inner in branch.node)


def _numbers_of_constant(node: Any) -> tuple[int, ...]:
    """() if they are no int64."""
    for attribute in map(NumberAttribute.FromString, node.attribute):
        tensor = attribute.t
        if tensor.data_type == _INT64:
            raw = tensor.raw_data
            stored = [raw[start : start + _INT64_BYTES] for start in range(0, len(raw), _INT64_BYTES)]
            return (*tensor.int64_data, *(int.from_bytes(each, "little", signed=True) for each in stored))
    return ()


def _dims_of_constant(node: Any) -> tuple[int, ...]:
    """A single number has none."""
    attributes = map(Attribute.FromString, node.attribute)
    return next((tuple(each.t.dims) for each in attributes if each.HasField("t")), ())
