"""Which decoders can be run in batches of rows that differ in length, and what has to be known of one to do so.

Everything a row keeps must be in caches that only ``GroupQueryAttention`` reads and writes: that operator takes each
row's own length from the attention mask. Whatever else a graph has, a graph without other state cannot mix rows, and
where positions decide something for the whole batch (control flow), it is refused. One such decision can be kept
from being made: which rotary tables count (LongRoPE) depends on the longest row, and up to a length it is the same
tables for all. What is accepted here is still
compared with onnxruntime-genai before it is used (``daemon.worker.backends.batched.proof``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.worker.backends.batched.head import Head, find_head
from registry.files.open_file import OpenFile
from registry.model import ExecutionProvider
from registry.onnx.file import model_bytes
from registry.onnx.parts import Input
from registry.onnx.wiring import WiredNode, Wiring, read_wiring

# TensorProto.DataType -> what numpy calls it. The CPU's kernel of GroupQueryAttention takes no other caches.
_CACHE_TYPES: dict[int, type[np.generic]] = {1: np.float32, 10: np.float16}
_INTEGERS: dict[int, type[np.generic]] = {6: np.int32, 7: np.int64}
_ATTENTION = "GroupQueryAttention"
_PAST, _PRESENT = slice(3, 5), slice(1, 3)
_BIAS_INPUT = 10
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_OTHER_PARTS = ("encoder", "vision", "speech", "embedding")
_SLIDES = ("slide_key_value_cache", "slide_inputs")


class NotBatchable(Exception):
    """This model needs the other backend; the message, which goes on after "it", says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One of the tensors [rows, kv_heads, length, head_size] that hold keys or values."""

    past: str
    present: str
    kv_heads: int
    head_size: int
    dtype: type[np.generic]

    @property
    def token_bytes(self) -> int:
        return self.kv_heads * self.head_size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchedDecoder:
    """The decoder in the file ``graph``: names of its inputs and outputs, and their types.

    ``head`` is where its last part can be told which positions to compute; None: it computes all, or, where
    ``has_all_positions`` is False, only the last one. ``least_slot_tokens``: layers that may keep a window only want
    a cache that holds it, however short the rows are. ``most_tokens``: with longer rows other rotary tables would count
    for all rows; None: there are no others.
    """

    graph: Path
    input_ids: str
    attention_mask: str
    position_ids: str | None
    logits: str
    integers: Mapping[str, type[np.generic]]
    logits_dtype: type[np.generic]
    vocab_size: int
    caches: tuple[Cache, ...]
    head: Head | None
    has_all_positions: bool
    least_slot_tokens: int = 0
    most_tokens: int | None = None

    @property
    def kv_token_bytes(self) -> int:
        """What one token takes in all caches."""
        return sum(cache.token_bytes for cache in self.caches)


def batched_decoder(
    folder: Path, config: Mapping[str, Any], provider: ExecutionProvider, *, has_adapters: bool
) -> BatchedDecoder:
    """The decoder of a checked folder. ``config`` is its genai_config.json.

    Raises NotBatchable, and MalformedProtobuf or InvalidModelFolder for a graph that cannot be read.
    """
    _require_plain(config, provider, has_adapters=has_adapters)
    decoder = config["model"]["decoder"]
    graph = folder / str(decoder.get("filename") or "model.onnx")
    with OpenFile(graph) as file:
        wiring = read_wiring(model_bytes(file))
    return _described(graph, decoder, wiring)


def _require_plain(config: Mapping[str, Any], provider: ExecutionProvider, *, has_adapters: bool) -> None:
    model = config["model"]
    decoder = model["decoder"]
    sliding = decoder.get("sliding_window")
    reasons = {
        f"runs on {provider.value}, not on the CPU": provider is not ExecutionProvider.CPU,
        "has LoRA adapters": has_adapters,
        "is more than a decoder": any(isinstance(model.get(part), dict) for part in _OTHER_PARTS),
        "is a pipeline of several graphs": bool(decoder.get("pipeline")),
        "has an engine of its own": bool((config.get("engine") or {}).get("dynamic_batching")),
        "lets its cache slide": isinstance(sliding, dict) and any(sliding.get(name, True) for name in _SLIDES),
    }
    for reason, applies in reasons.items():
        if applies:
            raise NotBatchable(reason)


def _described(graph: Path, decoder: Mapping[str, Any], wiring: Wiring) -> BatchedDecoder:
    inputs, outputs = decoder.get("inputs") or {}, decoder.get("outputs") or {}
    given = {each.name: each for each in wiring.inputs if each.name not in wiring.constants}
    logits = str(outputs.get("logits") or "logits")
    token_inputs = [
        str(inputs.get(name) or name)
        for name in ("input_ids", "attention_mask", "position_ids")
        if name != "position_ids" or str(inputs.get(name) or name) in given
    ]
    most_tokens = _most_tokens(wiring, token_inputs[1])
    layers = _attention_layers(wiring)
    unknown = given.keys() - set(token_inputs) - {past for layer in layers for past in layer.inputs[_PAST]}
    missing = [name for name in token_inputs if name not in given]
    if unknown or missing:
        raise NotBatchable(f"asks for {', '.join(sorted(unknown)[:3]) or f'no {missing[0]}'}, which is not usual")
    caches = _caches(layers, wiring, given, decoder)
    head = find_head(wiring, logits)
    result = next((each for each in wiring.outputs if each.name == logits), None)
    if result is None or result.data_type not in _CACHE_TYPES or not result.dims or result.dims[-1] is None:
        raise NotBatchable("does not say how many logits it gives")
    return BatchedDecoder(
        graph=graph,
        input_ids=token_inputs[0],
        attention_mask=token_inputs[1],
        position_ids=token_inputs[2] if len(token_inputs) > 2 else None,
        logits=logits,
        integers={name: _integer(given[name]) for name in token_inputs},
        logits_dtype=_CACHE_TYPES[result.data_type],
        vocab_size=result.dims[-1],
        caches=caches,
        head=head.place,
        has_all_positions=head.sees_all_positions,
        least_slot_tokens=max(_window(layer) for layer in layers),
        most_tokens=most_tokens,
    )


def _window(layer: WiredNode) -> int:
    """Tokens that its cache has to hold at least. In a longer one nothing is given up, and nothing moves."""
    size = layer.attributes.get("local_window_size", -1)
    return size if layer.attributes.get("sliding_window_cache") and isinstance(size, int) else 0


def _most_tokens(wiring: Wiring, mask: str) -> int | None:
    """Up to which length of the longest row nothing is decided for all rows; None: it never is.

    Raises NotBatchable where something else decides, or something else is decided than which constants count.
    """
    makers = {name: node for node in wiring.nodes for name in node.outputs}
    limits = []
    for place, node in enumerate(wiring.nodes):
        if node.op_type in _CONTROL_FLOW:
            limit = _limit_of(node, makers, wiring, mask) if place in wiring.switches else None
            if limit is None:
                raise NotBatchable(f"decides something for the whole batch at once ({node.op_type})")
            limits.append(limit)
    return min(limits, default=None)


def _limit_of(switch: WiredNode, makers: Mapping[str, WiredNode], wiring: Wiring, mask: str) -> int | None:
    """The number that the width of ``mask`` is compared with; None where that is not what is compared."""
    greater = makers.get(switch.inputs[0])
    if greater is None or greater.op_type != "Greater":
        return None
    width, limit = greater.inputs
    gather = makers.get(width)
    shape = makers.get(gather.inputs[0]) if gather is not None and gather.op_type == "Gather" else None
    is_width = (
        gather is not None
        and wiring.numbers.get(gather.inputs[1]) == 1
        and shape is not None
        and (shape.op_type, shape.inputs) == ("Shape", (mask,))
    )
    return wiring.numbers.get(limit) if is_width else None


def _attention_layers(wiring: Wiring) -> list[WiredNode]:
    layers = [node for node in wiring.nodes if node.op_type == _ATTENTION]
    if not layers:
        raise NotBatchable(f"has no {_ATTENTION}")
    return layers


def _caches(
    layers: Sequence[WiredNode], wiring: Wiring, given: Mapping[str, Input], decoder: Mapping[str, Any]
) -> tuple[Cache, ...]:
    """Of all layers. Raises NotBatchable where one keeps something in another way."""
    outputs = {each.name for each in wiring.outputs}
    caches = [cache for layer in layers for cache in _caches_of(layer, given, outputs, decoder)]
    pasts = [cache.past for cache in caches]
    taken = [name for node in wiring.nodes for name in node.inputs]
    if any(taken.count(past) != 1 for past in pasts):
        raise NotBatchable("has layers that share their cache")
    if len({layer.inputs[5] for layer in layers}) != 1:
        raise NotBatchable("counts the tokens of its layers apart")
    return tuple(caches)


def _caches_of(
    layer: WiredNode, given: Mapping[str, Input], outputs: set[str], decoder: Mapping[str, Any]
) -> list[Cache]:
    attributes = layer.attributes
    has_bias = len(layer.inputs) > _BIAS_INPUT and layer.inputs[_BIAS_INPUT] != ""
    is_packed = any(attributes.get(name, "NONE") != "NONE" for name in ("k_quant_type", "v_quant_type"))
    pasts, presents = layer.inputs[_PAST], layer.outputs[_PRESENT]
    if has_bias or is_packed or len(layer.inputs) < 7:
        raise NotBatchable("uses attention in a form that is not supported here")
    if not (len(presents) == 2 and given.keys() >= set(pasts) and outputs >= set(presents)):
        raise NotBatchable("does not take its caches from outside")
    return [_cache(given[past], present, attributes, decoder) for past, present in zip(pasts, presents, strict=True)]


def _cache(past: Input, present: str, attributes: Mapping[str, int | str], decoder: Mapping[str, Any]) -> Cache:
    dtype = _CACHE_TYPES.get(past.data_type)
    if dtype is None or len(past.dims) != 4:
        raise NotBatchable("keeps its cache in a form that is not supported here")
    heads, size = past.dims[1] or attributes.get("kv_num_heads"), past.dims[3] or decoder.get("head_size")
    if not isinstance(heads, int) or not isinstance(size, int) or heads < 1 or size < 1:
        raise NotBatchable("does not say how large its cache is")
    return Cache(past=past.name, present=present, kv_heads=heads, head_size=size, dtype=dtype)


def _integer(value: Input) -> type[np.generic]:
    if value.data_type not in _INTEGERS:
        raise NotBatchable(f"takes {re.sub('[^a-z_]', '', value.name)} in a type that is not usual")
    return _INTEGERS[value.data_type]
