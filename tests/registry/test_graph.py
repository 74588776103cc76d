from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from registry.graph import read_graph
from registry.model import Precision
from registry.protobuf import MalformedProtobuf
from scripts.model_factory import Quantization, write_preset

QUANTIZATIONS = {
    "fp32": (Quantization(None), Precision.FP32),
    "int4-32": (Quantization(4, 32), Precision.INT4),
    "int4-128": (Quantization(4, 128), Precision.INT4),
    "int8-32": (Quantization(8, 32), Precision.INT8),
}


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_reads_precision_block_size_and_accuracy_level(name: str, tmp_path: Path) -> None:
    quantization, precision = QUANTIZATIONS[name]
    folder = write_preset("tiny", tmp_path / "m", quantization=quantization)
    facts = read_graph(folder / "model.onnx")
    assert facts.precision is precision
    assert facts.block_size == (None if quantization.bits is None else quantization.block_size)
    assert facts.accuracy_level == (None if quantization.bits is None else 4)
    assert facts.kv_element_bytes == 4


def test_a_tied_model_has_as_many_parameters_in_fp32_as_onnx_counts(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m", quantization=Quantization(None))
    graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
    weights = [
        tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and "cos" not in tensor.name and "sin" not in tensor.name
    ]
    assert read_graph(folder / "model.onnx").parameters == sum(prod(tensor.dims) for tensor in weights)


def test_quantised_weights_count_as_the_numbers_they_stand_for(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m", quantization=Quantization(4, 32))
    graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
    matmuls = [node for node in graph.node if node.op_type == "MatMulNBits"]
    integers = [{attribute.name: attribute.i for attribute in node.attribute} for node in matmuls]
    packed = {name for node in matmuls for name in node.input[1:]}
    tables = {name for node in graph.node if node.op_type == "GroupQueryAttention" for name in node.input[7:9]}
    others = [
        tensor
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in packed | tables
    ]
    expected = sum(each["K"] * each["N"] for each in integers) + sum(prod(tensor.dims) for tensor in others)
    assert read_graph(folder / "model.onnx").parameters == expected


def test_a_weight_that_two_operators_share_counts_once(tmp_path: Path) -> None:
    packed = numpy_helper.from_array(np.zeros((1000, 2, 16), np.uint8), "w")
    scales = numpy_helper.from_array(np.zeros((1000, 2), np.float32), "scales")
    shape = {"bits": 4, "block_size": 32, "domain": "com.microsoft"}
    head = helper.make_node("MatMulNBits", ["x", "w", "scales"], ["logits"], K=64, N=1000, **shape)
    embedding = helper.make_node("GatherBlockQuantized", ["w", "ids", "scales"], ["y"], **shape)
    facts = read_graph(_saved(tmp_path, packed, scales, nodes=[embedding, head]))
    assert facts.parameters == 64_000
    assert facts.precision is Precision.INT4


def test_packed_experts_count_as_the_numbers_they_stand_for(tmp_path: Path) -> None:
    experts = numpy_helper.from_array(np.zeros((8, 64, 32), np.uint8), "fc1")
    node = helper.make_node("QMoE", ["x", "router", "fc1"], ["y"], domain="com.microsoft", expert_weight_bits=4)
    assert read_graph(_saved(tmp_path, experts, nodes=[node])).parameters == 8 * 64 * 64


def test_external_data_is_needed_up_to_its_last_tensor(tmp_path: Path) -> None:
    folder = write_preset("small", tmp_path / "m")
    graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
    entries = [{entry.key: entry.value for entry in tensor.external_data} for tensor in graph.initializer]
    ends = [int(entry["offset"]) + int(entry["length"]) for entry in entries if entry]
    assert read_graph(folder / "model.onnx").external_ends == {"model.onnx.data": max(ends)}


def test_an_external_tensor_without_a_length_needs_what_its_shape_says(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros((10, 20), np.float16), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.external_data.add(key="offset", value="64")
    facts = read_graph(_saved(tmp_path, tensor))
    assert facts.external_ends == {"weights.bin": 64 + 400}
    assert facts.precision is Precision.FP16


def test_weights_inside_the_graph_are_passed_over_not_loaded(tmp_path: Path) -> None:
    path = _saved(tmp_path, numpy_helper.from_array(np.zeros((1000, 1000), np.float32), "w"))
    assert read_graph(path).parameters == 1_000_000
    assert read_graph(path).external_ends == {}


@pytest.mark.parametrize("cut", [0, 1, 10, 1000])
def test_a_cut_off_graph_is_malformed(cut: int, tmp_path: Path, model_template: Path) -> None:
    content = (model_template / "model.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: len(content) * cut // 1001])
    with pytest.raises(MalformedProtobuf):
        read_graph(path)


@pytest.mark.parametrize(("offset", "length"), [("-1", "4"), ("x", "4"), ("0", "9" * 30), ("0", "9" * 5000)])
def test_impossible_external_offsets_are_malformed(offset: str, length: str, tmp_path: Path) -> None:
    tensor = TensorProto(name="w", dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.bin"), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(MalformedProtobuf):
        read_graph(_saved(tmp_path, tensor))


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_graph_or_malformed(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    try:
        facts = read_graph(path)
    except MalformedProtobuf:
        return
    assert facts.parameters >= 0


def _saved(folder: Path, *tensors: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> Path:
    nodes = nodes or [helper.make_node("Identity", ["w"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "g", [], [output], list(tensors)))
    path = folder / "g.onnx"
    path.write_bytes(model.SerializeToString())
    return path
