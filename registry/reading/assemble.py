"""From what was read of a folder to the Model: what goes before what where two say different things.

The files of the folder go before its name, and both before what a catalog says; what nobody says is a default or a
guess, and is noted as such.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from registry.layouts.adapters import ADAPTER_SUFFIX
from registry.layouts.foundry import CatalogEntry
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.layouts.naming import Identity
from registry.layouts.olive import MODEL_CONFIG_FILE, OliveOutput
from registry.layouts.providers import default_device
from registry.model import Device, ExecutionProvider, Model, Precision, Source, Status, Task
from registry.notes import Notes
from registry.onnx.graph import GraphFacts
from registry.problems import ProblemCode
from registry.reading.card import CARD_FILE, Card, read_card
from registry.reading.content import digest_of
from registry.reading.families import family_of
from registry.reading.genai_config import GenaiConfig
from registry.reading.kv_cache import Cache, cache_of
from registry.reading.reader import FolderReader
from registry.reading.tasks import Abilities
from registry.reading.weights import Weights

_DEFAULT_CONTEXT_TOKENS = 2048
_CATALOG = "Foundry's catalog"
# Models that can do nothing else may have no cache at all.
_WITHOUT_CACHE = ((Task.EMBEDDINGS,), (Task.TRANSCRIPTION,))
# Whisper's models for many languages begin at 51865 tokens, and the others are called something.en (openai/whisper).
_WHISPER = "whisper"
_ENGLISH_WHISPER_VOCABULARY = 51864
_ENGLISH = re.compile(r"\.en(?![a-z0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What was read, each from its own place. ``decoder_graphs`` are those of ``weights`` that the decoder has."""

    reader: FolderReader
    source: Source
    config: GenaiConfig
    weights: Weights
    decoder_graphs: tuple[GraphFacts, ...]
    identity: Identity
    entry: CatalogEntry | None
    olive: OliveOutput | None
    library: str | None
    able: Abilities
    refs: tuple[str, ...]
    fingerprint: str
    notes: Notes


def assemble(parts: Parts) -> Model:
    """The model, with everything that was noted on the way to it."""
    config, weights, identity, entry, able = parts.config, parts.weights, parts.identity, parts.entry, parts.able
    provider, device = _provider(parts)
    cache = _cache(parts)
    card = read_card(parts.reader)
    return Model(
        name=identity.name,
        version=identity.version,
        alias=(entry.alias if entry else None) or identity.alias,
        path=parts.reader.folder,
        source=parts.source,
        status=_status(parts.notes),
        tasks=able.tasks,
        family=family_of(config.model_type),
        model_type=config.model_type,
        parameters=weights.parameters or None,
        active_parameters=weights.parameters - weights.idle_parameters if weights.idle_parameters else None,
        precision=_precision(parts),
        block_size=weights.main.block_size,
        accuracy_level=weights.main.accuracy_level,
        execution_provider=provider,
        device=device,
        size_bytes=sum(parts.reader.sizes.values()),
        weight_bytes=weights.weight_bytes,
        context_tokens=_context_tokens(parts),
        max_length=config.max_length,
        max_output_tokens=entry.max_output_tokens if entry else None,
        sliding_window=_sliding_window(parts),
        kv_bytes_per_token=cache.bytes_per_token,
        kv_precision=cache.precision,
        vocab_size=config.vocab_size,
        modalities=able.modalities,
        has_chat_template=able.has_chat_template,
        chat_template=able.chat_template,
        can_reason=able.can_reason,
        has_thinking_switch=able.has_thinking_switch,
        languages=_languages(parts, card),
        tool_markers=able.tool_markers,
        reasoning_markers=able.reasoning_markers,
        adapters=tuple(sorted(name for name in parts.reader.sizes if name.endswith(ADAPTER_SUFFIX))),
        is_paged=config.is_paged or any(graph.is_paged for graph in parts.decoder_graphs),
        custom_ops_library=parts.library,
        publisher=_publisher(parts),
        license=_license(parts, card),
        refs=parts.refs,
        fingerprint=parts.fingerprint,
        content=digest_of(parts.reader),
        problems=tuple(parts.notes.problems),
        evidence=parts.notes.evidence,
    )


