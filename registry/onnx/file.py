"""ONNX files: the parts that describe the model. Weights are never loaded from a file that is larger than its graph.

Field numbers are those of ``onnx.proto`` (ONNX IR, version 3 on).
"""

from __future__ import annotations

from pathlib import Path

from registry.files.open_file import OpenFile
from registry.onnx.parts import ELEMENT_BITS, MAX_ELEMENTS, Contents, ExternalData, Input, Node, Tensor
from registry.onnx.protobuf import Schema, read_message

__all__ = ["ELEMENT_BITS", "MAX_ELEMENTS", "Contents", "ExternalData", "Input", "Node", "Tensor"]
__all__ += ["model_bytes", "parse_onnx", "read_onnx"]


def _schema() -> Schema:
    """Which messages are gone through even in a file that is too large to be read in one piece."""
    tensor: dict[int, Schema] = {}
    sparse: dict[int, Schema] = {1: tensor, 2: tensor}  # values, indices
    graph: dict[int, Schema] = {}
    # t, g, tensors, graphs, sparse_tensor, sparse_tensors
    attribute: dict[int, Schema] = {5: tensor, 6: graph, 10: tensor, 11: graph, 22: sparse, 23: sparse}
    node: dict[int, Schema] = {5: attribute}
    graph.update({1: node, 5: tensor, 15: sparse})  # node, initializer, sparse_initializer
    return {7: graph, 25: {7: node}}  # graph, functions


_SCHEMA = _schema()


def read_onnx(path: Path) -> Contents:
    """``parse_onnx`` of a file. Raises MalformedProtobuf, and InvalidModelFolder if it cannot be read."""
    with OpenFile(path) as file:
        return parse_onnx(file)


def parse_onnx(file: OpenFile) -> Contents:
    """What ``file`` says about itself.

    Raises MalformedProtobuf if it is not an ONNX model, and InvalidModelFolder if it cannot be read.
    """
    # Here, as most commands read no graph: the protobuf library takes longer to import than a graph to parse.
    from registry.onnx.reader import contents_of

    return contents_of(model_bytes(file))


def model_bytes(file: OpenFile) -> bytes:
    """The message in ``file``, without large weights. Raises MalformedProtobuf and InvalidModelFolder."""
    return read_message(file, _SCHEMA)
