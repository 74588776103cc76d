"""Where a model's weights come from: given arrays under Hugging Face's Qwen2 names, or a seed."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from scripts.model_factory.quantize import Floats, PackedMatrix, pack, random_packed
from scripts.model_factory.spec import DecoderSpec, Quantization

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
LM_HEAD = "lm_head.weight"

_BIAS_DEVIATION = 0.02
_QUIET = 1 / 16  # of the other rows: normalized away on the way in, never the largest logit on the way out


class WeightSource(Protocol):
    """Weights by name; several names give their rows one below the other (the builder packs q, k and v so)."""

    def dense(self, *names: str) -> Floats: ...

    def packed(self, quantization: Quantization, *names: str) -> PackedMatrix: ...


def weight_shapes(spec: DecoderSpec) -> dict[str, tuple[int, ...]]:
    """Every weight the decoder has, with its shape; matrices are [out, in]."""
    hidden, ffn = spec.hidden_size, spec.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (spec.vocab_size, hidden), FINAL_NORM: (hidden,)}
    if not spec.tied_embeddings:
        shapes[LM_HEAD] = (spec.vocab_size, hidden)
    for layer in range(spec.layers):
        prefix = f"model.layers.{layer}"
        for projection, size in (("q", spec.query_size), ("k", spec.kv_size), ("v", spec.kv_size)):
            shapes[f"{prefix}.self_attn.{projection}_proj.weight"] = (size, hidden)
            if spec.qkv_bias:
                shapes[f"{prefix}.self_attn.{projection}_proj.bias"] = (size,)
        if spec.qk_norm:
            for part in "qk":
                shapes[f"{prefix}.self_attn.{part}_norm.weight"] = (spec.head_size,)
        shapes[f"{prefix}.self_attn.o_proj.weight"] = (hidden, spec.query_size)
        shapes[f"{prefix}.mlp.gate_proj.weight"] = (ffn, hidden)
        shapes[f"{prefix}.mlp.up_proj.weight"] = (ffn, hidden)
        shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, ffn)
        shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
    return shapes


class GivenWeights:
    """Trained weights. Raises ValueError when a name is missing, unknown, or of the wrong shape."""

    def __init__(self, spec: DecoderSpec, weights: Mapping[str, np.ndarray]) -> None:
        shapes = weight_shapes(spec)
        if missing := sorted(shapes.keys() - weights.keys()):
            raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
        if unknown := sorted(weights.keys() - shapes.keys()):
            raise ValueError(f"{len(unknown)} weights have no place in this decoder, the first is {unknown[0]}")
        for name, shape in shapes.items():
            if weights[name].shape != shape:
                raise ValueError(f"{name} has the shape {weights[name].shape}, this decoder needs {shape}")
        self._weights = weights

    def dense(self, *names: str) -> Floats:
        return np.concatenate([np.asarray(self._weights[name], np.float32) for name in names])

    def packed(self, quantization: Quantization, *names: str) -> PackedMatrix:
        return pack(self.dense(*names), quantization)


class RandomWeights:
    """Weights drawn from a seed; every name has its own stream, so the order of the calls does not matter.

    ``quiet_ids`` are tokens that greedy decoding shall not choose (end of sequence above all: a random model then
    always runs to its token limit).
    """

    def __init__(self, spec: DecoderSpec, seed: int, quiet_ids: Collection[int]) -> None:
        self._shapes = weight_shapes(spec)
        self._seed = seed
        self._quiet_ids = sorted(quiet_ids)

    def dense(self, *names: str) -> Floats:
        return np.concatenate([self._draw(name) for name in names])

    def packed(self, quantization: Quantization, *names: str) -> PackedMatrix:
        rows, columns = self._rows_and_columns(names)
        packed = random_packed((rows, columns), quantization, columns**-0.5, self._stream(names[0]))
        if names[0] in (EMBEDDING, LM_HEAD):
            packed.scales[self._quiet_ids] *= _QUIET
        return packed

    def _rows_and_columns(self, names: Sequence[str]) -> tuple[int, int]:
        shapes = [self._shapes[name] for name in names]
        return sum(shape[0] for shape in shapes), shapes[0][1]

    def _draw(self, name: str) -> Floats:
        if name.endswith("norm.weight"):
            return np.ones(self._shapes[name], np.float32)
        shape = self._shapes[name]
        # Keeps the size of what passes through, so that every layer counts and the answer depends on the prompt.
        deviation = shape[1] ** -0.5 if len(shape) == 2 else _BIAS_DEVIATION
        values = self._stream(name).standard_normal(shape, np.float32) * np.float32(deviation)
        if name in (EMBEDDING, LM_HEAD):
            values[self._quiet_ids] *= _QUIET
        return values

    def _stream(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(name.encode("utf-8"))])
