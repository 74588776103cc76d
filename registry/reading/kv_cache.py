"""The key-value cache: how many bytes one token of one sequence takes over all layers, and of which type.

The decoder's graph has an input for the cache of each layer that keeps one, with its shape: that is exact also for
hybrid models, where only some layers keep every token, and for caches that are quantised. Where a graph shows none, as
those made for a hardware vendor's own runtime, the configuration is all there is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from registry.model import Precision
from registry.onnx.file import ELEMENT_BITS, Input
from registry.onnx.graph import PRECISIONS, GraphFacts
from registry.reading.genai_config import CacheShape

_FP32_BITS = 32
_INT8_BITS = 8
_MAX_BYTES = 2**53
# Cache inputs by the number of their dimensions: which of them one token takes.
# [batch, heads, tokens, head size]; keys and values in one: [2, batch, heads, tokens, head size]; a scale for each
# token: [batch, heads, tokens]. In blocks: [blocks, tokens of a block, heads, head size].
_PER_TOKEN = {3: (1,), 4: (1, 3), 5: (0, 2, 4)}
_PER_TOKEN_IN_BLOCKS = {3: (2,), 4: (2, 3), 5: (0, 3, 4)}


@dataclass(frozen=True, slots=True)
class Cache:
    """``guess`` says how ``bytes_per_token`` was guessed, None if it was read."""

    bytes_per_token: int
    precision: Precision
    guess: str | None = None


def cache_of(shape: CacheShape, graphs: Iterable[GraphFacts], weights: Precision, *, is_text: bool) -> Cache:
    """``graphs`` are the decoder's; ``weights`` is what most weights are stored as.

    A decoder that is not ``is_text`` and shows no cache has none: transducers keep a state of fixed size.
    """
    graphs = tuple(graphs)
    inputs = _cache_inputs(shape, graphs)
    is_paged = any(graph.is_paged for graph in graphs)
    sizes = [_bits_per_token(each, shape, is_paged=is_paged) for each in inputs]
    known = [size for size in sizes if size is not None]
    if known and len(known) == len(sizes):
        return Cache(_bounded(sum(known) // 8), _precision(inputs, shape), _windowed(shape))
    if not inputs and not is_text:
        return Cache(0, Precision.UNKNOWN)
    return _configured(shape, inputs, weights)


def _cache_inputs(shape: CacheShape, graphs: Iterable[GraphFacts]) -> list[Input]:
    """Each once: the stages of a pipeline hand them on."""
    patterns = [re.compile(re.escape(name[:200]).replace("%d", r"\d{1,9}")) for name in shape.names]
    found: dict[str, Input] = {}
    for graph in graphs:
        for each in graph.inputs:
            if any(pattern.fullmatch(each.name) for pattern in patterns):
                found.setdefault(each.name, each)
    return list(found.values())


def _bits_per_token(cache: Input, shape: CacheShape, *, is_paged: bool) -> int | None:
    bits = ELEMENT_BITS.get(cache.data_type)
    if bits is None:
        return None
    positions = (_PER_TOKEN_IN_BLOCKS if is_paged else _PER_TOKEN).get(len(cache.dims), ())
    sizes = [cache.dims[position] for position in positions]
    heads, head_size = shape.heads, shape.head_size
    if heads and head_size and len(cache.dims) >= 4 and {heads, head_size} <= set(cache.dims):
        # The engine's names for the sizes: they hold whatever the order, which some compilers change.
        return heads * head_size * bits * (cache.dims[0] or 1 if len(cache.dims) == 5 else 1)
    if not sizes or None in sizes:
        return heads * head_size * bits if heads and head_size and len(cache.dims) == 4 else None
    return prod(size for size in sizes if size is not None) * bits


def _precision(inputs: Iterable[Input], shape: CacheShape) -> Precision:
    """That of most inputs; two 4-bit numbers share a byte, which shows in a head of half the size."""
    kinds = Counter((each.data_type, each.dims[-1] if each.dims else None) for each in inputs)
    data_type, last = kinds.most_common(1)[0][0]
    if ELEMENT_BITS.get(data_type) == _INT8_BITS and last and shape.head_size and last * 2 == shape.head_size:
        return Precision.INT4
    return PRECISIONS.get(data_type, Precision.UNKNOWN)


def _windowed(shape: CacheShape) -> str | None:
    if not shape.windowed_layers:
        return None
    return f"upper bound: {shape.windowed_layers} layers keep only the sliding window"


def _configured(shape: CacheShape, inputs: list[Input], weights: Precision) -> Cache:
    """Layers x 2 x key-value heads x head size, as the configuration has them."""
    if shape.layers is None or shape.heads is None or shape.head_size is None:
        return Cache(0, Precision.UNKNOWN, "unknown")
    elements = shape.layers * 2 * shape.heads * shape.head_size
    typed = [each for each in inputs if each.data_type in ELEMENT_BITS]
    if typed:
        bits, precision, guess = ELEMENT_BITS[typed[0].data_type], _precision(typed, shape), "sizes from genai_config"
    elif weights in (Precision.FP16, Precision.BF16):
        bits, precision, guess = 16, weights, "genai_config, type from the weights"
    else:
        bits, precision, guess = _FP32_BITS, Precision.FP32, "genai_config, type from the weights"
    return Cache(_bounded(elements * bits // 8), precision, guess)


def _bounded(size_bytes: int) -> int:
    return min(size_bytes, _MAX_BYTES)
