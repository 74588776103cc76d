"""From a Load message to a running engine, and from the libraries' errors to something a person can act on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from daemon.pool.failures import OUT_OF_MEMORY_WORDS
from daemon.pool.protocol import Load, Ready
from daemon.worker.answer_format import AnswerFormat
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.backends.turns import EngineTurns
from daemon.worker.choices import JobScheduler
from daemon.worker.defaults import sampling_defaults
from daemon.worker.engine import Engine
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import read_config
from daemon.worker.guidance import Guidance
from daemon.worker.library import allowed_libraries
from daemon.worker.paged import PagedScheduler
from daemon.worker.reasoning import reasoning_markers
from daemon.worker.scheduler import Scheduler
from daemon.worker.template_source import FoundTemplate, load_chat_template, load_special_tokens
from daemon.worker.tokenizer import GenaiTokenizer
from daemon.worker.tools.forms import forms_of
from daemon.worker.vocabulary import Vocabulary
from registry.model import ExecutionProvider, Markers

# What onnxruntime 1.31 and onnxruntime-genai 0.18 say, the first match counts. They raise nothing but RuntimeError.
_REASONS = (
    (LoadCode.OUT_OF_MEMORY, OUT_OF_MEMORY_WORDS),
    (
        LoadCode.PROVIDER_MISSING,
        r"interface not available|not been built with|provider is not supported|unknown provider|provider.*not found",
    ),
    (
        LoadCode.UNSUPPORTED,
        r"unsupported model_type|not.implemented|not a registered function|no op registered|unsupported",
    ),
    (LoadCode.MISSING_FILE, r"does(n't| not) exist|no such file|error opening"),
    (LoadCode.INVALID_FILE, r"protobuf parsing failed|out of bounds|parsing|invalid file|failed to get model node"),
)
_ADVICE = {
    LoadCode.OUT_OF_MEMORY: "Unload other models, or choose a smaller model or context.",
    LoadCode.PROVIDER_MISSING: "Install the onnxruntime-genai package for that device, or choose a CPU variant.",
    LoadCode.UNSUPPORTED: "Choose another model, or install a newer onnxruntime-genai.",
    LoadCode.MISSING_FILE: "Copy the folder again.",
    LoadCode.INVALID_FILE: "A file is damaged or unfinished: copy the folder again.",
    LoadCode.FAILED: "Choose another variant of the model.",
}
# A configuration that does not say how many tokens there are.
_ANY_TOKEN = 2**31


def load_engine(load: Load) -> tuple[Engine, Ready]:
    """The engine for a model folder, and what to tell about it. Raises LoadError."""
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
        raise _explained(folder, "out of memory") from error
    except Exception as error:
        raise _explained(folder, str(error)) from error
    context_tokens = min(load.context_tokens, int(config["model"].get("context_length") or load.context_tokens))
    end_ids = tokenizer.end_ids | tokenizer.single_ids(found.end_of_turn)
    is_paged = bool((config.get("engine") or {}).get("dynamic_batching"))
    defaults = sampling_defaults(folder, config)
    if is_paged:  # its engine has no min-p
        defaults = replace(defaults, min_p=0.0)
    engine = Engine(
        scheduler=_scheduler(model, load, context_tokens, is_paged=is_paged),
        tokenizer=tokenizer,
        template=found.template,
        answers=_answer_format(load, found, end_ids, tokenizer),
        end_ids=end_ids,
        defaults=defaults,
        vocabulary=Vocabulary(folder, tokenizer.text_of),
        vocab_size=int(config["model"].get("vocab_size") or _ANY_TOKEN),
    )
    ready = Ready(
        model_type=str(model.type),
        device=str(model.device_type).lower(),
        context_tokens=context_tokens,
        load_s=time.monotonic() - started,
        template_source=found.source,
        engine="paged" if is_paged else "generator",
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


def _scheduler(model: og.Model, load: Load, context_tokens: int, *, is_paged: bool) -> JobScheduler:
    if not is_paged:
        return Scheduler(
            GeneratorBackend(model),
            context_tokens=context_tokens,
            max_concurrent=load.max_concurrent,
            prefill_chunk_tokens=load.prefill_chunk_tokens,
            kept_rows=load.kept_rows,
        )
    try:
        turns = EngineTurns(model)
    except Exception as error:
        raise _explained(Path(load.path), str(error)) from error
    return PagedScheduler(turns, context_tokens=context_tokens, max_concurrent=load.max_concurrent)


def _laid_over(config: og.Config, overlay: Mapping[str, Any]) -> og.Config:
    if overlay:
        config.overlay(json.dumps(overlay))
    return config


def _provider(name: str) -> ExecutionProvider:
    try:
        return ExecutionProvider(name)
    except ValueError as error:
        raise LoadError(LoadCode.PROVIDER_MISSING, f"There is no execution provider {name!r}.") from error


def _explained(folder: Path, error: str) -> LoadError:
    """A LoadError that says which of the known reasons it was, in the library's words and with what to do."""
    code = next((code for code, pattern in _REASONS if re.search(pattern, error, re.IGNORECASE)), LoadCode.FAILED)
    # Long messages begin with the place in the library's own source code; the reason stands behind the last mark.
    reason = (error.rpartition("[ONNXRuntimeError] : ")[2].strip() or "no reason given").splitlines()[0]
    return LoadError(code, f"{folder} cannot be loaded: {reason.rstrip('.')}. {_ADVICE[code]}")
