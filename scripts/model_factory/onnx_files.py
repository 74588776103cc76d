"""Writes a graph as an ONNX file, with its large arrays in a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scripts.model_factory.attention import MICROSOFT
from scripts.model_factory.graph import Graph

EXTERNAL_DATA_BYTES = 1 << 20
"""A graph whose arrays are larger than this together keeps them in a file beside it, ``<name>.data``."""

_INLINE_BYTES = 1024  # onnx's own limit: smaller arrays stay in the graph
_ALIGNMENT = 1 << 16  # allocation granularity of Windows, a multiple of every page size: arrays can be mapped
_IR_VERSION, _OPSET = 10, 22  # what the model builder writes


def save_graph(
    path: Path, graph: Graph, *, external_bytes: int = EXTERNAL_DATA_BYTES, alignment: int = _ALIGNMENT
) -> None:
    """Write ``graph`` to ``path``; a smaller ``alignment`` keeps the data file of a small model small."""
    if sum(array.nbytes for array in graph.arrays.values()) > external_bytes:
        initializers = _write_external(path.with_name(f"{path.name}.data"), graph.arrays, alignment)
    else:
        initializers = [numpy_helper.from_array(array, name) for name, array in graph.arrays.items()]
    proto = helper.make_graph(graph.nodes, "main_graph", graph.inputs, graph.outputs, initializers)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="slmreg-model-factory")
    path.write_bytes(model.SerializeToString(deterministic=True))


def _write_external(path: Path, arrays: Mapping[str, np.ndarray], alignment: int) -> list[onnx.TensorProto]:
    """Stream the arrays into one file, and return the tensors that point into it."""
    tensors = []
    with path.open("wb") as file:
        for name, array in arrays.items():
            if array.nbytes < _INLINE_BYTES:
                tensors.append(numpy_helper.from_array(array, name))
                continue
            file.write(bytes(-file.tell() % alignment))
            tensors.append(_external_tensor(name, array, path.name, file.tell()))
            file.write(np.ascontiguousarray(array).data)
    return tensors


def _external_tensor(name: str, array: np.ndarray, location: str, offset: int) -> onnx.TensorProto:
    tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
