"""What the factory's graphs compute, against a plain numpy forward pass of the same weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai as og
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from scripts.model_factory import PRESETS, DecoderSpec, Quantization, write_model
from scripts.model_factory.quantize import pack
from scripts.model_factory.weights import weight_shapes

Floats = NDArray[np.float32]

SPEC = dataclasses.replace(PRESETS["tiny"].spec, layers=3, heads=6, kv_heads=2, head_size=16, rope_theta=500.0)
PROMPT = [257, 72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100, 33, 258, 10, 319, 0]


def random_weights(spec: DecoderSpec) -> dict[str, Floats]:
    rng = np.random.default_rng(3)
    weights = {}
    for name, shape in weight_shapes(spec).items():
        deviation = shape[1] ** -0.5 if len(shape) == 2 else 0.3
        mean = 1.0 if name.endswith("norm.weight") else 0.0
        weights[name] = rng.normal(mean, deviation, shape).astype(np.float32)
    return weights


def reference_logits(spec: DecoderSpec, weights: dict[str, Floats], tokens: list[int]) -> Floats:
    """Logits [tokens, vocabulary] of a Qwen2 decoder."""
    hidden = weights["model.embed_tokens.weight"][tokens]
    for layer in range(spec.layers):
        own = {name.split(f"layers.{layer}.")[1]: w for name, w in weights.items() if f"layers.{layer}." in name}
        hidden = hidden + attention(spec, own, rms_norm(spec, hidden, own["input_layernorm.weight"]))
        normed = rms_norm(spec, hidden, own["post_attention_layernorm.weight"])
        gate = normed @ own["mlp.gate_proj.weight"].T
        activated = gate / (1 + np.exp(-gate)) * (normed @ own["mlp.up_proj.weight"].T)
        hidden = hidden + activated @ own["mlp.down_proj.weight"].T
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    logits: Floats = rms_norm(spec, hidden, weights["model.norm.weight"]) @ head.T
    return logits


def rms_norm(spec: DecoderSpec, hidden: Floats, weight: Floats) -> Floats:
    size: Floats = np.sqrt((hidden**2).mean(axis=-1, keepdims=True) + np.float32(spec.rms_norm_eps))
    return hidden / size * weight


def attention(spec: DecoderSpec, own: dict[str, Floats], hidden: Floats) -> Floats:
    def heads(part: str, count: int) -> Floats:
        flat = hidden @ own[f"self_attn.{part}_proj.weight"].T + own[f"self_attn.{part}_proj.bias"]
        by_head: Floats = flat.reshape(len(hidden), count, spec.head_size).transpose(1, 0, 2)
        return by_head

    group = spec.heads // spec.kv_heads
    query = rotate(spec, heads("q", spec.heads))
    key = rotate(spec, heads("k", spec.kv_heads)).repeat(group, axis=0)
    value = heads("v", spec.kv_heads).repeat(group, axis=0)
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(np.float32(spec.head_size))
    scores = np.where(np.tri(len(hidden), dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (shares / shares.sum(axis=-1, keepdims=True)) @ value
    attended: Floats = mixed.transpose(1, 0, 2).reshape(len(hidden), -1) @ own["self_attn.o_proj.weight"].T
    return attended


def rotate(spec: DecoderSpec, states: Floats) -> Floats:
    """Rotary positions over [heads, tokens, head_size], the first half of a head paired with the second."""
    half = spec.head_size // 2
    frequencies = spec.rope_theta ** -(np.arange(half) / half)
    angles = np.outer(np.arange(states.shape[1]), frequencies).astype(np.float32)
    low, high = states[..., :half], states[..., half:]
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.concatenate([low * cosine - high * sine, high * cosine + low * sine], axis=-1)


def stored_weights(folder: Path, spec: DecoderSpec, given: dict[str, Floats]) -> dict[str, Floats]:
    """``given`` with every matrix replaced by what the folder's packed levels and scales stand for."""
    graph = onnx.load(folder / "model.onnx").graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = dict(given)
    for node in graph.node:
        if node.op_type != "MatMulNBits":
            continue
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        matrix = dequantized(arrays[node.input[1]], arrays[node.input[2]], attributes["bits"], attributes["K"])
        for name, rows in zip(*sources(node.input[1], spec), strict=True):
            weights[name], matrix = matrix[:rows], matrix[rows:]
    if "model.embed_tokens.weight" in arrays:  # the embedding is a table of its own, not the lm_head's rows
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        weights["model.embed_tokens.weight"] = arrays["model.embed_tokens.weight"]
    return weights


