"""``LoadPlan``: how a model is to be loaded. On its own, because commands that load nothing need it too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from registry.model import Task

DEFAULT_KEEP_ALIVE_S = 600.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How to load a model: context in tokens, ONNX Runtime threads, and the bytes the footprint formula expects.

    ``allowed_libraries`` are SHA-256 digests of the custom operator libraries that it may run. ``is_forced``: a person
    wants it loaded even if those bytes cannot be had. ``keep_alive_s`` is how long it stays when it is idle, None for
    ever. ``is_spinning``: its threads wait for work without giving up their cores, which is fastest where no other
    model is loaded; the pool decides that. ``least_context_tokens``: a session that has less is loaded again by this
    plan. Where the model is loaded already, only this and ``keep_alive_s`` count anew with each request: that is a time
    of the settings for the task ``timed_for``, unless it ``is_timed_by_request``.
    ``is_proven``: see ``daemon.pool.protocol.Load``. ``max_concurrent`` and ``prefill_chunk_tokens`` None: as the pool
    has it for all models.
    """

    context_tokens: int
    threads: int
    need_bytes: int
    allowed_libraries: tuple[str, ...] = ()
    is_forced: bool = False
    keep_alive_s: float | None = DEFAULT_KEEP_ALIVE_S
    timed_for: Task | None = None
    is_timed_by_request: bool = False
    is_spinning: bool = True
    least_context_tokens: int = 0
    is_proven: bool | None = None
    max_concurrent: int | None = None
    prefill_chunk_tokens: int | None = None

    def stays_for(self, keep_alive_s: float | None) -> Self:
        """So long, because a request says so."""
        return replace(self, keep_alive_s=keep_alive_s, is_timed_by_request=True)

    def timed_as(self, other: LoadPlan) -> Self:
        """For as long as ``other``, and for the same reason."""
        return replace(
            self,
            keep_alive_s=other.keep_alive_s,
            timed_for=other.timed_for,
            is_timed_by_request=other.is_timed_by_request,
        )
