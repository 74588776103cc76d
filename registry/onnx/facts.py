"""From the nodes and tensors of a graph to ``GraphFacts``, in one pass over each.

Attributes and inputs of MatMulNBits and the other quantised operators are those of ONNX Runtime's contrib operators.
Names stay bytes: they are compared a thousand times, and shown never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from registry.model import Precision
from registry.onnx.graph import PRECISIONS, ExternalFile, GraphFacts
from registry.onnx.parts import ELEMENT_BITS, MAX_ELEMENTS
from registry.onnx.protobuf import MalformedProtobuf
from registry.onnx.reader import RawNode, attributes_of, malformed, raw_contents_of, tensor_of

_PACKED_PRECISIONS = {4: Precision.INT4, 8: Precision.INT8}  # by the bits of an element
# Operator -> (inputs that are packed weights, inputs that are their scales, zero points and group indices).
_QUANTIZED = {
    "MatMulNBits": ((1,), (2, 3, 4)),
    "MatMulBnb4": ((1,), (2,)),
    "GatherBlockQuantized": ((0,), (2, 3)),
    "QMoE": ((2, 5, 8), (3, 6, 9, 11, 12, 13)),
    "DequantizeLinear": ((), (1, 2)),  # its weights have a type that says their bits
}
# Operator -> inputs that are rotary tables: stored in the graph, but not parameters.
_ROTARY_TABLES = {"GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3), "PagedAttention": (7, 8)}
# Operator -> inputs whose first dimension is the experts: weights and biases.
_EXPERTS = {"MoE": (2, 3, 4, 5, 6, 7), "QMoE": (2, 4, 5, 7, 8, 10)}
_MATMULS = ("MatMulNBits", "QMoE")
_ATTENTION = ("GroupQueryAttention", "PagedAttention")
_PAGED, _COMPILED = "PagedAttention", "EPContext"
_OPERATORS = frozenset(name.encode() for name in (*_QUANTIZED, *_ROTARY_TABLES, *_EXPERTS, _PAGED, _COMPILED))
# Rarer types of weights than this share are layers kept precise on purpose, or norms: no mixture.
_MIXED_SHARE = 0.1
_FLOATS = frozenset({1, 10, 16})
# Tensors below this are left out when a weights file is looked over for zeros.
_SAMPLED_BYTES = 16 * 1024


def facts_of(data: bytes) -> GraphFacts:
    """Of the model ``data``. Raises MalformedProtobuf if it is none, or has numbers that no machine can hold."""
    with malformed():
        raw = raw_contents_of(data, _OPERATORS)
        groups = _groups(raw.nodes)
        tensors = _read_tensors(raw.tensors, _roles(groups))
        external = {location.decode(): _external_file(spans) for location, spans in tensors.spans.items()}
    parameters = tensors.counts.total()
    if parameters > MAX_ELEMENTS:
        raise MalformedProtobuf(f"its tensors have {parameters} elements")
    mixture = _mixture(tensors.counts)
    matmuls = [group for group in groups if group.op_type in _MATMULS]
    return GraphFacts(
        parameters=parameters,
        idle_parameters=sum(tensors.idle.values()),
        precision=mixture.most_common(1)[0][0] if parameters else Precision.UNKNOWN,
        mixture={kind: count for kind, count in mixture.most_common() if count > parameters * _MIXED_SHARE},
        accuracy_level=_most_common(matmuls, "accuracy_level"),
        block_size=_most_common(matmuls, "block_size"),
        is_paged=any(group.op_type == _PAGED for group in groups),
        windows=tuple(_windows(groups)),
        inputs=tuple(raw.inputs),
        outputs=tuple(raw.outputs),
        external=external,
        compiled=tuple(_compiled(groups)),
    )


class _Group(NamedTuple):
    """Nodes that differ in nothing but their inputs, as those of a model's layers do."""

    op_type: str
    attributes: Mapping[str, int | str]
    nodes: list[list[bytes]]

    def integer(self, name: str) -> int | None:
        value = self.attributes.get(name)
        return value if isinstance(value, int) else None

    def inputs(self, positions: tuple[int, ...]) -> set[bytes]:
        """The names of these inputs of all nodes; one that a node leaves out has none."""
        return {inputs[index] for inputs in self.nodes for index in positions if index < len(inputs)} - {b""}


def _groups(nodes: Iterable[RawNode]) -> list[_Group]:
    found: dict[tuple[bytes, tuple[bytes, ...]], list[list[bytes]]] = {}
    for op_type, attributes, inputs in nodes:
        found.setdefault((op_type, attributes), []).append(inputs)
    groups = [_Group(key[0].decode(), attributes_of(key[1]), inputs) for key, inputs in found.items()]
    _require_text(chain.from_iterable(chain.from_iterable(found.values())))
    return groups


