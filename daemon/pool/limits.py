"""``PoolLimits``: the pool's share of the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """See ``daemon.settings`` for each. ``budget_bytes`` None: only what the machine has available bounds the pool.

    ``max_concurrent`` None: each worker works it out.
    """

    budget_bytes: int | None
    max_concurrent: int | None
    max_queue: int
    load_timeout_s: float
    queue_timeout_s: float
    drain_timeout_s: float
    failed_retry_s: float
    max_queue_total: int = 256
    evict_timeout_s: float = 120.0
    prefill_chunk_tokens: int = 128
    kept_prefixes: int = 8
    max_itl_ms: int = 110
    draft_tokens: int = 8
    engine: str = "auto"
