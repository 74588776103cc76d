"""``genai_config.json`` with the keys of the model builder, and the other small files around a sketched graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.model_factory.decoder_sketch import TINY, DecoderSketch
from scripts.model_factory.files import write_json, write_tokenizer
from scripts.model_factory.tokenizer import byte_level_tokenizer

Json = dict[str, Any]

CONTEXT_TOKENS = 4096


def decoder_json(filename: str | None, sketch: DecoderSketch, *, provider: Json | None = None, **more: Any) -> Json:
    """``model.decoder``; ``provider`` is one entry of provider_options, ``more`` are further keys."""
    first = "inputs_embeds" if sketch.takes_embeddings else "input_ids"
    return {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": [provider] if provider else []},
        **({"filename": filename} if filename else {}),
        "head_size": sketch.spec.head_size,
        "hidden_size": sketch.spec.hidden_size,
        "inputs": {
            first: first,
            "attention_mask": "attention_mask",
            "past_key_names": sketch.past.format(part="key"),
            "past_value_names": sketch.past.format(part="value"),
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": sketch.present.format(part="key"),
            "present_value_names": sketch.present.format(part="value"),
        },
        "num_attention_heads": sketch.spec.heads,
        "num_hidden_layers": len(sketch.layer_types),
        "num_key_value_heads": sketch.spec.kv_heads,
        **more,
    }


def part_json(filename: str, inputs: Mapping[str, str], outputs: Mapping[str, str], **more: Any) -> Json:
    """A part that is no decoder: ``model.vision``, ``model.embedding``, ..."""
    return {"filename": filename, "inputs": dict(inputs), "outputs": dict(outputs), **more}


def write_config(
    folder: Path, model_type: str, parts: Mapping[str, Json], *, has_template: bool = True, **more: Any
) -> None:
    """The folder's tokenizer and, last, its configuration; ``more`` are keys beside ``model`` and ``search``."""
    write_tokenizer(folder, byte_level_tokenizer(TINY.vocab_size, CONTEXT_TOKENS))
    if not has_template:
        (folder / "chat_template.jinja").unlink()
    model = {
        "bos_token_id": 256,
        "context_length": CONTEXT_TOKENS,
        **parts,
        "eos_token_id": [258, 256],
        "pad_token_id": 256,
        "type": model_type,
        "vocab_size": TINY.vocab_size,
    }
    search = {
        "do_sample": False,
        "max_length": CONTEXT_TOKENS // 2,
        "num_beams": 1,
        "past_present_share_buffer": True,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    write_json(folder / "genai_config.json", {"model": model, "search": search, **more})


def sketch_facts(model_type: str, family: str, sketch: DecoderSketch, parameters: int, **more: Any) -> Json:
    """What every sketched decoder has in common."""
    return {
        "model_type": model_type,
        "family": family,
        "parameters": parameters,
        "kv_bytes_per_token": sketch.kv_bytes_per_token,
        "context_tokens": CONTEXT_TOKENS,
        "max_length": CONTEXT_TOKENS // 2,
        "vocab_size": TINY.vocab_size,
        "execution_provider": "cpu",
        "device": "cpu",
        **more,
    }
