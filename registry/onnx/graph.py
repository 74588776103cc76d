"""What an ONNX graph says about itself: parameters, precision, its cache inputs, and the weights files it needs.

Attributes and inputs of MatMulNBits and the other quantised operators are those of ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from registry.files.open_file import OpenFile
from registry.model import Precision
from registry.onnx.file import ELEMENT_BITS, MAX_ELEMENTS, Contents, ExternalData, Input, Node, Tensor, parse_onnx
from registry.onnx.protobuf import MalformedProtobuf

# TensorProto.DataType -> the precision of weights stored so.
PRECISIONS = {
    1: Precision.FP32,
    2: Precision.INT8,
    3: Precision.INT8,
    10: Precision.FP16,
    16: Precision.BF16,
    21: Precision.INT4,
    22: Precision.INT4,
}
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
_ATTENTION = ("GroupQueryAttention", "PagedAttention")
_PAGED, _COMPILED = "PagedAttention", "EPContext"
_OPERATORS = frozenset({*_QUANTIZED, *_ROTARY_TABLES, *_EXPERTS, _PAGED, _COMPILED})
# Rarer types of weights than this share are layers kept precise on purpose, or norms: no mixture.
_MIXED_SHARE = 0.1
_FLOATS = frozenset({1, 10, 16})
# Tensors below this are left out when a weights file is looked over for zeros.
_SAMPLED_BYTES = 16 * 1024


@dataclass(slots=True)
class ExternalFile:
    """What a graph needs of one weights file: at least ``end_bytes``, and in ``dense`` ranges (start, end) no stretch
    of zeros. ``elements`` is, by offset, how many parameters begin there.
    """

    end_bytes: int = 0
    dense: list[tuple[int, int]] = field(default_factory=list)
    elements: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """``parameters`` counts all weights, those in ``external`` files (by location) included; ``idle_parameters`` those
    of experts that one token passes by. ``compiled`` are files made by a hardware vendor's compiler, which hold the
    weights instead. ``windows`` are the sliding windows of the attention nodes, in tokens, one each; 0 is none.
    """

    parameters: int
    idle_parameters: int
    precision: Precision
    mixture: Mapping[Precision, int]
    accuracy_level: int | None
    block_size: int | None
    is_paged: bool
    windows: tuple[int, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    external: Mapping[str, ExternalFile]
    compiled: tuple[str, ...]


def read_graph(path: Path) -> GraphFacts:
    """Raises MalformedProtobuf if ``path`` is not an ONNX model, and InvalidModelFolder if it cannot be read."""
    with OpenFile(path) as file:
        return graph_facts(parse_onnx(file, _OPERATORS))


def parse_graph(file: OpenFile) -> GraphFacts:
    """``read_graph`` of a file that is open."""
    return graph_facts(parse_onnx(file, _OPERATORS))


def graph_facts(contents: Contents) -> GraphFacts:
    """Raises MalformedProtobuf for numbers that no machine can hold."""
    roles, not_weights = _roles(contents.nodes)
    # By (type, bits of a packed weight): precisions are slower to look up, and there are hundreds of tensors.
    counts: Counter[tuple[int, int]] = Counter()
    elements: dict[str, int] = {}
    external: dict[str, ExternalFile] = {}
    for tensor in contents.tensors:
        name, data_type = tensor.name, tensor.data_type
        count = 0
        if name in roles:
            role = roles[name]
            count = role.elements_of(tensor)
            counts[0, role.bits] += count
        elif data_type in PRECISIONS and name not in not_weights:
            count = tensor.elements
            counts[data_type, 0] += count
        elements[name] = count
        if tensor.external is not None:
            _add_external(external, tensor, tensor.external, count)
    parameters = counts.total()
    if parameters > MAX_ELEMENTS:
        raise MalformedProtobuf(f"its tensors have {parameters} elements")
    mixture = _mixture(counts)
    matmuls = [node for node in contents.nodes if node.op_type in ("MatMulNBits", "QMoE")]
    return GraphFacts(
        parameters=parameters,
        idle_parameters=_idle_parameters(contents, elements),
        precision=mixture.most_common(1)[0][0] if parameters else Precision.UNKNOWN,
        mixture={kind: count for kind, count in mixture.most_common() if count > parameters * _MIXED_SHARE},
        accuracy_level=_most_common(matmuls, "accuracy_level"),
        block_size=_most_common(matmuls, "block_size"),
        is_paged=any(node.op_type == _PAGED for node in contents.nodes),
        windows=tuple(_windows(contents.nodes)),
        inputs=tuple(contents.inputs),
        outputs=tuple(contents.outputs),
        external=external,
        compiled=tuple(_compiled(contents.nodes)),
    )


def _mixture(counts: Mapping[tuple[int, int], int]) -> Counter[Precision]:
    """``counts`` of parameters by their precision."""
    mixture: Counter[Precision] = Counter()
    for (data_type, bits), count in counts.items():
        kind = _PACKED_PRECISIONS.get(bits, Precision.UNKNOWN) if bits else PRECISIONS[data_type]
        mixture[kind] += count
    return mixture


class _Packed(NamedTuple):
    """How to read a quantised weight: ``elements`` if the node says them, else by the bits of one, which are not 0."""

    bits: int
    elements: int

    def elements_of(self, tensor: Tensor) -> int:
        return self.elements or tensor.elements * ELEMENT_BITS.get(tensor.data_type, self.bits) // self.bits


def _roles(nodes: Iterable[Node]) -> tuple[dict[str, _Packed], set[str]]:
    """Which initializers are packed weights, and which are no weights at all."""
    packed: dict[str, _Packed] = {}
    not_weights: set[str] = set()
    for node in nodes:
        op_type = node.op_type
        if op_type in _QUANTIZED:
            weights, companions = _QUANTIZED[op_type]
            not_weights.update(_inputs(node, companions))
            if weights:
                role = _packed(node)
                for name in _inputs(node, weights):
                    packed[name] = role
        elif op_type in _ROTARY_TABLES:
            not_weights.update(_inputs(node, _ROTARY_TABLES[op_type]))
    return packed, not_weights


def _packed(node: Node) -> _Packed:
    bits = node.integer("bits") or node.integer("expert_weight_bits") or 4
    return _Packed(bits, (node.integer("K") or 0) * (node.integer("N") or 0))


def _inputs(node: Node, positions: tuple[int, ...]) -> list[str]:
    inputs = node.inputs
    return [inputs[index] for index in positions if index < len(inputs) and inputs[index]]


def _add_external(files: dict[str, ExternalFile], tensor: Tensor, data: ExternalData, count: int) -> None:
    location, offset, end = data
    file = files.get(location)
    if file is None:
        file = files[location] = ExternalFile()
    file.end_bytes = max(file.end_bytes, end)
    file.elements[offset] = count
    # Zero points may all be zero, and so may biases; scales and tables never are.
    if end - offset >= _SAMPLED_BYTES and len(tensor.dims) > 1 and (count > 0 or tensor.data_type in _FLOATS):
        file.dense.append((offset, end))


def _idle_parameters(contents: Contents, elements: Mapping[str, int]) -> int:
    """Of each layer's E experts a token uses k, so the weights of E - k are idle."""
    experts = {tensor.name: tensor.dims[0] for tensor in contents.tensors if len(tensor.dims) > 1}
    idle: dict[str, int] = {}
    for node in contents.nodes:
        if node.op_type not in _EXPERTS:
            continue
        used = node.integer("k") or 1
        for name in _inputs(node, _EXPERTS[node.op_type]):
            total = experts.get(name, 0)
            if total > used:
                idle[name] = elements[name] * (total - used) // total
    return sum(idle.values())


def _most_common(nodes: Iterable[Node], name: str) -> int | None:
    values = Counter(value for node in nodes if (value := node.integer(name)) is not None)
    return values.most_common(1)[0][0] if values else None


def _windows(nodes: Iterable[Node]) -> Iterator[int]:
    """A negative window, which is none, is not among the attributes."""
    return (node.integer("local_window_size") or 0 for node in nodes if node.op_type in _ATTENTION)


def _compiled(nodes: Iterable[Node]) -> Iterator[str]:
    """The files of nodes that a compiler made, unless they hold the binary themselves (``embed_mode``, default 1)."""
    for node in nodes:
        if node.op_type == _COMPILED and node.integer("embed_mode") == 0:
            name = node.attributes.get("ep_cache_context")
            if isinstance(name, str) and name:
                yield name.replace("\\", "/")
