from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from registry.files.open_file import OpenFile
from registry.model import Precision
from registry.onnx.file import ExternalData, parse_onnx, read_onnx
from registry.onnx.graph import read_graph
from registry.onnx.protobuf import MalformedProtobuf
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
    assert {each.data_type for each in facts.inputs if each.name.startswith("past")} == {TensorProto.FLOAT}


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
    external = read_graph(folder / "model.onnx").external
    assert {name: file.end_bytes for name, file in external.items()} == {"model.onnx.data": max(ends)}


def test_an_external_tensor_without_a_length_needs_what_its_shape_says(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros((10, 20), np.float16), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.external_data.add(key="offset", value="64")
    facts = read_graph(_saved(tmp_path, tensor))
    assert {name: file.end_bytes for name, file in facts.external.items()} == {"weights.bin": 64 + 400}
    assert facts.precision is Precision.FP16


def test_weights_inside_the_graph_are_passed_over_not_loaded(tmp_path: Path) -> None:
    path = _saved(tmp_path, numpy_helper.from_array(np.zeros((1000, 1000), np.float32), "w"))
    assert read_graph(path).parameters == 1_000_000
    assert read_graph(path).external == {}


def test_a_large_file_is_read_without_its_weights_and_says_the_same(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.zeros((1500, 1000), np.float32), f"w{index}") for index in range(3)]
    inputs = [helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT16, ["b", 2, "s", 8])]
    body = helper.make_graph([helper.make_node("Identity", ["w0"], ["inner"])], "body", [], [], [_elsewhere("deep")])
    branch = helper.make_node("If", ["c"], ["o"], then_branch=body, else_branch=body)
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.zeros(100_000, np.float32)))
    nodes = [branch, constant, helper.make_node("MatMulNBits", ["x", "w1"], ["y"], K=1500, N=1000, bits=8)]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights
    )
    path = tmp_path / "large.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    read = _ReadBytes(path)
    contents = parse_onnx(read)
    assert [tensor.name for tensor in contents.tensors if tensor.elements > 1_000_000] == ["w0", "w1", "w2"]
    deep = [tensor.external for tensor in contents.tensors if tensor.name == "deep"]
    assert deep == [ExternalData("d.bin", 8, 12)] * 2
    assert [node.op_type for node in contents.nodes] == ["Identity", "Identity", "If", "Constant", "MatMulNBits"]
    assert contents.nodes[-1].attributes["K"] == 1500
    assert contents.inputs[0].dims == (None, 2, None, 8)
    assert contents.outputs == ["y"]
    assert read.bytes_read < path.stat().st_size // 4
    read.close()