def dequantized(levels: NDArray[np.uint8], scales: Floats, bits: int, columns: int) -> Floats:
    if bits == 4:
        levels = np.stack([levels & 15, levels >> 4], axis=-1).reshape(*levels.shape[:2], -1)
    values: Floats = (levels.astype(np.float32) - 2 ** (bits - 1)) * scales[..., None]
    matrix: Floats = values.reshape(len(values), -1)[:, :columns]
    return matrix


def sources(array: str, spec: DecoderSpec) -> tuple[list[str], list[int]]:
    """The Hugging Face weights that an array of the graph is made of, and the rows of each."""
    module = array.partition(".MatMul")[0].replace(".attn.", ".self_attn.")
    if module == "lm_head":
        names = ["model.embed_tokens.weight"]
    elif module.endswith("qkv_proj"):
        names = [f"{module.removesuffix('qkv_proj')}{part}_proj.weight" for part in "qkv"]
    else:
        names = [f"{module}.weight"]
    return names, [weight_shapes(spec)[name][0] for name in names]


def open_generator(folder: Path) -> og.Generator:
    model = og.Model(str(folder))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=64, do_sample=False)
    return og.Generator(model, parameters)


def engine_logits(folder: Path, tokens: list[int]) -> Floats:
    """Logits [tokens, vocabulary], each position computed with the cache of those before it."""
    generator = open_generator(folder)
    rows = []
    for token in tokens:
        generator.append_tokens([token])
        rows.append(np.asarray(generator.get_logits()).reshape(-1))
    return np.stack(rows)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_fp32_logits_are_those_of_the_weights(tmp_path: Path, tied: bool) -> None:
    spec = dataclasses.replace(SPEC, tied_embeddings=tied)
    weights = random_weights(spec)
    folder = write_model(tmp_path / "m", spec, quantization=Quantization.FP32, weights=weights)

    np.testing.assert_allclose(engine_logits(folder, PROMPT), reference_logits(spec, weights, PROMPT), atol=1e-3)


@pytest.mark.parametrize("block_size", [32, 128])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("accuracy_level", "tolerance"), [(1, 1e-3), (4, 0.2)], ids=["fp32 sums", "int8 sums"])
def test_quantized_logits_are_those_of_the_stored_weights(
    tmp_path: Path, bits: int, block_size: int, accuracy_level: int, tolerance: float
) -> None:
    weights = random_weights(SPEC)
    quantization = Quantization(bits, block_size, accuracy_level)
    folder = write_model(tmp_path / "m", SPEC, quantization=quantization, weights=weights)

    expected = reference_logits(SPEC, stored_weights(folder, SPEC, weights), PROMPT)

    np.testing.assert_allclose(engine_logits(folder, PROMPT), expected, atol=tolerance)


@pytest.mark.parametrize(("bits", "steps"), [(4, 16), (8, 256)])
def test_stored_weights_are_near_the_given_ones(tmp_path: Path, bits: int, steps: int) -> None:
    weights = random_weights(SPEC)
    folder = write_model(tmp_path / "m", SPEC, quantization=Quantization(bits), weights=weights)

    stored = stored_weights(folder, SPEC, weights)

    for name, given in weights.items():
        assert np.abs(stored[name] - given).max() <= 2 * np.abs(given).max() / steps, name


def test_ties_fall_as_in_onnxruntimes_quantizer() -> None:
    halves = [-8.0, 0.5, 1.5, -0.5, 7.0, 7.5] + [0.0] * 26
    magnitudes = [4.0, -4.0, 1.0, 0.25] + [0.0] * 28

    packed = pack(np.array([halves, magnitudes], np.float32), Quantization(8))
    steps = pack(np.array([halves, magnitudes], np.float32), Quantization(4))

    assert packed.scales.ravel().tolist() == [8 / 128, 4 / 128]
    assert steps.weight[0, 0, :3].tolist() == [0x90, 0x8A, 0xFF]  # 0 9 | 10 8 | 15 15, low half first
    assert steps.weight[1, 0, :2].tolist() == [0x0F, 0x9A]  # 15 0 | 10 9


@pytest.mark.parametrize("quantization", [Quantization.FP32, Quantization.INT4, Quantization.INT8], ids=str)
def test_prefill_in_pieces_equals_prefill_at_once(tmp_path: Path, quantization: Quantization) -> None:
    folder = write_model(tmp_path / "m", SPEC, quantization=quantization, weights=random_weights(SPEC))
    whole, pieces = open_generator(folder), open_generator(folder)

    whole.append_tokens(PROMPT)
    for piece in (PROMPT[:7], PROMPT[7:8], PROMPT[8:]):
        pieces.append_tokens(piece)

    last_whole, last_pieces = (np.asarray(g.get_logits()).reshape(-1, SPEC.vocab_size)[-1] for g in (whole, pieces))
    np.testing.assert_allclose(last_pieces, last_whole, atol=1e-3)
