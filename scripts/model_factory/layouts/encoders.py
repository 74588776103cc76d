"""Text encoders as sentence-transformers exports them, without genai_config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.model_factory.files import write_json
from scripts.model_factory.layouts.expectation import Expectation
from scripts.model_factory.text_encoder import ENCODER_TOKENS, write_text_encoder

_FACTS: dict[str, Any] = {
    "tasks": ("embeddings",),
    "modalities": ("text",),
    "model_type": "bert",
    "family": "bert",
    "precision": "fp32",
    "context_tokens": ENCODER_TOKENS,
    "vocab_size": 320,
    "kv_bytes_per_token": 0,
    "has_chat_template": False,
    "execution_provider": "cpu",
}


def sentence_transformers(root: Path) -> tuple[Expectation, ...]:
    """Encoders with the graph where the two exporters put it, and a classifier, which gives no vectors."""
    write_text_encoder(root / "flat-encoder")
    write_text_encoder(root / "nested-encoder", graph="onnx/model.onnx", pooling=None)
    write_text_encoder(root / "classifier", pooling=None, output="logits")
    write_json(root / "nested-encoder" / "onnx" / "config.json", {"model_type": "bert"})
    return (
        *(Expectation(path=folder, facts=_FACTS) for folder in ("flat-encoder", "nested-encoder")),
        Expectation(path="classifier", status="invalid", problems=("not_genai",)),
    )
