"""Where a Gather may stand in front of a head, and where that would be another function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from daemon.worker.backends.batched.head import POSITIONS, find_head
from registry.onnx.wiring import read_wiring

HIDDEN, VOCABULARY = 8, 12
_TENSORS = {
    "scale": np.linspace(0.5, 1.5, HIDDEN).astype(np.float32),
    "table": np.random.default_rng(0).standard_normal((VOCABULARY, HIDDEN)).astype(np.float32),
    "weight": np.random.default_rng(1).standard_normal((HIDDEN, VOCABULARY)).astype(np.float32),
    "bias": np.random.default_rng(2).standard_normal(VOCABULARY).astype(np.float32),
    "cap": np.array(30, np.float32),
    "by_position": np.random.default_rng(3).standard_normal((5, 1)).astype(np.float32),
    "last": np.array([4], np.int64),
    "square": np.random.default_rng(4).standard_normal((5, 5)).astype(np.float32),
}
NORM = ("SimplifiedLayerNormalization", ["embedded", "scale"], "normed")
MATMUL = ("MatMul", ["normed", "weight"], "logits")
RAW = ("MatMul", ["normed", "weight"], "raw")
LAST = ("MatMul", ["raw", "weight"], "logits")
CAPPED = [
    ("MatMul", ["normed", "weight"], "raw"),
    ("Div", ["raw", "cap"], "small"),
    ("Tanh", ["small"], "bent"),
    ("Mul", ["bent", "cap"], "logits"),
]
WITH_BIAS = [("MatMul", ["normed", "weight"], "raw"), ("Add", ["bias", "raw"], "logits")]
TIED = [("Transpose", ["table"], "turned"), NORM, ("MatMul", ["normed", "turned"], "logits")]

_Nodes = Sequence[tuple[str, list[str], str]]


def model(nodes: _Nodes) -> bytes:
    made = [helper.make_node("Gather", ["table", "input_ids"], ["embedded"])]
    made += [helper.make_node(op, inputs, [output]) for op, inputs, output in nodes]
    shape = ["batch_size", "sequence_length"]
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "head",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, VOCABULARY])],
        [numpy_helper.from_array(values, name) for name, values in _TENSORS.items() if name in used],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    data: bytes = proto.SerializeToString()
    return data


def run(data: bytes, **feeds: Any) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(["logits"], feeds)[0]


@pytest.mark.parametrize("nodes", [[NORM, MATMUL], [NORM, *CAPPED], [NORM, *WITH_BIAS], TIED])
def test_a_head_that_is_told_its_positions_gives_their_logits(nodes: _Nodes) -> None:
    data = model(nodes)
    found = find_head(read_wiring(data), "logits")
    assert found.place is not None
    assert found.sees_all_positions
    ids = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    chosen = run(found.place.selective(data), input_ids=ids, **{POSITIONS: np.array([3, 0])})
    assert np.allclose(chosen, run(data, input_ids=ids)[:, [3, 0]], atol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([NORM, RAW, ("Add", ["raw", "by_position"], "logits")], id="differs"),
        pytest.param([NORM, ("MatMul", ["square", "normed"], "raw"), LAST], id="mixed"),
        pytest.param([NORM, RAW, ("Softmax", ["raw"], "logits")], id="unknown"),
        pytest.param([NORM, RAW, ("Add", ["raw", "raw"], "logits")], id="twice"),
        pytest.param([("MatMul", ["embedded", "weight"], "logits")], id="no norm"),
    ],
)
def test_where_positions_are_not_treated_alike_the_graph_runs_as_it_is(nodes: _Nodes) -> None:
    found = find_head(read_wiring(model(nodes)), "logits")
    assert found.place is None


def test_hidden_states_that_somebody_else_takes_too_are_left_alone() -> None:
    nodes = [NORM, ("MatMul", ["normed", "weight"], "logits"), ("Neg", ["normed"], "other")]
    assert find_head(read_wiring(model(nodes)), "logits").place is None


def test_a_head_that_was_told_the_last_position_by_its_export_has_no_other_logits() -> None:
    """As ``prune_lm_head`` of the library's builder makes them."""
    nodes = [NORM, ("Gather", ["normed", "last"], "picked"), ("MatMul", ["picked", "weight"], "logits")]
    found = find_head(read_wiring(model(nodes)), "logits")
    assert (found.place, found.sees_all_positions) == (None, False)
