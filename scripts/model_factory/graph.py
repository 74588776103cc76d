"""The decoder as an ONNX graph: operators, attributes and names as the library's own model builder writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scripts.model_factory.attention import COSINES, MICROSOFT, SINES, attention
from scripts.model_factory.quantize import Floats
from scripts.model_factory.spec import DecoderSpec, Quantization
from scripts.model_factory.weights import EMBEDDING, FINAL_NORM, LM_HEAD, WeightSource

_LONG_FACTOR = 4.0


@dataclass(frozen=True)
class Graph:
    """Nodes with their inputs and outputs, and the arrays that they take as initializers."""

    inputs: list[onnx.ValueInfoProto]
    outputs: list[onnx.ValueInfoProto]
    nodes: list[onnx.NodeProto]
    arrays: dict[str, np.ndarray]


def build_graph(spec: DecoderSpec, quantization: Quantization, weights: WeightSource) -> Graph:
    """The whole decoder: token ids and attention mask in, logits for every position and the grown KV cache out."""
    builder = _Builder(spec, quantization, weights)
    builder.positions()
    hidden = builder.embedding()
    for layer in range(spec.layers):
        hidden = builder.layer(layer, hidden)
    builder.head(hidden)
    inputs, outputs = _interface(spec)
    return Graph(inputs, outputs, builder.nodes, builder.arrays)


def _interface(spec: DecoderSpec) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    tokens = ["batch_size", "sequence_length"]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        *([helper.make_tensor_value_info("position_ids", TensorProto.INT64, tokens)] if spec.takes_positions else []),
        *_cache(spec, "past_key_values", "past_sequence_length"),
    ]
    logits = ["batch_size", "sequence_length", spec.vocab_size]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits),
        *_cache(spec, "present", "total_sequence_length"),
    ]
    return inputs, outputs


def _cache(spec: DecoderSpec, prefix: str, length: str) -> list[onnx.ValueInfoProto]:
    shape = ["batch_size", spec.kv_heads, length, "kv_cache_dim"]
    element = TensorProto.FLOAT16 if spec.half_cache else TensorProto.FLOAT
    return [
        helper.make_tensor_value_info(f"{prefix}.{layer}.{part}", element, shape)
        for layer in range(spec.layers)
        for part in ("key", "value")
    ]


@dataclass(frozen=True)
class _Residual:
    """The hidden state between blocks: the stream so far, and the block output that still has to be added to it."""

    stream: str
    addend: str | None = None


class _Builder:
    def __init__(self, spec: DecoderSpec, quantization: Quantization, weights: WeightSource) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self._spec = spec
        self._quantization = quantization
        self._weights = weights
        self._constants: set[str] = set()

    def positions(self) -> None:
        """What attention needs to know: each row's last position, the mask's length, the rotary angles."""
        base = "/model/attn_mask_reformat/attn_mask_subgraph"
        counts = self.node("ReduceSum", f"{base}/ReduceSum", ["attention_mask", self.constant([1])], keepdims=0)
        last = self.node("Sub", f"{base}/Sub", [counts, self.constant([1])])
        seqlens_k = self.node("Cast", f"{base}/Sub/Cast", [last], to=TensorProto.INT32)
        shape = self.node("Shape", f"{base}/Shape", ["attention_mask"])
        length = self.node("Gather", f"{base}/Gather", [shape, self.constant(1)], axis=0)
        self._lengths = [seqlens_k, self.node("Cast", f"{base}/Gather/Cast", [length], to=TensorProto.INT32)]
        self._rotary_tables(length)

    def embedding(self) -> _Residual:
        """Rows of the lm_head where it is tied and not int8, else of an fp32 table: the builder's rule."""
        base = "/model/embed_tokens"
        if not self._spec.tied_embeddings or self._quantization.bits == 8:
            self.arrays[EMBEDDING] = self._weights.dense(EMBEDDING)
            return _Residual(self.node("Gather", f"{base}/Gather", [EMBEDDING, "input_ids"]))
        if self._quantization.bits is None:
            table = self.node("Transpose", f"{base}/Transpose", ["lm_head.MatMul.weight"], perm=[1, 0])
            return _Residual(self.node("Gather", f"{base}/Gather", [table, "input_ids"]))
        return _Residual(self._quantized_embedding(base, self._quantization.bits))

    def layer(self, layer: int, hidden: _Residual) -> _Residual:
        """One decoder layer: attention and a SwiGLU feed-forward block, each behind a norm."""
        normed, stream = self._norm(f"layers.{layer}/input_layernorm", hidden)
        hidden = _Residual(stream, attention(self, self._spec, layer, normed, self._lengths))
        normed, stream = self._norm(f"layers.{layer}/post_attention_layernorm", hidden)
        return _Residual(stream, self._feed_forward(layer, normed))

    def head(self, hidden: _Residual) -> None:
        normed, _ = self._norm(f"layers.{self._spec.layers}/final_norm_layernorm", hidden, is_last=True)
        source = EMBEDDING if self._spec.tied_embeddings else LM_HEAD
        self.linear("/lm_head", normed, [source], output="logits")

    def _quantized_embedding(self, base: str, bits: int) -> str:
        block = self._quantization.block_size
        padded = -(-self._spec.hidden_size // block) * block
        shape = self.constant([self._spec.vocab_size, padded * bits // 8])
        table = self.node("Reshape", f"{base}/Reshape", [f"lm_head.MatMul.weight_Q{bits}", shape])
        rows = self.node(
            "GatherBlockQuantized",
            f"{base}/GatherBlockQuantized",
            [table, "input_ids", "lm_head.MatMul.weight_scales"],
            domain=MICROSOFT,
            bits=bits,
            block_size=block,
            gather_axis=0,
            quantize_axis=1,
        )
        if padded == self._spec.hidden_size:
            return rows
        ends = [self.constant([0]), self.constant([self._spec.hidden_size]), self.constant([-1])]
        return self.node("Slice", f"{base}/Slice", [rows, *ends])

    def _norm(self, name: str, hidden: _Residual, *, is_last: bool = False) -> tuple[str, str]:
        """The RMS-normed sum of stream and addend, and that sum itself (nobody needs it after the last norm)."""
        key = f"model.{name.replace('/', '.')}.weight"
        self.arrays[key] = self._weights.dense(FINAL_NORM if is_last else key)
        epsilon = self._spec.rms_norm_eps
        normed = f"/model/{name}/output_0"
        if hidden.addend is None:
            op, inputs = "SimplifiedLayerNormalization", [hidden.stream, key]
            self.node(op, f"/model/{name}/LayerNorm", inputs, [normed], epsilon=epsilon, axis=-1, stash_type=1)
            return normed, hidden.stream
        outputs = [normed] if is_last else [normed, "", "", f"/model/{name}/output_3"]
        op, inputs = "SkipSimplifiedLayerNormalization", [hidden.stream, hidden.addend, key]
        self.node(op, f"/model/{name}/SkipLayerNorm", inputs, outputs, domain=MICROSOFT, epsilon=epsilon)
        return normed, outputs[-1]

    def _feed_forward(self, layer: int, hidden: str) -> str:
        base, weights = f"/model/layers.{layer}/mlp", f"model.layers.{layer}.mlp"
        gate = self.linear(f"{base}/gate_proj", hidden, [f"{weights}.gate_proj.weight"])
        up = self.linear(f"{base}/up_proj", hidden, [f"{weights}.up_proj.weight"])
        sigmoid = self.node("Sigmoid", f"{base}/act_fn/Sigmoid", [gate])
        activated = self.node("Mul", f"{base}/act_fn/Mul", [gate, sigmoid])
        product = self.node("Mul", f"{base}/Mul", [activated, up])
        return self.linear(f"{base}/down_proj", product, [f"{weights}.down_proj.weight"])

    def linear(self, base: str, hidden: str, sources: Sequence[str], *, output: str | None = None) -> str:
        """``hidden`` times the transpose of the stacked source matrices."""
        key = f"{base.removeprefix('/').replace('/', '.')}.MatMul.weight"
        outputs = [output or f"{base}/MatMul/output_0"]
        bits = self._quantization.bits
        if bits is None:
            self.arrays[key] = np.ascontiguousarray(self._weights.dense(*sources).T)
            return self.node("MatMul", f"{base}/MatMul", [hidden, key], outputs)
        packed = self._weights.packed(self._quantization, *sources)
        self.arrays[f"{key}_Q{bits}"], self.arrays[f"{key}_scales"] = packed.weight, packed.scales
        return self.node(
            "MatMulNBits",
            f"{base}/MatMul_Q{bits}",
            [hidden, f"{key}_Q{bits}", f"{key}_scales"],
            outputs,
            domain=MICROSOFT,
            K=packed.columns,
            N=len(packed.weight),
            bits=bits,
            block_size=self._quantization.block_size,
            accuracy_level=self._quantization.accuracy_level,
        )

    def _rotary_tables(self, width: str) -> None:
        """Arrays of the graph, or of the branches of an If for one model that has two pairs of them."""
        original = self._spec.original_context_tokens
        rotary_type = np.float16 if self._spec.half_cache else np.float32
        short = [table.astype(rotary_type) for table in _rotary_caches(self._spec)]
        if original is None:
            self.arrays |= dict(zip((COSINES, SINES), short, strict=True))
            return
        longer = [table.astype(rotary_type) for table in _rotary_caches(self._spec, slower=_LONG_FACTOR)]
        base = "/model/rope_caches_subgraph"
        is_long = self.node("Greater", f"{base}/Greater", [width, self.constant(original)])
        branches = {"then_branch": _tables("large", longer), "else_branch": _tables("small", short)}
        self.node("If", f"{base}/If", [is_long], [COSINES, SINES], **branches)

    def vector(self, name: str, *sources: str) -> str:
        self.arrays[name] = self._weights.dense(*sources)
        return name

    def constant(self, values: int | list[int]) -> str:
        name = f"/model/constants/INT64/{values}"
        if name not in self._constants:
            self._constants.add(name)
            tensor = numpy_helper.from_array(np.array(values, np.int64))
            self.node("Constant", f"/model/constant_nodes/INT64/{values}", [], [name], value=tensor)
        return name

    def node(self, op: str, name: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node and return its first output."""
        outputs = outputs or [f"{name}/output_0"]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]


def _tables(name: str, tables: Sequence[np.ndarray]) -> onnx.GraphProto:
    """A graph that gives both."""
    nodes, outputs = [], []
    for part, table in zip((COSINES, SINES), tables, strict=True):
        tensor = numpy_helper.from_array(table)
        nodes.append(helper.make_node("Constant", [], [f"{part}_{name}"], value=tensor))
        outputs.append(helper.make_tensor_value_info(f"{part}_{name}", tensor.data_type, table.shape))
    return helper.make_graph(nodes, name, [], outputs)


def _rotary_caches(spec: DecoderSpec, *, slower: float = 1.0) -> tuple[Floats, Floats]:
    """Cosine and sine of every position's angles, [context_tokens, head_size / 2] each.

    Powers are rounded from float64, which gives torch's frequencies to the last bit; numpy's own fp32 power misses some
    by one bit, and that grows with the position.
    """
    exponents = np.arange(0, spec.head_size, 2) / spec.head_size
    frequencies = np.float32(1) / (spec.rope_theta**exponents).astype(np.float32)
    positions = np.arange(spec.context_tokens, dtype=np.float32)
    angles = np.outer(positions, frequencies / np.float32(slower)).astype(np.float64)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
