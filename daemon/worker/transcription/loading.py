"""From a Load message to an engine that writes down speech."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from daemon.pool.protocol import Load, Ready
from daemon.worker.backends.generator import engine_config
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import find_object
from daemon.worker.kinds import EngineKind
from daemon.worker.library import allowed_libraries
from daemon.worker.reasons import explained
from daemon.worker.rooms import rows_of
from daemon.worker.tokenizer import GenaiTokenizer
from daemon.worker.transcription.engine import TranscriptionEngine
from daemon.worker.transcription.listener import WhisperListener
from daemon.worker.transcription.vocabulary import read_vocabulary
from registry.model import ExecutionProvider

_WHISPER = "whisper"
# What Whisper's decoder has positions for (openai/whisper).
_CONTEXT_TOKENS = 448
_ENGLISH_VOCABULARY = 51_864


def load_transcription(load: Load, config: Mapping[str, Any]) -> tuple[TranscriptionEngine, Ready]:
    """``config`` is the folder's genai_config.json, already read and checked. Raises LoadError."""
    started = time.monotonic()
    og.disable_telemetry_events()
    folder = Path(load.path)
    _require_whisper(folder, config)
    vocabulary = read_vocabulary(folder / "tokenizer.json", is_english_only=_is_english_only(folder, config))
    configured = config["model"].get("context_length")
    # The encoder's output does not count: a shorter context than the decoder's saves nothing and cuts texts.
    context_tokens = configured if isinstance(configured, int) and configured > 0 else _CONTEXT_TOKENS
    try:
        with allowed_libraries(folder, config, load.allowed_libraries) as overlay:
            model = og.Model(_configured(load, config, overlay))
        tokenizer = GenaiTokenizer(model)
        listener = WhisperListener(model, context_tokens=context_tokens)
    except LoadError:
        raise
    except MemoryError as error:
        raise explained(folder, "out of memory") from error
    except Exception as error:
        raise explained(folder, str(error)) from error
    rows = rows_of(load.max_concurrent, 0, is_batched=False)
    engine = TranscriptionEngine(
        listener,
        tokenizer,
        vocabulary,
        end_ids=tokenizer.end_ids,
        context_tokens=context_tokens,
        max_concurrent=rows,
    )
    ready = Ready(
        model_type=str(model.type),
        device=str(model.device_type).lower(),
        context_tokens=context_tokens,
        load_s=time.monotonic() - started,
        template_source="none",
        engine=EngineKind.TRANSCRIPTION,
        max_concurrent=rows,
    )
    return engine, ready


def _require_whisper(folder: Path, config: Mapping[str, Any]) -> None:
    model_type = str(config["model"].get("type"))
    if not model_type.lower().startswith(_WHISPER):
        raise LoadError(
            LoadCode.UNSUPPORTED,
            f"{folder} is a model of type {model_type!r:.60}, and slmreg can only transcribe with Whisper's models. "
            "Choose one of them.",
        )


def _is_english_only(folder: Path, config: Mapping[str, Any]) -> bool:
    """As transformers says it, or by the size of the vocabulary, which is one less (openai/whisper)."""
    told = find_object(folder / "generation_config.json").get("is_multilingual")
    return told is False or (told is None and config["model"].get("vocab_size") == _ENGLISH_VOCABULARY)


def _configured(load: Load, settings: Mapping[str, Any], overlay: Mapping[str, Any]) -> og.Config:
    provider = ExecutionProvider(load.execution_provider)
    config = engine_config(Path(load.path), settings, provider, load.threads, is_spinning=load.is_spinning)
    if overlay:
        config.overlay(json.dumps(overlay))
    return config
