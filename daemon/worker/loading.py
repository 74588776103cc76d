"""From a Load message to a running engine, and from the libraries' errors to something a person can act on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from daemon.pool.protocol import Load, Measure, Ready
from daemon.worker.answer_format import AnswerFormat
from daemon.worker.backends.generator import GeneratorBackend
from daemon.worker.backends.turns import EngineTurns
from daemon.worker.choices import JobScheduler
from daemon.worker.decoders import LoadedDecoder, load_decoder
from daemon.worker.defaults import sampling_defaults
from daemon.worker.engine import Engine
from daemon.worker.errors import LoadError
from daemon.worker.folder import find_adapters, find_genai_config, read_config
from daemon.worker.guidance import Guidance
from daemon.worker.kinds import EngineKind, kind_of
from daemon.worker.measuring import time_calls
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
from registry.model import Markers

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
    adapters = find_adapters(folder)
    context_tokens = min(load.context_tokens, int(config["model"].get("context_length") or load.context_tokens))
    decoder = load_decoder(load, config, adapters, context_tokens=context_tokens)
    tokenizer = _tokenizer(folder, decoder)
    end_ids = tokenizer.end_ids | tokenizer.single_ids(found.end_of_turn)
    defaults = sampling_defaults(folder, config)
    if decoder.kind is EngineKind.PAGED:  # its engine has no min-p
        defaults = replace(defaults, min_p=0.0)
    vocab_size = int(config["model"].get("vocab_size") or _ANY_TOKEN)
    engine = Engine(
        scheduler=_scheduler(decoder, load),
        tokenizer=tokenizer,
        template=found.template,
        answers=_answer_format(load, found, end_ids, tokenizer),
        end_ids=end_ids,
        defaults=defaults,
        vocabulary=Vocabulary(folder, tokenizer.text_of),
        vocab_size=vocab_size,
        begin_ids=tokenizer.begin_ids,
        adapters=frozenset(adapters),
        sight=_sight(folder, config, decoder, found.template),
        time_calls=_time_calls(decoder, vocab_size),
    )
    ready = Ready(
        model_type=str(config["model"].get("type")),
        device=decoder.device,
        context_tokens=decoder.context_tokens,
        is_longest=decoder.context_tokens == context_tokens,
        load_s=time.monotonic() - started,
        template_source=found.source,
        engine=decoder.kind,
        engine_reason=decoder.reason,
        is_proven=decoder.is_proven,
        kv_token_bytes=decoder.kv_token_bytes,
        max_concurrent=decoder.rows,
        adapters=sorted(adapters),
    )
    return engine, ready


def _tokenizer(folder: Path, decoder: LoadedDecoder) -> GenaiTokenizer:
    try:
        return GenaiTokenizer(decoder.model or decoder.settings, load_special_tokens(folder).get("eos_token"))
    except LoadError:
        raise
    except Exception as error:
        raise explained(folder, str(error)) from error


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


def _scheduler(decoder: LoadedDecoder, load: Load) -> JobScheduler:
    if decoder.kind is not EngineKind.PAGED:
        return Scheduler(
            decoder.backend,
            context_tokens=decoder.context_tokens,
            max_concurrent=decoder.rows,
            prefill_chunk_tokens=load.prefill_chunk_tokens,
            kept_rows=load.kept_rows,
            cache_tokens=load.cache_tokens,
            max_itl_ms=load.max_itl_ms,
            draft_tokens=load.draft_tokens,
        )
    try:
        turns = EngineTurns(decoder.model)
    except Exception as error:
        raise explained(Path(load.path), str(error)) from error
    return PagedScheduler(turns, context_tokens=decoder.context_tokens, max_concurrent=decoder.rows)


def _time_calls(decoder: LoadedDecoder, vocab_size: int) -> Callable[[Measure], list[float]] | None:
    """None for an engine that calls itself."""
    if decoder.kind is EngineKind.PAGED:
        return None
    return partial(time_calls, decoder.backend, vocab_size=vocab_size)


def _sight(folder: Path, config: Mapping[str, Any], decoder: LoadedDecoder, template: ChatTemplate) -> Sight | None:
    """None for a model without a tower for pictures, and for one whose processor this library does not know."""
    model, backend = decoder.model, decoder.backend
    has_tower = isinstance(config["model"].get("vision"), dict) and decoder.kind is not EngineKind.PAGED
    if not has_tower or not isinstance(backend, GeneratorBackend) or model is None:
        return None
    try:
        reader = GenaiImageReader(model, backend, GenaiTokenizer(model), load_special_tokens(folder).get("bos_token"))
        return Sight(reader, Placeholders(template, str(model.type)))
    except RuntimeError as error:
        _log.warning("images will be refused: %s", str(error).splitlines()[0] if str(error) else "no reason given")
        return None
