"""Attention of one layer in the forms that the library's own model builder writes it in for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from onnx import TensorProto

from scripts.model_factory.spec import DecoderSpec

MICROSOFT = "com.microsoft"
COSINES, SINES = "cos_cache", "sin_cache"


class Nodes(Protocol):
    """What adds to the graph; each returns the name of a tensor."""

    def node(
        self, op: str, name: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any
    ) -> str: ...

    def linear(self, base: str, hidden: str, sources: Sequence[str]) -> str:
        """``hidden`` times the transpose of the stacked source matrices."""
        ...

    def vector(self, name: str, *sources: str) -> str:
        """The stacked source vectors, as they are, under a name of their own."""
        ...

    def constant(self, values: int | list[int]) -> str: ...


def attention(nodes: Nodes, spec: DecoderSpec, layer: int, hidden: str, lengths: Sequence[str]) -> str:
    """``lengths``: of each row without its last token, and of the attention mask."""
    base = f"/model/layers.{layer}/attn"
    make = _apart if spec.takes_positions or spec.qk_norm else _packed
    query, key, value = make(nodes, spec, layer, hidden)
    tables = [COSINES, SINES]
    if spec.takes_positions:
        query, key = (_rotated(nodes, base, part, tensor) for part, tensor in (("q", query), ("k", key)))
        tables = ["", ""]
    taken = [query, key, value]
    if spec.half_cache:
        taken = [_cast(nodes, f"{base}/Cast_{place}", each, TensorProto.FLOAT16) for place, each in enumerate(taken)]
    past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
    attended = nodes.node(
        "GroupQueryAttention",
        f"{base}/GroupQueryAttention",
        [*taken, *past, *lengths, *tables, "", "", ""],
        [f"{base}/GroupQueryAttention/output_0", f"present.{layer}.key", f"present.{layer}.value"],
        domain=MICROSOFT,
        num_heads=spec.heads,
        kv_num_heads=spec.kv_heads,
        scale=spec.head_size**-0.5,
        local_window_size=spec.window or -1,
        softcap=0.0,
        do_rotary=int(not spec.takes_positions),
        rotary_interleaved=0,
        **({"sliding_window_cache": 1} if spec.window else {}),
    )
    if spec.half_cache:
        attended = _cast(nodes, f"{base}/Cast_3", attended, TensorProto.FLOAT)
    return nodes.linear(f"{base}/o_proj", attended, [f"model.layers.{layer}.self_attn.o_proj.weight"])


def _packed(nodes: Nodes, spec: DecoderSpec, layer: int, hidden: str) -> tuple[str, str, str]:
    """Queries, keys and values in one matrix, with one bias."""
    base = f"/model/layers.{layer}/attn"
    projections = [f"model.layers.{layer}.self_attn.{part}_proj" for part in "qkv"]
    qkv = nodes.linear(f"{base}/qkv_proj", hidden, [f"{projection}.weight" for projection in projections])
    if not spec.qkv_bias:
        return qkv, "", ""
    bias = nodes.vector(
        f"model.layers.{layer}.attn.qkv_proj.Add.bias", *(f"{projection}.bias" for projection in projections)
    )
    return nodes.node("Add", f"{base}/qkv_proj/Add", [qkv, bias]), "", ""


def _apart(nodes: Nodes, spec: DecoderSpec, layer: int, hidden: str) -> tuple[str, str, str]:
    """Queries, keys and values each by themselves, the first two normed head by head where the model has that."""
    base, parts = f"/model/layers.{layer}/attn", []
    for part, size in (("q", spec.query_size), ("k", spec.kv_size), ("v", spec.kv_size)):
        projection = f"model.layers.{layer}.self_attn.{part}_proj"
        tensor = nodes.linear(f"{base}/{part}_proj", hidden, [f"{projection}.weight"])
        if spec.qkv_bias:
            bias = nodes.vector(f"model.layers.{layer}.attn.{part}_proj.Add.bias", f"{projection}.bias")
            tensor = nodes.node("Add", f"{base}/{part}_proj/Add", [tensor, bias])
        if spec.qk_norm and part != "v":
            tensor = _normed(nodes, spec, layer, part, tensor, size)
        parts.append(tensor)
    return parts[0], parts[1], parts[2]


def _normed(nodes: Nodes, spec: DecoderSpec, layer: int, part: str, tensor: str, size: int) -> str:
    base = f"/model/layers.{layer}/attn/{part}_norm"
    heads = nodes.node("Reshape", f"{base}/Reshape_1", [tensor, nodes.constant([0, -1, spec.head_size])])
    weight = nodes.vector(
        f"model.layers.{layer}.attn.{part}_norm.layernorm.weight", f"model.layers.{layer}.self_attn.{part}_norm.weight"
    )
    normed = nodes.node(
        "SimplifiedLayerNormalization",
        f"{base}/SimplifiedLayerNormalization",
        [heads, weight],
        epsilon=spec.rms_norm_eps,
        axis=-1,
        stash_type=1,
    )
    return nodes.node("Reshape", f"{base}/Reshape_2", [normed, nodes.constant([0, -1, size])])


def _rotated(nodes: Nodes, base: str, part: str, tensor: str) -> str:
    name = f"{base}/{part}_rotary/RotaryEmbedding"
    return nodes.node(
        "RotaryEmbedding", name, [tensor, "position_ids", COSINES, SINES], domain=MICROSOFT, interleaved=0
    )


def _cast(nodes: Nodes, name: str, tensor: str, to: int) -> str:
    return nodes.node("Cast", name, [tensor], to=to) if tensor else ""
