"""What an ONNX graph says about itself: parameters, precision, its cache inputs, and the weights files it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.files.open_file import OpenFile
from registry.model import Precision
from registry.onnx.file import Input, model_bytes

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
        return parse_graph(file)


def parse_graph(file: OpenFile) -> GraphFacts:
    """``read_graph`` of a file that is open."""
    # Here, as in registry.onnx.file: it imports the protobuf library.
    from registry.onnx.facts import facts_of

    return facts_of(model_bytes(file))