def _require_text(names: Iterable[bytes]) -> None:
    """Raises UnicodeDecodeError. All at once, as none of them is needed as text."""
    b"\0".join(names).decode()


class _Packed(NamedTuple):
    """How to read a quantised weight: ``elements`` if the node says them, else by the bits of one, which are not 0."""

    bits: int
    elements: int

    def elements_of(self, elements: int, data_type: int) -> int:
        return self.elements or elements * ELEMENT_BITS.get(data_type, self.bits) // self.bits


@dataclass(slots=True)
class _Roles:
    """Which tensors are packed weights, which are no weights at all, and which those of experts, with how many of the
    experts one token uses.
    """

    packed: dict[bytes, _Packed] = field(default_factory=dict)
    not_weights: set[bytes] = field(default_factory=set)
    experts: dict[bytes, int] = field(default_factory=dict)


def _roles(groups: Iterable[_Group]) -> _Roles:
    roles = _Roles()
    for group in groups:
        weights, companions = _QUANTIZED.get(group.op_type, ((), ()))
        roles.packed.update(dict.fromkeys(group.inputs(weights), _packed(group)))
        roles.not_weights |= group.inputs(companions + _ROTARY_TABLES.get(group.op_type, ()))
        experts = group.inputs(_EXPERTS.get(group.op_type, ()))
        roles.experts.update(dict.fromkeys(experts, group.integer("k") or 1))
    return roles


def _packed(group: _Group) -> _Packed:
    bits = group.integer("bits") or group.integer("expert_weight_bits") or 4
    return _Packed(bits, (group.integer("K") or 0) * (group.integer("N") or 0))


# Of an external tensor: its first byte and its end, how many parameters it has, and whether it has no zeros for long.
_Span = tuple[int, int, int, bool]


@dataclass(slots=True)
class _Tensors:
    """``counts`` of parameters by the type and the bits of a packed weight, one of which is 0; ``idle`` ones by tensor;
    ``spans`` by location.
    """

    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    idle: dict[bytes, int] = field(default_factory=dict)
    spans: dict[bytes, list[_Span]] = field(default_factory=dict)


def _read_tensors(messages: list[Any], roles: _Roles) -> _Tensors:
    read = _Tensors()
    names: list[bytes] = []
    counts, spans = read.counts, read.spans
    packed, not_weights, experts = roles.packed, roles.not_weights, roles.experts
    for name, dims, elements, data_type, external in map(tensor_of, messages):
        names.append(name)
        count = 0
        if name in packed:
            role = packed[name]
            count = role.elements_of(elements, data_type)
            counts[0, role.bits] += count
        elif data_type in PRECISIONS and name not in not_weights:
            count = elements
            counts[data_type, 0] += count
        if name in experts and len(dims) > 1 and dims[0] > experts[name]:
            # Of each layer's E experts a token uses k, so the weights of E - k are idle.
            read.idle[name] = count * (dims[0] - experts[name]) // dims[0]
        if external is not None:
            location, offset, end = external
            # Zero points may all be zero, and so may biases; scales and tables never are.
            is_dense = end - offset >= _SAMPLED_BYTES and len(dims) > 1 and (count > 0 or data_type in _FLOATS)
            spans.setdefault(location, []).append((offset, end, count, is_dense))
    _require_text(names)
    return read


def _external_file(spans: list[_Span]) -> ExternalFile:
    return ExternalFile(
        end_bytes=max(end for _, end, _, _ in spans),
        dense=[(offset, end) for offset, end, _, is_dense in spans if is_dense],
        elements={offset: parameters for offset, _, parameters, _ in spans},
    )


def _mixture(counts: Mapping[tuple[int, int], int]) -> Counter[Precision]:
    """``counts`` of parameters by their precision."""
    mixture: Counter[Precision] = Counter()
    for (data_type, bits), count in counts.items():
        kind = _PACKED_PRECISIONS.get(bits, Precision.UNKNOWN) if bits else PRECISIONS[data_type]
        mixture[kind] += count
    return mixture


def _most_common(groups: Iterable[_Group], name: str) -> int | None:
    values: Counter[int] = Counter()
    for group in groups:
        value = group.integer(name)
        if value is not None:
            values[value] += len(group.nodes)
    return values.most_common(1)[0][0] if values else None


def _windows(groups: Iterable[_Group]) -> Iterator[int]:
    """A negative window, which is none, is not among the attributes."""
    for group in groups:
        if group.op_type in _ATTENTION:
            yield from [group.integer("local_window_size") or 0] * len(group.nodes)


def _compiled(groups: Iterable[_Group]) -> Iterator[str]:
    """The files of nodes that a compiler made, unless they hold the binary themselves (``embed_mode``, default 1)."""
    for group in groups:
        if group.op_type == _COMPILED and group.integer("embed_mode") == 0:
            name = group.attributes.get("ep_cache_context")
            if isinstance(name, str) and name:
                yield name.replace("\\", "/")
