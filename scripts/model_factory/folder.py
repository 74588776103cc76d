"""Writes the folder: graph and weights, tokenizer files, and last the genai_config.json that makes it a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.model_factory.files import write_json, write_tokenizer
from scripts.model_factory.graph import build_graph
from scripts.model_factory.onnx_files import save_graph
from scripts.model_factory.spec import PRESETS, DecoderSpec, Quantization
from scripts.model_factory.tokenizer import TokenizerFiles, byte_level_tokenizer, unprintable_ids
from scripts.model_factory.weights import GivenWeights, RandomWeights

_CONFIG = "genai_config.json"
_WRITTEN = (_CONFIG, "inference_model.json", "model.onnx", "model.onnx.data")


def write_model(
    folder: Path,
    spec: DecoderSpec,
    *,
    quantization: Quantization,
    weights: Mapping[str, np.ndarray] | None = None,
    tokenizer: TokenizerFiles | None = None,
    name: str | None = None,
    seed: int = 0,
) -> Path:
    """Write a complete model folder and return it; a model that was there before is replaced.

    Args:
        weights: Arrays under Hugging Face's Qwen2 names, matrices [out, in]; None draws them from ``seed``.
        tokenizer: None gives a byte-level vocabulary with ChatML's special tokens and a chat template with tools.
        name: Written to inference_model.json as the model id, as Foundry's caches have it; None writes no such file.

    Raises:
        ValueError: The weights do not fit ``spec``, or its vocabulary is too small for the default tokenizer.
    """
    quiet_ids = unprintable_ids() if tokenizer is None else frozenset(tokenizer.eos_token_ids)
    tokenizer = tokenizer or byte_level_tokenizer(spec.vocab_size, spec.context_tokens)
    source = RandomWeights(spec, seed, quiet_ids) if weights is None else GivenWeights(spec, weights)
    graph = build_graph(spec, quantization, source)

    folder.mkdir(parents=True, exist_ok=True)
    for stale in _WRITTEN:
        (folder / stale).unlink(missing_ok=True)
    save_graph(folder / "model.onnx", graph)
    write_tokenizer(folder, tokenizer)
    if name is not None:
        write_json(folder / "inference_model.json", {"Name": name, "PromptTemplate": None})
    unfinished = folder / f"{_CONFIG}.tmp"
    write_json(unfinished, _genai_config(spec, tokenizer))
    unfinished.replace(folder / _CONFIG)
    return folder


def write_preset(
    preset: str,
    folder: Path,
    *,
    quantization: Quantization | None = None,
    name: str | None = None,
    seed: int = 0,
    **overrides: Any,
) -> Path:
    """Write one of PRESETS with random weights; ``overrides`` replace fields of its DecoderSpec.

    Raises ValueError for a preset that does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    spec = dataclasses.replace(chosen.spec, **overrides)
    return write_model(folder, spec, quantization=quantization or chosen.quantization, name=name, seed=seed)


def _window(size: int, layers: int) -> dict[str, Any]:
    return {
        "window_size": size,
        "slide_key_value_cache": False,
        "slide_inputs": False,
        "layers": list(range(layers)),
        "cache_slack": 0,
    }


def _genai_config(spec: DecoderSpec, tokenizer: TokenizerFiles) -> dict[str, Any]:
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": spec.head_size,
        "hidden_size": spec.hidden_size,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            **({"position_ids": "position_ids"} if spec.takes_positions else {}),
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "num_key_value_heads": spec.kv_heads,
        **({"sliding_window": _window(spec.window, spec.layers)} if spec.window else {}),
    }
    search = {
        "do_sample": False,
        "max_length": spec.context_tokens,
        "min_length": 0,
        "num_beams": 1,
        "num_return_sequences": 1,
        "past_present_share_buffer": True,
        "repetition_penalty": 1.0,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    model = {
        "bos_token_id": tokenizer.bos_token_id,
        "context_length": spec.context_tokens,
        "decoder": decoder,
        "eos_token_id": list(tokenizer.eos_token_ids),
        "pad_token_id": tokenizer.pad_token_id,
        "type": spec.model_type,
        "vocab_size": spec.vocab_size,
    }
    return {"model": model, "search": search}
