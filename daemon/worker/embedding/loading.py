"""From a Load message to an engine that makes vectors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from daemon.pool.protocol import Load, Ready
from daemon.worker.embedding.encoder import OnnxEncoder
from daemon.worker.embedding.engine import EmbeddingEngine
from daemon.worker.embedding.tokens import TextTokenizer
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import find_object
from daemon.worker.kinds import EngineKind
from daemon.worker.providers import full_name
from daemon.worker.reasons import explained
from daemon.worker.spinning import spinning_entries
from registry.layouts.encoder import ENCODER_TOKENIZER_FILE, find_encoder_graph
from registry.model import Device, ExecutionProvider


def load_embedding(load: Load, config: Mapping[str, Any] | None) -> tuple[EmbeddingEngine, Ready]:
    """``config`` is the folder's genai_config.json, None where there is none. Raises LoadError."""
    started = time.monotonic()
    folder = Path(load.path)
    graph = _graph(folder, config)
    tokenizer = TextTokenizer(folder / ENCODER_TOKENIZER_FILE)
    try:
        session = onnxruntime.InferenceSession(str(graph), _options(load), providers=_providers(load))
        encoder = OnnxEncoder(session, folder, heads=_heads(config))
    except LoadError:
        raise
    except MemoryError as error:
        raise explained(folder, "out of memory") from error
    except Exception as error:
        raise explained(folder, str(error)) from error
    context_tokens = _context_tokens(load, folder, config)
    ready = Ready(
        model_type=_model_type(folder, config),
        device=Device.CPU if load.execution_provider == ExecutionProvider.CPU else Device.GPU,
        context_tokens=context_tokens,
        load_s=time.monotonic() - started,
        template_source=str(encoder.pooling),
        engine=EngineKind.EMBEDDING,
    )
    return EmbeddingEngine(encoder, tokenizer, context_tokens=context_tokens), ready


def _graph(folder: Path, config: Mapping[str, Any] | None) -> Path:
    """Raises LoadError."""
    names = {path.relative_to(folder).as_posix() for place in (".", "onnx") for path in (folder / place).glob("*.onnx")}
    name = find_encoder_graph(names) if config is None else _configured_graph(config["model"])
    if name is None:
        raise LoadError(LoadCode.MISSING_FILE, f"{folder} has no graph that turns texts into vectors. Scan again.")
    return folder / name


def _configured_graph(model: Mapping[str, Any]) -> str | None:
    parts = (model.get(key) for key in ("encoder", "decoder"))
    names = (part.get("filename") for part in parts if isinstance(part, dict))
    return next((name for name in names if isinstance(name, str)), None)


def _options(load: Load) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = load.threads
    for key, value in spinning_entries(is_spinning=load.is_spinning).items():
        options.add_session_config_entry(key, value)
    # Texts have many lengths, and a plan of the memory would be kept for each.
    options.enable_mem_pattern = False
    return options


def _providers(load: Load) -> list[str]:
    """Raises LoadError where this installation of onnxruntime has not the provider that the model is for."""
    name = full_name(load.execution_provider)
    if name not in onnxruntime.get_available_providers():
        raise LoadError(
            LoadCode.PROVIDER_MISSING,
            f"onnxruntime has no execution provider {load.execution_provider!r} here. Install its package for that "
            "device, or choose a CPU variant.",
        )
    return [name] if name == full_name(ExecutionProvider.CPU) else [name, full_name(ExecutionProvider.CPU)]


def _heads(config: Mapping[str, Any] | None) -> tuple[int, int] | None:
    decoder = config["model"].get("decoder") if config else None
    if not isinstance(decoder, dict):
        return None
    heads, size = decoder.get("num_key_value_heads"), decoder.get("head_size")
    return (heads, size) if isinstance(heads, int) and isinstance(size, int) else None


def _context_tokens(load: Load, folder: Path, config: Mapping[str, Any] | None) -> int:
    """What was asked for, but no more than the model was trained for."""
    limits = [
        find_object(folder / "sentence_bert_config.json").get("max_seq_length"),
        config["model"].get("context_length") if config else None,
    ]
    return min(load.context_tokens, *(limit for limit in limits if isinstance(limit, int) and limit > 0), 2**31)


def _model_type(folder: Path, config: Mapping[str, Any] | None) -> str:
    found = config["model"].get("type") if config else find_object(folder / "config.json").get("model_type")
    return str(found or "unknown")
