"""When a setting that is changed while the daemon runs takes effect: one table.

A test wants every setting in it. What is not in it takes a restart, which promises nothing that nobody has seen to.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Effect(StrEnum):
    """``NOW``: for whatever begins after the change. ``LOAD``: for models that are loaded after it."""

    NOW = "now"
    LOAD = "load"
    RESTART = "restart"


# What it means to a person.
WHEN = {
    Effect.NOW: "at once",
    Effect.LOAD: "when a model is loaded next",
    Effect.RESTART: "after a restart",
}

_TABLE = {
    Effect.NOW: """
        require_key ignore_unsupported allowed_hosts allowed_origins log_prompts log_level log_levels
        max_body_bytes max_json_depth max_json_items max_messages max_choices max_answer_tokens max_client_requests
        max_connections max_headers max_header_bytes header_timeout_s body_timeout_s idle_timeout_s
        memory_budget_bytes memory_share memory_reserve_bytes max_queue max_queue_total
        keep_alive keep_alive_models keep_alive_tasks warm_tasks auto_swap
        policy allow deny model_points license_points max_selections
        load_timeout_s queue_timeout_s request_timeout_s drain_timeout_s evict_timeout_s failed_retry_s
        settle_s rescan_s max_events max_subscribers heartbeat_s
        max_responses max_responses_bytes response_ttl_s tune_time_s
    """,
    Effect.LOAD: """
        threads max_context_tokens max_concurrent prefill_chunk_tokens max_itl_ms draft_tokens kept_prefixes engine
        models
    """,
    # Sockets are bound, and worker processes started ahead, with these.
    Effect.RESTART: """
        host port socket spare_worker hang_timeout_s log_file_bytes log_files
    """,
}

LISTED = {name: effect for effect, names in _TABLE.items() for name in names.split()}


def effect_of(name: str) -> Effect:
    return LISTED.get(name, Effect.RESTART)


def effect_at(path: Sequence[str]) -> Effect:
    """Of one place in the file: how long a model stays is asked anew all the time, whoever says it."""
    return Effect.NOW if path[-1] == "keep_alive" else effect_of(path[0])
