"""From a Load message to a running engine, and from the libraries' errors to something a person can act on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from daemon.pool.protocol import Load, Ready
from daemon.worker.answer_format import AnswerFormat
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.backends.turns import EngineTurns
from daemon.worker.choices import JobScheduler
from daemon.worker.defaults import sampling_defaults
from daemon.worker.engine import Engine
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import find_adapters, find_genai_config, read_config
from daemon.worker.guidance import Guidance
from daemon.worker.kinds import EngineKind, kind_of
from daemon.worker.library import allowed_libraries
from daemon.worker.paged import PagedScheduler
from daemon.worker.prompt import ChatTemplate
from daemon.worker.reasoning import reasoning_markers
from daemon.worker.reasons import explained
from daemon.worker.scheduler import Scheduler
from daemon.worker.served import ServedModel
from daemon.worker.template_source import FoundTemplate, load_chat_template, load_special_tokens
from daemon.worker.tokenizer import GenaiTokenizer
from daemon.worker.tools.forms import forms_of
from daemon.worker.vision.placeholders import Placeholders
from daemon.worker.vision.reader import GenaiImageReader
from daemon.worker.vision.sight import Sight
from daemon.worker.vocabulary import Vocabulary
from registry.model import ExecutionProvider, Markers

_log = logging.getLogger("slmreg.worker")

# A configuration that does not say how many tokens there are.
_ANY_TOKEN = 2**31


def load_engine(load: Load) -> tuple[ServedModel, Ready]:
    """The engine for a model folder of whatever kind, and what to tell about it. Raises LoadError."""
    folder = Path(load.path)
    config = find_genai_config(folder)
    match _kind_of(folder, config):
        case EngineKind.EMBEDDING:
            from daemon.worker.embedding.loading import load_embedding

            return load_embedding(load, config)
        case EngineKind.TRANSCRIPTION if config is not None:
            from daemon.worker.transcription.loading import load_transcription

            return load_transcription(load, config)
        case _:
            return _load_generator(load)


def _kind_of(folder: Path, config: Mapping[str, Any] | None) -> EngineKind:
    try:
        return kind_of(folder, config)
    except Exception as error:
        raise explained(folder, str(error)) from error


def _load_generator(load: Load) -> tuple[Engine, Ready]:
    started = time.monotonic()
    og.disable_telemetry_events()
    folder = Path(load.path)
    config = read_config(folder)
    found = load_chat_template(folder)
    provider = _provider(load.execution_provider)
    try:
        with allowed_libraries(folder, config, load.allowed_libraries) as overlay:
            settings = engine_config(folder, config, provider, load.threads, is_spinning=load.is_spinning)
            model = og.Model(_laid_over(settings, overlay))
        tokenizer = GenaiTokenizer(model, load_special_tokens(folder).get("eos_token"))
    except LoadError:
        raise
    except MemoryError as error:
        raise explained(folder, "out of memory") from error
    except Exception as error:
        raise explained(folder, str(error)) from error
    context_tokens = min(load.context_tokens, int(config["model"].get("context_length") or load.context_tokens))
    end_ids = tokenizer.end_ids | tokenizer.single_ids(found.end_of_turn)
    is_paged = bool((config.get("engine") or {}).get("dynamic_batching"))
    defaults = sampling_defaults(folder, config)
    if is_paged:  # its engine has no min-p
        defaults = replace(defaults, min_p=0.0)
    adapters = find_adapters(folder)
    backend = GeneratorBackend(model, adapters)
    engine = Engine(
        scheduler=_scheduler(backend, model, load, context_tokens, is_paged=is_paged),
        tokenizer=tokenizer,
        template=found.template,
        answers=_answer_format(load, found, end_ids, tokenizer),
        end_ids=end_ids,
        defaults=defaults,
        vocabulary=Vocabulary(folder, tokenizer.text_of),
        vocab_size=int(config["model"].get("vocab_size") or _ANY_TOKEN),
        begin_ids=tokenizer.begin_ids,
        adapters=frozenset(adapters),
        sight=None if is_paged else _sight(folder, config, model, backend, found.template),
    )
    ready = Ready(
        model_type=str(model.type),
        device=str(model.device_type).lower(),
        context_tokens=context_tokens,
        load_s=time.monotonic() - started,
        template_source=found.source,
        engine="paged" if is_paged else "generator",
        adapters=sorted(adapters),
    )
    return engine, ready


def _answer_format(
    load: Load, template: FoundTemplate, end_ids: frozenset[int], tokenizer: GenaiTokenizer
) -> AnswerFormat:
    """What the registry knows of the model's marks goes before what its template lets one guess."""
    return AnswerFormat(
        tokenizer,
        Guidance(Path(load.path) / "tokenizer.json", end_ids),
        forms=forms_of(
            template.text,
            _markers(load.tool_markers),
            is_token=lambda mark: len(tokenizer.single_ids(mark)) == 1,
        ),
        reasoning=_markers(load.reasoning_markers) or reasoning_markers(template.text),
        end_ids=end_ids,
    )


def _markers(pair: list[str]) -> Markers | None:
    return Markers(*pair) if len(pair) == 2 and all(pair) else None


def _scheduler(
    backend: GeneratorBackend, model: og.Model, load: Load, context_tokens: int, *, is_paged: bool
) -> JobScheduler:
    if not is_paged:
        return Scheduler(
            backend,
            context_tokens=context_tokens,
            max_concurrent=load.max_concurrent,
            prefill_chunk_tokens=load.prefill_chunk_tokens,
            kept_rows=load.kept_rows,
        )
    try:
        turns = EngineTurns(model)
    except Exception as error:
        raise explained(Path(load.path), str(error)) from error
    return PagedScheduler(turns, context_tokens=context_tokens, max_concurrent=load.max_concurrent)


def _sight(
    folder: Path, config: Mapping[str, Any], model: og.Model, backend: GeneratorBackend, template: ChatTemplate
) -> Sight | None:
    """None for a model without a tower for pictures, and for one whose processor this library does not know."""
    if not isinstance(config["model"].get("vision"), dict):
        return None
    try:
        reader = GenaiImageReader(model, backend, GenaiTokenizer(model), load_special_tokens(folder).get("bos_token"))
        return Sight(reader, Placeholders(template, str(model.type)))
    except RuntimeError as error:
        _log.warning("images will be refused: %s", str(error).splitlines()[0] if str(error) else "no reason given")
        return None


def _laid_over(config: og.Config, overlay: Mapping[str, Any]) -> og.Config:
    if overlay:
        config.overlay(json.dumps(overlay))
    return config


def _provider(name: str) -> ExecutionProvider:
    try:
        return ExecutionProvider(name)
    except ValueError as error:
        raise LoadError(LoadCode.PROVIDER_MISSING, f"There is no execution provider {name!r}.") from error