def _status(notes: Notes) -> Status:
    """READY, unless one of the problems keeps a whole model from being loaded."""
    is_blocked = any(problem.code == ProblemCode.CUSTOM_OPS_LIBRARY for problem in notes.problems)
    return Status.BLOCKED if is_blocked else Status.READY


def _provider(parts: Parts) -> tuple[ExecutionProvider, Device]:
    """The configuration decides; then the name, then the catalog; a model that says nothing runs on the CPU."""
    config, identity, entry, notes = parts.config, parts.identity, parts.entry, parts.notes
    provider = config.execution_provider
    if provider is ExecutionProvider.UNKNOWN:
        notes.add(
            ProblemCode.UNKNOWN_EXECUTION_PROVIDER,
            f"{GENAI_CONFIG_FILE} asks for the execution provider {config.provider_name!r:.60}, which is unknown.",
            GENAI_CONFIG_FILE,
        )
    named = entry.execution_provider if entry else None
    if provider is None:
        provider = identity.provider or named
        notes.guessed(
            "execution_provider", "name" if identity.provider else "Foundry's catalog" if named else "default"
        )
    provider = provider or ExecutionProvider.CPU
    device = identity.device or config.device or (entry.device if entry else None)
    return provider, device or default_device(provider)


def _precision(parts: Parts) -> Precision:
    main = parts.weights.main
    if len(main.mixture) > 1:
        shares = ", ".join(f"{count / main.parameters:.0%} {kind}" for kind, count in main.mixture.items())
        parts.notes.guessed("precision", f"the largest part of a mixture: {shares}")
    return main.precision


def _context_tokens(parts: Parts) -> int:
    if not parts.config.context_tokens:
        parts.notes.guessed("context_tokens", "default")
    return parts.config.context_tokens or _DEFAULT_CONTEXT_TOKENS


def _sliding_window(parts: Parts) -> int | None:
    """The configuration's, else that of the graph's attention nodes, where most models have it."""
    if parts.config.sliding_window:
        return parts.config.sliding_window
    windows = [window for graph in parts.decoder_graphs for window in graph.windows]
    windowed = Counter(window for window in windows if window)
    if not windowed:
        return None
    parts.notes.guessed("sliding_window", f"{windowed.total()} of {len(windows)} attention nodes have one")
    return windowed.most_common(1)[0][0]


def _cache(parts: Parts) -> Cache:
    config = parts.config
    is_text = parts.able.tasks not in _WITHOUT_CACHE
    cache = cache_of(config.cache, parts.decoder_graphs, parts.weights.main.precision, is_text=is_text)
    if cache.guess is not None:
        parts.notes.guessed("kv_bytes_per_token", cache.guess)
    return cache


def _publisher(parts: Parts) -> str | None:
    publisher = (parts.entry.publisher if parts.entry else None) or parts.identity.publisher
    if publisher is None and parts.olive is not None and parts.olive.publisher:
        parts.notes.guessed("publisher", f"Olive's {MODEL_CONFIG_FILE}")
        return parts.olive.publisher
    return publisher


def _license(parts: Parts, card: Card) -> str | None:
    if parts.entry is not None and parts.entry.license:
        return parts.entry.license
    if card.license is not None:
        parts.notes.guessed("license", CARD_FILE)
    return card.license


def _languages(parts: Parts, card: Card) -> tuple[str, ...]:
    if card.languages:
        parts.notes.guessed("languages", CARD_FILE)
        return card.languages
    if _is_english_whisper(parts):
        parts.notes.guessed("languages", "one of Whisper's models for English only, by vocabulary or name")
        return ("en",)
    return ()


def _is_english_whisper(parts: Parts) -> bool:
    is_whisper = family_of(parts.config.model_type) == _WHISPER
    has_its_words = parts.config.vocab_size == _ENGLISH_WHISPER_VOCABULARY
    return is_whisper and (has_its_words or _ENGLISH.search(parts.identity.name.lower()) is not None)
