"""From a folder to a batched backend that is known to give the generator's tokens, or the reason why there is none."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.worker.backends.base import Backend
from daemon.worker.backends.batched.arena import Arena
from daemon.worker.backends.batched.backend import BatchedBackend
from daemon.worker.backends.batched.calls import Calls
from daemon.worker.backends.batched.capability import BatchedDecoder, NotBatchable
from daemon.worker.backends.batched.proof import LEAST_CONTEXT_TOKENS, Recorded, find_difference, record
from daemon.worker.backends.batched.session import open_session


class Disproved(NotBatchable):
    """It was tried, and gave something else than the generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """``slots`` rows of ``context_tokens`` each. ``library``: one of custom operators, which was allowed.

    ``session_options`` are the folder's own.
    """

    slots: int
    context_tokens: int
    threads: int
    is_spinning: bool
    session_options: Mapping[str, Any]
    library: str | None


def open_batched(decoder: BatchedDecoder, wanted: Wanted, *, reference: Callable[[], Backend] | None) -> BatchedBackend:
    """``reference`` makes the backend that counts, for a comparison before this one is used; None: it was compared.

    Raises Disproved and NotBatchable, and what ``reference`` raises.
    """
    recorded = None if reference is None else _recorded(reference, decoder, wanted.context_tokens)
    backend = _opened(decoder, wanted)
    difference = None if recorded is None else find_difference(backend, recorded)
    if difference is not None:
        raise Disproved(f"does something else in a batch: {difference}")
    return backend


def _recorded(reference: Callable[[], Backend], decoder: BatchedDecoder, context_tokens: int) -> list[Recorded]:
    if context_tokens < LEAST_CONTEXT_TOKENS:
        raise NotBatchable(f"has too short a context to be tried out ({context_tokens} tokens)")
    backend = reference()
    recorded = record(backend, decoder.vocab_size)
    # Its copy of the weights must be gone before there is another one.
    del backend
    gc.collect()
    return recorded


def _opened(decoder: BatchedDecoder, wanted: Wanted) -> BatchedBackend:
    try:
        session = open_session(
            decoder,
            wanted.session_options,
            threads=wanted.threads,
            is_spinning=wanted.is_spinning,
            library=wanted.library,
        )
        length = max(wanted.context_tokens, decoder.least_slot_tokens)
        arena = Arena(decoder.caches, slots=wanted.slots, length=length)
        calls = Calls(session, decoder, arena, context_tokens=wanted.context_tokens)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotBatchable(f"cannot be opened for batches: {reason}") from error
    return BatchedBackend(calls, arena, context_tokens=wanted.context_tokens, can_verify=decoder.has_all_positions)
