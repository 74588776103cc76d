"""What an ONNX graph says about itself: parameters, precision, key-value type, and the weights files it needs.

Attributes and inputs of MatMulNBits and the other quantised operators are those of ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.model import Precision
from registry.onnx_file import ELEMENT_BITS, MAX_ELEMENTS, Contents, Node, Tensor, read_onnx
from registry.protobuf import MalformedProtobuf

# TensorProto.DataType -> the precision of weights stored so.
_PRECISION = {
    1: Precision.FP32,
    2: Precision.INT8,
    3: Precision.INT8,
    10: Precision.FP16,
    16: Precision.BF16,
    21: Precision.INT4,
    22: Precision.INT4,
}
# Operator -> (inputs that are packed weights, inputs that are their scales, zero points and group indices).
_QUANTIZED = {
    "MatMulNBits": ((1,), (2, 3, 4)),
    "GatherBlockQuantized": ((0,), (2, 3)),
    "QMoE": ((2, 5, 8), (3, 6, 9, 11, 12, 13)),
}
# Operator -> inputs that are rotary tables: stored in the graph, but not parameters.
_ROTARY_TABLES = {"GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3)}


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """``kv_element_bytes`` is None where the graph has no cache input; ``external_ends`` is, by weights file, how many
    bytes it must have at least.
    """

    parameters: int
    precision: Precision
    accuracy_level: int | None
    block_size: int | None
    kv_element_bytes: int | None
    external_ends: Mapping[str, int]


def read_graph(path: Path) -> GraphFacts:
    """Raises MalformedProtobuf if ``path`` is not an ONNX model, and OSError."""
    return _facts(read_onnx(path))


def _facts(contents: Contents) -> GraphFacts:
    packed, not_weights = _roles(contents.nodes)
    by_precision: Counter[Precision] = Counter()
    for tensor in contents.tensors:
        if tensor.name in packed:
            by_precision[packed[tensor.name].precision] += packed[tensor.name].elements_of(tensor)
        elif tensor.name not in not_weights and tensor.data_type in _PRECISION:
            by_precision[_PRECISION[tensor.data_type]] += tensor.elements
    parameters = by_precision.total()
    if parameters > MAX_ELEMENTS:
        raise MalformedProtobuf(f"its tensors have {parameters} elements")
    matmuls = [node.integers for node in contents.nodes if node.op_type == "MatMulNBits"]
    return GraphFacts(
        parameters=parameters,
        precision=by_precision.most_common(1)[0][0] if parameters else Precision.UNKNOWN,
        accuracy_level=_most_common(matmuls, "accuracy_level"),
        block_size=_most_common(matmuls, "block_size"),
        kv_element_bytes=_kv_element_bytes(contents.input_types),
        external_ends=_external_ends(contents.tensors),
    )


@dataclass(frozen=True, slots=True)
class _Packed:
    """How to read a quantised weight: ``elements`` if the node says them, else by the bits of one."""

    bits: int
    elements: int | None

    @property
    def precision(self) -> Precision:
        return {4: Precision.INT4, 8: Precision.INT8}.get(self.bits, Precision.UNKNOWN)

    def elements_of(self, tensor: Tensor) -> int:
        if self.elements is not None:
            return self.elements
        return tensor.elements * ELEMENT_BITS.get(tensor.data_type, self.bits) // self.bits


def _roles(nodes: list[Node]) -> tuple[dict[str, _Packed], set[str]]:
    """Which initializers are packed weights, and which are no weights at all."""
    packed: dict[str, _Packed] = {}
    not_weights: set[str] = set()
    for node in nodes:
        weights, companions = _QUANTIZED.get(node.op_type, ((), ()))
        bits = node.integers.get("bits") or node.integers.get("expert_weight_bits") or 4
        known = node.integers.get("K", 0) * node.integers.get("N", 0) if node.op_type == "MatMulNBits" else 0
        packed.update({name: _Packed(max(1, bits), known or None) for name in _inputs(node, weights)})
        not_weights.update(_inputs(node, companions))
        not_weights.update(_inputs(node, _ROTARY_TABLES.get(node.op_type, ())))
    return packed, not_weights


def _inputs(node: Node, positions: tuple[int, ...]) -> Iterator[str]:
    return (node.inputs[index] for index in positions if index < len(node.inputs) and node.inputs[index])


def _most_common(attributes: list[Mapping[str, int]], name: str) -> int | None:
    values = Counter(each[name] for each in attributes if name in each)
    return values.most_common(1)[0][0] if values else None


def _kv_element_bytes(input_types: Mapping[str, int]) -> int | None:
    for name, data_type in input_types.items():
        if name.startswith("past") and data_type in ELEMENT_BITS:
            return max(1, ELEMENT_BITS[data_type] // 8)
    return None


def _external_ends(tensors: list[Tensor]) -> dict[str, int]:
    ends: dict[str, int] = {}
    for tensor in tensors:
        if tensor.external is not None:
            ends[tensor.external.location] = max(ends.get(tensor.external.location, 0), tensor.external.end)
    return ends
