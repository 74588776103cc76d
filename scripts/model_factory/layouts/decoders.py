"""Text decoders: the many types that are built alike, and those that keep something else between tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts.model_factory.attention import MICROSOFT
from scripts.model_factory.decoder_sketch import ATTENTION, CONVOLUTION, LINEAR_ATTENTION, TINY, DecoderSketch, embed
from scripts.model_factory.folder import write_preset
from scripts.model_factory.layouts.configuration import Json, decoder_json, sketch_facts, write_config
from scripts.model_factory.layouts.expectation import ALL_TEXT_TASKS, TEXT_TASKS, Expectation
from scripts.model_factory.sketch import Sketch
from scripts.model_factory.spec import Quantization

CHATS: Json = {"tasks": ALL_TEXT_TASKS, "modalities": ("text",), "has_chat_template": True}
INT4: Json = {"precision": "int4", "block_size": 32, "accuracy_level": 4}

# model.type -> family. onnxruntime-genai 0.18 runs all of these with the same kind of decoder.
FAMILIES = {
    "chatglm": "glm",
    "decoder": "decoder",
    "ernie4_5": "ernie",
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3_text": "gemma",
    "gemma4_text": "gemma",
    "gptoss": "gpt-oss",
    "granite": "granite",
    "granitemoehybrid": "granite",
    "hunyuandensev1": "hunyuan",
    "internlm2": "internlm",
    "llama": "llama",
    "mistral": "mistral",
    "nemotron": "nemotron",
    "olmo": "olmo",
    "phi": "phi",
    "phi3": "phi",
    "phi3small": "phi",
    "phimoe": "phi",
    "qwen2": "qwen",
    "qwen3": "qwen",
    "smollm3": "smollm",
}


def decoders(root: Path) -> tuple[Expectation, ...]:
    """One folder per type that is built like the others, each of them able to answer."""
    return tuple(_decoder(root, model_type) for model_type in FAMILIES)


def unusual_decoders(root: Path) -> tuple[Expectation, ...]:
    """One folder per kind of state, of experts and of cache."""
    return (_convolutional(root), _recurrent(root), _mixture(root), _paged(root), _combined_cache(root))


def tiny_facts(model_type: str = "qwen2") -> Json:
    """What is true of every folder that ``write_preset("tiny", ...)`` writes."""
    return {
        "model_type": model_type,
        "family": FAMILIES[model_type],
        "parameters": TINY.parameters,
        "kv_bytes_per_token": TINY.layers * 2 * TINY.kv_heads * TINY.head_size * np.dtype(np.float32).itemsize,
        "kv_precision": "fp32",
        "context_tokens": TINY.context_tokens,
        "max_length": TINY.context_tokens,
        "vocab_size": TINY.vocab_size,
        "execution_provider": "cpu",
        "device": "cpu",
        **INT4,
        **CHATS,
    }


def _decoder(root: Path, model_type: str) -> Expectation:
    folder = write_preset("tiny", root / f"type-{model_type}", model_type=model_type)
    return Expectation(path=folder.name, facts=tiny_facts(model_type), answers=True)


def _convolutional(root: Path) -> Expectation:
    """Only one of three layers has attention; the others keep two positions, whatever came before."""
    folder = root / "lfm2-hybrid"
    sketch = DecoderSketch(layer_types=(CONVOLUTION, CONVOLUTION, ATTENTION))
    parameters = sketch.save(folder / "model.onnx")
    decoder = decoder_json("model.onnx", sketch, layer_types=[*sketch.layer_types], conv_cache_size=2)
    decoder["inputs"] |= {"past_conv_names": "past.%d.conv"}
    decoder["outputs"] |= {"present_conv_names": "present.%d.conv"}
    write_config(folder, "lfm2", {"decoder": decoder})
    facts = sketch_facts("lfm2", "lfm", sketch, parameters, kv_precision="fp32", **INT4, **CHATS)
    return Expectation(path=folder.name, facts=facts)


def _recurrent(root: Path) -> Expectation:
    """Linear attention: its layers are not named in the configuration, only in the graph's inputs."""
    folder = root / "qwen3.5-hybrid"
    sketch = DecoderSketch(layer_types=(LINEAR_ATTENTION, LINEAR_ATTENTION, LINEAR_ATTENTION, ATTENTION))
    parameters = sketch.save(folder / "model.onnx")
    decoder = decoder_json("model.onnx", sketch)
    for direction, keys in (("past", decoder["inputs"]), ("present", decoder["outputs"])):
        keys |= {f"{direction}_{kind}_names": f"{direction}.%d.{kind}" for kind in ("conv", "recurrent")}
    write_config(folder, "qwen3_5_text", {"decoder": decoder})
    facts = sketch_facts("qwen3_5_text", "qwen", sketch, parameters, kv_precision="fp32", **INT4, **CHATS)
    return Expectation(path=folder.name, facts=facts)


