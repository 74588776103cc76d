"""Weights that a graph reshapes are stored in that shape, where that is the same for certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.onnx.protobuf import MalformedProtobuf
from registry.onnx.wiring import with_stored_shapes
from scripts.model_factory import write_preset

WEIGHTS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FLAT = [6, 4]


def model(
    folder: Path, shape: Sequence[int] = FLAT, *, is_replaceable: bool = False, output: str = "y", **node: Any
) -> bytes:
    """Adds the reshaped ``WEIGHTS``, which are in a file, to what is given."""
    (folder / "weights").write_bytes(WEIGHTS.tobytes())
    weights = numpy_helper.from_array(WEIGHTS, "weights")
    onnx.external_data_helper.set_external_data(weights, "weights", length=WEIGHTS.nbytes)
    weights.ClearField("raw_data")
    dims = numpy_helper.from_array(np.array(shape, np.int64))
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=dims),
        helper.make_node("Reshape", ["weights", "shape"], ["flat"], **node),
        helper.make_node("Add", ["flat", "x"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, FLAT)]
    if is_replaceable:
        inputs.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, WEIGHTS.shape))
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, FLAT)]
    graph = helper.make_graph(nodes, "reshaping", inputs, outputs, [weights])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    ).SerializeToString()
    return data


def run(data: bytes, folder: Path, feeds: Mapping[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def test_weights_that_are_reshaped_are_the_same_numbers_without_a_node_that_does_it(tmp_path: Path) -> None:
    data = model(tmp_path)
    changed = with_stored_shapes(data)
    assert [node.op_type for node in onnx.load_model_from_string(changed).graph.node] == ["Constant", "Add"]
    feeds = {"x": np.ones(FLAT, np.float32)}
    assert np.array_equal(run(changed, tmp_path, feeds), run(data, tmp_path, feeds))


def test_the_tied_table_of_an_export_is_the_part_of_its_file_that_the_head_is(tmp_path: Path) -> None:
    data = (write_preset("small", tmp_path / "m") / "model.onnx").read_bytes()
    graph = onnx.load_model_from_string(with_stored_shapes(data)).graph
    assert all(node.op_type != "Reshape" for node in graph.node)
    (embedding,) = (node for node in graph.node if node.op_type == "GatherBlockQuantized")
    stored = {tensor.name: tensor for tensor in graph.initializer}
    table, head = stored[embedding.input[0]], stored["lm_head.MatMul.weight_Q4"]
    assert list(table.dims) == [head.dims[0], head.dims[1] * head.dims[2]]
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in (table, head)]
    assert places[0] == places[1]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"shape": [6, -1]}, id="worked out by the node"),
        pytest.param({"shape": [0, 12]}, id="zero, which may mean two things"),
        pytest.param({"shape": [6, 5]}, id="another number of elements"),
        pytest.param({"is_replaceable": True}, id="weights that a caller may replace"),
        pytest.param({"output": "flat"}, id="a result of the graph"),
        pytest.param({"domain": "example"}, id="somebody's own operator"),
    ],
)
def test_what_is_not_certain_to_be_the_same_stays_as_it_is(tmp_path: Path, told: dict[str, Any]) -> None:
    data = model(tmp_path, **told)
    assert with_stored_shapes(data) is data


def test_weights_inside_the_graph_stay_as_they_are(tmp_path: Path) -> None:
    inside = onnx.load_model_from_string(model(tmp_path))
    inside.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHTS, "weights"))
    data = inside.SerializeToString()
    assert with_stored_shapes(data) is data


def test_what_is_no_model_is_malformed() -> None:
    with pytest.raises(MalformedProtobuf):
        with_stored_shapes(b"\xff\xff")
