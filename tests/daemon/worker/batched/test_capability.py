"""Which folders are run in batches, and what is said of those that are not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from daemon.worker.backends.batched.capability import NotBatchable, batched_decoder
from daemon.worker.folder import read_config
from registry.model import ExecutionProvider
from scripts.model_factory import write_preset
from scripts.model_factory.decoder_sketch import LINEAR_ATTENTION, DecoderSketch
from tests.daemon.worker.batched.opened import described


def changed(folder: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model.graph)
    onnx.save(model, folder / "model.onnx")
    return folder


def configured(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def why_not(folder: Path) -> str:
    with pytest.raises(NotBatchable) as error:
        described(folder)
    return str(error.value)


def attention(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "GroupQueryAttention"]


def test_a_decoder_with_grouped_attention_is_described(folder: Path) -> None:
    decoder = described(folder)
    assert (decoder.input_ids, decoder.attention_mask, decoder.position_ids) == ("input_ids", "attention_mask", None)
    assert (decoder.logits, decoder.vocab_size, decoder.logits_dtype) == ("logits", 320, np.float32)
    assert [(each.past, each.present) for each in decoder.caches[:2]] == [
        ("past_key_values.0.key", "present.0.key"),
        ("past_key_values.0.value", "present.0.value"),
    ]
    assert (len(decoder.caches), decoder.caches[0].kv_heads, decoder.caches[0].head_size) == (4, 2, 16)
    assert decoder.kv_token_bytes == 2 * 2 * 2 * 16 * 4
    assert decoder.has_all_positions


def test_position_ids_are_given_where_the_graph_has_them(folder: Path) -> None:
    shape = ["batch_size", "sequence_length"]
    value = helper.make_tensor_value_info("position_ids", TensorProto.INT64, shape)
    decoder = described(changed(folder, lambda graph: graph.input.append(value)))
    assert (decoder.position_ids, decoder.integers["position_ids"]) == ("position_ids", np.int64)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["model"].update(vision={}), "more than a decoder"),
        (lambda c: c["model"].update(encoder={}), "more than a decoder"),
        (lambda c: c["model"]["decoder"].update(pipeline=[{"first": {}}]), "pipeline"),
        (lambda c: c.update(engine={"dynamic_batching": {"block_size": 256}}), "engine of its own"),
        (lambda c: c["model"]["decoder"].update(sliding_window={"window_size": 64}), "cache slide"),
        (lambda c: c["model"]["decoder"]["inputs"].update(input_ids="tokens"), "asks for input_ids"),
        (lambda c: c["model"]["decoder"]["outputs"].update(logits="scores"), "how many logits"),
    ],
)
def test_what_a_configuration_rules_out(folder: Path, change: Callable[[dict[str, Any]], None], reason: str) -> None:
    described(folder)
    assert reason in why_not(configured(folder, change))


def test_a_window_that_the_graph_itself_keeps_is_no_hindrance(folder: Path) -> None:
    window = {"window_size": 64, "slide_key_value_cache": False, "slide_inputs": False}
    described(configured(folder, lambda c: c["model"]["decoder"].update(sliding_window=window)))


def with_two_tables(folder: Path) -> Path:
    return write_preset("tiny", folder, original_context_tokens=256, model_type="phi3")


def test_rotary_tables_that_depend_on_the_longest_row_bound_the_length_of_all(tmp_path: Path) -> None:
    assert described(with_two_tables(tmp_path / "long")).most_tokens == 256
    assert described(write_preset("tiny", tmp_path / "plain")).most_tokens is None


def _with_work_in_a_branch(graph: onnx.GraphProto) -> None:
    (switch,) = [node for node in graph.node if node.op_type == "If"]
    branch = switch.attribute[0].g
    branch.node.append(helper.make_node("Neg", [branch.output[0].name], ["unused"]))


def _with_another_condition(graph: onnx.GraphProto) -> None:
    (greater,) = [node for node in graph.node if node.op_type == "Greater"]
    greater.op_type = "Less"


def _with_another_axis(graph: onnx.GraphProto) -> None:
    (greater,) = [node for node in graph.node if node.op_type == "Greater"]
    (gather,) = [node for node in graph.node if node.output[0] == greater.input[0]]
    gather.input[1] = greater.input[1]


@pytest.mark.parametrize("change", [_with_work_in_a_branch, _with_another_condition, _with_another_axis])
def test_whatever_else_is_decided_for_all_rows_is_refused(
    tmp_path: Path, change: Callable[[onnx.GraphProto], None]
) -> None:
    folder = with_two_tables(tmp_path / "long")
    assert "whole batch at once (If)" in why_not(changed(folder, change))


def test_other_devices_and_adapters_are_for_the_other_engine(folder: Path) -> None:
    config = read_config(folder)
    with pytest.raises(NotBatchable, match="cuda"):
        batched_decoder(folder, config, ExecutionProvider.CUDA, has_adapters=False)
    with pytest.raises(NotBatchable, match="adapters"):
        batched_decoder(folder, config, ExecutionProvider.CPU, has_adapters=True)


def _without_attention(graph: onnx.GraphProto) -> None:
    for node in attention(graph):
        node.op_type = "MultiHeadAttention"


def _with_branch(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("If", ["attention_mask"], ["branch"]))


def _with_shared_cache(graph: onnx.GraphProto) -> None:
    """As models have that compute keys and values in some layers only."""
    first, second = attention(graph)[:2]
    second.input[3:5] = first.input[3:5]
    for value in [each for each in graph.input if each.name.startswith("past_key_values.1.")]:
        graph.input.remove(value)


def _with_bias(graph: onnx.GraphProto) -> None:
    for node in attention(graph):
        node.input.extend([""] * (11 - len(node.input)))
        node.input[10] = "cos_cache"


def _with_packed_cache(graph: onnx.GraphProto) -> None:
    for node in attention(graph):
        node.attribute.append(helper.make_attribute("k_quant_type", "PER_TENSOR"))


def _with_double_cache(graph: onnx.GraphProto) -> None:
    for value in graph.input:
        if value.name.startswith("past"):
            value.type.tensor_type.elem_type = TensorProto.DOUBLE


def _with_own_lengths(graph: onnx.GraphProto) -> None:
    attention(graph)[1].input[5] = "cos_cache"


def _with_another_input(graph: onnx.GraphProto) -> None:
    graph.input.append(helper.make_tensor_value_info("past.0.conv", TensorProto.FLOAT, ["batch_size", 8, 2]))


def _with_float_ids(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _with_an_own_cache(graph: onnx.GraphProto) -> None:
    attention(graph)[0].output[1] = "elsewhere"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_attention, "has no GroupQueryAttention|asks for"),
        (_with_branch, "whole batch"),
        (_with_shared_cache, "share their cache"),
        (_with_bias, "attention in a form"),
        (_with_packed_cache, "attention in a form"),
        (_with_double_cache, "cache in a form"),
        (_with_own_lengths, "counts the tokens"),
        (_with_another_input, r"asks for past\.0\.conv"),
        (_with_float_ids, "takes input_ids in a type"),
        (_with_an_own_cache, "caches from outside"),
    ],
)
def test_what_a_graph_rules_out(folder: Path, change: Callable[[onnx.GraphProto], None], reason: str) -> None:
    described(folder)
    assert re.search(reason, why_not(changed(folder, change)))


@pytest.mark.parametrize(
    ("sketch", "reason"),
    [
        (DecoderSketch(is_paged=True), "has no GroupQueryAttention"),
        (DecoderSketch(takes_embeddings=True), "asks for inputs_embeds"),
        (DecoderSketch(layer_types=("full_attention", LINEAR_ATTENTION)), "asks for past.1"),
        (DecoderSketch(has_cross_attention=True), "asks for past_key_cross"),
    ],
)
def test_other_kinds_of_decoders(folder: Path, sketch: DecoderSketch, reason: str) -> None:
    (folder / "model.onnx").unlink()
    sketch.save(folder / "model.onnx")
    assert reason in why_not(folder)