def _mixture(root: Path) -> Expectation:
    folder = root / "gpt-oss-experts"
    sketch = DecoderSketch(experts=8, experts_used=2)
    parameters = sketch.save(folder / "model.onnx")
    window = {"window_size": 128, "slide_key_value_cache": False, "slide_inputs": False, "layers": [0]}
    write_config(folder, "gptoss", {"decoder": decoder_json("model.onnx", sketch, sliding_window=window)})
    facts = sketch_facts("gptoss", "gpt-oss", sketch, parameters, kv_precision="fp32", **INT4, **CHATS)
    facts |= {"active_parameters": parameters - sketch.idle_parameters, "sliding_window": 128}
    return Expectation(path=folder.name, facts=facts)


def _paged(root: Path) -> Expectation:
    """For the continuous batching of onnxruntime-genai's Engine, which the builder makes for CUDA and WebGPU alone."""
    folder = root / "paged-cuda"
    sketch = DecoderSketch(quantization=Quantization.FP32, element=np.float16, is_paged=True)
    parameters = sketch.save(folder / "model.onnx")
    decoder = decoder_json("model.onnx", sketch, provider={"cuda": {"enable_cuda_graph": "0"}})
    decoder["inputs"] |= {
        name: name for name in ("block_table", "cumulative_sequence_lengths", "past_sequence_lengths")
    }
    del decoder["inputs"]["attention_mask"]
    engine = {"dynamic_batching": {"block_size": 256, "max_batch_size": 100, "gpu_utilization_factor": 0.6}}
    write_config(folder, "qwen2", {"decoder": decoder}, engine=engine)
    facts = sketch_facts("qwen2", "qwen", sketch, parameters, **CHATS)
    facts |= {"execution_provider": "cuda", "device": "gpu", "is_paged": True, "precision": "fp16"}
    facts |= {"kv_precision": "fp16", "block_size": None, "accuracy_level": None}
    return Expectation(path=folder.name, facts=facts)


def _combined_cache(root: Path) -> Expectation:
    """GPT-2 keeps keys and values of a layer in one tensor."""
    folder = root / "gpt2-small"
    sketch, shape = Sketch(Quantization.FP32, np.float16), DecoderSketch(element=np.float16)
    hidden = embed(sketch, TINY)
    for layer in range(TINY.layers):
        sizes: list[int | str] = [2, "batch_size", TINY.kv_heads, "past_sequence_length", TINY.head_size]
        past = sketch.input(f"past_{layer}", np.float16, sizes)
        present = sketch.output(f"present_{layer}", sizes)
        name = f"/model/layers.{layer}/attn/Attention"
        weight = sketch.weight(f"{name}.weight", TINY.hidden_size, 3 * TINY.hidden_size)
        outputs = [f"{name}/output_0", present]
        hidden = sketch.node(
            "Attention", name, [hidden, weight, "", "", past], outputs, domain=MICROSOFT, num_heads=TINY.kv_heads
        )
    logits = sketch.output("logits", ["batch_size", "sequence_length", TINY.vocab_size])
    sketch.linear("/lm_head", hidden, TINY.hidden_size, TINY.vocab_size, logits)
    parameters = sketch.save(folder / "model.onnx")
    decoder = decoder_json("model.onnx", shape)
    decoder["inputs"] = {"input_ids": "input_ids", "attention_mask": "attention_mask", "past_names": "past_%d"}
    decoder["outputs"] = {"logits": "logits", "present_names": "present_%d"}
    write_config(folder, "gpt2", {"decoder": decoder}, has_template=False)
    # Its special tokens are ChatML's.
    more: Json = {"tasks": TEXT_TASKS, "has_chat_template": False, "chat_template": "family default: chatml"}
    facts = sketch_facts("gpt2", "gpt2", shape, parameters, precision="fp16", kv_precision="fp16", **more)
    return Expectation(path=folder.name, facts=facts, problems=("no_chat_template",))
