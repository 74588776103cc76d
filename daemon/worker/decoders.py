"""Which of the backends runs a decoder, and its start: the batched one where it is known to give the same tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from daemon.pool.protocol import Load
from daemon.worker.backends.base import Backend
from daemon.worker.backends.batched.capability import BatchedDecoder, NotBatchable, batched_decoder
from daemon.worker.backends.batched.opening import Disproved, Wanted, open_batched
from daemon.worker.backends.generator import GeneratorBackend, engine_config, least_room
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.kinds import EngineChoice, EngineKind
from daemon.worker.library import allowed_libraries
from daemon.worker.reasons import explained
from daemon.worker.rooms import rows_of
from registry.errors import InvalidModelFolder
from registry.model import ExecutionProvider
from registry.onnx.protobuf import MalformedProtobuf

# A row more than can be in use, so that one can be copied while all others are there.
_SPARE_ROWS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDecoder:
    """A decoder that is ready to run. ``settings`` are those it was loaded with, for its tokenizer.

    ``model`` is onnxruntime-genai's, None where nothing but the tokenizer is its. ``reason`` says why ``kind`` is not
    the batched one. ``rows`` is how many requests may run at the same time. The rest is as
    ``daemon.pool.protocol.Ready`` has it; ``context_tokens`` may be less than was asked for.
    """

    backend: Backend
    settings: og.Config
    model: og.Model | None
    kind: EngineKind
    device: str
    rows: int
    context_tokens: int
    reason: str = ""
    is_proven: bool | None = None
    kv_token_bytes: int = 0


def load_decoder(
    load: Load, config: Mapping[str, Any], adapters: Mapping[str, Path], *, context_tokens: int
) -> LoadedDecoder:
    """``config`` is the folder's checked genai_config.json. Raises LoadError."""
    folder = Path(load.path)
    with _explained(folder), allowed_libraries(folder, config, load.allowed_libraries) as overlay:
        return _Loading(load, config, adapters, overlay, context_tokens).loaded()


class _Loading:
    """One load; ``overlay`` says where the copies of its libraries are."""

    def __init__(
        self,
        load: Load,
        config: Mapping[str, Any],
        adapters: Mapping[str, Path],
        overlay: Mapping[str, Any],
        context_tokens: int,
    ) -> None:
        self._load = load
        self._folder = Path(load.path)
        self._config = config
        self._adapters = adapters
        self._context_tokens = context_tokens
        self._provider = _provider(load.execution_provider)
        self._overlay = overlay
        self._settings = engine_config(self._folder, config, self._provider, load.threads, is_spinning=load.is_spinning)
        if overlay:
            self._settings.overlay(json.dumps(overlay))

    def loaded(self) -> LoadedDecoder:
        if self._load.engine == EngineChoice.GENERATOR:
            return self._generator("The setting engine asks for this one.")
        try:
            return self._batched()
        except NotBatchable as error:
            reason = f"It {error}."
            if self._load.engine == EngineChoice.BATCHED:
                raise LoadError(
                    LoadCode.UNSUPPORTED,
                    f"{self._folder} cannot be run in batches, which the setting engine asks for. {reason} Set engine "
                    "to auto, or choose another model.",
                ) from error
            return self._generator(reason, is_proven=False if isinstance(error, Disproved) else None)

    def _batched(self) -> LoadedDecoder:
        decoder = self._described()
        if self._load.is_proven is False:
            raise Disproved("does something else in a batch than alone, as was found before")
        context_tokens = min(self._context_tokens, decoder.most_tokens or self._context_tokens)
        if self._load.least_context_tokens > context_tokens:
            raise NotBatchable(f"reads texts of more than {context_tokens} tokens, as was asked for, one by one only")
        rows = self._rows(context_tokens, is_batched=True)
        backend = open_batched(
            decoder,
            Wanted(
                slots=rows + self._load.kept_rows + _SPARE_ROWS,
                context_tokens=context_tokens,
                threads=self._load.threads,
                is_spinning=self._load.is_spinning,
                session_options=self._config["model"]["decoder"].get("session_options") or {},
                library=_library(self._overlay),
            ),
            reference=None if self._load.is_proven else lambda: self._rows_of(og.Model(self._settings)),
        )
        return LoadedDecoder(
            backend=backend,
            settings=self._settings,
            model=None,
            kind=EngineKind.BATCHED,
            device="cpu",
            rows=rows,
            context_tokens=context_tokens,
            is_proven=True,
            kv_token_bytes=decoder.kv_token_bytes,
        )

    def _rows(self, context_tokens: int, *, is_batched: bool) -> int:
        cache_tokens = max(self._load.cache_tokens, context_tokens)
        return rows_of(self._load.max_concurrent, cache_tokens, is_batched=is_batched)

    def _rows_of(self, model: og.Model) -> GeneratorBackend:
        return GeneratorBackend(model, self._adapters, least_room_tokens=least_room(self._config))

    def _described(self) -> BatchedDecoder:
        try:
            return batched_decoder(self._folder, self._config, self._provider, has_adapters=bool(self._adapters))
        except (MalformedProtobuf, InvalidModelFolder) as error:
            raise NotBatchable(f"has a graph that cannot be read: {error}") from error

    def _generator(self, reason: str, *, is_proven: bool | None = None) -> LoadedDecoder:
        model = og.Model(self._settings)
        is_paged = bool((self._config.get("engine") or {}).get("dynamic_batching"))
        return LoadedDecoder(
            backend=self._rows_of(model),
            settings=self._settings,
            model=model,
            kind=EngineKind.PAGED if is_paged else EngineKind.GENERATOR,
            device=str(model.device_type).lower(),
            rows=self._rows(self._context_tokens, is_batched=False),
            context_tokens=self._context_tokens,
            reason=reason,
            is_proven=is_proven,
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turns what the libraries raise into LoadError."""
    try:
        yield
    except LoadError:
        raise
    except MemoryError as error:
        raise explained(folder, "out of memory") from error
    except Exception as error:
        raise explained(folder, str(error)) from error


def _library(overlay: Mapping[str, Any]) -> str | None:
    """The decoder's own library of custom operators."""
    options = overlay.get("model", {}).get("decoder", {}).get("session_options", {})
    library = options.get("custom_ops_library")
    return None if library is None else str(library)


def _provider(name: str) -> ExecutionProvider:
    try:
        return ExecutionProvider(name)
    except ValueError as error:
        raise LoadError(LoadCode.PROVIDER_MISSING, f"There is no execution provider {name!r}.") from error
