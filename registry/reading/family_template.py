"""Whose chat format a model without a template was made for: told by special tokens that only this format has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

FAMILY_DEFAULT = "family default"
# Those with more tokens first: Phi-4 has ChatML's and one more.
FAMILIES = {
    "phi-4": ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama-3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "granite": ("<|start_of_role|>", "<|end_of_role|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "phi-3": ("<|user|>", "<|assistant|>", "<|end|>"),
    "deepseek": ("<｜User｜>", "<｜Assistant｜>"),
    "mistral": ("[INST]", "[/INST]"),
}


def family_template(tokens: Collection[str]) -> str | None:
    """The name of the format that these added tokens prove; None where they prove none."""
    known = frozenset(tokens)
    return next((name for name, needed in FAMILIES.items() if known.issuperset(needed)), None)


def source_of(family: str) -> str:
    """How it is named where other models have the name of the file that their template is in."""
    return f"{FAMILY_DEFAULT}: {family}"


def added_tokens(tokenizer_config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> frozenset[str]:
    """The texts of the added tokens in ``tokenizer_config.json`` and ``tokenizer.json``."""
    decoder, added = tokenizer_config.get("added_tokens_decoder"), tokenizer.get("added_tokens")
    entries = [*(decoder.values() if isinstance(decoder, dict) else ()), *(added if isinstance(added, list) else ())]
    contents = (entry.get("content") for entry in entries if isinstance(entry, dict))
    return frozenset(content for content in contents if isinstance(content, str))