class _ReadBytes(OpenFile):
    """Counts what was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.bytes_read = 0

    def read_at(self, offset: int, length: int) -> bytes:
        content = super().read_at(offset, length)
        self.bytes_read += len(content)
        return content

    def close(self) -> None:
        self.__exit__(None, None, None)


def _elsewhere(name: str, location: str = "d.bin") -> TensorProto:
    tensor = TensorProto(name=name, dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "8"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("place", ["If", "Constant", "function", "sparse"])
def test_weights_files_are_found_wherever_a_tensor_can_be(place: str, tmp_path: Path) -> None:
    tensor = _elsewhere("w")
    constant = helper.make_node("Constant", [], ["k"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], []))
    if place == "If":
        body = helper.make_graph([constant], "body", [], [])
        inner = helper.make_graph([helper.make_node("Loop", ["n"], ["o"], body=body)], "inner", [], [])
        model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner))
    elif place == "Constant":
        model.graph.node.append(constant)
    elif place == "function":
        model.functions.add(name="f", domain="d").node.append(constant)
    else:
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    path = tmp_path / "g.onnx"
    path.write_bytes(model.SerializeToString())
    assert set(read_graph(path).external) == {"d.bin"}


def test_scales_of_quantised_weights_are_no_parameters(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.zeros((100, 10), np.int8), "w")
    scales = numpy_helper.from_array(np.zeros((100, 1), np.float32), "scales")
    node = helper.make_node("DequantizeLinear", ["w", "scales"], ["y"])
    facts = read_graph(_saved(tmp_path, weights, scales, nodes=[node]))
    assert (facts.parameters, facts.precision) == (1000, Precision.INT8)


def test_of_a_mixture_of_experts_a_token_uses_some(tmp_path: Path) -> None:
    experts = [numpy_helper.from_array(np.zeros((8, 64, 32), np.uint8), name) for name in ("fc1", "fc2")]
    router = numpy_helper.from_array(np.zeros((64, 8), np.float32), "router")
    inputs = ["x", "router", "fc1", "", "", "fc2"]
    node = helper.make_node("QMoE", inputs, ["y"], domain="com.microsoft", expert_weight_bits=4, k=2)
    facts = read_graph(_saved(tmp_path, *experts, router, nodes=[node]))
    assert facts.parameters == 2 * 8 * 64 * 64 + 512
    assert facts.idle_parameters == 2 * 6 * 64 * 64


def test_a_mixture_of_types_is_told_apart_from_a_few_precise_layers(tmp_path: Path) -> None:
    def facts(int8_rows: int) -> Mapping[Precision, int]:
        tensors = [
            numpy_helper.from_array(np.zeros((1000, 10), np.float16), "half"),
            numpy_helper.from_array(np.zeros((int8_rows, 10), np.int8), "int8"),
        ]
        return read_graph(_saved(tmp_path, *tensors)).mixture

    assert facts(50) == {Precision.FP16: 10_000}
    assert facts(600) == {Precision.FP16: 10_000, Precision.INT8: 6000}


def test_sliding_windows_and_blocks_show_in_the_attention_nodes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GroupQueryAttention", ["q"], ["a"], local_window_size=512),
        helper.make_node("GroupQueryAttention", ["q"], ["b"], local_window_size=-1),
        helper.make_node("PagedAttention", ["q"], ["c"]),
    ]
    facts = read_graph(_saved(tmp_path, nodes=nodes))
    assert facts.windows == (512, 0, 0)
    assert facts.is_paged


def test_a_compiled_graph_names_the_file_that_has_its_weights(tmp_path: Path) -> None:
    outside = helper.make_node("EPContext", ["x"], ["y"], embed_mode=0, ep_cache_context="bin\\ctx.bin")
    inside = helper.make_node("EPContext", ["x"], ["z"], embed_mode=1, ep_cache_context="any bytes")
    assert read_graph(_saved(tmp_path, nodes=[outside, inside])).compiled == ("bin/ctx.bin",)


@pytest.mark.parametrize("cut", [0, 1, 10, 1000])
def test_a_cut_off_graph_is_malformed(cut: int, tmp_path: Path, model_template: Path) -> None:
    content = (model_template / "model.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: len(content) * cut // 1001])
    with pytest.raises(MalformedProtobuf):
        read_graph(path)


def test_every_tensor_is_what_the_onnx_package_reads(model_template: Path) -> None:
    path = model_template / "model.onnx"
    expected = onnx.load(str(path), load_external_data=False).graph
    contents = read_onnx(path)
    constants = sum(node.op_type == "Constant" for node in expected.node)
    assert [(tensor.name, tensor.dims, tensor.data_type) for tensor in contents.tensors[constants:]] == [
        (tensor.name, tuple(tensor.dims), tensor.data_type) for tensor in expected.initializer
    ]
    assert [(node.op_type, node.inputs) for node in contents.nodes] == [
        (node.op_type, tuple(node.input)) for node in expected.node
    ]
    assert [each.name for each in contents.inputs] == [each.name for each in expected.input]
    assert contents.outputs == [each.name for each in expected.output]


def test_a_shape_can_be_packed_and_may_not_be_negative(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(b"\x3a\x0a\x0a\x00\x2a\x06\x0a\x02\x02\x03\x10\x01")  # one node, and a tensor of 2 x 3
    assert read_graph(path).parameters == 6
    negative = TensorProto(name="w", dims=[-1], data_type=TensorProto.FLOAT)
    with pytest.raises(MalformedProtobuf, match="shape"):
        read_graph(_saved(tmp_path, negative))


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
