"""The families whose folders are made: tiny configurations of Hugging Face's, and options for the builder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CONTEXT_TOKENS = 512
VOCABULARY = 320
_HIDDEN, _HEADS, _KV_HEADS, _HEAD = 128, 4, 2, 32
# Shorter than the prompts of the comparison, so that it counts.
_WINDOW = 64
_ORIGINAL_CONTEXT = 128


@dataclass(frozen=True, slots=True)
class Shape:
    """``config`` is a class of transformers, ``fields`` what is given to it beside the sizes that all have."""

    config: str
    architecture: str
    fields: dict[str, Any] = field(default_factory=dict)

    def sizes(self) -> dict[str, Any]:
        return {
            "hidden_size": _HIDDEN,
            "num_hidden_layers": 3,
            "num_attention_heads": _HEADS,
            "num_key_value_heads": _KV_HEADS,
            "head_dim": _HEAD,
            "intermediate_size": 256,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": CONTEXT_TOKENS,
            "tie_word_embeddings": False,
            "pad_token_id": 0,
            **self.fields,
        }


def _rope(kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10_000.0, **more}


_LLAMA3_ROPE = _rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=_ORIGINAL_CONTEXT,
)
_LONG_ROPE = _rope("longrope", short_factor=[1.0] * (_HEAD // 2), long_factor=[4.0] * (_HEAD // 2), type="longrope")
_GEMMA = {"sliding_window": _WINDOW, "query_pre_attn_scalar": _HEAD}
_ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]

SHAPES = {
    "llama": Shape("LlamaConfig", "LlamaForCausalLM", {"rope_parameters": _rope()}),
    "llama3-rope": Shape("LlamaConfig", "LlamaForCausalLM", {"rope_parameters": _LLAMA3_ROPE}),
    "mistral-window": Shape("MistralConfig", "MistralForCausalLM", {"sliding_window": _WINDOW}),
    "qwen2": Shape("Qwen2Config", "Qwen2ForCausalLM", {"rope_parameters": _rope()}),
    "qwen2-tied": Shape("Qwen2Config", "Qwen2ForCausalLM", {"rope_parameters": _rope(), "tie_word_embeddings": True}),
    "qwen3": Shape("Qwen3Config", "Qwen3ForCausalLM", {"rope_parameters": _rope()}),
    "smollm3": Shape("SmolLM3Config", "SmolLM3ForCausalLM", {"rope_parameters": _rope()}),
    "phi": Shape("PhiConfig", "PhiForCausalLM", {"partial_rotary_factor": 0.5, "num_key_value_heads": _HEADS}),
    "phi3": Shape(
        "Phi3Config",
        "Phi3ForCausalLM",
        {"rope_parameters": _rope(), "original_max_position_embeddings": CONTEXT_TOKENS},
    ),
    "phi3-partial": Shape(
        "Phi3Config",
        "Phi3ForCausalLM",
        {
            "rope_parameters": _rope(partial_rotary_factor=0.5),
            "partial_rotary_factor": 0.5,
            "original_max_position_embeddings": CONTEXT_TOKENS,
        },
    ),
    "phi3-window": Shape(
        "Phi3Config",
        "Phi3ForCausalLM",
        {"rope_parameters": _rope(), "original_max_position_embeddings": CONTEXT_TOKENS, "sliding_window": _WINDOW},
    ),
    "phi3-long": Shape(
        "Phi3Config",
        "Phi3ForCausalLM",
        {"rope_parameters": _LONG_ROPE, "original_max_position_embeddings": _ORIGINAL_CONTEXT},
    ),
    "gemma": Shape("GemmaConfig", "GemmaForCausalLM", {"rope_parameters": _rope()}),
    "gemma2": Shape(
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {**_GEMMA, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0, "layer_types": _ALTERNATING},
    ),
    "gemma3": Shape("Gemma3TextConfig", "Gemma3ForCausalLM", {**_GEMMA, "layer_types": _ALTERNATING}),
    "granite": Shape("GraniteConfig", "GraniteForCausalLM", {"rope_parameters": _rope(), "logits_scaling": 4.0}),
    "olmo": Shape("OlmoConfig", "OlmoForCausalLM", {"rope_parameters": _rope()}),
}

# Of the builder, by what they change in the graph.
VARIANTS: dict[str, tuple[str, ...]] = {
    "fp32": ("-p", "fp32"),
    "int4": ("-p", "int4"),
    "int8": ("-p", "int8"),
    "int4-pruned": ("-p", "int4", "--extra_options", "prune_lm_head=true"),
    "fp16": ("-p", "fp16"),
}
