"""Which engine runs a model folder: its own files decide."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from registry.onnx.graph import read_graph
from registry.reading.encoder import gives_vectors
from registry.reading.families import is_encoder, is_transcriber


class EngineKind(StrEnum):
    """What a model's work is done by. ``EMBEDDING`` makes vectors of texts, ``TRANSCRIPTION`` writes down speech.

    The others answer: one row after the other, many rows in a call, or in the library's own batches.
    """

    GENERATOR = "generator"
    BATCHED = "batched"
    PAGED = "paged"
    EMBEDDING = "embedding"
    TRANSCRIPTION = "transcription"


class EngineChoice(StrEnum):
    """What a load asks for. ``AUTO``: the batched engine where it can run the model, else the generator."""

    AUTO = "auto"
    GENERATOR = "generator"
    BATCHED = "batched"


def kind_of(folder: Path, config: Mapping[str, Any] | None) -> EngineKind:
    """``config`` is the folder's genai_config.json, already read and checked; None where there is none.

    Raises MalformedProtobuf, InvalidModelFolder for a graph that has to be looked into and cannot be read.
    """
    if config is None:
        return EngineKind.EMBEDDING
    model = config["model"]
    model_type = str(model.get("type"))
    decoder = model.get("decoder")
    if is_transcriber(model_type):
        return EngineKind.TRANSCRIPTION
    if is_encoder(model_type) or not isinstance(decoder, dict):
        return EngineKind.EMBEDDING
    return EngineKind.EMBEDDING if _gives_vectors(folder, decoder) else EngineKind.GENERATOR


def _gives_vectors(folder: Path, decoder: Mapping[str, Any]) -> bool:
    """A decoder whose head was left out. The graph is asked only if the configuration does not name its logits."""
    outputs, graph = decoder.get("outputs"), decoder.get("filename")
    if not isinstance(graph, str) or (isinstance(outputs, dict) and "logits" in outputs):
        return False
    return gives_vectors(set(read_graph(folder / graph).outputs))
